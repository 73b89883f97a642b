"""Numbers in words and rows in order."""

from __future__ import annotations

import math

import pytest
from fake_results import HOSTILE, MISSING, SET, fake
from hypothesis import given
from hypothesis import strategies as st

from tamperscope.bench import view
from tamperscope.bench.results import Number
from tamperscope.metrics.suites import named
from tamperscope.metrics.suites.summarize import columns

RESULTS = fake()


def number(value: float | None, metric: str = "pixel_f1", **fields: object) -> Number:
    where = {"test": "t", "attack": "untouched", "subject": "s", "suite": "x", "metric": metric}
    return Number(**(where | {"value": value, "low": None, "high": None, "n": 1} | fields))


@given(st.floats(-50, 50))
def test_a_decimal_reads_back(value: float) -> None:
    text = view.decimal(value)
    assert abs(float(text.replace("−", "-")) - value) <= 0.0005 + 1e-12
    assert not text.lstrip("−").startswith("0.")
    assert len(text.partition(".")[2]) == 3


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (0.448, False, ".448"),
        (-0.05, False, "−.050"),
        (1.0, False, "1.000"),
        (0.0, False, ".000"),
        (-0.00001, False, ".000"),
        (0.1, True, "+.100"),
        (-0.1, True, "−.100"),
        (10.5, False, "10.500"),
        (None, True, "–"),
    ],
)
def test_decimals(value: float | None, sign: bool, text: str) -> None:
    assert view.decimal(value, sign) == text


def test_intervals_in_words() -> None:
    assert view.with_interval(number(0.448, low=0.413, high=0.483)) == ".448 [.413, .483]"
    assert view.with_interval(number(0.448, low=0.413)) == ".448"
    assert view.with_interval(number(None)) == view.with_interval(None) == "–"


def test_p_values_in_words() -> None:
    assert [view.p_words(p) for p in (0.0, 0.002, 1.0, None)] == ["p < .001", "p = .002", "p = 1.000", "p –"]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_ranking_is_a_sorted_permutation_with_the_undefined_last(values: list[float | None]) -> None:
    rows = [(i, None if v is None else number(v)) for i, v in enumerate(values)]
    for metric, turn in (("image_auc", 1), ("image_eer", -1)):
        order = view.ranked(rows, metric)
        assert sorted(order) == list(range(len(values)))
        keys = [-math.inf if values[i] is None else turn * values[i] for i in order]
        assert keys == sorted(keys, reverse=True)


@pytest.mark.parametrize("suite", named.names())
def test_main_columns_exist_in_every_suite(suite: str) -> None:
    metrics = columns(named.load(suite))
    numbers = [number(0.5, m, suite=suite) for m in [*metrics, f"{metrics[0]}@mean"]]
    (table,) = view.tables(RESULTS.model_copy(update={"numbers": numbers, "comparisons": []}))
    assert table.main
    assert set(table.main) <= set(metrics)
    assert len(table.main) == len(set(table.main)) <= 6
    assert table.leads[0] == metrics[0]
    assert len(set(table.leads)) == len(table.leads) <= 2


def test_the_headline_of_whole_pictures_needs_no_threshold() -> None:
    for name in named.names():
        suite = named.load(name)
        if suite.image and not suite.pixel:
            assert columns(suite)[0] == "image_auc"


def test_errors_are_lower_is_better_and_rates_of_detection_are_not() -> None:
    lower = {m for s in named.names() for m in columns(named.load(s)) if view.lower_is_better(m)}
    losses = {f"image_{m}" for m in ("eer", "eer_nearest", "ece", "brier", "cllr")}
    assert lower == losses | {"authentic_fpr", "pooled_fpr"}
    assert view.lower_is_better("image_eer@mean")
    assert view.lower_is_better("video_eer")


def test_summary_names_the_best_its_bar_failures_and_missing_sets() -> None:
    text = " ".join(view.summary(RESULTS))
    best = RESULTS.number(test=SET, attack="untouched", subject="fused", metric="pixel_f1")
    assert f"best subject by pixel_f1 is fused with {view.with_interval(best)} over 180 pictures" in text
    assert "its pixel_f1 is clear of centre_blob (difference +.381 [+.331, +.431], p < .001)" in text
    assert "3 of 366 pictures failed" in text
    assert f"{MISSING}: not measured" in text


def test_summary_says_when_the_best_is_not_clear() -> None:
    numbers = [n for n in RESULTS.numbers if n.subject != "fused"]
    text = view.summary(RESULTS.model_copy(update={"numbers": numbers}))[0]
    assert f"is {HOSTILE} with" in text
    assert "its pixel_f1 is not clear of centre_blob" in text


def test_summary_says_when_nothing_is_defined() -> None:
    empty = [n.model_copy(update={"value": None}) for n in RESULTS.numbers]
    text = view.summary(RESULTS.model_copy(update={"numbers": empty}))[0]
    assert text == f"On {SET} (imdl) no subject has a defined pixel_f1."


def test_thresholds_of_one_origin_stand_together() -> None:
    subjects = [s.model_copy(update={"threshold": "half"}) for s in RESULTS.subjects[:2]]
    assert view.thresholds(RESULTS.model_copy(update={"subjects": subjects})) == [f"fused, {HOSTILE}: half."]
