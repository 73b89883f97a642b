"""Outlines, boxes and classes against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tamperscope.errors import InvalidValueError
from tamperscope.metrics import regions, sequences


def _disc(size: int, x: int, y: int, r: int) -> np.ndarray:
    yy, xx = np.mgrid[:size, :size]
    return np.asarray((xx - x) ** 2 + (yy - y) ** 2 <= r * r)


def test_boundary_f1_falls_with_the_distance_of_the_outlines() -> None:
    truth = _disc(100, 50, 50, 20)
    assert regions.boundary_f1(truth, truth) == 1.0
    values = [regions.boundary_f1(_disc(100, 50, 50, 20 + d), truth, tolerance=2) for d in range(6)]
    assert values[0] == values[1] == 1.0
    assert values[1] > values[2] > values[3] > values[5]
    assert regions.boundary_f1(_disc(100, 15, 15, 8), truth, tolerance=2) == 0.0
    assert regions.boundary_f1(np.zeros((9, 9), bool), _disc(9, 4, 4, 2)) == 0.0
    assert math.isnan(regions.boundary_f1(np.zeros((9, 9), bool), np.zeros((9, 9), bool)))


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_boundary_f1_by_brute_force(reach: int) -> None:
    a, b = _disc(40, 18, 20, 9), _disc(40, 22, 20, 10)

    def outline(m: np.ndarray) -> np.ndarray:
        padded = np.pad(m, 1, mode="edge")
        inner = np.all([padded[1 + dy : 41 + dy, 1 + dx : 41 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0)
        return np.argwhere(m & ~inner)

    pa, pb = outline(a), outline(b)
    distance = np.sqrt(((pa[:, None] - pb[None]) ** 2).sum(axis=2))
    precision, recall = (distance.min(axis=1) <= reach).mean(), (distance.min(axis=0) <= reach).mean()
    assert regions.boundary_f1(a, b, tolerance=reach) == pytest.approx(2 * precision * recall / (precision + recall))


def test_class_iou_equals_scikit_learn(rng: np.random.Generator) -> None:
    truth, called = rng.integers(0, 4, (30, 30)), rng.integers(0, 4, (30, 30))
    expected = sk.jaccard_score(truth.ravel(), called.ravel(), average=None, labels=range(5), zero_division=0)
    found = regions.class_iou(called, truth, 5)
    assert found[:4] == pytest.approx(expected[:4], abs=1e-9)
    assert math.isnan(found[4])
    assert regions.mean_iou(called, truth, 5) == pytest.approx(expected[:4].mean())
    kept = truth != 2
    wanted = sk.jaccard_score(truth[kept], called[kept], average=None, labels=[0, 1, 3], zero_division=0)
    assert regions.class_iou(called, truth, 5, ignore=2)[[0, 1, 3]] == pytest.approx(wanted, abs=1e-9)
    with pytest.raises(InvalidValueError, match=r"\[0, 3\)"):
        regions.class_iou(called, truth, 3)
    with pytest.raises(InvalidValueError, match="one shape"):
        regions.class_iou(called[:2], truth, 4)


BOX = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@settings(deadline=None)
@given(st.lists(BOX, min_size=1, max_size=4), st.lists(BOX, min_size=1, max_size=4))
def test_box_iou_counts_pixels(first: list, second: list) -> None:
    def raster(box: tuple[int, int, int, int]) -> np.ndarray:
        plane = np.zeros((24, 24), bool)
        plane[box[1] : box[3], box[0] : box[2]] = True
        return plane

    found = regions.box_iou(first, second)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            common, either = (raster(a) & raster(b)).sum(), (raster(a) | raster(b)).sum()
            assert found[i, j] == pytest.approx(common / either)


def test_corloc_and_max_box_accuracy() -> None:
    assert regions.located([[0, 0, 10, 10]], [[0, 0, 10, 10], [50, 50, 60, 60]]) == 1.0
    assert regions.located([[0, 0, 10, 10]], [[0, 0, 10, 5]]) == 0.0  # exactly one half is not enough
    assert regions.located([], [[0, 0, 1, 1]]) == 0.0
    assert math.isnan(regions.located([[0, 0, 1, 1]], []))
    heat = np.zeros((40, 40), np.float32)
    heat[5:15, 5:15] = 0.6
    heat[20:39, 20:39] = 0.3
    at = regions.best_box_iou(heat, [[5, 5, 15, 15]], thresholds=(0.2, 0.5, 0.8))
    assert at.tolist() == [0.0, 1.0, 0.0]  # at .2 the larger part is another one
    assert regions.best_box_iou(heat, [[5, 5, 15, 15]], (0.2,), largest=False).tolist() == [1.0]
    # One threshold serves all pictures: each alone would reach 1.
    assert regions.max_box_accuracy([[1.0, 0.0], [0.0, 1.0], [0.0, 0.9]]) == pytest.approx(2 / 3)
    assert regions.max_box_accuracy([[0.4, 0.6]], criteria=(0.3, 0.5, 0.7)) == pytest.approx(2 / 3)
    assert math.isnan(regions.max_box_accuracy(np.zeros((0, 3))))


def test_sequence_accuracies() -> None:
    truth, called = ["nose", "lip"], ["nose", "eye", "lip"]
    assert sequences.fixed_accuracy(called, truth) == pytest.approx(3 / 5)  # nose and two empty slots agree
    assert sequences.adaptive_accuracy(called, truth) == pytest.approx(1 / 3)
    assert sequences.adaptive_accuracy(truth, truth) == sequences.fixed_accuracy(truth, truth) == 1.0
    assert sequences.adaptive_accuracy(truth[::-1], truth) == 0.0
    assert sequences.fixed_accuracy([], []) == 1.0
    assert math.isnan(sequences.adaptive_accuracy([], []))
    with pytest.raises(InvalidValueError, match="at most 5"):
        sequences.fixed_accuracy(range(6), truth)


def test_retrieval() -> None:
    ranked = ["a", "b", "c", "d"]
    assert sequences.recall_at(ranked, ["b", "d", "z"], 2) == pytest.approx(1 / 3)
    assert sequences.hit_at(ranked, ["b", "d"], 2) == 1.0
    assert sequences.hit_at(ranked, ["d"], 3) == 0.0
    assert math.isnan(sequences.recall_at(ranked, [], 2))
    assert sequences.average_precision(ranked, ["b", "d"]) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert sequences.average_precision(ranked, ["b", "z"]) == pytest.approx(1 / 4)
    assert sequences.average_precision(["b", "b"], ["b"]) == 1.0
