from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.data.doctor import classifier


def _auc(scores: np.ndarray, truth: np.ndarray) -> float:
    gaps = scores[truth][:, None] - scores[~truth][None, :]
    return float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())


def _names(numbers: np.ndarray) -> list[str]:
    return [f"g{n}" for n in numbers]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 120), st.integers(1, 40))
def test_folds_never_share_a_group_and_ignore_which_label_is_which(seed: int, count: int, sources: int) -> None:
    rng = np.random.default_rng(seed)
    groups = _names(rng.integers(0, sources, count))
    truth = rng.random(count) < rng.uniform(0.1, 0.9)
    home = classifier.folds(truth, groups, 5, seed=1)
    assert all(len(set(home[np.array(groups) == g])) == 1 for g in set(groups))
    assert np.array_equal(home, classifier.folds(~truth, groups, 5, seed=1))


def test_folds_are_even_in_both_classes() -> None:
    truth = np.arange(200) % 4 == 0
    home = classifier.folds(truth, _names(np.arange(200)), 5, seed=0)
    assert [int((truth & (home == k)).sum()) for k in range(5)] == [10] * 5
    assert [int((~truth & (home == k)).sum()) for k in range(5)] == [30] * 5


def test_weights_are_those_of_an_independent_solver() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    features = (rng.random((300, 12)) < 0.3).astype(float)
    truth = rng.random(300) < 1 / (1 + np.exp(-(features[:, 0] * 2 - features[:, 1] - 1)))

    def loss(beta: np.ndarray) -> float:
        """Cross-entropy with both classes weighing the same, and half the squared weights (not of the constant)."""
        p = 1 / (1 + np.exp(-(features @ beta[:-1] + beta[-1])))
        terms = -(np.log(p[truth]).mean() + np.log(1 - p[~truth]).mean()) * 300 / 2
        return float(terms + (beta[:-1] ** 2).sum() / 2)

    expected = minimize(loss, np.zeros(13), method="BFGS", options={"gtol": 1e-4}).x
    assert np.abs(expected).max() > 0.5
    assert np.allclose(classifier.fit(features, truth), expected, atol=1e-4)


def test_separable_classes_converge_and_are_told_apart() -> None:
    truth = np.arange(80) % 2 == 1
    features = np.stack([truth, ~truth, np.ones(80)], axis=1).astype(float)
    scores = classifier.out_of_fold(features, truth, _names(np.arange(80)))
    assert np.isfinite(scores).all()
    assert scores[truth].min() > scores[~truth].max()


def test_exchanged_labels_change_the_sign_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    features = (rng.random((150, 9)) < 0.4).astype(float)
    truth = rng.random(150) < 0.3
    groups = _names(rng.integers(0, 60, 150))
    assert np.array_equal(
        classifier.out_of_fold(features, truth, groups), -classifier.out_of_fold(features, ~truth, groups)
    )


def test_noise_says_nothing_on_average() -> None:
    areas = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        features = (rng.random((120, 10)) < 0.5).astype(float)
        truth = rng.permutation(120) < 40
        areas.append(_auc(classifier.out_of_fold(features, truth, _names(np.arange(120)), seed), truth))
    assert abs(np.mean(areas) - 0.5) < 0.04


def test_what_only_marks_the_group_does_not_help() -> None:
    """Each group has a column of its own and one label: known inside the group, unknown outside."""
    member = np.repeat(np.arange(40), 5)
    features, truth = np.eye(40)[member], (member % 2 == 1)
    assert 0.3 < _auc(classifier.out_of_fold(features, truth, _names(member)), truth) < 0.6
    alone = classifier.out_of_fold(features, truth, _names(np.arange(200)))
    assert _auc(alone, truth) > 0.99


def test_a_class_in_one_fold_only_leaves_that_fold_without_scores() -> None:
    truth = np.zeros(50, bool)
    truth[:5] = True
    groups = ["one"] * 5 + _names(np.arange(45))
    scores = classifier.out_of_fold(np.zeros((50, 1)), truth, groups)
    assert np.isnan(scores[:5]).all()
    assert np.isfinite(scores).any()
