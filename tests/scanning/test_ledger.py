"""Outputs of long runs: none of another kind mixed in, equal after any stop, equal bytes found again."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from tamperscope.errors import BudgetError, DecodeError, InputError, WorkerLostError
from tamperscope.report.schema import Report, Row
from tamperscope.scanning import Scanner, dataset
from tamperscope.scanning.ledger import Recent, file_of, open_ledger
from tamperscope.scanning.many import failure, renamed

KINDS = (".jsonl", ".csv", ".parquet")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    from PIL import Image

    path = tmp_path_factory.mktemp("one") / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return Scanner(["ela"]).scan(path, name="a.png")


def many(report: Report, count: int) -> Iterator[Row]:
    for i in range(count):
        intake = report.intake.model_copy(update={"name": f"{i}.png", "sha256": f"{i:064x}"})
        yield (
            report.model_copy(update={"intake": intake})
            if i % 5
            else failure(f"{i}.png", InputError("no"), f"{i:064x}")
        )


@pytest.mark.parametrize("suffix", KINDS)
def test_a_row_is_known_by_name_and_content_after_opening_again(report: Report, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    rows = list(many(report, 7))
    ledger = open_ledger(path, ["ela"])
    for row in rows:
        ledger.add(row)
    for found in (ledger, open_ledger(path, ["ela"])):
        assert all(found.holds(f"{i}.png", f"{i:064x}") for i in range(7))
        assert not found.holds("7.png", f"{7:064x}")
        assert not found.holds("1.png", f"{2:064x}")
        assert found.worst == max(row.exit_code for row in rows)
        recalled = found.recall((f"{2:064x}", ".png"))
        assert recalled == (None if suffix == ".csv" else rows[2])
        assert found.recall((f"{2:064x}", ".jpg")) is None


@pytest.mark.parametrize("suffix", KINDS)
def test_names_that_are_no_text_are_found_again(report: Report, tmp_path: Path, suffix: str) -> None:
    names = ["\udcff.png", "=1+1.png", "a\nb.png", "a\u202eb.png", "ünï.png"]
    ledger = open_ledger(tmp_path / f"rows{suffix}", ["ela"])
    for name in names:
        ledger.add(renamed(report, name))
    again = open_ledger(tmp_path / f"rows{suffix}", ["ela"])
    assert all(again.holds(name, report.intake.sha256) for name in names)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_of_another_network_of_the_same_name_are_not_mixed_in(report: Report, tmp_path: Path, suffix: str) -> None:
    row = report.model_copy(deep=True)
    row.reproduce.options["models"] = {"mine": "one"}
    ledger = open_ledger(tmp_path / f"rows{suffix}", ["ela"], {"mine": "one"})
    ledger.add(row)
    ledger.finish()
    open_ledger(tmp_path / f"rows{suffix}", ["ela"], {"mine": "one"})
    for detectors, models in ((["ela"], {"mine": "another"}), (["ela"], {}), (["ela", "zero"], {"mine": "one"})):
        with pytest.raises(InputError, match="networks"):
            open_ledger(tmp_path / f"rows{suffix}", detectors, models)


def test_a_row_of_another_version_is_told_in_one_line(report: Report, tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "rows.jsonl", ["ela"])
    ledger.add(report)
    (tmp_path / "rows.jsonl").write_text(report.to_json(indent=None).replace('"limits"', '"limit"') + "\n")
    with pytest.raises(InputError) as told:
        ledger.recall((report.intake.sha256, ".png"))
    expected = "rows.jsonl: expected a report of this version: ok.limit: no field of that name is known"
    assert str(told.value) == f"{expected}; scan again, into a new file"


@pytest.mark.parametrize("text", ["notes\n", "[1]\n", '{"status": "ok"}\n', '{"status": "failed"}\n'])
def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=r"'rows.jsonl' holds no rows of a scan; name another file with --out"):
        open_ledger(path, ["ela"])
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("labels.jsonl", b'{"image": "a.png", "label": 1}'),
        ("labels.jsonl", b'{"image": "a.png"}\n{"image": "b.png"}\n{"image": "c.p'),
        ("labels.jsonl", b'{"status": "ok", "label": 1}'),
        ("labels.jsonl", b"[" * 100_000 + b"\n"),
        ("labels.jsonl", b'{"status": "ok", "reproduce": {"options": []}}\n'),
        ("notes.csv", b"picture,note"),
        ("notes.csv", b"name"),
        ("my.csv", b"picture,note\na.png,good\nb.png,ba"),
        ("my.csv", "picture,note\na.png,sch\u00f6n\n".encode("latin-1")),
    ],
)
def test_not_a_byte_of_what_a_user_named_by_mistake_is_changed(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"'{name}' holds no rows of a scan; name another file with --out"):
        open_ledger(path, ["ela"])
    assert path.read_bytes() == data


@pytest.mark.parametrize("damage", ["sch\u00f6n.png,ok\n".encode("latin-1"), b"short,ok\n", b'"a\n'])
def test_a_table_of_ours_that_was_damaged_is_told_and_left_alone(report: Report, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "rows.csv"
    open_ledger(path, ["ela"]).add(report)
    data = path.read_bytes() + damage + b"unfinished"
    path.write_bytes(data)
    with pytest.raises(InputError, match="holds no rows of a scan"):
        open_ledger(path, ["ela"])
    assert path.read_bytes() == data


def test_a_table_with_other_detectors_is_of_another_run(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    open_ledger(path, ["ela"]).add(report)
    data = path.read_bytes()[:-3]
    path.write_bytes(data)
    with pytest.raises(InputError, match="other detectors"):
        open_ledger(path, ["ela", "zero"])
    assert path.read_bytes() == data


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize("kept", [0, 1])
def test_a_row_that_was_left_unfinished_is_cut_off_even_where_it_is_the_first(
    report: Report, tmp_path: Path, suffix: str, kept: int
) -> None:
    path = tmp_path / f"rows{suffix}"
    rows = list(many(report, 2))
    ledger = open_ledger(path, ["ela"])
    lengths = [len(path.read_bytes())]
    for row in rows:
        ledger.add(row)
        lengths.append(len(path.read_bytes()))
    whole = path.read_bytes()
    path.write_bytes(whole[: lengths[kept] + 60])
    again = open_ledger(path, ["ela"])
    assert path.read_bytes() == whole[: lengths[kept]]
    for row in rows[kept:]:
        again.add(row)
    assert path.read_bytes() == whole


def test_a_table_whose_header_was_left_unfinished_begins_anew(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    open_ledger(path, ["ela"])
    header = path.read_bytes()
    path.write_bytes(header[:-5])
    open_ledger(path, ["ela"])
    assert path.read_bytes() == header


@pytest.mark.parametrize("damage", ["text", "end", "middle"])
def test_a_damaged_part_is_told_and_left_alone(report: Report, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "rows.parquet"
    ledger = open_ledger(path, ["ela"])
    for row in many(report, 4):
        ledger.add(row)
    ledger.finish()
    part = path / "part-000000.parquet"
    whole = part.read_bytes()
    data = {"text": b"no parquet", "end": whole[:-9], "middle": whole[:4] + bytes(600) + whole[604:]}[damage]
    part.write_bytes(data)
    with pytest.raises(InputError, match=r"'part-000000.parquet': expected a part of 'rows.parquet', found damage"):
        open_ledger(path, ["ela"])
    assert part.read_bytes() == data


def test_damage_among_the_reports_is_told_to_no_sound_picture(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    ledger = open_ledger(path, ["ela"])
    ledger.add(report)
    ledger.finish()
    again = open_ledger(path, ["ela"])
    (path / "part-000000.parquet").write_bytes(b"gone bad")
    dataset._reports.cache_clear()
    assert again.recall((report.intake.sha256 or "", ".png")) is None


def test_a_part_that_was_taken_away_costs_no_other(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "ROWS", 2)
    path = tmp_path / "rows.parquet"
    rows = list(many(report, 4))
    ledger = open_ledger(path, ["ela"])
    for row in rows:
        ledger.add(row)
    (path / "part-000000.parquet").unlink()
    again = open_ledger(path, ["ela"])
    for row in rows[:2]:
        assert not again.holds(*file_of(row))
        again.add(row)
    assert sorted(p.name for p in path.glob("part-*")) == ["part-000001.parquet", "part-000002.parquet"]
    assert all(open_ledger(path, ["ela"]).holds(*file_of(row)) for row in rows)


def names(path: Path) -> list[str]:
    """Return the names of all rows of an output."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [row["intake"]["name"] if row["status"] == "ok" else row["name"] for row in rows]
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            return [row["name"] for row in csv.DictReader(stream)]
    return list(parquet.read_table(path).column("name").to_pylist())


