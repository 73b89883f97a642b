"""The streaming form: exact where it says so, inside its bound elsewhere, the same however the stream is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.metrics import confusion, ranking
from tamperscope.metrics.streaming import Pixels


def _stream(rng: np.random.Generator, n: int = 60_000) -> tuple[np.ndarray, np.ndarray]:
    scores = rng.beta(2, 5, n).astype(np.float32)
    return scores, rng.random(n) < scores


@pytest.mark.parametrize("bins", [64, 1000, 65_536])
def test_the_error_stays_inside_the_stated_bound(bins: int, rng: np.random.Generator) -> None:
    scores, truth = _stream(rng)
    stream = Pixels(bins)
    stream.add(scores, truth)
    error = abs(stream.curve.auc - ranking.auc(scores, truth))
    assert error <= stream.auc_error
    assert stream.auc_error < 2 / bins
    assert stream.curve.average_precision == pytest.approx(ranking.average_precision(scores, truth), abs=20 / bins)
    assert stream.counts == confusion.counts(scores, truth)


def test_the_bound_is_reached_by_the_worst_order() -> None:
    scores = np.array([0.5001, 0.5002], np.float32)
    stream = Pixels(100)
    stream.add(scores, np.array([True, False]))
    assert stream.curve.auc == 0.5
    assert ranking.auc(scores, np.array([True, False])) == 0.0
    assert stream.auc_error == 0.5


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 255), min_size=2, max_size=80), st.integers(1, 79), st.integers(0, 2**31))
def test_eight_bit_maps_lose_nothing_and_the_cut_plays_no_part(values: list[int], cut: int, seed: int) -> None:
    scores = np.array(values, np.float32) / np.float32(255)
    truth = np.random.default_rng(seed).random(len(values)) < 0.4
    whole, parts, other = Pixels(), Pixels(), Pixels()
    whole.add(scores, truth)
    parts.add(scores[:cut], truth[:cut])
    other.add(scores[cut:][::-1], truth[cut:][::-1])
    parts += other
    exact = ranking.curve(scores, truth)
    for stream in (whole, parts, Pixels.from_json(whole.to_json())):
        for name in ("auc", "average_precision", "best_f1"):
            assert getattr(stream.curve, name) == pytest.approx(getattr(exact, name), abs=1e-12, nan_ok=True)
    assert whole.counts == parts.counts == confusion.counts(scores, truth)


def test_only_valid_pixels_enter(rng: np.random.Generator) -> None:
    scores, truth = _stream(rng, 500)
    valid = rng.random(500) < 0.5
    first, second = Pixels(256), Pixels(256)
    first.add(scores, truth, valid)
    second.add(scores[valid], truth[valid])
    np.testing.assert_array_equal(first.histogram, second.histogram)


def test_a_bad_map_is_refused_whole() -> None:
    stream = Pixels(16)
    for bad in (1.01, -0.1, math.nan):
        with pytest.raises(InvalidValueError, match="1 scores"):
            stream.add(np.array([0.5, bad], np.float32), np.array([True, False]))
    assert stream.counts.total == 0
    with pytest.raises(InvalidValueError, match="one shape"):
        stream.add(np.zeros((2, 1)), np.zeros(2, bool))
    with pytest.raises(InvalidValueError, match="same bins"):
        stream += Pixels(32)


def test_ends_of_the_range_have_a_bin() -> None:
    stream = Pixels(10)
    stream.add(np.array([0.0, 1.0], np.float32), np.array([False, True]))
    assert stream.curve.auc == 1.0
    assert stream.histogram[0].tolist() == [1, 0]
    assert stream.histogram[9].tolist() == [0, 1]
    assert math.isnan(Pixels(10).curve.auc)
    assert math.isnan(Pixels(10).auc_error)
