"""The command line: exit codes, outputs, many files, resuming, and nothing lost."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from tamperscope import cli
from tamperscope.errors import BudgetError
from tamperscope.media.recompress import encode_jpeg
from tamperscope.scanning.many import failure

FAST = ["--detectors", "ela"]


@pytest.fixture
def folder(tmp_path: Path, photo) -> Path:  # type: ignore[no-untyped-def]
    """Five files: two pictures, an exact copy, a text with a picture's suffix, and one in a subfolder."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    root = tmp_path / "in"
    (root / "a.jpg").write_bytes(encode_jpeg(photo("chelsea")[:96, :128].copy(), 85))
    (root / "b.jpg").write_bytes(encode_jpeg(photo("coffee")[:96, :128].copy(), 85))
    (root / "c.jpg").write_bytes((root / "a.jpg").read_bytes())
    (root / "bad.jpg").write_text("this is no picture")
    (root / "sub" / "d.jpg").write_bytes(encode_jpeg(photo("astronaut")[:96, :128].copy(), 85))
    return root


def run(*words: object, stdin: bytes | None = None):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(cli.app, [str(w) for w in words], input=stdin)


def test_one_picture_writes_all_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    html, js, maps = tmp_path / "r.html", tmp_path / "r.json", tmp_path / "maps"
    done = run("scan", folder / "a.jpg", *FAST, "--html", html, "--json", js, "--save-maps", maps)
    assert done.exit_code in (0, 2, 3), done.output
    assert html.read_text().startswith("<!DOCTYPE html>") or html.read_text().startswith("<!doctype html>")
    assert json.loads(js.read_text())["intake"]["name"].endswith("a.jpg")
    assert (maps / "ela.png").exists()


def test_json_on_standard_output_is_alone_there(folder: Path) -> None:
    program = [sys.executable, "-m", "tamperscope", "scan", str(folder / "a.jpg"), *FAST, "--json", "-"]
    done = subprocess.run(program, capture_output=True, timeout=120, check=False)
    report = json.loads(done.stdout)
    assert report["status"] == "ok"
    assert done.returncode in (0, 2, 3)


def test_standard_input(folder: Path) -> None:
    done = run("scan", "-", *FAST, "--json", "-", stdin=(folder / "a.jpg").read_bytes())
    assert json.loads(done.stdout)["picture"]["width"] == 128


