"""Terminal, JSON lines, CSV and files."""

from __future__ import annotations

import csv
import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tamperscope.errors import InputError
from tamperscope.report import ErrorReport, files, schema, tables, tally, terminal, words

HOSTILE = "<script>x</script>[bold red]a[/]\x1b]0;owned\x07\u202egpj.exe"


def tallied(rows):
    found = tally.Tally()
    for row in rows:
        found.add(row)
    return found


def printed(report, width=100, **options):
    stream = io.StringIO()
    terminal.render(report, Console(file=stream, width=width, **options), html="/tmp/r.html")
    return stream.getvalue()


def every_output(report):
    many = io.StringIO()
    tallied([report]).render(Console(file=many, width=200))
    outputs = {
        "terminal": printed(report),
        "many": many.getvalue(),
        "json": report.to_json(),
        "csv": tables.to_csv([report]),
    }
    from tamperscope.report.html import render_html

    return outputs | {"html": render_html(report)}


@pytest.mark.parametrize("level", ["no_evidence", "inconclusive", "suspicious", "strong_evidence"])
def test_no_output_calls_a_picture_authentic(make_report, level):
    for kind, text in every_output(make_report(level=level)).items():
        assert "authentic" not in text.lower(), kind
    assert "authentic" not in json.dumps(schema.ROW.json_schema()).lower()


def test_terminal_states_the_verdict_its_reasons_and_its_limits(report):
    text = printed(report)
    for part in (
        "STRONG EVIDENCE OF ALTERATION", "0.42 % of untouched", "0.11 % to 1.1 %", "shifted by (3, 5)", "+2.90",
        "noiseprint found nothing", "names an editor", "not counted", "uncalibrated", "not applicable", "failed",
        "Start −0.02: what", "Unstable", "JPEG 70: No evidence found", "origin, caption and context", "/tmp/r.html",
    ):  # fmt: skip
        assert part in " ".join(text.split()), part


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_terminal_keeps_to_its_width(report, width):
    assert max(len(line) for line in printed(report, width).splitlines()) <= width


def test_terminal_neither_obeys_escapes_nor_reads_markup(make_report):
    text = printed(make_report(name=HOSTILE))
    assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert "[bold red]a[/]" in text
    coloured = printed(make_report(name=HOSTILE), force_terminal=True)
    assert "\x1b]0" not in coloured
    assert "\x1b[31mmatrix" not in coloured


def test_many_files_take_one_line_each(make_report):
    rows = [
        make_report(name=f"{'long/' * 40}{HOSTILE}"),
        make_report(level="no_evidence"),
        ErrorReport(name="x\ny.jpg", error="DecodeError", message="a\nb"),
    ]
    stream = io.StringIO()
    tallied(rows).render(Console(file=stream, width=90))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1 + 3 + 2
    assert max(map(len, lines)) <= 90
    assert "strong evidence ~" in lines[1]
    assert "error" in lines[3]
    assert lines[-1] == "3 files: 1 strong evidence, 1 no evidence, 1 error"


def test_of_very_many_files_the_strongest_and_the_failed_are_shown(make_report):
    data = make_report(level="no_evidence").to_dict()
    data["verdict"]["llr"] = -1.0
    weak, strong = schema.Report.model_validate(data), make_report(name="strong.jpg")
    rows = [weak] * 300 + [strong] + [ErrorReport(name="bad.jpg", error="DecodeError", message="no")] * 30
    stream = io.StringIO()
    tallied(rows).render(Console(file=stream, width=120))
    text = stream.getvalue()
    assert "The 25 strongest of 331 files" in text
    assert "25 of 30 that failed" in text
    assert "strong.jpg" in text.splitlines()[2]
    assert text.count("bad.jpg") == 25
    assert len(text.splitlines()) < 62
    assert text.splitlines()[-1] == "331 files: 1 strong evidence, 300 no evidence, 30 error"


def test_of_very_many_files_what_reached_a_level_without_a_weight_is_shown(make_report):
    data = make_report(level="inconclusive").to_dict()
    data["verdict"]["llr"] = None
    flat = schema.Report.model_validate(data)
    data = make_report(level="strong_evidence", name="declared.png").to_dict()
    data["verdict"]["llr"] = None
    declared = schema.Report.model_validate(data)
    lesser = make_report(level="suspicious", name="lesser.png")
    stream = io.StringIO()
    tallied([flat] * 205 + [lesser, declared]).render(Console(file=stream, width=120))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "The 25 strongest of 207 files"
    assert "declared.png" in lines[2]
    assert "lesser.png" in lines[3], "a level comes before a weight"


