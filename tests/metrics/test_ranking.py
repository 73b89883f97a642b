"""Rank metrics and counts against scikit-learn and against definitions, with ties and single classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from tamperscope.errors import InvalidValueError
from tamperscope.metrics import confusion, ranking

TIED = st.sampled_from([-2.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0])
FINE = st.floats(-10, 10, allow_nan=False, width=32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 60))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    scores = draw(hnp.arrays(dtype, n, elements=draw(st.sampled_from([TIED, FINE]))))
    return scores, draw(hnp.arrays(bool, n))


@settings(deadline=None, max_examples=200)
@given(cases())
def test_ranking_metrics_equal_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    found = ranking.curve(scores, truth)
    if not truth.any():
        assert math.isnan(found.average_precision)
        assert math.isnan(found.best_f1)
        assert math.isnan(found.best_threshold)
        assert math.isnan(found.auc)
        return
    assert found.average_precision == pytest.approx(sk.average_precision_score(truth, scores), abs=1e-9)
    thresholds = [-np.inf, *np.unique(scores)]
    assert found.best_f1 == pytest.approx(max(sk.f1_score(truth, scores > t) for t in thresholds), abs=1e-9)
    assert confusion.counts(scores, truth, found.best_threshold).f1 == pytest.approx(found.best_f1)
    if truth.all():
        assert math.isnan(found.auc)
        assert math.isnan(found.equal_error_rate())
        assert math.isnan(found.recall_at(0.5))
    else:
        assert found.auc == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-9)


@settings(deadline=None, max_examples=200)
@given(cases())
def test_operating_points_follow_from_the_roc_curve(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    if truth.all() or not truth.any():
        return
    found = ranking.curve(scores, truth)
    fpr, tpr, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    for rate in (0.0, 0.01, 0.05, 0.3, 1.0):
        assert found.recall_at(rate) == pytest.approx(tpr[fpr <= rate].max())
    assert found.equal_error_rate(interpolate=False) == pytest.approx(fpr[np.argmin(np.abs(1 - tpr - fpr))])
    eer = found.equal_error_rate()
    crossed = [
        abs((1 - a) * f + a * g - eer) + abs((1 - a) * t + a * u - (1 - eer))
        for f, g, t, u in zip(fpr[:-1], fpr[1:], tpr[:-1], tpr[1:], strict=True)
        if (1 - t - f) - (1 - u - g) > 0
        for a in [(1 - t - f) / ((1 - t - f) - (1 - u - g))]
        if 0 <= a <= 1
    ]
    assert min(crossed) == pytest.approx(0, abs=1e-9)  # the point (eer, 1 - eer) lies on the curve


def test_equal_error_rate_lies_between_the_points_of_the_curve() -> None:
    scores, truth = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert ranking.curve(scores, truth).equal_error_rate() == pytest.approx(0.5)
    # From (0, 1/3) straight to (1/2, 1): misses 1 - tpr fall to 0 as alarms rise to 1/2.
    scores, truth = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([True, True, True, False, False])
    rate = ranking.curve(scores, truth).equal_error_rate()
    assert rate == pytest.approx((2 / 3) / (2 / 3 + 0.5) * 0.5)


@settings(deadline=None)
@given(cases(), st.sampled_from([-3.0, -0.5, 0.0, 0.1, 0.3, 0.5, 1.0]))
def test_counts_equal_scikit_learn_and_the_curve(case: tuple[np.ndarray, np.ndarray], threshold: float) -> None:
    scores, truth = case
    found = confusion.counts(scores, truth, threshold)
    called = scores > scores.dtype.type(threshold)
    tn, fp, fn, tp = sk.confusion_matrix(truth, called, labels=[False, True]).ravel()
    assert (found.tp, found.fp, found.fn, found.tn) == (tp, fp, fn, tn)
    assert ranking.curve(scores, truth).at(threshold) == found
    if tp + fp + fn:
        assert found.f1 == pytest.approx(sk.f1_score(truth, called, zero_division=0), abs=1e-9)
        assert found.iou == pytest.approx(sk.jaccard_score(truth, called, zero_division=0), abs=1e-9)
    else:
        assert math.isnan(found.f1)
        assert math.isnan(found.iou)
    assert found.accuracy == pytest.approx(sk.accuracy_score(truth, called), abs=1e-9)
    if (tp + fp) and (tn + fn) and (tp + fn) and (tn + fp):
        assert found.mcc == pytest.approx(sk.matthews_corrcoef(truth, called), abs=1e-9)
        assert found.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(truth, called), abs=1e-9)
    else:
        assert math.isnan(found.mcc)


@settings(deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_neither_order_nor_precision_nor_padding_changes_a_number(case: tuple, random: object) -> None:
    scores, truth = case
    order = np.array(random.sample(range(len(scores)), len(scores)))  # type: ignore[attr-defined]
    padded = np.concatenate([scores[order], np.full(7, 0.5, scores.dtype)])
    beside = np.concatenate([truth[order], np.ones(7, bool)])
    valid = np.arange(len(padded)) < len(scores)
    first, second = ranking.curve(scores, truth), ranking.curve(padded, beside, valid)
    for name in ("auc", "average_precision", "best_f1"):
        np.testing.assert_equal(getattr(first, name), getattr(second, name))
    exact = ranking.curve(scores.astype(np.float64), truth)
    np.testing.assert_array_equal(first.scores, exact.scores)
    np.testing.assert_array_equal(first.tp, exact.tp)
    np.testing.assert_array_equal(first.fp, exact.fp)


def test_negative_zero_ties_with_zero() -> None:
    scores = np.array([-0.0, 0.0, -1.0], np.float32)
    assert len(ranking.curve(scores, np.array([True, False, False])).scores) == 2
    assert ranking.auc(scores, np.array([True, False, False])) == 0.75


def test_a_large_map_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    scores = rng.random((400, 500), dtype=np.float32)
    truth = rng.random((400, 500)) < scores**2
    assert ranking.auc(scores, truth) == pytest.approx(sk.roc_auc_score(truth.ravel(), scores.ravel()), abs=1e-9)
    expected = sk.average_precision_score(truth.ravel(), scores.ravel())
    assert ranking.average_precision(scores, truth) == pytest.approx(expected, abs=1e-9)


def test_bad_input_is_an_error_never_a_broadcast() -> None:
    with pytest.raises(InvalidValueError, match="one shape"):
        ranking.auc(np.zeros((4, 1)), np.zeros(4, bool))
    with pytest.raises(InvalidValueError, match="bool"):
        ranking.auc(np.zeros(4), np.zeros(4))
    with pytest.raises(InvalidValueError, match="bool"):
        ranking.auc(np.zeros(2), np.array([0, 255], np.uint8))
    with pytest.raises(InvalidValueError, match="nan"):
        ranking.auc([0.1, math.nan], np.array([True, False]))
    with pytest.raises(InvalidValueError, match="valid area"):
        confusion.counts(np.zeros(4), np.zeros(4, bool), valid=np.ones(3, bool))


def test_no_samples_are_undefined() -> None:
    none = np.zeros(0, np.float32), np.zeros(0, bool)
    assert math.isnan(ranking.auc(*none))
    assert math.isnan(ranking.curve(np.zeros(0), none[1]).best_f1)
    assert math.isnan(confusion.counts(*none).accuracy)


class Tensor:
    """Stands for a torch tensor: it must be detached and brought to the CPU before numpy may see it."""

    def __init__(self, values: np.ndarray, ready: bool = False) -> None:
        self.values, self.ready = values, ready

    def detach(self) -> Tensor:
        return Tensor(self.values, True)

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self.values.astype(np.float32), self.ready)

    def is_floating_point(self) -> bool:
        return self.values.dtype.kind == "f"

    def numpy(self) -> np.ndarray:
        assert self.ready, "Can't call numpy() on Tensor that requires grad"
        return self.values


def test_tensors_are_accepted() -> None:
    scores, truth = np.array([0.1, 0.9, 0.4]), np.array([0, 1, 1])
    assert ranking.auc(Tensor(scores), Tensor(truth)) == ranking.auc(scores, truth)


def test_soft_counts_are_sums_of_products(rng: np.random.Generator) -> None:
    heat, mask = rng.random((9, 7)), rng.random((9, 7)) < 0.4
    found = confusion.soft_counts(heat, mask)
    expected = [(heat * mask).sum(), (heat * ~mask).sum(), ((1 - heat) * mask).sum(), ((1 - heat) * ~mask).sum()]
    assert [found.tp, found.fp, found.fn, found.tn] == pytest.approx(expected)
    hard = confusion.soft_counts((heat > 0.5).astype(float), mask)
    assert hard == confusion.counts(heat, mask)
    assert (hard + hard).f1 == hard.f1
    assert hard.complement.complement == hard
