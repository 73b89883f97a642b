"""Markdown, LaTeX and CSV say what the results say, whatever names hold."""

from __future__ import annotations

import csv
import io
import re

import pytest
from fake_results import HOSTILE, LATEX, MISSING, SET, fake
from hypothesis import given
from hypothesis import strategies as st

from tamperscope.bench import tables, view
from tamperscope.bench.results import Number

RESULTS = fake()
PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


def cells(text: str) -> list[list[str]]:
    """Rows of all Markdown tables, split at unescaped bars."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[c.strip() for c in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]] for line in lines]


def changed(**where: str):
    """Results in which one number is .999 without interval."""
    numbers = [
        n.model_copy(update={"value": 0.999, "low": None, "high": None})
        if all(getattr(n, k) == v for k, v in where.items())
        else n
        for n in RESULTS.numbers
    ]
    return RESULTS.model_copy(update={"numbers": numbers})


def test_main_table_lists_best_first_and_the_trivial_at_the_foot() -> None:
    rows = cells(tables.markdown(RESULTS))[:8]
    assert rows[0] == [
        "subject",
        "pixel_f1 (n = 180)",
        "pixel_iou (n = 180)",
        "pixel_auc (n = 180)",
        "authentic_fpr ↓ (n = 183)",
        "image_auc (n = 363)",
    ]
    hostile = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert [r[0] for r in rows[1:]] == ["fused", hostile, "*trivial*", *view.TRIVIAL]
    worse_first = tables.markdown(changed(subject=HOSTILE, metric="pixel_f1", attack="untouched"))
    assert [r[0] for r in cells(worse_first)[1:3]] == [hostile, "fused"]


def test_a_cell_holds_number_interval_and_mark() -> None:
    number = RESULTS.number(test=SET, attack="untouched", subject="fused", metric="pixel_f1")
    assert number is not None
    row = cells(tables.markdown(RESULTS))[1]
    low, high = f"{number.value - 0.034:.3f}"[1:], f"{number.value + 0.036:.3f}"[1:]
    assert row[1] == f"{number.value:.3f}"[1:] + f" [{low}, {high}] ✓"
    assert "✓" not in row[2]
    assert "✓" in row[5]
    assert "✓" not in "".join(cells(tables.markdown(RESULTS))[2])
    assert cells(tables.markdown(RESULTS))[4][3] == "–"


def test_one_changed_number_changes_only_its_cells() -> None:
    before = cells(tables.markdown(RESULTS))
    after = cells(tables.markdown(changed(subject="ela", metric="image_auc", attack="jpeg 50")))
    differing = [(r, c) for r, row in enumerate(before) for c, cell in enumerate(row) if after[r][c] != cell]
    assert len(differing) == 1
    row, column = differing[0]
    assert (before[row][0], after[row][column]) == ("jpeg 50", ".999")


def test_n_moves_into_the_cells_where_rows_differ() -> None:
    numbers = [n.model_copy(update={"n": 99}) if n.subject == "ela" else n for n in RESULTS.numbers]
    rows = cells(tables.markdown(RESULTS.model_copy(update={"numbers": numbers})))
    assert rows[0][1] == "pixel_f1"
    assert rows[1][1].endswith("(n = 180)")
    assert rows[6][1].endswith("(n = 99)")


def test_robustness_has_every_attack_and_subject() -> None:
    rows = cells(tables.markdown(RESULTS))
    starts = [i for i, row in enumerate(rows) if row[0] == "attack" and "verdict" not in row[1]]
    assert len(starts) == 2
    for start, metric in zip(starts, ("pixel_f1", "image_auc"), strict=True):
        assert [r[0] for r in rows[start + 1 : start + 7]] == [p.label for p in RESULTS.attacks]
        for row in rows[start + 1 : start + 7]:
            number = RESULTS.number(test=SET, attack=row[0], subject="fused", metric=metric)
            assert row[1].startswith(view.with_interval(number))


def test_many_subjects_are_split_over_tables_that_fit_a_page() -> None:
    extra = [n.model_copy(update={"subject": f"s{i}"}) for n in RESULTS.numbers for i in range(7)]
    many = RESULTS.model_copy(update={"numbers": [*RESULTS.numbers, *(n for n in extra if n.metric == "pixel_f1")]})
    (table,) = view.tables(many)
    parts = [b for b in tables.blocks(table) if b.head[0] == "attack" and "pixel_f1" in b.caption]
    measured = [s for s in table.subjects if s != "table_lookup"]  # which has no map
    assert [name for b in parts for name in b.head[1:]] == measured
    assert [b.caption[-8:] for b in parts] == ["(1 of 2)", "(2 of 2)"]
    assert {len(row) == len(b.head) <= 7 for b in parts for row in b.rows} == {True}


def test_notes_say_thresholds_counts_licences_missing_sets_and_command() -> None:
    text = tables.markdown(RESULTS)
    assert "366 pictures (180 forged, 183 pristine), 3 failed; at most 180 left undefined" in text
    assert "CC BY 4.0 &amp; more" in text
    assert f"{MISSING}: not measured, no manifest at gone: prepare it." in text
    assert f"    {RESULTS.command}\n" in text
    assert "Threshold of fused: 0.5 of f." in text
    assert "500 rounds, seed 7" in text
    assert "pixel_f1 against centre_blob, image_auc against table_lookup" in text


def test_markdown_holds_no_raw_markup_and_rectangular_tables() -> None:
    text = tables.markdown(RESULTS)
    assert "<" not in text.replace(f"    {RESULTS.command}", "")
    widths = [len(row) for row in cells(text)]
    assert widths == [6] * 8 + [6] * 7 + [7] * 7 + [4] * (1 + 3 * len(RESULTS.attacks))


@given(PLAIN)
def test_markdown_escapes_can_be_undone(text: str) -> None:
    shown = tables.escape_markdown(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|*`~$#<>]", shown)
    assert "](" not in shown.replace("\\](", "")
    plain = re.sub(r"\\(.)", r"\1", shown)
    assert plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text


@given(PLAIN)
def test_latex_escapes_can_be_undone(text: str) -> None:
    shown = tables.escape_latex(text)
    words = {
        r"\textbackslash{}": "\\",
        r"\textasciicircum{}": "^",
        r"\textasciitilde{}": "~",
        r"\textless{}": "<",
        r"\textgreater{}": ">",
        r"\textbar{}": "|",
        "{[}": "[",
        "{*}": "*",
    } | {"\\" + c: c for c in "&%$#_{}"}
    found, rest = "", shown
    while rest:
        token = next((t for t in words if rest.startswith(t)), rest[0])
        assert token in words or token not in "\\&%$#_{}^~", shown
        found += words.get(token, token)
        rest = rest[len(token) :]
    assert found == text


def test_latex_tables_are_whole() -> None:
    text = tables.latex(RESULTS)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\bottomrule") == 4
    for spec, body in re.findall(r"\\begin\{tabular\}\{(l\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len(rows) == (1 + 3 * len(RESULTS.attacks) if len(spec) == 4 else 7)
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(spec) - 1
    bare = re.sub(r"\\[\\&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert LATEX not in text
    assert "<script>" not in text
    assert r"\textless{}script\textgreater{}alert(1)" in text
    assert "−" not in text
    assert r"$\checkmark$" in text


@pytest.mark.parametrize("name", ["[2cm]", "*"])
def test_a_name_is_never_read_as_an_option_of_the_row_above(name: str) -> None:
    subjects = [n.model_copy(update={"subject": name}) if n.subject == "fused" else n for n in RESULTS.numbers]
    text = tables.latex(RESULTS.model_copy(update={"numbers": subjects}))
    assert f"{{{name[0]}}}" in text
    assert not re.search(r"(\\\\|\\\w+rule)\s*[\[*]", text)


def test_csv_holds_every_number_exactly() -> None:
    lines = list(csv.DictReader(io.StringIO(tables.csv_text(RESULTS))))
    kinds = {"number": RESULTS.numbers, "comparison": RESULTS.comparisons, "alarms": RESULTS.alarms}
    kinds["verdicts"] = RESULTS.levels
    for kind, items in kinds.items():
        found = [line for line in lines if line["kind"] == kind]
        assert len(found) == len(items)
        for line, item in zip(found, items, strict=True):
            for name, value in item.model_dump().items():
                assert line[name] == ("" if value is None else str(value))
    by_label = {line["attack"]: (line["family"], line["strength"]) for line in lines}
    assert by_label["jpeg 50"] == ("jpeg", "50.0")
    assert by_label["screenshot"] == ("screen", "")


@pytest.mark.parametrize("name", ["=1+1", "+x", "@sum", "-2"])
def test_csv_runs_nothing_in_a_spreadsheet(name: str) -> None:
    number = RESULTS.numbers[0].model_copy(update={"subject": name, "value": -0.25})
    line = next(csv.DictReader(io.StringIO(tables.csv_text(RESULTS.model_copy(update={"numbers": [number]})))))
    assert (line["subject"], line["value"]) == (f"'{name}", "-0.25")


def test_without_numbers_the_notes_remain() -> None:
    empty = RESULTS.model_copy(update={"numbers": [], "comparisons": [], "alarms": [], "levels": []})
    assert cells(tables.markdown(empty)) == []
    assert "Nothing was compared with a bar." in tables.markdown(empty)
    assert r"\begin{table" not in tables.latex(empty)
    assert tables.csv_text(empty).count("\n") == 1


def test_only_untouched_pictures_give_no_robustness() -> None:
    numbers: list[Number] = [n for n in RESULTS.numbers if n.attack == "untouched"]
    assert len(list(tables.blocks(view.tables(RESULTS.model_copy(update={"numbers": numbers}))[0]))) == 1


def test_verdicts_have_a_table_of_their_own() -> None:
    rows = [row for row in cells(tables.markdown(RESULTS)) if row[1:2] == ["suspicious"]]
    assert len(rows) == len({share.attack for share in RESULTS.levels})
    assert rows[0][2:] == [".557 [.557, .577] (n = 181)", ".011 [.011, .031] (n = 180)"]
