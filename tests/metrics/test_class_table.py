"""Metrics of maps of editors against scikit-learn and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tamperscope.errors import InvalidValueError
from tamperscope.metrics.classes import METRICS, Table


def test_against_scikit_learn_and_in_parts() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for number in range(2, 7):
        truth, called = (rng.integers(-1, number, (3, 9, 11)) for _ in range(2))
        called = np.maximum(called, 0)
        valid = rng.random(truth.shape) < 0.7
        known = valid & (truth >= 0)
        table, parts = Table(number), [Table(number), Table(number)]
        table.add(called, truth, valid)
        for n in range(3):
            parts[n % 2].add(called[n], truth[n], valid[n])
        parts[0] += parts[1]
        np.testing.assert_array_equal(parts[0].counts, table.counts)
        t, c = truth[known], called[known]
        found, labels = table.metrics(), list(range(number))
        assert tuple(found) == METRICS
        np.testing.assert_array_equal(table.counts, metrics.confusion_matrix(t, c, labels=labels))
        assert table.ious() == pytest.approx(metrics.jaccard_score(t, c, average=None, labels=labels).tolist())
        assert found["miou"] == pytest.approx(metrics.jaccard_score(t, c, average="macro"))
        assert found["editors_miou"] == pytest.approx(metrics.jaccard_score(t, c, average="macro", labels=labels[1:]))
        assert found["foreground_iou"] == pytest.approx(metrics.jaccard_score(t > 0, c > 0))
        assert found["attribution"] == pytest.approx((t == c)[t > 0].mean())


def test_a_class_that_is_nowhere_does_not_count_and_unknown_pixels_neither() -> None:
    table = Table(5)
    table.add(np.array([[0, 1, 1, 2, 4]]), np.array([[0, 1, 2, 2, -1]]))
    assert table.ious()[:3] == pytest.approx([1, 1 / 2, 1 / 2])
    assert all(map(math.isnan, table.ious()[3:]))
    assert table.metrics() == pytest.approx(
        {"miou": 2 / 3, "editors_miou": 1 / 2, "foreground_iou": 1, "attribution": 2 / 3}
    )
    assert all(map(math.isnan, Table(3).metrics().values()))


def test_what_does_not_fit_is_refused_and_not_counted() -> None:
    table = Table(3)
    for called, truth in (([[3]], [[0]]), ([[-1]], [[0]]), ([[0]], [[3]]), ([[0, 1]], [[0]]), ([[0.5]], [[0]])):
        with pytest.raises(InvalidValueError, match="classes"):
            table.add(np.array(called), np.array(truth))
    assert not table.counts.any()
    with pytest.raises(InvalidValueError, match="at least 2"):
        Table(1)
    with pytest.raises(InvalidValueError, match="found a table of 4"):
        table += Table(4)
