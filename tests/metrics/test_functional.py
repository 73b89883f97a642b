"""Metrics against scikit-learn and against definitions, with ties and single classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tamperscope.errors import InvalidValueError
from tamperscope.metrics import functional as f

CASES = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


@settings(deadline=None)
@given(CASES)
def test_ranking_metrics_equal_scikit_learn_with_ties(case: tuple[list[float], list[bool]]) -> None:
    scores, truth = (np.array(part) for part in case)
    if not truth.any():
        assert math.isnan(f.average_precision(scores, truth))
        assert math.isnan(f.best_f1(scores, truth))
        assert math.isnan(f.auc(scores, truth))
        return
    assert f.average_precision(scores, truth) == pytest.approx(sk.average_precision_score(truth, scores), abs=1e-12)
    thresholds = [-1.0, *np.unique(scores)]
    assert f.best_f1(scores, truth) == pytest.approx(max(sk.f1_score(truth, scores > t) for t in thresholds))
    if truth.all():
        assert math.isnan(f.auc(scores, truth))
    else:
        assert f.auc(scores, truth) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)


@settings(deadline=None)
@given(CASES, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_counts_equal_scikit_learn(case: tuple[list[float], list[bool]], threshold: float) -> None:
    scores, truth = (np.array(part) for part in case)
    found = f.counts(scores, truth, threshold)
    tn, fp, fn, tp = sk.confusion_matrix(truth, scores > threshold, labels=[False, True]).ravel()
    assert (found.tp, found.fp, found.fn, found.tn) == (tp, fp, fn, tn)
    if tp + fp + fn:
        assert found.f1 == pytest.approx(sk.f1_score(truth, scores > threshold, zero_division=0))
        assert found.iou == pytest.approx(sk.jaccard_score(truth, scores > threshold, zero_division=0))
    else:
        assert math.isnan(found.f1)
        assert math.isnan(found.iou)


def test_order_does_not_change_a_number(rng: np.random.Generator) -> None:
    scores, truth = rng.integers(0, 5, 200) / 4, rng.random(200) > 0.7
    shuffled = rng.permutation(200)
    for metric in (f.auc, f.average_precision, f.best_f1):
        assert metric(scores, truth) == metric(scores[shuffled], truth[shuffled])


def test_bad_input_is_an_error_never_a_broadcast() -> None:
    with pytest.raises(InvalidValueError, match="one shape"):
        f.auc(np.zeros((4, 1)), np.zeros(4, bool))
    with pytest.raises(InvalidValueError, match="bool"):
        f.auc(np.zeros(4), np.zeros(4))
    with pytest.raises(InvalidValueError, match="nan"):
        f.auc([0.1, math.nan], np.array([True, False]))


def test_bootstrap_covers_the_mean_and_widens_with_groups(rng: np.random.Generator) -> None:
    shift = np.repeat(rng.normal(0, 1, 20), 10)
    values = shift + rng.normal(0, 0.1, 200)
    alone = f.bootstrap(values)
    grouped = f.bootstrap(values, groups=[str(i // 10) for i in range(200)])
    assert alone.value == grouped.value == pytest.approx(values.mean())
    assert alone.low < alone.value < alone.high
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_bootstrap_leaves_nan_out_and_counts_the_rest() -> None:
    found = f.bootstrap([1.0, math.nan, 3.0])
    assert (found.value, found.n) == (2.0, 2)
    assert f.bootstrap([math.nan]).n == 0
