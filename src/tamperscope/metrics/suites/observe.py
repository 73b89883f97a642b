"""What a suite keeps of one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.geometry import Fit
from tamperscope.metrics import pixel, regions, sequences
from tamperscope.metrics.confusion import counts, soft_counts
from tamperscope.metrics.streaming import Pixels
from tamperscope.metrics.suites.base import Rule, Suite
from tamperscope.types import BoolArray, FloatArray, Prediction, Sample

RANKS = ("auc", "ap", "best_f1")
POOLED_BINS = 1024
_BOX_SIDE = 512  # maps are reduced to this before their parts are boxed at a hundred thresholds
_STEPS = 5


def observe(suite: Suite, prediction: Prediction, sample: Sample) -> dict[str, Any]:
    """Return the suite's numbers of one picture, ready for JSON (nan becomes None).

    A detector that shows no map is scored as a map of zeros: not to answer finds nothing.
    """
    found: dict[str, Any] = {}
    if suite.pixel and sample.mask is not None:
        heat = prediction.heatmap if prediction.heatmap is not None else np.zeros(sample.size, np.float32)
        found = _pixels(suite, *_on_canvas(suite, heat, sample.mask))
    for name in suite.regions:
        value = REGIONS[name](prediction, sample)
        if value is not None:
            found[name] = value
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}


def _on_canvas(suite: Suite, heat: FloatArray, mask: BoolArray) -> tuple[FloatArray, BoolArray]:
    if suite.canvas is None:
        return heat, mask
    plan = Fit("resize", suite.canvas).plan((mask.shape[0], mask.shape[1]))
    return np.clip(plan.cut(heat, 0), 0.0, 1.0), plan.cut(mask, 0)


def _pixels(suite: Suite, scores: FloatArray, truth: BoolArray) -> dict[str, Any]:
    """Measure rules of one convention together: they share counts and curve."""
    found: dict[str, Any] = {}
    forged = bool(truth.any())
    alike: dict[Any, list[Rule]] = {}
    for rule in suite.pixel:
        if rule.only != "all" and (rule.only == "forged") != forged:
            continue
        if rule.reduce == "dataset":
            found[rule.name] = _pooled(rule, scores, truth)
        elif rule.metric == "boundary_f1":
            found[rule.name] = regions.boundary_f1(scores > rule.threshold, truth) if forged else math.nan
        elif rule.polarity in ("complement", "either"):
            found[rule.name] = _turned(rule, scores, truth)
        else:
            alike.setdefault((rule.threshold, rule.polarity, rule.authentic, rule.boundary), []).append(rule)
    for (threshold, polarity, authentic, boundary), rules in alike.items():
        options: Any = {"threshold": threshold, "polarity": polarity, "authentic": authentic, "boundary": boundary}
        values = pixel.measure(scores, truth, tuple({r.metric for r in rules}), **options)
        found |= {r.name: values[r.metric] for r in rules}
    return {r.name: found[r.name] for r in suite.pixel if r.name in found}


def _turned(rule: Rule, scores: FloatArray, truth: BoolArray) -> float:
    plain = counts(scores, truth, rule.threshold)
    a, b = (float(getattr(c, rule.metric)) for c in (plain, plain.complement))
    if not truth.any() and rule.metric != "accuracy":
        return 0.0 if rule.authentic == "zero" else math.nan
    return b if rule.polarity == "complement" else float(np.fmax(a, b))


def _pooled(rule: Rule, scores: FloatArray, truth: BoolArray) -> Any:
    """Return what can be added up over pictures: four counts, or for rank metrics the bins that are not empty."""
    if rule.metric in RANKS:
        stream = Pixels(POOLED_BINS, rule.threshold)
        stream.add(scores, truth)
        return stream.to_json()
    c = soft_counts(scores, truth) if rule.metric.startswith("soft_") else counts(scores, truth, rule.threshold)
    return [c.tp, c.fp, c.fn, c.tn]


def true_boxes(sample: Sample) -> list[Sequence[float]]:
    """Return the boxes that the manifest states, or those of the connected parts of the mask."""
    if sample.meta.get("boxes"):
        return [list(box) for box in sample.meta["boxes"]]
    if sample.mask is None or not sample.mask.any():
        return []
    return [list(map(float, box)) for box in regions.boxes_of(sample.mask.astype(np.float32), 0.5)]


def _strongest_box(prediction: Prediction, sample: Sample) -> float | None:
    """IoU of the strongest region with the nearest true box; 0 when no region is called."""
    truth = true_boxes(sample)
    if not truth or not prediction.regions:
        return 0.0 if truth else None
    strongest = max(prediction.regions, key=lambda r: -math.inf if math.isnan(r.score) else r.score)
    return float(regions.box_iou([strongest.box], truth).max())


def _corloc(prediction: Prediction, sample: Sample) -> float | None:
    truth = true_boxes(sample)
    return regions.located([r.box for r in prediction.regions], truth) if truth else None


def _best_boxes(prediction: Prediction, sample: Sample, largest: bool) -> list[float] | None:
    truth = true_boxes(sample)
    if not truth:
        return None
    heat: NDArray[Any] = prediction.heatmap if prediction.heatmap is not None else np.zeros(sample.size, np.float32)
    scale = min(1.0, _BOX_SIDE / max(heat.shape))
    size = max(1, round(heat.shape[1] * scale)), max(1, round(heat.shape[0] * scale))
    small = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_AREA), 0.0, 1.0)
    factor = np.tile([size[0] / heat.shape[1], size[1] / heat.shape[0]], 2)
    ious = regions.best_box_iou(small, np.asarray(truth, np.float64) * factor, largest=largest)
    return [round(float(v), 6) for v in ious]


def _steps(prediction: Prediction, sample: Sample) -> tuple[list[Any], list[Any]] | None:
    truth = sample.meta.get("sequence")
    return None if truth is None else (list(prediction.evidence.get("sequence", []))[:_STEPS], list(truth)[:_STEPS])


def _fixed(prediction: Prediction, sample: Sample) -> float | None:
    steps = _steps(prediction, sample)
    return None if steps is None else sequences.fixed_accuracy(*steps, slots=_STEPS)


def _adaptive(prediction: Prediction, sample: Sample) -> float | None:
    steps = _steps(prediction, sample)
    return None if steps is None else sequences.adaptive_accuracy(*steps)


REGIONS = {
    "box_iou": _strongest_box,
    "corloc": _corloc,
    "max_box_accuracy": lambda p, s: _best_boxes(p, s, largest=True),
    "max_box_accuracy_v2": lambda p, s: _best_boxes(p, s, largest=False),
    "fixed_accuracy": _fixed,
    "adaptive_accuracy": _adaptive,
}