def content(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in ([path] if path.is_file() else path.iterdir())}


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("stopped", [False, True])
def test_errors_that_may_be_gone_are_asked_again_and_their_rows_replaced(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, stopped: bool
) -> None:
    monkeypatch.setattr(dataset, "ROWS", 3)
    path = tmp_path / f"rows{suffix}"
    good = {row.intake.name: row for row in many(report, 10) if isinstance(row, Report)}
    for errors in (
        (FileExistsError("pages"), BudgetError("took longer than 3 s")),
        (MemoryError(), OSError("disk full")),
    ):
        ledger = open_ledger(path, ["ela"])
        first = failure("1.png", errors[0], f"{1:064x}")
        other = failure("2.png", errors[1])
        for row in (first, good["3.png"], other, good["4.png"], failure("0.png", DecodeError("no"), f"{0:064x}")):
            if not ledger.holds(*file_of(row)):
                ledger.add(row)
        # Copies in the same run cost no second try.
        assert suffix == ".csv" or ledger.recall((f"{1:064x}", ".png")) == first
        if not stopped:
            ledger.finish()
    again = open_ledger(path, ["ela"])
    assert again.worst == max(1, report.exit_code)
    held = [again.holds(f"{i}.png", f"{i:064x}") for i in range(5)]
    assert held == [True, False, False, True, True]
    assert again.recall((f"{1:064x}", ".png")) is None, "the copy of a picture whose error may be gone"
    for name in ("1.png", "2.png", "6.png", "7.png"):
        again.add(good[name])
    last = open_ledger(path, ["ela"]) if stopped else again
    last.finish()
    assert sorted(names(path)) == ["0.png", "1.png", "2.png", "3.png", "4.png", "6.png", "7.png"]
    found = open_ledger(path, ["ela"])
    for i in (0, 1, 2, 3, 4, 6, 7):
        assert found.holds(f"{i}.png", f"{i:064x}")
    for i in (1, 2, 3, 4, 6, 7):
        assert suffix == ".csv" or found.recall((f"{i:064x}", ".png")) == good[f"{i}.png"]


