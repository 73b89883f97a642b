"""Pixelwise agreement of a picture with itself under a plane transform, and the region where it holds.

Agreement is measured in small windows: zero-mean normalized cross-correlation, residual variance and difference of
means. Windows without texture say nothing by themselves; they join a region only where texture around them agrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.signal.affine import Affine, apply
from tamperscope.types import BoolArray, Box, FloatArray

WINDOW = 9
_NOISE = 2.0  # grey levels squared that rounding and compression add to a window's variance
_TEXTURE = 4.0  # grey levels squared; below, a window is flat


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """How well the pixels of a box agree with their images under a transform; all maps have the box's shape.

    Attributes:
        box: (x0, y0, x1, y1) in the picture.
        here, there: Luma at the place and at its image.
        valid: The image lies inside the picture and far enough from the place.
        correlation: Normalized cross-correlation in windows; about 0 where there is no texture.
        residual: Variance of the difference in windows.
        variance: Mean of the two windows' variances.
        shift: Difference of the two windows' means.
    """

    box: Box
    here: FloatArray
    there: FloatArray
    valid: BoolArray
    correlation: FloatArray
    residual: FloatArray
    variance: FloatArray
    shift: FloatArray

    @property
    def textured(self) -> BoolArray:
        """Windows that carry enough texture to say something."""
        return np.asarray(self.variance > _TEXTURE)


def warp(plane: FloatArray, transform: Affine, box: Box, interpolation: int = cv2.INTER_CUBIC) -> FloatArray:
    """Return `plane` at the images of the box's pixels: out(x, y) = plane(transform(x + x0, y + y0))."""
    x0, y0, x1, y1 = box
    moved = transform.copy()
    moved[:, 2] = apply(transform, np.array([[x0, y0]]))[0]
    flags = interpolation | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(plane, moved, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, dtype=np.float32)


def compare(gray: FloatArray, transform: Affine, box: Box, min_distance: float) -> Agreement:
    """Return the agreement of the pixels in `box` with their images under `transform`."""
    x0, y0, x1, y1 = box
    here = np.ascontiguousarray(gray[y0:y1, x0:x1])
    valid = _valid(gray.shape, transform, box, min_distance)
    return between(here, warp(gray, transform, box), valid, box)


def between(here: FloatArray, there: FloatArray, valid: BoolArray, box: Box) -> Agreement:
    """Return the agreement of two planes of the box's shape; `valid` marks where both say something."""
    mean_here, mean_there = _mean(here), _mean(there)
    var_here = np.maximum(_mean(here * here) - mean_here**2, 0.0)
    var_there = np.maximum(_mean(there * there) - mean_there**2, 0.0)
    covariance = _mean(here * there) - mean_here * mean_there
    return Agreement(
        box=box,
        here=here,
        there=there,
        valid=valid,
        correlation=covariance / (np.sqrt(var_here * var_there) + _NOISE),
        residual=np.maximum(var_here + var_there - 2.0 * covariance, 0.0),
        variance=0.5 * (var_here + var_there),
        shift=mean_here - mean_there,
    )


def _mean(plane: FloatArray, window: int = WINDOW) -> FloatArray:
    return np.asarray(cv2.boxFilter(plane, -1, (window, window), borderType=cv2.BORDER_REFLECT))


def _valid(shape: tuple[int, ...], transform: Affine, box: Box, min_distance: float) -> BoolArray:
    x0, y0, x1, y1 = box
    x, y = np.arange(x0, x1, dtype=np.float32)[None], np.arange(y0, y1, dtype=np.float32)[:, None]
    (a, b, c), (d, e, f) = transform.astype(np.float32)
    to_x, to_y = a * x + b * y + c, d * x + e * y + f
    inside = (to_x >= 0) & (to_x <= shape[1] - 1) & (to_y >= 0) & (to_y <= shape[0] - 1)
    return np.asarray(inside & ((to_x - x) ** 2 + (to_y - y) ** 2 >= min_distance**2))


def region(agreement: Agreement, seeds: FloatArray, min_area: int) -> BoolArray | None:
    """Return the part of the box that agrees, or None.

    Windows that agree are closed into compact parts; parts that hold a seed are kept (the largest one, when there are
    no seeds), holes are filled, and the outline is let out over pixels that agree one by one, because a window that
    straddles the outline does not agree as a whole.

    Args:
        agreement: Maps of one transform.
        seeds: (N, 2) picture positions known to correspond; may be empty.
        min_area: Smallest part in pixels.
    """
    textured, gap = agreement.textured, np.abs(agreement.shift)
    core = (agreement.correlation > 0.7) & (gap < 4.0) & textured & agreement.valid
    opened = cv2.morphologyEx(core.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, disk(7)) > 0
    flat = ~textured & (gap < 3.0) & (agreement.residual < 9.0)
    fits = flat | (opened > 0) | (textured & (agreement.correlation > 0.5) & (gap < 6.0))
    parts = _keep(closed & fits & agreement.valid, agreement.box, seeds, min_area)
    if parts is None:
        return None
    return _let_out(parts, agreement)


def disk(radius: int) -> NDArray[np.uint8]:
    """Return a round structuring element of the given radius."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))


def _keep(mask: BoolArray, box: Box, seeds: FloatArray, min_area: int) -> BoolArray | None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, dtype=bool)
    if len(seeds):
        at = np.rint(seeds).astype(np.int64) - np.array(box[:2])
        inside = ((at >= 0) & (at < np.array(mask.shape[::-1]))).all(axis=1)
        kept[labels[at[inside, 1], at[inside, 0]]] = True
    elif count > 1:
        kept[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))] = True
    kept &= stats[:, cv2.CC_STAT_AREA] >= min_area
    kept[0] = False
    return np.asarray(kept[labels]) if kept.any() else None


def _let_out(mask: BoolArray, agreement: Agreement, steps: int = WINDOW // 2 + 1) -> BoolArray:
    noise = float(np.sqrt(np.median(agreement.residual[mask])))
    gap = _mean(np.abs(agreement.here - agreement.there), 3)
    fits = agreement.valid & (gap < max(4.0, 2.0 * noise))
    grown = mask.astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for _ in range(steps):
        grown = cv2.dilate(grown, cross) & (fits | mask).astype(np.uint8)
    opened = cv2.morphologyEx(grown, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return fill_holes((opened > 0) | mask)


def fill_holes(mask: BoolArray) -> BoolArray:
    """Return `mask` with everything that it encloses."""
    padded = np.pad(mask.astype(np.uint8), 1)
    count, labels = cv2.connectedComponents(1 - padded, connectivity=4)
    return np.asarray((labels != labels[0, 0])[1:-1, 1:-1]) if count > 1 else mask
