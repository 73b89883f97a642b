"""Metrics of maps of editors: which of several editors made each pixel, 0 for none; exact over any number of pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.metrics.arrays import as_numpy, as_truth
from tamperscope.metrics.confusion import Counts

METRICS = ("miou", "editors_miou", "foreground_iou", "attribution")


class Table:
    """How often each class was called each class; two tables can be added.

    Attributes:
        counts: (K, K) int64, pixels by their true class and by the one that they were called.

    Args:
        classes: Number of classes, with that of no editor, at least 2.

    Raises:
        InvalidValueError: There are fewer classes.
    """

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise InvalidValueError(f"classes: expected at least 2, found {classes}")
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, called: Any, truth: Any, valid: Any = None) -> None:
        """Take in a map.

        Args:
            called: Whole numbers, the class that each pixel is called.
            truth: The same, the class that it is; pixels below 0, whose class is not known, do not count.
            valid: True where a pixel counts; None = everywhere.

        Raises:
            InvalidValueError: Shapes differ, or a class is not one of the table's; the map is then not counted.
        """
        c, t = as_numpy(called), as_numpy(truth)
        keep = t >= 0 if valid is None else as_truth(valid) & (t >= 0)
        if c.shape != t.shape or keep.shape != t.shape or c.dtype.kind not in "iu" or t.dtype.kind not in "iu":
            found = f"{c.dtype} {c.shape}, {t.dtype} {t.shape}, {keep.shape}"
            raise InvalidValueError(f"classes: expected whole numbers of one shape, found {found}")
        c, t, number = c[keep].astype(np.int64), t[keep].astype(np.int64), len(self.counts)
        if c.size and (c.min() < 0 or max(c.max(), t.max()) >= number):
            found = f"{c.min()} to {max(c.max(), t.max())}"
            raise InvalidValueError(f"classes: expected numbers from 0 to {number - 1}, found {found}")
        self.counts += np.bincount(number * t + c, minlength=number**2).reshape(number, number)

    def __iadd__(self, other: Table) -> Table:
        """Take in what another one has seen.

        Raises:
            InvalidValueError: It has another number of classes.
        """
        if len(self.counts) != len(other.counts):
            raise InvalidValueError(f"classes: expected {len(self.counts)}, found a table of {len(other.counts)}")
        self.counts += other.counts
        return self

    def ious(self) -> list[float]:
        """Return the intersection over union of each class; nan where it neither is nor was called."""
        return [self._one(np.arange(len(self.counts)) == k).iou for k in range(len(self.counts))]

    def metrics(self) -> dict[str, float]:
        """Return the `METRICS`; nan where one is not defined.

        `miou` is the mean IoU of all classes that are or were called, `editors_miou` that of those from 1 on: what
        DiffSeg30k (arXiv 2511.19111) reports as mIoU with and without the background. `foreground_iou` is the IoU of
        edited pixels, whoever edited them. `attribution` is the share of edited pixels whose editor was named.
        """
        ious, edited = self.ious(), np.arange(len(self.counts)) > 0
        total = int(self.counts[1:].sum())
        return {
            "miou": _mean(ious),
            "editors_miou": _mean(ious[1:]),
            "foreground_iou": self._one(edited).iou,
            "attribution": int(np.trace(self.counts[1:, 1:])) / total if total else math.nan,
        }

    def _one(self, chosen: NDArray[np.bool_]) -> Counts:
        """Return the counts of some classes against all others."""
        tp = int(self.counts[np.ix_(chosen, chosen)].sum())
        called, true = int(self.counts[:, chosen].sum()), int(self.counts[chosen].sum())
        return Counts(tp, called - tp, true - tp, int(self.counts.sum()) - called - true + tp)


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return math.fsum(known) / len(known) if known else math.nan
