"""PDF files: every page and every picture on it has a row, and each can be scanned again by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tamperscope
from media.test_documents import document, jpeg, noise
from tamperscope import cli

pytest.importorskip("pypdfium2")
FAST = ["--detectors", "ela"]


def run(*words: object):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(cli.app, [str(w) for w in words])


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.pdf"
    path.parent.mkdir()
    path.write_bytes(document([jpeg(0), noise(1)], [jpeg(0)]))
    (path.parent / "b.jpg").write_bytes(jpeg(0))
    (path.parent / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_pages_and_pictures_have_rows_and_are_not_done_twice(pdf: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "rows.jsonl"
    words = ["scan", pdf.parent, *FAST, "--workers", workers, "--out", out]
    run(*words)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    names = [Path(r["intake"]["name"] if r["status"] == "ok" else r["name"]).name for r in rows]
    assert names == [
        "a.pdf#page=1", "a.pdf#page=1,image=1", "a.pdf#page=1,image=2", "a.pdf#page=2", "a.pdf#page=2,image=1",
        "b.jpg", "broken.pdf",
    ]  # fmt: skip
    assert [r["status"] for r in rows] == ["ok"] * 6 + ["error"]
    assert rows[1]["intake"]["sha256"] == rows[5]["intake"]["sha256"], "the JPEG inside is the file that went in"
    assert rows[1]["intake"]["type_by_magic"] == "JPEG"
    assert rows[0]["intake"]["type_by_magic"] == "PDF"
    whole = out.read_bytes()
    run(*words)
    assert out.read_bytes() == whole


def test_a_part_is_scanned_by_its_name(pdf: Path) -> None:
    for part, width in (("page=1,image=2", 160), ("page=2", 834)):
        done = run("scan", f"{pdf}#{part}", *FAST, "--json", "-")
        report = json.loads(done.stdout)
        assert report["intake"]["name"].endswith(f"a.pdf#{part}")
        assert report["picture"]["width"] == width
        assert report["reproduce"]["command"].split()[2].strip("'").endswith(f"a.pdf#{part}")
    none = run("scan", f"{pdf}#page=9", *FAST)
    assert none.exit_code == 1
    assert "page: expected 1 to 2, found 9" in none.output
    assert run("scan", f"{pdf.parent}/none.pdf#page=1", *FAST).exit_code == 1


def test_a_file_that_is_called_like_a_part_is_itself(pdf: Path) -> None:
    odd = pdf.parent / "a.pdf#page=1"
    odd.write_bytes(jpeg(4))
    assert json.loads(run("scan", odd, *FAST, "--json", "-").stdout)["intake"]["type_by_magic"] == "JPEG"


def test_a_page_in_python(pdf: Path) -> None:
    report = tamperscope.scan(pdf, detectors=["ela"], page=2)
    assert report.intake.name == "a.pdf#page=2"


def test_every_part_has_files_of_its_own(pdf: Path, tmp_path: Path) -> None:
    pages, maps = tmp_path / "pages", tmp_path / "maps"
    run("scan", pdf, "--detectors", "copy_move", "--html", pages, "--save-maps", maps)
    parts = ["a-page-1", "a-page-1-image-1", "a-page-1-image-2", "a-page-2", "a-page-2-image-1"]
    for folder in (pages, maps):
        assert sorted(path.stem.rpartition("-")[0] for path in folder.iterdir()) == parts
    run("scan", f"{pdf}#page=2", *FAST, "--html", pages)
    assert "#page=2" in (pages / "a-page-2.html").read_text()


def test_a_whole_document_is_asked_for_its_page_and_a_damaged_one_says_so(pdf: Path) -> None:
    for data, said in ((pdf.read_bytes(), "name a page: FILE.pdf#page=1"), (b"%PDF-1.4 nothing", "is damaged")):
        done = CliRunner().invoke(cli.app, ["scan", "-", *FAST], input=data)
        assert done.exit_code == 1
        assert said in done.output
