"""Metrics of an order: ROC and precision-recall areas, best F1, error rates at an operating point. Ties are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.metrics.arrays import flat
from tamperscope.metrics.confusion import Counts
from tamperscope.types import BoolArray


@dataclass(frozen=True, eq=False)
class Curve:
    """What happens as the threshold falls below each distinct score; everything with one score moves together.

    Attributes:
        scores: (K,) distinct scores, falling.
        tp: (K,) int64, positives with that score or more.
        fp: (K,) int64, negatives with that score or more.
    """

    scores: NDArray[Any]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]

    @property
    def positives(self) -> int:
        """Number of positives."""
        return int(self.tp[-1]) if self.tp.size else 0

    @property
    def negatives(self) -> int:
        """Number of negatives."""
        return int(self.fp[-1]) if self.fp.size else 0

    @cached_property
    def _summary(self) -> tuple[float, float, float, int]:
        from tamperscope.metrics.kernels import summarize

        return summarize(self.tp, self.fp)

    @property
    def auc(self) -> float:
        """Area under the ROC curve, ties counted half; nan with one class only."""
        if not self.positives or not self.negatives:
            return math.nan
        return float(self._summary[0] / 2.0 / self.positives / self.negatives)

    @property
    def average_precision(self) -> float:
        """Average precision without interpolation; nan without positives."""
        return float(self._summary[1] / self.positives) if self.positives else math.nan

    @property
    def best_f1(self) -> float:
        """Highest F1 over all thresholds, an oracle's choice; nan without positives."""
        return float(self._summary[2]) if self.positives else math.nan

    @property
    def best_threshold(self) -> float:
        """The strict threshold of the highest F1 (the next lower score, or just below the lowest); nan likewise."""
        if not self.positives:
            return math.nan
        at = self._summary[3] + 1
        return float(self.scores[at]) if at < self.scores.size else float(np.nextafter(self.scores[-1], -np.inf))

    def at(self, threshold: float) -> Counts:
        """Return the counts when scores greater than `threshold` are called forged."""
        index = int(np.searchsorted(-self.scores, -self.scores.dtype.type(threshold), side="left")) - 1
        tp, fp = (int(self.tp[index]), int(self.fp[index])) if index >= 0 else (0, 0)
        return Counts(tp, fp, self.positives - tp, self.negatives - fp)

    def equal_error_rate(self, interpolate: bool = True) -> float:
        """Return the rate at which false alarms and misses are equally frequent; nan with one class only.

        Args:
            interpolate: Between neighbouring points of the ROC curve; else the false positive rate at the point where
                both rates are nearest, as DeepfakeBench has it.
        """
        if not self.positives or not self.negatives:
            return math.nan
        alarms = np.concatenate([[0.0], self.fp / self.negatives])
        misses = 1.0 - np.concatenate([[0.0], self.tp / self.positives])
        if not interpolate:
            return float(alarms[np.argmin(np.abs(misses - alarms))])
        after = int(np.argmax(alarms >= misses))  # at least 1: the curve starts at no alarm and all missed
        gap = misses - alarms
        share = gap[after - 1] / (gap[after - 1] - gap[after])
        return float(alarms[after - 1] + share * (alarms[after] - alarms[after - 1]))

    def recall_at(self, false_positive_rate: float) -> float:
        """Return the highest true positive rate at no more than a false positive rate; nan with one class only."""
        if not self.positives or not self.negatives:
            return math.nan
        allowed = self.fp <= false_positive_rate * self.negatives
        return float(self.tp[allowed].max() / self.positives) if allowed.any() else 0.0


def curve(scores: Any, truth: Any, valid: Any = None) -> Curve:
    """Return the exact curve of scores against truth of the same shape; the order of the samples plays no part."""
    s, t = flat(scores, truth, valid)
    return _packed(s, t) if s.dtype == np.float32 else _sorted(s, t)


def _sorted(s: NDArray[Any], t: BoolArray) -> Curve:
    if not s.size:
        none = np.zeros(0, np.int64)
        return Curve(s, none, none)
    order = np.argsort(-s, kind="stable")
    s, t = s[order], t[order]
    ends = np.append(np.flatnonzero(s[1:] != s[:-1]), s.size - 1)
    tp = np.cumsum(t, dtype=np.int64)[ends]
    return Curve(s[ends], tp, ends + 1 - tp)


def _packed(s: NDArray[np.float32], t: BoolArray) -> Curve:
    """Sort single-precision scores as integers whose lowest bit is the truth: faster than sorting an index."""
    from tamperscope.metrics.kernels import group

    bits = (s + np.float32(0.0)).view(np.uint32)  # adding 0 turns -0.0 into 0.0
    if s.size and float(s.min()) < 0.0:
        bits = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
        keys = bits.astype(np.uint64) << np.uint64(1) | t
    else:
        keys = bits  # in place: fresh memory costs more than the arithmetic
        keys <<= np.uint32(1)
        keys |= t.view(np.uint8)
    keys.sort()
    tp, fp = np.empty(s.size, np.int64), np.empty(s.size, np.int64)
    top = np.empty(s.size, np.uint32)
    count = group(keys, tp, fp, top)
    top = top[:count]
    if keys.dtype == np.uint64:
        top = np.where(top >> 31 == 1, top & np.uint32(0x7FFFFFFF), ~top)
    return Curve(top.view(np.float32), tp[:count], fp[:count])


def auc(scores: Any, truth: Any, valid: Any = None) -> float:
    """Return the area under the ROC curve, ties counted half; nan with one class only."""
    return curve(scores, truth, valid).auc


def average_precision(scores: Any, truth: Any, valid: Any = None) -> float:
    """Return the average precision, ties grouped; nan without positives."""
    return curve(scores, truth, valid).average_precision


def best_f1(scores: Any, truth: Any, valid: Any = None) -> float:
    """Return the highest F1 over all thresholds (an oracle's choice); nan without positives."""
    return curve(scores, truth, valid).best_f1
