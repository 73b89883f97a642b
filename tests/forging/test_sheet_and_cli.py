from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tamperscope import media
from tamperscope.cli import forge
from tamperscope.data import manifest
from tamperscope.data.manifest import Manifest
from tamperscope.errors import InputError
from tamperscope.forging import run, sheet
from tamperscope.forging.recipe import Recipe

app = typer.Typer()
app.command()(forge.forge)


@pytest.fixture(scope="module")
def out(photos: Path, quick: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheet")
    run.forge(photos, quick, 5, 1, folder)
    return folder


def test_a_sheet_shows_each_forgery_and_its_mask(out: Path, tmp_path: Path) -> None:
    source = Manifest(out / "manifest.jsonl")
    assert sheet.write(source.path, tmp_path / "sheet.png", limit=4, columns=2) == 4
    page = media.open(tmp_path / "sheet.png").sample.rgb
    cell = 2 * sheet.SIDE + 2 * sheet.GAP
    assert page.shape[:2] == (2 * (sheet.SIDE + sheet.CAPTION) + sheet.GAP, 2 * cell + sheet.GAP)
    forged = [entry for entry in source if entry.label == 1]
    for number, entry in enumerate(forged[:4]):
        sample = source.open(entry)
        assert sample.mask is not None
        if max(sample.size) > sheet.SIDE:
            continue
        y = sheet.GAP + (number // 2) * (sheet.SIDE + sheet.CAPTION)
        x = sheet.GAP + (number % 2) * cell
        plain = page[y : y + sample.size[0], x : x + sample.size[1]]
        assert np.array_equal(plain, sample.rgb)
        x += sheet.SIDE + sheet.GAP // 2
        marked = page[y : y + sample.size[0], x : x + sample.size[1]]
        assert np.array_equal(marked[~sample.mask], sample.rgb[~sample.mask])
        assert (marked != sample.rgb).any(axis=2)[sample.mask].mean() > 0.9
        assert (page[y + sheet.SIDE : y + sheet.SIDE + 40, x - sheet.SIDE : x] < 128).any()  # a caption


def test_long_captions_stay_in_their_column(out: Path, tmp_path: Path) -> None:
    source = Manifest(out / "manifest.jsonl")
    forged = [entry for entry in source if entry.label == 1][:2]
    long = [entry.model_copy(update={"delivery": "m" * 500}) for entry in forged]
    manifest.write(out / "long.jsonl", long)
    sheet.write(out / "long.jsonl", tmp_path / "sheet.png", columns=2)
    page = media.open(tmp_path / "sheet.png").sample.rgb
    caption = page[sheet.GAP + sheet.SIDE : sheet.GAP + sheet.SIDE + sheet.CAPTION]
    edge = 2 * (sheet.SIDE + sheet.GAP)
    assert (caption[:, edge - 20 : edge - 8] < 128).any()
    assert not (caption[:, edge : edge + sheet.GAP] < 240).any()


@pytest.mark.parametrize(("op", "whole"), [("removal", True), ("delivery", False)])
def test_all_of_a_picture_is_marked_where_an_edit_made_it_anew(out: Path, tmp_path: Path, op: str, whole: bool) -> None:
    source = Manifest(out / "manifest.jsonl")
    entry = next(entry for entry in source if entry.label == 1)
    fields = {"editors": ["removal"], "ops": [{"op": op, "reencoded": True}]}
    manifest.write(out / "anew.jsonl", [entry.model_copy(update=fields)])
    sheet.write(out / "anew.jsonl", tmp_path / "sheet.png", columns=1)
    page = media.open(tmp_path / "sheet.png").sample.rgb
    height, width = source.open(entry).size
    top, left = sheet.GAP, sheet.GAP + sheet.SIDE + sheet.GAP // 2
    plain = page[top : top + height, sheet.GAP : sheet.GAP + width]
    marked = page[top : top + height, left : left + width]
    assert ((marked != plain).any(axis=2).mean() > 0.9) == whole


def test_a_sheet_needs_forgeries(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"image": "a.png", "label": 0}\n')
    with pytest.raises(InputError, match="found none"):
        sheet.write(tmp_path / "manifest.jsonl", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_the_verb_makes_what_it_is_asked_for(photos: Path, tmp_path: Path) -> None:
    arguments = [str(photos), "--recipe", "splice", "--count", "2", "--seed", "3", "--out", str(tmp_path / "out")]
    changes = [
        "--set",
        "where.split=train",
        "--set",
        "operations={removal: 1}",
        "--set",
        "ranges.removal={fill: telea}",
    ]
    found = CliRunner().invoke(app, [*arguments, *changes, "--sheet", str(tmp_path / "sheet.png")])
    assert found.exit_code == 0, found.output
    assert "2 forgeries, each with its authentic twin" in found.output
    assert (tmp_path / "sheet.png").is_file()
    entries = list(Manifest(tmp_path / "out" / "manifest.jsonl"))
    assert {tuple(e.extra["editors"]) for e in entries if e.label == 1} == {("removal",)}


def test_without_a_face_nothing_is_made_and_that_is_said(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tamperscope.signal.faces.find", lambda sample, detector: [])
    arguments = [str(photos), "--recipe", "face", "--count", "1", "--out", str(tmp_path / "out")]
    changes = ["--set", "tries=4", "--set", "where.split=train", "--set", "hosts.min_side=32"]
    changes += ["--set", "operations={face_warp: 1}", "--set", "ranges={}"]
    found = CliRunner().invoke(app, [*arguments, *changes])
    assert found.exit_code == 1, found.output
    assert "0 forgeries" in found.output
    said = next(line for line in found.output.splitlines() if line.startswith("impossible most often"))
    assert said.endswith("expected a picture with a whole face")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "splic"], "did you mean 'splice'"),
        (["--set", "gate.chance=1", "--recipe", "splice"], "chance"),
        (["--set", "where.split=none"], "found none"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    photos: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    found = CliRunner().invoke(app, [str(photos), "--out", str(tmp_path), *arguments])
    assert found.exit_code == 1
    assert message in found.output
    assert "Traceback" not in found.output
