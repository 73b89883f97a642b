"""Outputs of long runs: none of another kind mixed in, equal after any stop, equal bytes found again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from tamperscope.errors import InputError
from tamperscope.report.schema import Report, Row
from tamperscope.scanning import Scanner, dataset
from tamperscope.scanning.ledger import Recent, open_ledger
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
            else failure(f"{i}.png", ValueError("no"), f"{i:064x}")
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
                    stream.write(b'{"status": "ok", "half')
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
    assert table.column("error")[0].as_py() == "ValueError: no"
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