@pytest.mark.parametrize("suffix", KINDS)
def test_an_error_that_came_again_is_not_written_again(report: Report, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    bad = failure("bad.png", BudgetError("the picture has =\u202e 9 pixels"), f"{9:064x}")
    ledger = open_ledger(path, ["ela"])
    for row in (bad, report):
        ledger.add(row)
    ledger.finish()
    before = content(path)
    again = open_ledger(path, ["ela"])
    assert not again.holds("bad.png", f"{9:064x}")
    again.add(bad)
    assert suffix == ".csv" or again.recall((f"{9:064x}", ".png")) == bad
    again.finish()
    assert content(path) == before
    assert again.worst == max(1, report.exit_code)


@pytest.mark.parametrize("suffix", KINDS)
def test_the_verdict_of_a_run_is_not_that_of_errors_that_are_gone(report: Report, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    quiet = report.model_copy(update={"verdict": report.verdict.model_copy(update={"level": "no_evidence"})})
    ledger = open_ledger(path, ["ela"])
    ledger.add(failure("a.png", WorkerLostError("died"), report.intake.sha256))
    assert ledger.worst == 1
    ledger.finish()
    again = open_ledger(path, ["ela"])
    again.add(quiet)
    again.finish()
    assert again.worst == open_ledger(path, ["ela"]).worst == 0


def test_other_suffixes_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.jsonl, \.csv or \.parquet"):
        open_ledger(tmp_path / "rows.xlsx", ["ela"])
    (tmp_path / "rows.parquet").write_text("")
    with pytest.raises(InputError, match="found a file"):
        open_ledger(tmp_path / "rows.parquet", ["ela"])


def test_parts_are_the_same_whenever_a_run_was_stopped(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "ROWS", 4)
    rows = list(many(report, 10))
    for name, stops in (("whole", ()), ("stopped", (1, 3, 4, 7, 8))):
        ledger = open_ledger(tmp_path / f"{name}.parquet", ["ela"])
        for i, row in enumerate(rows):
            if i in stops:
                with (tmp_path / f"{name}.parquet" / "_waiting.jsonl").open("ab") as stream:
                    stream.write(b'{"status": "ok", "schema_version": "half')
                ledger = open_ledger(tmp_path / f"{name}.parquet", ["ela"])
            assert not ledger.holds(f"{i}.png", f"{i:064x}")
            ledger.add(row)
        ledger.finish()
    whole, stopped = (sorted((tmp_path / f"{n}.parquet").glob("part-*")) for n in ("whole", "stopped"))
    assert [p.name for p in whole] == [p.name for p in stopped] == [f"part-{i:06}.parquet" for i in range(3)]
    for one, other in zip(whole, stopped, strict=True):
        assert parquet.read_table(one) == parquet.read_table(other)
    table = parquet.read_table(tmp_path / "whole.parquet")
    assert table.column("name").to_pylist() == [f"{i}.png" for i in range(10)]
    assert json.loads(table.column("report")[1].as_py())["intake"]["name"] == "1.png"
    assert table.column("score.ela")[1].as_py() == pytest.approx(report.predictions[0].score)
    assert table.column("error")[0].as_py() == "InputError: no"
    assert ledger.recall((f"{6:064x}", ".png")) == rows[6]


def test_a_run_killed_between_a_part_and_its_waiting_rows_keeps_each_once(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "ROWS", 3)
    path = tmp_path / "rows.parquet"
    ledger = open_ledger(path, ["ela"])
    rows = list(many(report, 4))
    for row in rows[:2]:
        ledger.add(row)
    waiting = (path / "_waiting.jsonl").read_bytes()
    ledger.add(rows[2])
    (path / "_waiting.jsonl").write_bytes(waiting + (rows[2].to_json(indent=None) + "\n").encode())
    again = open_ledger(path, ["ela"])
    again.add(rows[3])
    again.finish()
    assert parquet.read_table(path).column("name").to_pylist() == [f"{i}.png" for i in range(4)]


def test_without_an_output_the_latest_rows_are_remembered(report: Report) -> None:
    ledger = Recent()
    for row in many(report, 1200):
        ledger.add(row)
    assert ledger.recall((f"{1:064x}", ".png")) is None
    assert ledger.recall((f"{1199:064x}", ".png")) is not None
    assert ledger.worst == max(1, report.exit_code)
