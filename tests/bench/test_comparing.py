"""Two runs side by side, and many runs ranked."""

from __future__ import annotations

import re

import pytest
from fake_results import HOSTILE, SET, fake
from hypothesis import given
from hypothesis import strategies as st

from tamperscope.bench import comparing
from tamperscope.bench.results import Number, Results

A = fake()


def moved(results: Results = A, by: float = 0.05, **fields: object) -> Results:
    """The results with every defined number and bound shifted, and fields of the numbers replaced."""

    def shift(n: Number) -> Number:
        values = {k: None if (v := getattr(n, k)) is None else v + by for k in ("value", "low", "high")}
        return n.model_copy(update=values | fields)

    return results.model_copy(update={"numbers": [shift(n) for n in results.numbers]})


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[c.strip() for c in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]] for line in lines]


def test_the_same_results_do_not_differ() -> None:
    text = comparing.compare(A, A)
    found = rows(text)[1:]
    assert len(found) == len(A.numbers)
    assert {row[6] for row in found} == {"+.000", "–"}
    assert {row[7] for row in found} == {"overlap", "unknown"}
    assert "Differs" not in text
    assert "Only in A: 0" in text
    assert "Only in B: 0" in text


@pytest.mark.parametrize(("by", "change", "verdict"), [(0.05, "+.050", "overlap"), (-0.2, "−.200", "apart")])
def test_a_shift_is_the_difference(by: float, change: str, verdict: str) -> None:
    found = rows(comparing.compare(A, moved(by=by)))[1:]
    for row, number in zip(found, A.numbers, strict=True):
        assert row[6] == ("–" if number.value is None else change)
        assert row[7] == ("unknown" if number.low is None else verdict)


def test_what_only_one_has_is_listed() -> None:
    less = A.model_copy(update={"numbers": [n for n in A.numbers if n.subject != "ela"]})
    gone = [n for n in A.numbers if n.subject == "ela"]
    for a, b, name in ((A, less, "A"), (less, A, "B")):
        text = comparing.compare(a, b)
        part = text.partition(f"## Only in {name}: {len(gone)}\n")[2].partition("##")[0]
        assert part.count("\n- ") == len(gone)
        assert all(f"{n.attack} · ela · imdl · {n.metric}" in part for n in gone)
        assert len(rows(text)) - 1 == len(A.numbers) - len(gone)


def test_other_counts_seeds_and_failures_are_flagged() -> None:
    tests = [A.tests[0].model_copy(update={"pictures": 300, "failed": {}}), A.tests[1]]
    text = comparing.compare(A, moved(n=7).model_copy(update={"seed": 9, "version": "0.2.0", "tests": tests}))
    flags = [line for line in text.splitlines() if line.startswith("- **Differs:**")]
    assert [f.rpartition("Differs:** ")[2] for f in flags[:2]] == [
        "version, 0.1.0 in A and 0.2.0 in B",
        "seed, 7 in A and 9 in B",
    ]
    assert flags[2].endswith("pictures, 366 in A and 300 in B")
    assert flags[3].endswith("failed, 3 in A and 0 in B")
    assert len(flags) == 4
    assert rows(text)[1][8] == "180 → 7: not the same pictures"


def test_hostile_names_are_text() -> None:
    for text in (comparing.compare(A, A), comparing.leaderboard({HOSTILE: A})):
        assert "<" not in text
        assert "&lt;script&gt;" in text


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_overlap_is_symmetric_and_agrees_with_a_grid(ends: list[float]) -> None:
    (a0, a1), (b0, b1) = sorted(ends[:2]), sorted(ends[2:])
    a, b = (A.numbers[0].model_copy(update={"low": x, "high": y}) for x, y in ((a0, a1), (b0, b1)))
    common = any(a0 <= p <= a1 and b0 <= p <= b1 for p in ends)
    assert comparing.overlap(a, b) == comparing.overlap(b, a) == ("overlap" if common else "apart")


def test_the_leaderboard_ranks_all_files_together() -> None:
    found = rows(comparing.leaderboard({"a.json": A, "b.json": moved(by=-0.001)}))
    assert found[0] == ["rank", "subject", "number", "n", "file", "version"]
    values = [float(row[2].split()[0]) for row in found[1:]]
    assert values == sorted(values, reverse=True)
    assert [row[0] for row in found[1:]] == [str(i + 1) for i in range(10)]
    assert [(row[1], row[4]) for row in found[1:3]] == [("fused", "a.json"), ("fused", "b.json")]


def test_equal_values_share_a_rank() -> None:
    found = rows(comparing.leaderboard({"a.json": A, "b.json": A}))[1:]
    assert [row[0] for row in found[:4]] == ["1", "1", "3", "3"]


def test_rows_over_other_pictures_are_ranked_apart_and_the_page_says_so() -> None:
    (group,) = comparing.rankings({"a.json": A, "b.json": moved(by=0.3, n=90)})
    assert [n for n, _ in group.ranks] == [180, 90]
    for n, placed in group.ranks:
        assert {row.number.n for row in placed} == {n}
        assert placed[0].rank == 1
    assert group.warnings[0].startswith("Measured on different numbers of pictures (180, 90)")
    for write in (comparing.leaderboard, comparing.leaderboard_html):
        text = write({"a.json": A, "b.json": moved(n=90)})
        assert "different numbers of pictures (180, 90)" in text
    assert "different numbers" not in comparing.leaderboard({"a.json": A, "b.json": A})


def test_other_conditions_are_told() -> None:
    other = A.model_copy(update={"version": "0.2.0", "trained_on": "", "rounds": 9})
    (group,) = comparing.rankings({"a.json": A, "b.json": other})
    assert group.warnings == [
        "Measured with different version: 0.1.0, 0.2.0.",
        "Measured with different rounds: 500, 9.",
        "Measured with different trained on: CASIA v2 only, not stated.",
    ]


def test_what_is_undefined_has_no_rank() -> None:
    numbers = [n.model_copy(update={"value": None}) if n.subject == "ela" else n for n in A.numbers]
    found = rows(comparing.leaderboard({"a.json": A.model_copy(update={"numbers": numbers})}))
    assert (found[-1][0], found[-1][1], found[-1][2]) == ("–", "ela (trivial)", "–")


def test_a_leaderboard_of_nothing() -> None:
    assert rows(comparing.leaderboard({})) == []
    assert "There is no number to rank." in comparing.leaderboard_html({})
    assert SET not in comparing.leaderboard_html({})
