"""Pixel and picture metrics, exact with ties; undefined is nan, never a number.

Thresholds are strict: a pixel counts as forged when its score is greater than the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamperscope.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Counts:
    """True and false positives and negatives."""

    tp: float
    fp: float
    fn: float
    tn: float

    @property
    def f1(self) -> float:
        """2TP / (2TP + FP + FN); nan when nothing is forged and nothing is called forged."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); nan when nothing is forged and nothing is called forged."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def false_positive_rate(self) -> float:
        """FP / (FP + TN); nan without negatives."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def true_positive_rate(self) -> float:
        """TP / (TP + FN); nan without positives."""
        return _ratio(self.tp, self.tp + self.fn)


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else math.nan


def _flat(scores: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    s, t = np.asarray(scores), np.asarray(truth)
    if s.shape != t.shape:
        raise InvalidValueError(f"scores and truth must have one shape, found {s.shape} and {t.shape}")
    if t.dtype != np.bool_:
        raise InvalidValueError(f"truth must be bool, found {t.dtype}; compare it with a threshold")
    flat = s.astype(np.float64).ravel()
    if np.isnan(flat).any():
        raise InvalidValueError("scores hold nan; leave those samples out and count them")
    return flat, t.ravel()


def counts(scores: ArrayLike, truth: ArrayLike, threshold: float = 0.5) -> Counts:
    """Return the confusion counts of `scores > threshold` against bool `truth` of the same shape."""
    s, t = _flat(scores, truth)
    called = s > threshold
    tp = float((called & t).sum())
    fp, fn = float(called.sum()) - tp, float(t.sum()) - tp
    return Counts(tp, fp, fn, t.size - tp - fp - fn)


def _curve(s: NDArray[np.float64], t: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cumulative true and false positives as the threshold falls below each distinct score."""
    order = np.argsort(-s, kind="stable")
    ends = np.append(np.nonzero(np.diff(s[order]))[0], s.size - 1)
    tp = np.cumsum(t[order])[ends].astype(np.float64)
    return tp, ends + 1 - tp


def auc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the area under the ROC curve, ties counted half; nan with one class only."""
    s, t = _flat(scores, truth)
    positives = int(t.sum())
    if positives in (0, t.size):
        return math.nan
    tp, fp = (np.concatenate([[0.0], c]) for c in _curve(s, t))
    return float(np.trapezoid(tp, fp) / (positives * (t.size - positives)))


def average_precision(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the average precision, ties grouped; nan without positives."""
    s, t = _flat(scores, truth)
    if not t.any():
        return math.nan
    tp, fp = _curve(s, t)
    return float(np.sum(np.diff(tp, prepend=0.0) * tp / (tp + fp)) / t.sum())


def best_f1(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the highest F1 over all thresholds (an oracle's choice); nan without positives."""
    s, t = _flat(scores, truth)
    if not t.any():
        return math.nan
    tp, fp = _curve(s, t)
    return float(np.max(2 * tp / (tp + fp + t.sum())))


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap interval and the number of values behind it."""

    value: float
    low: float
    high: float
    n: int


def bootstrap(
    values: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    statistic: Callable[[NDArray[np.float64]], float] | None = None,
    seed: int = 0,
    rounds: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Return a statistic (default: the mean) of `values` with a percentile bootstrap interval.

    Args:
        values: One value or row a sample; nan values are left out and not counted.
        groups: One name a sample; whole groups are drawn, so that samples of one source stay together.
        statistic: Maps the drawn rows to a number.
        seed: Of the draws.
        rounds: Number of draws.
        level: Coverage.
    """
    rows = np.asarray(values, dtype=np.float64)
    stat = statistic or (lambda drawn: float(drawn.mean()))
    keep = ~np.isnan(rows) if rows.ndim == 1 else ~np.isnan(rows).any(axis=1)
    rows = rows[keep]
    if len(rows) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    names = np.arange(len(rows)).astype(str) if groups is None else np.asarray(groups)[keep]
    _, member = np.unique(names, return_inverse=True)
    pools = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    rng = np.random.default_rng(seed)
    draws = [
        stat(rows[np.concatenate([pools[i] for i in rng.integers(0, len(pools), len(pools))])]) for _ in range(rounds)
    ]
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return Interval(stat(rows), float(low), float(high), len(rows))
