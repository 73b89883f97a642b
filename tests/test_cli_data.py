"""`tamperscope data`: what it prints, writes and answers to mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tamperscope.cli.data import app
from tamperscope.data import sources
from tamperscope.data.manifest import Entry, Manifest, write

RUN = CliRunner()


def _png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def test_list_names_every_set_once_under_its_domain() -> None:
    lines = RUN.invoke(app, ["list"]).output.splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(named) == list(sources.names())
    above = [line for line in lines[: lines.index(next(x for x in lines if "doctamper" in x))] if line[0] != " "]
    assert above[-1] == "document:"


def test_list_as_json() -> None:
    rows = json.loads(RUN.invoke(app, ["list", "--json"]).output)
    row = next(r for r in rows if r["name"] == "doctamper")
    assert (row["domain"], row["licence"]) == ("document", sources.describe("doctamper").licence)


def test_prepare_then_examine(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        _png(tmp_path / "FCD" / "images" / f"{i}.png", rng.integers(0, 256, (64, 64, 3), np.uint8))
        _png(tmp_path / "FCD" / "masks" / f"{i}.png", np.eye(64, dtype=np.uint8))
    arguments = ["prepare", "doctamper", "--src", str(tmp_path / "FCD"), "--out", str(tmp_path / "out")]
    done = RUN.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "3 pictures" in done.output
    assert "repaired" in done.output
    page, found = tmp_path / "page.html", tmp_path / "found.json"
    manifest = str(tmp_path / "out" / "manifest.jsonl")
    done = RUN.invoke(app, ["doctor", manifest, "--html", str(page), "--json", str(found)])
    assert done.exit_code == 0, done.output
    assert json.loads(found.read_text())["pictures"] == 3
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html")
    assert json.loads(RUN.invoke(app, ["doctor", manifest, "--json", "-"]).stdout)["opened"] == 3


def test_convert_there_and_back(tmp_path: Path) -> None:
    _png(tmp_path / "a b.png", np.zeros((4, 5, 3), np.uint8))
    write(tmp_path / "m.jsonl", [Entry(image="a b.png", label=0)])
    out, back = tmp_path / "l.json", tmp_path / "back.jsonl"
    done = RUN.invoke(app, ["convert", str(tmp_path / "m.jsonl"), str(out), "--to", "benco"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("1 pictures in")
    assert RUN.invoke(app, ["convert", str(out), str(back), "--from", "benco"]).exit_code == 0
    assert list(Manifest(back)) == list(Manifest(tmp_path / "m.jsonl"))


def test_convert_says_what_a_folder_leaves_unpaired(tmp_path: Path) -> None:
    for name in ("images/a.png", "masks/a.png", "masks/b.png"):
        _png(tmp_path / name, np.zeros((4, 5, 3), np.uint8))
    done = RUN.invoke(app, ["convert", str(tmp_path), str(tmp_path / "m.jsonl"), "--from", "folder"])
    assert done.exit_code == 0
    assert "missing: masks/b.png" in done.stderr
    assert "1 pictures" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "doctampr", "--src", ".", "--out", "x"], "did you mean 'doctamper'"),
        (["prepare", "doctamper", "--src", "none", "--out", "x"], "expected the folder"),
        (["convert", "a", "b"], "either --from FORMAT or --to FORMAT"),
        (["convert", "a", "b", "--from", "coco", "--to", "benco"], "either --from FORMAT or --to FORMAT"),
        (["convert", "none", "b", "--from", "coco"], "found nothing"),
        (["convert", "none", "b", "--to", "coc"], "did you mean 'coco'"),
        (["convert", "none", "b", "--to", "coco"], "expected a manifest, found no file"),
        (["doctor", "none.jsonl"], "expected a manifest"),
    ],
)
def test_mistakes_end_with_one_line_and_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUN.invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