def test_what_is_no_picture_is_exit_1_and_no_verdict(folder: Path) -> None:
    done = run("scan", folder / "bad.jpg")
    assert done.exit_code == 1
    assert "verdict" not in done.stdout.lower()
    assert run("scan", folder / "missing.jpg").exit_code == 1
    assert run("scan", folder / "a.jpg", "--detectors", "elaa").exit_code == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_equal_bytes_are_scanned_once_and_say_so(folder: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "rows.jsonl"
    run("scan", folder, *FAST, "--workers", workers, "--out", out)
    rows = {Path(_name(row)).name: row for row in map(json.loads, out.read_text().splitlines())}
    assert list(rows) == ["a.jpg", "b.jpg", "bad.jpg", "c.jpg"]
    first, copy = rows["a.jpg"], rows["c.jpg"]
    assert copy["intake"]["same_as"] == first["intake"]["name"]
    assert first["intake"]["same_as"] is None
    assert copy["reproduce"]["command"].split()[2].endswith("c.jpg")
    assert copy["predictions"] == first["predictions"], "the seconds, too: it was not scanned again"
    (folder / "e.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "e.png").write_bytes((folder / "a.jpg").read_bytes())
    run("scan", folder, *FAST, "--workers", workers, "--out", out)
    rows = {Path(_name(row)).name: row for row in map(json.loads, out.read_text().splitlines())}
    assert rows["e.jpg"]["predictions"] == first["predictions"]
    assert rows["e.png"]["intake"]["same_as"] is None, "its name says another format, so its findings differ"


def _name(row: dict[str, Any]) -> str:
    return str(row["intake"]["name"] if row["status"] == "ok" else row["name"])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(folder: Path, tmp_path: Path, workers: int) -> None:
    out, one = tmp_path / "rows.jsonl", tmp_path / "one.jsonl"
    done = run("scan", folder, "-r", *FAST, "--workers", workers, "--out", out, "--html", tmp_path / "pages")
    run("scan", folder, "-r", *FAST, "--out", one)
    kept = [{k: v for k, v in row.items() if k not in ("intake", "reproduce")} for row in _comparable(out)]
    assert kept == [{k: v for k, v in row.items() if k not in ("intake", "reproduce")} for row in _comparable(one)]
    assert len(list((tmp_path / "pages").iterdir())) == 4, "every picture has a page, copies too"
    assert "5 files" in done.output


def test_options_that_make_no_sense_are_refused(folder: Path) -> None:
    assert "1 or more" in run("scan", folder, *FAST, "--workers", 0).output
    assert ".parquet" in run("scan", folder, *FAST, "--out", "rows.xlsx").output


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_many_files_none_lost_and_resumed_without_repeats(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"rows{suffix}"
    words = ["scan", folder, "-r", *FAST, "--out", out]
    run(*words)
    whole = out.read_bytes()
    read = {".jsonl": _names_jsonl, ".csv": _names_csv}[suffix]
    assert [Path(n).name for n in read(out)] == ["a.jpg", "b.jpg", "bad.jpg", "c.jpg", "d.jpg"]
    run(*words)
    assert out.read_bytes() == whole, "a second run must add nothing"
    out.write_bytes(whole[:-20])
    again = run(*words)
    assert sorted(read(out)) == sorted(n for n in read(out))
    assert len(read(out)) == 5
    assert again.exit_code in (1, 2, 3)


def _names_jsonl(path: Path) -> list[str]:
    return [_name(json.loads(line)) for line in path.read_text().splitlines()]


def _names_csv(path: Path) -> list[str]:
    with path.open() as stream:
        return [row["name"] for row in csv.DictReader(stream)]


def test_rows_of_another_run_are_not_mixed_in(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    run("scan", folder, *FAST, "--out", out)
    other = run("scan", folder, "--detectors", "zero", "--out", out)
    assert other.exit_code == 1
    assert "other detectors" in other.output


@pytest.mark.parametrize(("suffix", "workers"), [(".jsonl", "1"), (".parquet", "2")])
def test_a_killed_run_goes_on_and_ends_like_an_uninterrupted_one(
    folder: Path, tmp_path: Path, suffix: str, workers: str
) -> None:
    for i in range(12):
        noise = np.random.default_rng(i).integers(0, 256, (200, 200, 3), dtype=np.uint8)
        (folder / f"n{i:02}.jpg").write_bytes(encode_jpeg(noise, 80))
    killed, whole = tmp_path / f"killed{suffix}", tmp_path / f"whole{suffix}"
    words = [sys.executable, "-m", "tamperscope", "scan", str(folder), *FAST, "--workers", workers, "--out"]
    child = subprocess.Popen([*words, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    growing = killed if suffix == ".jsonl" else killed / "_waiting.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not growing.exists() or growing.read_bytes().count(b"\n") < 3):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert 3 <= growing.read_bytes().count(b"\n") < 16
    for path in (killed, whole):
        subprocess.run([*words, str(path)], check=False, capture_output=True, timeout=120)
    assert _comparable(killed) == _comparable(whole)
    assert len(_comparable(whole)) == 16


@pytest.mark.slow
def test_two_thousand_pictures_killed_three_times_end_like_an_uninterrupted_run(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(2000):
        # Every tenth is a copy of one long before it, every hundredth no picture.
        noise = np.random.default_rng(i - 500 if i >= 1000 and i % 10 == 3 else i).integers(
            0, 256, (48, 48, 3), np.uint8
        )
        data = b"no picture" if i % 100 == 7 else encode_jpeg(noise, 80)
        (pictures / f"{i:04}.jpg").write_bytes(data)
    killed, whole = tmp_path / "killed.parquet", tmp_path / "whole.parquet"
    words = [sys.executable, "-m", "tamperscope", "scan", str(pictures), *FAST, "--workers", "2", "--out"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for wanted in (300, 900, 1500):
        child = subprocess.Popen([*words, str(killed)], **quiet)
        end = time.monotonic() + 300
        # While a part is closed its rows lie in two files, which would be 2,000 too early.
        while time.monotonic() < end and not wanted <= _kept(killed) < 2000:
            time.sleep(0.05)
        assert child.poll() is None, "it ended before it could be killed"
        child.kill()
        child.wait()
        assert wanted <= _kept(killed) < 2000
    for path in (killed, whole):
        subprocess.run([*words, str(path)], check=False, timeout=600, **quiet)
    rows = _comparable(whole)
    assert _comparable(killed) == rows
    assert len(rows) == 2000
    assert sum(row["status"] == "error" for row in rows) == 20


def _kept(folder: Path) -> int:
    """Return how many rows of a run are on disk."""
    waiting = folder / "_waiting.jsonl"
    parts = sum(parquet.read_metadata(part).num_rows for part in folder.glob("part-*.parquet"))
    return parts + (waiting.read_bytes().count(b"\n") if waiting.exists() else 0)


def _comparable(path: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in _lines(path)]
    for row in rows:
        row.pop("created", None)
        for prediction in row.get("predictions", []):
            prediction.pop("seconds")
    return rows


def _lines(path: Path) -> list[str]:
    if path.is_file():
        return path.read_text().splitlines()
    return parquet.read_table(path).column("report").to_pylist()


def test_one_html_page_a_picture_even_for_equal_names(folder: Path, tmp_path: Path) -> None:
    (folder / "sub" / "a.jpg").write_bytes((folder / "b.jpg").read_bytes())
    run("scan", folder, "-r", *FAST, "--html", tmp_path / "pages")
    names = sorted(p.name for p in (tmp_path / "pages").iterdir())
    assert sum(n.startswith("a-") for n in names) == 2


@pytest.mark.parametrize("words", [["detectors"], ["detectors", "--json"], ["schema"], ["doctor"], ["--version"]])
def test_small_verbs(words: list[str]) -> None:
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert done.output.strip()


def test_schema_is_a_json_schema() -> None:
    document = json.loads(run("schema").output)
    assert document["title"] == "Report"
    assert "verdict" in document["properties"]


@pytest.mark.parametrize(
    ("words", "code"), [(["scan", "--no-such-option", "x"], 1), (["scan"], 1), (["scna"], 1), (["scan", "--help"], 0)]
)
def test_a_wrong_option_is_an_error_and_no_verdict(words: list[str], code: int) -> None:
    program = [sys.executable, "-m", "tamperscope", *words]
    done = subprocess.run(program, capture_output=True, timeout=120, check=False)
    assert done.returncode == code, "2 is what an inconclusive verdict leaves with"
    assert b"Usage" in (done.stderr if code else done.stdout)


def test_pages_that_are_not_written_again_are_told_of(folder: Path, tmp_path: Path) -> None:
    words = ["scan", folder, *FAST, "--out", tmp_path / "rows.jsonl"]
    run(*words)
    assert "no pages" not in run(*words).output
    again = run(*words, "--html", tmp_path / "pages").output
    assert "No new files" in again
    assert "no pages and maps were written" in " ".join(again.split())


def test_a_folder_that_is_a_file_costs_no_picture_its_row(folder: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "rows.jsonl", tmp_path / "ex.html"
    page.write_text("a page")
    done = run("scan", folder, *FAST, "--out", out, "--html", page)
    assert done.exit_code == 1
    assert "--html: for many pictures expected a folder" in " ".join(done.output.split())
    assert not out.exists()
    assert page.read_text() == "a page"


@pytest.mark.parametrize("workers", [1, 2])
def test_pictures_that_an_earlier_run_had_no_time_for_are_scanned_by_the_next(
    folder: Path, tmp_path: Path, workers: int
) -> None:
    out, whole = tmp_path / "rows.jsonl", tmp_path / "whole.jsonl"
    words = ["scan", folder, *FAST, "--workers", workers, "--out"]
    run(*words, whole)
    rows = [json.loads(line) for line in whole.read_text().splitlines()]
    lost = [
        failure(_name(row), error, row["intake"]["sha256"]).to_json(None)
        for row, error in ((rows[0], FileExistsError("ex.html")), (rows[3], BudgetError("took longer than 1 s")))
    ]
    lines = whole.read_text().splitlines()
    out.write_text("\n".join([lost[0], lines[1], lines[2], lost[1]]) + "\n")
    assert "2 files were in" in run(*words, out).output
    assert sorted(map(str, _comparable(out))) == sorted(map(str, _comparable(whole)))
    before = out.read_bytes()
    assert "No new files" in run(*words, out).output
    assert out.read_bytes() == before


def test_errors_name_the_file_once(folder: Path) -> None:
    (folder / "empty.jpg").write_bytes(b"")
    output = run("scan", folder / "empty.jpg", *FAST).output
    assert output.count("empty.jpg") == 1
    assert "the file is empty" in output