def test_marked_areas_are_named_only_where_there_are_some(make_report):
    marked = make_report(level="suspicious").verdict
    assert "marked areas" in words.meaning(marked)
    bare = marked.model_copy(update={"regions": []})
    assert "marked areas" not in words.meaning(bare)
    assert "reasons below" in words.meaning(bare)


def test_a_stable_verdict_whose_level_moves_shows_its_copies(make_report):
    report = make_report(level="strong_evidence")

    def shown(*levels):
        trials = [schema.Trial(delivery="JPEG 70", level=level, llr=1.0) for level in levels]
        stability = schema.Stability(status="stable", trials=trials)
        verdict = report.verdict.model_copy(update={"stability": stability})
        return " ".join(printed(report.model_copy(update={"verdict": verdict})).split())

    assert "JPEG 70: Inconclusive" in shown("strong_evidence", "inconclusive")
    assert "other levels can change" in shown("inconclusive")
    assert "JPEG 70" not in shown("strong_evidence")


def test_what_the_weights_add_to_is_told_once_where_something_was_weighed(make_report):
    report = make_report()
    for kind, text in every_output(report).items():
        if kind in ("terminal", "html"):
            assert " ".join(text.split()).count("Start −0.02") == 1, kind
    assert json.loads(report.to_json())["verdict"]["start"] == -0.02
    for update in ({"start": None}, {"llr": None}):
        verdict = report.verdict.model_copy(update=update)
        assert words.start_sentence(verdict) == ""
        assert "Start −" not in printed(report.model_copy(update={"verdict": verdict}))


def test_a_level_that_a_mark_in_the_file_sets_claims_no_false_alarm_rate(make_report):
    data = make_report(level="strong_evidence").to_dict()
    data["verdict"]["llr"] = -1.0
    verdict = schema.Verdict.model_validate(data["verdict"])
    assert words.is_declared(verdict)
    assert "No false-alarm rate applies" in words.alarm_sentence(verdict)
    assert "mark inside the file" in words.meaning(verdict)
    assert not words.is_declared(make_report().verdict)


@pytest.mark.parametrize("level", ["inconclusive", "suspicious"])
def test_what_only_looks_generated_is_not_said_to_bear_traces(make_report, level):
    data = make_report(level="suspicious").to_dict()["verdict"] | {"level": level, "llr": 2.5, "regions": []}
    reasons = [{"text": "", "weight": 1.0, "origin": origin} for origin in ("invented", "zero")]
    by_looks = schema.Verdict.model_validate(data | {"reasons_for": reasons})
    assert "looks like what image generators make" in words.meaning(by_looks)
    assert "marked areas" not in words.meaning(by_looks)
    by_trace = schema.Verdict.model_validate(data | {"reasons_for": reasons[::-1]})
    usual = {"suspicious": words.UNMARKED_MEANING}.get(level, words.LEVELS[level].meaning)
    assert words.meaning(by_trace) == usual
    marked = make_report(level="suspicious").verdict.model_copy(update={"reasons_for": by_looks.reasons_for})
    assert marked.regions
    assert words.meaning(marked) == words.LEVELS["suspicious"].meaning


def test_where_nothing_was_weighed_no_rate_is_claimed(make_report):
    data = make_report(level="inconclusive").to_dict()["verdict"] | {"llr": None}
    assert "nothing was weighed" in words.alarm_sentence(schema.Verdict.model_validate(data))


def test_terminal_does_not_repeat_what_the_table_of_detectors_has(report):
    (row,) = [p for p in report.predictions if p.status == "not_applicable"]
    assert row.detector in {n.what for n in report.verdict.not_checked}
    listed = printed(report).partition("Not checked")[2]
    assert row.detector not in listed
    assert "origin, caption and context" in listed


def test_a_run_without_new_files_says_so():
    stream = io.StringIO()
    tallied([]).render(Console(file=stream, width=90))
    assert stream.getvalue() == "No new files\n"


def test_without_thresholds_no_rate_is_claimed(make_report):
    data = make_report().to_dict()["verdict"] | {"thresholds": []}
    assert words.alarm_sentence(schema.Verdict.model_validate(data)) == "No false-alarm rate is known for this verdict."


