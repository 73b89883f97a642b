"""Pixel metrics of one map: what counts as positive, which pixels count, and what an authentic picture is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.metrics.arrays import as_truth, flat
from tamperscope.metrics.confusion import Counts, counts, soft_counts
from tamperscope.metrics.ranking import Curve, curve
from tamperscope.types import BoolArray

Polarity = Literal["normal", "inverted", "best"]
Authentic = Literal["skip", "zero", "one"]


@dataclass(frozen=True, eq=False)
class _Map:
    """Scores and truth of one map, with what several metrics share."""

    scores: NDArray[Any]
    truth: BoolArray
    threshold: float

    @cached_property
    def counts(self) -> Counts:
        return counts(self.scores, self.truth, self.threshold)

    @cached_property
    def soft(self) -> Counts:
        return soft_counts(self.scores, self.truth)

    @cached_property
    def curve(self) -> Curve:
        return curve(self.scores, self.truth)


# Metrics that an authentic picture, on which nothing is forged, leaves undefined; the value is what a map that marks
# nothing there gets under authentic="one".
_OF_FORGERIES: dict[str, Callable[[_Map], float]] = {
    "f1": lambda m: m.counts.f1,
    "iou": lambda m: m.counts.iou,
    "precision": lambda m: m.counts.precision,
    "recall": lambda m: m.counts.recall,
    "mcc": lambda m: m.counts.mcc,
    "auc": lambda m: m.curve.auc,
    "ap": lambda m: m.curve.average_precision,
    "best_f1": lambda m: m.curve.best_f1,
    "soft_f1": lambda m: m.soft.f1,
    "soft_iou": lambda m: m.soft.iou,
    "soft_mcc": lambda m: m.soft.mcc,
}
_OF_ALL: dict[str, Callable[[_Map], float]] = {
    "accuracy": lambda m: m.counts.accuracy,
    "false_positive_rate": lambda m: m.counts.false_positive_rate,
}
METRICS = (*_OF_FORGERIES, *_OF_ALL)


def measure(
    scores: Any,
    truth: Any,
    names: Sequence[str] = METRICS,
    *,
    threshold: float = 0.5,
    polarity: Polarity = "normal",
    authentic: Authentic = "skip",
    boundary: tuple[int, int] | None = None,
    valid: Any = None,
) -> dict[str, float]:
    """Return pixel metrics of one map, exact with ties.

    Args:
        scores: Map in [0, 1], higher = more suspicious; a torch tensor will do.
        truth: Map of the same shape, true where forged.
        names: Of `METRICS`. `best_f1` is an oracle's choice of the threshold; `soft_…` take scores as that much of a
            decision (Bammey et al., WACV 2022).
        threshold: Strict: a pixel is called forged when its score is greater.
        polarity: `inverted` scores 1 − map, `best` the better of both: the optimistic number that some tables show.
        authentic: What a picture without a forged pixel is worth to metrics that forged pixels define: `skip` = nan,
            `zero` = 0, `one` = 1 when no pixel is called forged and else 0 (for the rank metrics nan).
        boundary: (erosion, dilation) window sides in pixels; what lies between the eroded and the dilated truth is not
            scored (TruFor: 15, 11).
        valid: Map of the same shape; only true pixels count.

    Raises:
        InvalidValueError: Shapes differ, or a score is nan or outside [0, 1].
        UnknownNameError: No metric of a name.
    """
    for name in names:
        if name not in METRICS:
            raise unknown_name("pixel metric", name, METRICS)
    if boundary is not None:
        valid = outside_band(truth, *boundary) & (True if valid is None else as_truth(valid))
    s, t = flat(scores, truth, valid, probabilities=True)
    plain = _values(s, t, names, threshold, authentic)
    if polarity == "normal":
        return plain
    other = _values(s.dtype.type(1.0) - s, t, names, threshold, authentic)
    if polarity == "inverted":
        return other
    if polarity == "best":
        better = {n: min if n == "false_positive_rate" else max for n in names}
        return {n: _nan_aware(better[n], plain[n], other[n]) for n in names}
    raise InvalidValueError(f"polarity: expected normal, inverted or best, found '{polarity}'")


def _nan_aware(choose: Callable[[float, float], float], a: float, b: float) -> float:
    return b if math.isnan(a) else a if math.isnan(b) else choose(a, b)


def _values(
    s: NDArray[Any], t: BoolArray, names: Sequence[str], threshold: float, authentic: Authentic
) -> dict[str, float]:
    one = _Map(s, t, threshold)
    found = {n: _OF_ALL[n](one) for n in names if n in _OF_ALL}
    if t.any():
        return {n: found[n] if n in found else _OF_FORGERIES[n](one) for n in names}
    if authentic not in ("skip", "zero", "one"):
        raise InvalidValueError(f"authentic: expected skip, zero or one, found '{authentic}'")
    ranks = ("auc", "ap", "best_f1")
    for name in names:
        if authentic == "one" and name not in ranks and s.size:
            found.setdefault(name, float(not (s > (0.0 if name.startswith("soft") else threshold)).any()))
        else:
            found.setdefault(name, 0.0 if authentic == "zero" else math.nan)
    return found


def outside_band(truth: Any, erosion: int, dilation: int) -> BoolArray:
    """Return which pixels lie clear of the outline: inside the eroded truth or outside the dilated one.

    Args:
        truth: (H, W).
        erosion: Side of the square window of the minimum filter, in pixels.
        dilation: Side of that of the maximum filter.
    """
    mask = as_truth(truth).astype(np.uint8)
    if mask.ndim != 2:
        raise InvalidValueError(f"a boundary needs a map (H, W), found shape {mask.shape}")
    inner = cv2.erode(mask, np.ones((erosion, erosion), np.uint8))
    outer = cv2.dilate(mask, np.ones((dilation, dilation), np.uint8))
    return np.asarray((inner > 0) | (outer == 0))
