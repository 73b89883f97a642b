"""Single-sample clustering: right where classes part, upside down where the sample misleads, chance on one class."""

from __future__ import annotations

import numpy as np
import pytest

from tamperscope.errors import InvalidValueError
from tamperscope.metrics import transductive
from tamperscope.metrics.transductive import single_sample, two_means

LABELS = np.arange(80) % 2 == 1


def features(apart: float, seed: int = 0, width: int = 12) -> np.ndarray:
    """Two normal classes whose means are so far apart in all of some directions."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(LABELS), width)) + np.where(LABELS, apart, 0)[:, None] * rng.choice([-1, 1], width)


def test_one_label_names_both_parts() -> None:
    x = features(3.0)
    for sample in range(len(LABELS)):
        found = single_sample(x, sample, bool(LABELS[sample]))
        assert found.accuracy(LABELS, sample) == 1
        assert found.forged[sample] == LABELS[sample]
        assert found.transductive
    assert single_sample(x, 3, True, components=None).accuracy(LABELS, 3) == 1
    assert single_sample(x, 3, False).accuracy(LABELS, 3) == 0, "a wrong label turns all answers round"


def test_scale_shift_and_features_that_tell_nothing_do_not_matter() -> None:
    x = features(2.0)
    expected = single_sample(x, 0, False).forged
    other = np.hstack([x * np.logspace(-6, 6, x.shape[1]) + 1e3, np.full((len(x), 2), 7.0)])
    np.testing.assert_array_equal(single_sample(other, 0, False).forged, expected)


def test_it_depends_on_the_other_pictures() -> None:
    """What is between the classes is called by whom it is shown beside."""
    low, high = np.zeros((20, 1)), np.full((20, 1), 1.0)
    between = np.array([[0.4]])
    assert not single_sample(np.vstack([low, high, between]), 0, False).forged[-1]
    assert single_sample(np.vstack([low, between, between]), 0, False).forged[-1]


def test_where_there_is_one_class_about_half_is_called_wrongly() -> None:
    nothing = np.zeros(len(LABELS), bool)
    right = [single_sample(features(0.0, seed), 0, False).accuracy(nothing, 0) for seed in range(30)]
    assert np.mean(right) == pytest.approx(0.5, abs=0.05)
    # Of one normal class a cut through the middle explains 2 / pi along its line.
    line = np.random.default_rng(0).normal(size=(4000, 1))
    assert single_sample(line, 0, False).separation == pytest.approx(2 / np.pi, abs=0.02)
    assert single_sample(features(6.0), 0, False, components=1).separation > 0.9


def test_parts_are_those_of_the_nearest_mean_and_never_empty() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        points = rng.normal(size=(30, 3))
        parts = two_means(points, rng.permutation(30) < 15)
        assert parts.any()
        assert not parts.all()
        far = [((points - points[parts == k].mean(0)) ** 2).sum(1) for k in (False, True)]
        np.testing.assert_array_equal(parts, far[1] < far[0])
    assert single_sample(np.array([[0.0], [1.0]]), 0, True).forged.tolist() == [True, False]


def test_sklearn_parts_alike() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    for seed in range(5):
        x = features(1.5, seed)
        z = (x - x.mean(0)) / x.std(0)
        known = cluster.KMeans(2, n_init=20, random_state=0).fit_predict(z)
        found = single_sample(x, 0, bool(known[0]), components=None).forged
        assert (found == (known == 1)).mean() > 0.97


def test_what_does_not_fit_is_refused() -> None:
    good = features(1.0)
    bad = good.copy()
    bad[3, 2] = np.nan
    for wrong in (bad, good[:1], good[0]):
        with pytest.raises(InvalidValueError, match="finite"):
            single_sample(wrong, 0, True)
    with pytest.raises(InvalidValueError, match="one of the N"):
        single_sample(good, len(good), True)
    with pytest.raises(InvalidValueError, match="all alike"):
        single_sample(np.ones((5, 3)), 0, True)
    with pytest.raises(InvalidValueError, match="at least 1"):
        single_sample(good, 0, True, components=0)
    only = transductive.Clustered(np.array([True]), 0.0)
    assert np.isnan(only.accuracy(np.array([True]), 0))
