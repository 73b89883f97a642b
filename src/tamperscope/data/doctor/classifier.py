"""A small logistic regression, and its scores on folds that never share a group.

Everything treats the two labels alike, to the last bit: exchanging them changes the sign of every score, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RIDGE = 1.0
FOLDS = 5
_STEPS, _TOLERANCE = 30, 1e-8
Matrix = NDArray[np.float64]


def folds(truth: NDArray[np.bool_], groups: Sequence[str], count: int, seed: int) -> NDArray[np.intp]:
    """Return the fold, 0 to `count` - 1, of each sample; a group lies in one fold, classes are spread evenly.

    Groups go, the largest first and equals in a random order, to the fold that they leave most even.
    """
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.stack([np.bincount(member, truth == c) for c in (False, True)], axis=1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]
    share = 1.0 / np.maximum(sizes.sum(axis=0), 1.0)
    filled = np.zeros((count, 2))
    home = np.zeros(len(sizes), np.intp)
    for group in order:
        # The sum of squares grows by this much, up to a constant.
        cost = ((sizes[group] * share) * (filled * share)).sum(axis=1)
        home[group] = int(np.argmin(np.round(cost, 12)))
        filled[home[group]] += sizes[group]
    return home[member]


def fit(features: Matrix, truth: NDArray[np.bool_]) -> Matrix:
    """Return the (D + 1,) weights of a ridge logistic regression, the constant last; both classes weigh the same.

    Newton's method with step halving; both classes must occur.
    """
    design = np.column_stack([features, np.ones(len(features))])
    sign = np.where(truth, 0.5, -0.5)
    weight = len(truth) / (2.0 * np.where(truth, truth.sum(), (~truth).sum()))
    ridge = np.full(design.shape[1], RIDGE)
    ridge[-1] = 1e-6
    beta = np.zeros(design.shape[1])
    loss = _loss(design, sign, weight, ridge, beta)
    for _ in range(_STEPS):
        bend = np.tanh(design @ beta / 2.0)
        slope = design.T @ (weight * (sign - bend / 2.0)) - ridge * beta
        curve = (design * (weight * (1.0 - bend**2) / 4.0)[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        while (after := _loss(design, sign, weight, ridge, beta + step)) > loss and np.abs(step).max() > _TOLERANCE:
            step = step / 2.0
        beta, gain, loss = beta + step, loss - after, after
        if gain <= _TOLERANCE * (1.0 + abs(loss)):
            break
    return beta


def _loss(design: Matrix, sign: Matrix, weight: Matrix, ridge: Matrix, beta: Matrix) -> float:
    margin = 2.0 * sign * (design @ beta)
    return float(weight @ np.logaddexp(0.0, -margin) + 0.5 * ridge @ beta**2)


def out_of_fold(features: Matrix, truth: NDArray[np.bool_], groups: Sequence[str], seed: int = 0) -> Matrix:
    """Return a score of each sample (higher = forged) from a fit that saw no sample of its group.

    nan where the rest lacks a class. Scores are rounded, so that equal features give equal scores.
    """
    scores = np.full(len(truth), np.nan)
    home = folds(truth, groups, FOLDS, seed)
    for fold in range(FOLDS):
        held = home == fold
        if truth[~held].any() and not truth[~held].all():
            beta = fit(features[~held], truth[~held])
            scores[held] = np.round(features[held] @ beta[:-1] + beta[-1], 6)
    return scores
