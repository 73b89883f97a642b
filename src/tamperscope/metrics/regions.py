"""Metrics of outlines, boxes and classes of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.metrics.arrays import as_numpy, as_scores, as_truth
from tamperscope.types import BoolArray

BOX_THRESHOLDS = tuple(float(t) for t in np.round(np.arange(0.0, 1.0, 0.01), 2))


def boundary_f1(called: Any, truth: Any, tolerance: float = 0.008) -> float:
    """Return F1 of the outlines: a pixel of one is right when the other passes within the tolerance.

    Source: Perazzi et al., CVPR 2016 (DAVIS, measure F). nan when neither has an outline.

    Args:
        called: (H, W) bool, what is called forged.
        truth: (H, W) bool.
        tolerance: Share of the picture's diagonal when below 1, else pixels.
    """
    a, b = as_truth(called), as_truth(truth)
    if a.shape != b.shape or a.ndim != 2:
        raise InvalidValueError(f"expected two maps (H, W) of one shape, found {a.shape} and {b.shape}")
    reach = math.ceil(tolerance * math.hypot(*a.shape)) if tolerance < 1 else int(tolerance)
    outlines = [_outline(m) for m in (a, b)]
    if not outlines[0].any() and not outlines[1].any():
        return math.nan
    away = [cv2.distanceTransform((~o).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for o in outlines]
    near = [(d <= reach + 1e-4) & o.any() for d, o in zip(away, outlines, strict=True)]
    precision, recall = (float(n[o].mean()) if o.any() else 0.0 for o, n in zip(outlines, near[::-1], strict=True))
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _outline(mask: BoolArray) -> BoolArray:
    """Return the pixels of the mask that touch what is outside it; the picture's edge is no outline."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(mask & (inner == 0))


def class_iou(called: Any, truth: Any, classes: int, ignore: int | None = None) -> NDArray[np.float64]:
    """Return the IoU of each class of pixels, such as which editor made a pixel; nan for a class in neither map.

    Args:
        called: Integer map with values in [0, classes).
        truth: Integer map of the same shape.
        classes: Number of classes.
        ignore: Value of `truth` that does not count.

    Raises:
        InvalidValueError: Shapes differ or a value is no class.
    """
    table = class_table(called, truth, classes, ignore)
    hit = np.diag(table).astype(float)
    either = table.sum(axis=0) + table.sum(axis=1) - hit
    return np.asarray(np.divide(hit, either, out=np.full(classes, np.nan), where=either > 0))


def class_table(called: Any, truth: Any, classes: int, ignore: int | None = None) -> NDArray[np.int64]:
    """Return the (classes, classes) table of pixels: rows are the truth. Tables of several pictures can be added."""
    a, b = as_numpy(called), as_numpy(truth)
    if a.shape != b.shape:
        raise InvalidValueError(f"called and truth must have one shape, found {a.shape} and {b.shape}")
    keep = np.ones(b.shape, bool) if ignore is None else b != ignore
    a, b = a[keep].astype(np.int64), b[keep].astype(np.int64)
    if a.size and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < classes):
        raise InvalidValueError(
            f"expected classes in [0, {classes}), found {min(a.min(), b.min())} to {max(a.max(), b.max())}"
        )
    return np.bincount(b * classes + a, minlength=classes * classes).reshape(classes, classes)


def mean_iou(called: Any, truth: Any, classes: int, ignore: int | None = None) -> float:
    """Return the mean IoU over the classes that occur; nan when none does."""
    each = class_iou(called, truth, classes, ignore)
    return float(np.nanmean(each)) if not np.isnan(each).all() else math.nan


def box_iou(first: Any, second: Any) -> NDArray[np.float64]:
    """Return (N, M) IoU of N with M boxes (x0, y0, x1, y1), half-open."""
    a, b = (np.asarray(as_numpy(v), np.float64).reshape(-1, 4) for v in (first, second))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(np.maximum(v[:, 2:] - v[:, :2], 0.0), axis=1) for v in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def located(called: Any, truth: Any, iou: float = 0.5) -> float:
    """Return 1 when a called box meets a true one by more than `iou`, else 0: CorLoc is its mean over pictures.

    Source: Deselaers et al., IJCV 2012 (the criterion of PASCAL VOC, strict). nan without a true box.
    """
    found = box_iou(called, truth)
    if not found.shape[1]:
        return math.nan
    return float(found.size > 0 and found.max() > iou)


def boxes_of(heat: NDArray[Any], threshold: float, largest: bool = False) -> NDArray[np.float64]:
    """Return (N, 4) boxes of the connected parts of a map at or above `threshold`; `largest` keeps only that one."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((heat >= threshold).astype(np.uint8), connectivity=8)
    if count < 2:
        return np.zeros((0, 4))
    parts = stats[1:][[int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]] if largest else stats[1:]
    return np.column_stack([parts[:, 0], parts[:, 1], parts[:, 0] + parts[:, 2], parts[:, 1] + parts[:, 3]]).astype(
        float
    )


def best_box_iou(
    heat: Any, truth: Any, thresholds: Sequence[float] = BOX_THRESHOLDS, largest: bool = True
) -> NDArray[np.float64]:
    """Return the best IoU with a true box that the parts of a map reach at each threshold: (T,).

    Args:
        heat: (H, W) in [0, 1].
        truth: (M, 4) boxes.
        thresholds: T of them.
        largest: Take the largest part only (MaxBoxAcc), else any (MaxBoxAccV2).
    """
    scores = as_scores(heat, probabilities=True)
    found = [box_iou(boxes_of(scores, t, largest), truth) for t in thresholds]
    return np.array([float(f.max()) if f.size else 0.0 for f in found])


def max_box_accuracy(ious: Any, criteria: Sequence[float] = (0.5,)) -> float:
    """Return the share of pictures located at the best common threshold, averaged over IoU criteria.

    Source: Choe et al., CVPR 2020: MaxBoxAcc with (0.5,) and the largest part, V2 with (0.3, 0.5, 0.7) and any part.

    Args:
        ious: (N, T): `best_box_iou` of N pictures; nan without pictures.
        criteria: Least IoU.
    """
    table = np.asarray(ious, np.float64)
    if table.size == 0:
        return math.nan
    return float(np.mean([(table >= c).mean(axis=0).max() for c in criteria]))
