"""Where charts put things."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamperscope.bench import charts
from tamperscope.bench.charts import Series


@dataclass(frozen=True)
class Point:
    value: float | None
    low: float | None = None
    high: float | None = None


def floats(text: str, name: str) -> list[float]:
    return [float(v) for v in re.findall(rf' {name}="([^"]*)"', text)]


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9, unique=True))
def test_strengths_keep_their_distances_with_the_first_on_the_left(strengths: list[float]) -> None:
    xs = charts.places(strengths)
    assert len(xs) == len(strengths) + 1
    assert all(xs[0] < x for x in xs[1:])
    assert xs[1] <= (min(xs[1:]) + max(xs[1:])) / 2
    span = max(strengths) - min(strengths)
    for (x, s), (y, t) in pairwise(zip(xs[1:], strengths, strict=True)):
        assert abs(y - x) / (max(xs[1:]) - min(xs[1:])) == pytest.approx(abs(t - s) / span, abs=1e-6)


def test_falling_quality_runs_from_left_to_right() -> None:
    assert charts.places([90, 70, 30])[1:] == sorted(charts.places([90, 70, 30])[1:])
    assert charts.places([5, 5])[1] == charts.places([5, 5])[2]


def test_an_interval_is_drawn_to_scale() -> None:
    text = charts.interval(Point(0.5, 0.25, 1.0))
    assert floats(text, "cx") == [60.0]
    assert {32.0, 116.0} <= set(floats(text, "x1"))
    assert floats(charts.interval(Point(0.5), (0.0, 2.0)), "cx") == [32.0]
    assert charts.interval(Point(None)) == charts.interval(None) == ""
    assert "<circle" not in charts.interval(Point(0.5), bar=True)
    assert 'width="56.0"' in charts.interval(Point(0.5), bar=True)


def test_an_axis_holds_all_bounds() -> None:
    assert charts.domain([Point(0.2), None, Point(None)]) == (0.0, 1.0)
    assert charts.domain([Point(0.2, -0.1, 2.3)]) == (-0.5, 2.5)
    assert charts.domain([Point(0.2, -1e-12, 1 + 1e-12)]) == (0.0, 1.0)


def test_ticks_are_round_and_inside() -> None:
    assert charts.ticks((0.0, 1.0)) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert charts.ticks((-0.5, 1.0)) == [-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0]
    assert charts.ticks((-0.5, 12.5)) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]


def test_a_curve_breaks_where_a_value_is_undefined() -> None:
    points = [Point(0.9, 0.8, 1.0), Point(0.8, 0.7, 0.9), None, Point(0.5, 0.4, 0.6), Point(0.4, 0.3, 0.5)]
    whole = charts.curves([Series("a", 0, [Point(0.5, 0.4, 0.6)] * 5)], [1, 2, 3, 4], "x")
    broken = charts.curves([Series("a", 0, points)], [1, 2, 3, 4], "x")
    assert (whole.count("<polyline"), broken.count("<polyline")) == (1, 2)
    assert (whole.count('class="band'), broken.count('class="band')) == (1, 2)
    assert (whole.count('class="mark'), broken.count('class="mark')) == (5, 4)


def test_higher_values_lie_higher() -> None:
    text = charts.curves([Series("a", 0, [Point(0.9), Point(0.1)])], [1], "x")
    high, low = floats(text, "cy")
    assert high < low


def test_labels_do_not_stand_on_each_other() -> None:
    text = charts.curves([Series("a", 0, [Point(0.5)] * 41)], list(range(40)), "x")
    xs = [float(v) for v in re.findall(r'class="tick" x="([\d.]+)"', text)]
    assert len(xs) > 5
    assert all(b - a >= 30 for a, b in pairwise(xs))


def test_dots_of_several_subjects_never_share_a_line() -> None:
    series = [Series(str(i), 0, [Point(0.5), Point(0.4)]) for i in range(4)]
    ys = floats(charts.dots(series, ["one", "two"], "x"), "cy")
    assert len(set(ys)) == 8


def test_shapes_differ_between_styles() -> None:
    shapes = {re.sub(r's\d|"', "", charts.mark(style, 5, 5)) for style in range(charts.STYLES)}
    assert len(shapes) == charts.STYLES


def test_labels_are_text() -> None:
    text = charts.dots([Series("a", 0, [Point(0.5)])], ["<b>&"], '"><script>')
    assert "<script>" not in text
    assert "&lt;b&gt;&amp;" in text


def test_a_band_runs_along_the_upper_ends_and_back_along_the_lower() -> None:
    text = charts.curves([Series("a", 0, [Point(0.5, 0.25, 0.75)] * 3)], [1, 2], "x")
    points = re.search(r'class="band s0" points="([^"]*)"', text)
    assert points is not None
    corners = [tuple(map(float, p.split(","))) for p in points[1].split()]
    xs, ys = zip(*corners, strict=True)
    assert list(xs[:3]) == sorted(xs[:3])
    assert xs[3:] == xs[2::-1]
    assert len(set(ys[:3])) == len(set(ys[3:])) == 1
    assert ys[0] < ys[3]


def test_what_leaves_the_axis_stops_at_its_end() -> None:
    assert floats(charts.interval(Point(1.5)), "cx") == [116.0]
    assert floats(charts.interval(Point(-0.5)), "cx") == [4.0]
