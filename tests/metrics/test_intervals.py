"""Bootstrap intervals: coverage, groups, pairing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.metrics import intervals, ranking


def test_bootstrap_covers_the_mean_and_widens_with_groups(rng: np.random.Generator) -> None:
    shift = np.repeat(rng.normal(0, 1, 20), 10)
    values = shift + rng.normal(0, 0.1, 200)
    alone = intervals.bootstrap(values)
    grouped = intervals.bootstrap(values, groups=[str(i // 10) for i in range(200)])
    assert alone.value == grouped.value == pytest.approx(values.mean())
    assert alone.low < alone.value < alone.high
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_the_interval_of_a_mean_has_the_width_of_theory(rng: np.random.Generator) -> None:
    values = rng.normal(0, 1, 400)
    found = intervals.bootstrap(values, rounds=4000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)


def test_the_fast_mean_draws_what_the_slow_one_draws(rng: np.random.Generator) -> None:
    values, groups = rng.random(50), [str(i % 7) for i in range(50)]
    fast = intervals.bootstrap(values, groups)
    slow = intervals.bootstrap(values, groups, lambda rows: float(np.mean(rows)))
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=1e-12)


def test_undefined_samples_are_counted() -> None:
    found = intervals.bootstrap([1.0, math.nan, 3.0, math.nan])
    assert (found.value, found.n, found.undefined) == (2.0, 2, 2)
    nothing = intervals.bootstrap([math.nan])
    assert (nothing.n, nothing.undefined, str(nothing)) == (0, 1, "–")


def test_pairing_sees_a_small_difference_that_single_intervals_hide(rng: np.random.Generator) -> None:
    hard = rng.random(150)
    first, second = hard + 0.02 + rng.normal(0, 0.02, 150), hard
    a, b = intervals.bootstrap(first), intervals.bootstrap(second)
    assert a.low < b.high
    gain = intervals.paired(first, second)
    assert gain.clear
    assert gain.low > 0
    assert gain.p < 0.01
    back = intervals.paired(second, first)
    assert back.value == pytest.approx(-gain.value)
    same = intervals.paired(second, second + rng.normal(0, 1, 150))
    assert not same.clear or same.p < 0.05


def test_no_difference_is_rarely_called_clear(rng: np.random.Generator) -> None:
    clear = sum(
        intervals.paired(rng.normal(0, 1, 60), rng.normal(0, 1, 60), rounds=200, seed=i).clear for i in range(100)
    )
    assert clear <= 13


def test_paired_areas_draw_the_same_pictures(rng: np.random.Generator) -> None:
    labels = rng.random(200) < 0.5
    strong, weak = labels + rng.normal(0, 0.5, 200), labels + rng.normal(0, 2.0, 200)

    def area(rows: np.ndarray) -> float:
        return ranking.auc(rows[:, 0], rows[:, 1] > 0.5)

    gain = intervals.paired(np.column_stack([strong, labels]), np.column_stack([weak, labels]), None, area, rounds=200)
    assert gain.value == pytest.approx(ranking.auc(strong, labels) - ranking.auc(weak, labels))
    assert gain.low > 0.1
    missing = np.column_stack([np.full(200, math.nan), labels])
    assert intervals.paired(missing, missing, None, area).n == 0


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="same samples"):
        intervals.paired([1.0], [1.0, 2.0])
    with pytest.raises(InvalidValueError, match="one group a sample"):
        intervals.bootstrap([1.0, 2.0], groups=["a"])


@given(st.integers(1, 400), st.data())
def test_the_interval_of_a_share_is_where_the_share_is_no_surprise(total: int, data: st.DataObject) -> None:
    """Wilson's ends solve |found - p| = z sqrt(p (1 - p) / n)."""
    count = data.draw(st.integers(0, total))
    found = intervals.share(count, total)
    assert found.low <= found.value <= found.high
    for end in (found.low, found.high):
        if 1e-6 < end < 1 - 1e-6:
            assert abs(found.value - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / total), rel=1e-4)
    assert math.isnan(intervals.share(0, 0).value)