@pytest.mark.parametrize(
    ("llr", "said"),
    [
        (None, "could not be weighed"),
        (0.05, "says nothing either way"),
        (np.log(12), "about 12 times more likely if altered"),
        (-np.log(2.5), "about 2.5 times more likely if untouched"),
        (50.0, "over 10,000 times more likely if altered"),
    ],
)
def test_weights_in_words(llr, said):
    assert words.weight_words(llr) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (0.0042, "0.42 %"),
        (0.123, "12 %"),
        (0.9931, "99.3 %"),
        (0.99999, "over 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_percentages_never_round_up_to_certainty(share, said):
    assert words.percent(share) == said


def test_json_lines_hold_whole_reports_and_survive_a_cut(make_report):
    rows = [make_report(name=HOSTILE), ErrorReport(name="b", error="InputError", message="c", sha256="00")]
    text = tables.to_jsonl(rows)
    assert text.count("\n") == 2
    assert [json.loads(line)["status"] for line in text.splitlines()] == ["ok", "error"]
    assert tables.from_jsonl(text) == rows
    assert tables.from_jsonl(text[:-20]) == rows[:1]


def test_a_broken_row_is_told_in_one_line(make_report):
    text = tables.to_jsonl([make_report()])
    with pytest.raises(InputError) as told:
        tables.from_jsonl(text + '{"status": "error", "name": "b"}\n')
    assert str(told.value) == (
        "line 2: expected a report of this version: error.error: Field required; error.message: Field required; scan "
        "again, into a new file"
    )


def test_csv_has_stable_columns_and_harmless_cells(make_report):
    rows = [
        make_report(name='=HYPERLINK("http://x","y")'),
        ErrorReport(name="@b,\n", error="DecodeError", message='"c"\n=1'),
    ]
    text = tables.to_csv(rows)
    read = list(csv.DictReader(io.StringIO(text)))
    scores = [f"score.{name}" for name in ("copy_move", "dq", "ela", "noiseprint", "thumbnail", "zero")]
    assert list(read[0]) == [*tables.COLUMNS, *scores]
    assert read[0]["name"] == '\'=HYPERLINK("http://x","y")'
    assert (read[0]["verdict"], read[0]["warnings"], read[0]["notices"], read[0]["regions"]) == (
        "strong_evidence",
        "1",
        "1",
        "2",
    )
    assert (float(read[0]["score.zero"]), read[0]["score.ela"], read[0]["llr"]) == (14.2, "", "4.18")
    assert (read[1]["name"], read[1]["status"], read[1]["verdict"]) == ("'@b,\\n", "error", "")
    assert read[1]["error"] == 'DecodeError: "c"\\n=1'
    assert len(text.splitlines()) == 3


def test_csv_lines_can_be_streamed(make_report):
    rows = [make_report(), ErrorReport(name="b", error="InputError", message="c")]
    names = ["zero", "not_run"]
    assert tables.csv_header(names) + "".join(tables.csv_line(row, names) for row in rows) == tables.to_csv(rows, names)


def test_negative_numbers_stay_numbers_in_csv(make_report):
    data = make_report().to_dict()
    data["verdict"]["llr"] = -1.5
    row = next(csv.DictReader(io.StringIO(tables.to_csv([schema.Report.model_validate(data)]))))
    assert float(row["llr"]) == -1.5


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    target = tmp_path / "new" / "a.html"
    files.write_atomic(target, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in target.parent.iterdir()] == ["a.html"]


def test_maps_are_saved_at_the_picture_s_own_size(report, tmp_path):
    paths = report.save_maps(tmp_path / "maps")
    assert sorted(p.name for p in paths) == sorted([*(f"{name}.png" for name in report.maps), "fused_overlay.jpg"])
    for name, heat in report.maps.items():
        with Image.open(tmp_path / "maps" / f"{name}.png") as picture:
            assert picture.mode == "L"
            assert np.array_equal(np.asarray(picture), heat)


@pytest.mark.parametrize(("size", "orientation"), [((66_000, 20), 1), ((20, 66_000), 6)])
def test_an_overlay_is_no_larger_than_its_format_holds(make_report, tmp_path, size, orientation):
    report = make_report(rgb=np.full((*size, 3), 120, np.uint8), orientation=orientation)
    report.save_maps(tmp_path, upright=orientation > 1)
    with Image.open(tmp_path / "fused_overlay.jpg") as picture, Image.open(tmp_path / "fused.png") as heat:
        assert max(picture.size) == 65_500
        assert max(heat.size) == 66_000
        assert picture.size[0] < picture.size[1]


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a/b\\c", "", "\x00\x1b", ".hidden"])
def test_map_names_cannot_leave_the_folder(make_report, tmp_path, name):
    report = make_report()
    heat = np.zeros((report.picture.height, report.picture.width), np.uint8)
    (path,) = report.with_pictures(None, {name: heat}).save_maps(tmp_path / "maps")
    assert path.parent == tmp_path / "maps"
    assert path.exists()
    assert not path.name.startswith(".")
