"""Metrics of pictures: one score and one label each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.metrics.arrays import as_scores, flat
from tamperscope.metrics.confusion import Counts, counts
from tamperscope.metrics.ranking import Curve, curve
from tamperscope.types import BoolArray


@dataclass(frozen=True, eq=False)
class _Set:
    scores: NDArray[Any]
    labels: BoolArray
    threshold: float

    @cached_property
    def counts(self) -> Counts:
        return counts(self.scores, self.labels, self.threshold)

    @cached_property
    def curve(self) -> Curve:
        return curve(self.scores, self.labels)


_METRICS: dict[str, Callable[[_Set], float]] = {
    "auc": lambda s: s.curve.auc,
    "ap": lambda s: s.curve.average_precision,
    "eer": lambda s: s.curve.equal_error_rate(),
    "eer_nearest": lambda s: s.curve.equal_error_rate(interpolate=False),
    "tpr_at_fpr_1": lambda s: s.curve.recall_at(0.01),
    "tpr_at_fpr_5": lambda s: s.curve.recall_at(0.05),
    "accuracy": lambda s: s.counts.accuracy,
    "balanced_accuracy": lambda s: s.counts.balanced_accuracy,
    "f1": lambda s: s.counts.f1,
    "precision": lambda s: s.counts.precision,
    "tpr": lambda s: s.counts.recall,
    "tnr": lambda s: s.counts.specificity,
    "mcc": lambda s: s.counts.mcc,
    "f1_with_specificity": lambda s: _harmonic(s.counts.specificity, s.counts.recall),
    "ece": lambda s: calibration_error(s.scores, s.labels),
    "brier": lambda s: brier(s.scores, s.labels),
    "cllr": lambda s: likelihood_ratio_cost(log_odds(s.scores), s.labels),
}
METRICS = tuple(_METRICS)


def measure(scores: Any, labels: Any, names: Sequence[str] = METRICS, threshold: float = 0.5) -> dict[str, float]:
    """Return metrics of scored pictures; what is undefined is nan.

    Args:
        scores: (N,) higher = more suspicious. `ece`, `brier` and `cllr` take them as probabilities in [0, 1].
        labels: (N,) true where forged or generated.
        names: Of `METRICS`. `tpr_at_fpr_1` is the highest recall at a false positive rate of at most 1 %;
            `eer_nearest` is DeepfakeBench's; `f1_with_specificity` is the image F1 of MVSS-Net's tables, which has
            specificity in place of precision.
        threshold: Strict.

    Raises:
        InvalidValueError: Shapes differ, a score is nan, or a probability lies outside [0, 1].
        UnknownNameError: No metric of a name.
    """
    for name in names:
        if name not in _METRICS:
            raise unknown_name("image metric", name, METRICS)
    one = _Set(*flat(scores, labels), threshold)
    return {name: _METRICS[name](one) for name in names}


def _harmonic(a: float, b: float) -> float:
    return math.nan if math.isnan(a + b) else 2 * a * b / (a + b) if a + b > 0 else 0.0


def combined_f1(pixel_f1: float, image_f1: float) -> float:
    """Return the harmonic mean of pixel F1 on forged pictures and image F1 (WSCL's tables)."""
    return _harmonic(pixel_f1, image_f1)


def brier(probabilities: Any, labels: Any) -> float:
    """Return the mean squared error of (N,) probabilities; nan without samples."""
    p, t = flat(probabilities, labels, probabilities=True)
    return float(np.mean((p.astype(np.float64) - t) ** 2)) if p.size else math.nan


def calibration_error(probabilities: Any, labels: Any, bins: int = 15) -> float:
    """Return the expected calibration error of the probability of the positive class over bins of equal width.

    Source: Guo et al., ICML 2017, with bins (a, b] of the positive class's probability; nan without samples.
    """
    p, t = flat(probabilities, labels, probabilities=True)
    if not p.size:
        return math.nan
    at = np.clip(np.ceil(p.astype(np.float64) * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(at, p, bins) - np.bincount(at, t, bins)
    return float(np.abs(gap).sum() / p.size)


def log_odds(probabilities: Any) -> NDArray[np.float64]:
    """Return ln(p / (1 − p)); infinite at 0 and 1."""
    p = as_scores(probabilities, probabilities=True).astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-p)


def likelihood_ratio_cost(llr: Any, labels: Any) -> float:
    """Return the cost of log likelihood ratios in bits: 0 perfect, 1 says nothing; nan with one class only.

    Cllr = ½ (mean over positives of log2(1 + e^−llr) + mean over negatives of log2(1 + e^llr)) (Brümmer and du Preez,
    Computer Speech and Language 2006).

    Args:
        llr: (N,) natural logarithms.
        labels: (N,) true where forged.
    """
    values, t = flat(llr, labels)
    if t.all() or not t.any():
        return math.nan
    miss = np.logaddexp(0.0, -values[t].astype(np.float64)).mean()
    alarm = np.logaddexp(0.0, values[~t].astype(np.float64)).mean()
    return float(0.5 * (miss + alarm) / math.log(2.0))


def by_video(
    scores: Sequence[float], labels: Sequence[int], videos: Sequence[str]
) -> tuple[NDArray[np.float64], BoolArray, list[str]]:
    """Return the mean score of each video, its label and its id; a video is told by its full id.

    Raises:
        InvalidValueError: Lengths differ, or frames of one id have different labels, as happens where an id such as
            `000_003` is shared by several manipulations.
    """
    if not len(scores) == len(labels) == len(videos):
        raise InvalidValueError(
            f"expected one label and video a frame, found {len(scores)}, {len(labels)}, {len(videos)}"
        )
    names, member = np.unique(np.asarray(videos, dtype=str), return_inverse=True)
    sizes = np.bincount(member, minlength=len(names))
    positives = np.bincount(member, np.asarray(labels, float), len(names))
    mixed = [str(n) for n, p, k in zip(names, positives, sizes, strict=True) if 0 < p < k]
    if mixed:
        raise InvalidValueError(f"frames of video '{mixed[0]}' have different labels; give the full id of each video")
    return np.bincount(member, np.asarray(scores, float), len(names)) / sizes, positives > 0, [str(n) for n in names]
