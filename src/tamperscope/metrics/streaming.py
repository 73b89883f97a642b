"""Metrics over any number of pixels in fixed memory: one pass, one histogram a class.

A histogram cannot tell scores inside one bin apart, and counts them as tied. The area under the ROC curve then errs by
at most half the share of (positive, negative) pairs that lie in one bin; `Pixels.auc_error` states that bound for the
data seen. Scores that never share a bin unless they are equal, such as 8-bit maps, lose nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.metrics.arrays import as_numpy, as_truth
from tamperscope.metrics.confusion import Counts
from tamperscope.metrics.ranking import Curve


class Pixels:
    """Counts and score histograms of a stream of maps; two of them can be added.

    Attributes:
        threshold: Strict; counts at it are exact.
        bins: Width of a bin is 1 / bins.
    """

    def __init__(self, bins: int = 65_536, threshold: float = 0.5) -> None:
        self.bins = bins
        self.threshold = threshold
        self._histogram = np.zeros(2 * bins, np.int64)
        self._above = np.zeros(2, np.int64)

    def add(self, scores: Any, truth: Any, valid: Any = None) -> None:
        """Take in a map of scores in [0, 1] with its truth and, if need be, the area that counts.

        Raises:
            InvalidValueError: The shapes differ, or a score is nan or outside [0, 1]; the map is then not counted.
        """
        from tamperscope.metrics.kernels import fill, outside

        s, t = as_numpy(scores), as_truth(truth)
        if s.shape != t.shape:
            raise InvalidValueError(f"scores and truth must have one shape, found {s.shape} and {t.shape}")
        if valid is not None:
            keep = as_truth(valid)
            if keep.shape != s.shape:
                raise InvalidValueError(f"the valid area must have the shape {s.shape}, found {keep.shape}")
            s, t = s[keep], t[keep]
        flat = np.ascontiguousarray(s, np.float32).ravel()
        if bad := outside(flat):
            raise InvalidValueError(f"{bad} scores are nan or outside [0, 1]; apply a sigmoid to logits before")
        fill(flat, np.ascontiguousarray(t).ravel().view(np.uint8), self._histogram, self.threshold, self._above)

    def __iadd__(self, other: Pixels) -> Pixels:
        """Take in what another one has seen.

        Raises:
            InvalidValueError: Their bins or thresholds differ.
        """
        if (self.bins, self.threshold) != (other.bins, other.threshold):
            raise InvalidValueError(
                f"both must have the same bins and threshold, found {self.bins}, {self.threshold} "
                f"and {other.bins}, {other.threshold}"
            )
        self._histogram += other._histogram
        self._above += other._above
        return self

    @classmethod
    def from_histogram(cls, histogram: NDArray[np.int64]) -> Pixels:
        """Return the stream that has seen a (bins, 2) histogram; its counts at the threshold are those of the bins."""
        made = cls(len(histogram))
        made._histogram = np.ascontiguousarray(histogram, np.int64).ravel()
        made._above = histogram[len(histogram) // 2 :].sum(axis=0)
        return made

    @property
    def histogram(self) -> NDArray[np.int64]:
        """(bins, 2): negatives and positives in each bin."""
        return self._histogram.reshape(-1, 2)

    def to_json(self) -> list[Any]:
        """Return [bins, [bin, negatives, positives, …]] of the bins that are not empty."""
        seen = np.flatnonzero(self.histogram.any(axis=1))
        return [self.bins, np.column_stack([seen, self.histogram[seen]]).ravel().tolist()]

    @classmethod
    def from_json(cls, value: list[Any]) -> Pixels:
        """Return what `to_json` described."""
        bins, flat = value
        table = np.array(flat, np.int64).reshape(-1, 3)
        histogram = np.zeros((bins, 2), np.int64)
        histogram[table[:, 0]] = table[:, 1:]
        return cls.from_histogram(histogram)

    @property
    def counts(self) -> Counts:
        """Exact counts at the threshold."""
        negatives, positives = (int(self._histogram[c::2].sum()) for c in (0, 1))
        fp, tp = (int(v) for v in self._above)
        return Counts(tp, fp, positives - tp, negatives - fp)

    @property
    def curve(self) -> Curve:
        """The curve in which scores of one bin are tied; its scores are the lower edges of the bins."""
        from tamperscope.metrics.kernels import unroll

        tp, fp, seen = (np.empty(self.bins, np.int64) for _ in range(3))
        count = unroll(self._histogram, tp, fp, seen)
        return Curve(seen[:count] / self.bins, tp[:count], fp[:count])

    @property
    def auc_error(self) -> float:
        """Largest possible difference between `curve.auc` and the exact area; nan with one class only."""
        negatives, positives = self._histogram[::2].astype(float), self._histogram[1::2].astype(float)
        pairs = positives.sum() * negatives.sum()
        return float(0.5 * (positives * negatives).sum() / pairs) if pairs else float("nan")
