"""Confusion counts and what follows from them; a quotient over nothing is nan, never a number.

Thresholds are strict: a pixel or picture is called forged when its score is greater than the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamperscope.metrics.arrays import flat


@dataclass(frozen=True, slots=True)
class Counts:
    """True and false positives and negatives; fractions where they come from soft decisions."""

    tp: float
    fp: float
    fn: float
    tn: float

    def __add__(self, other: Counts) -> Counts:
        """Pool two sets of decisions."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def complement(self) -> Counts:
        """The counts when every decision is turned round."""
        return Counts(self.fn, self.tn, self.tp, self.fp)

    @property
    def total(self) -> float:
        """Number of decisions."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def f1(self) -> float:
        """2TP / (2TP + FP + FN); nan when nothing is forged and nothing is called forged."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); nan when nothing is forged and nothing is called forged."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); nan when nothing is called forged."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN), the true positive rate; nan without positives."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP), the true negative rate; nan without negatives."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def false_positive_rate(self) -> float:
        """FP / (FP + TN); nan without negatives."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all; nan without a decision."""
        return _ratio(self.tp + self.tn, self.total)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of recall and specificity; nan unless both classes occur."""
        return 0.5 * (self.recall + self.specificity)

    @property
    def mcc(self) -> float:
        """Matthews correlation; nan where a row or column of the table is empty."""
        rows = (self.tp + self.fn) * (self.tn + self.fp)
        columns = (self.tp + self.fp) * (self.tn + self.fn)
        return _ratio(self.tp * self.tn - self.fp * self.fn, math.sqrt(rows) * math.sqrt(columns))


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else math.nan


def counts(scores: Any, truth: Any, threshold: float = 0.5, valid: Any = None) -> Counts:
    """Return the confusion counts of `scores > threshold` against `truth` of the same shape."""
    s, t = flat(scores, truth, valid)
    called = s > threshold
    tp = float(np.count_nonzero(called & t))
    fp, fn = float(np.count_nonzero(called)) - tp, float(np.count_nonzero(t)) - tp
    return Counts(tp, fp, fn, t.size - tp - fp - fn)


def soft_counts(scores: Any, truth: Any, valid: Any = None) -> Counts:
    """Return the counts in which a score in [0, 1] is that much of a positive decision.

    Source: the weighted metrics of Bammey et al. (TRACE, WACV 2022): TP = Σ H·M, FP = Σ H·(1 − M).
    """
    s, t = flat(scores, truth, valid, probabilities=True)
    called, positives = float(s.sum(dtype=np.float64)), float(np.count_nonzero(t))
    tp = float(s.sum(dtype=np.float64, where=t))
    return Counts(tp, called - tp, positives - tp, t.size - called - positives + tp)
