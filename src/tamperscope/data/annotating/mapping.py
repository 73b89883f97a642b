"""What was edited, as a soft map, where the original is laid over the edited picture.

Sources and departures: MIML trains DASS (SPG: both pictures and their difference) and SACM (SDG: correlation of
features). Here the same questions are answered without training. `changed` compares what is left after tone, colour,
sharpness and alignment have been fitted away with what noise and a small misalignment explain; `shared` grows the
object from matched keypoints over all windows that correlate. So an object that was only retouched a little, or resized
in its place, shows at its edges alone, where a trained network would know the object.
"""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.data.annotating.relating import Laid, agreement_of
from tamperscope.signal import dense_match, preview, tone
from tamperscope.types import BoolArray, FloatArray, UInt8Array

_LEVELS = 7.0  # grey levels by which a place must differ
_DEVIATION = 3.0  # the same in multiples of what noise and alignment explain
_SLOPE = 0.25  # pixels of misalignment that are explained away
_STEEP = 4.0  # of the soft map: 15/16 is reached at twice the level at which it is 1/2
_SPECK, _GAP = 3, 9  # pixels: smaller ones go, smaller holes close
_LEAST_SHARE = 0.001
_ALIKE = 0.7  # correlation of windows that show the same
_DISK = dense_match.disk(4)


def changed(laid: Laid, edited: UInt8Array) -> FloatArray:
    """Return the soft map of what was changed on the same canvas, (H, W) in [0, 1]; 0 beyond the original.

    Args:
        laid: The original.
        edited: (H, W, 3).
    """
    other, covered = edited.astype(np.float32), laid.covered
    inner = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if not inner.any():
        return np.zeros(covered.shape, np.float32)
    agreement = agreement_of(laid.picture, edited, inner)
    alike = inner & agreement.textured & (agreement.correlation > _ALIKE)
    fitted = tone.fitted(laid.picture, other, alike if alike.mean() > 0.02 else inner)
    # What is clearly changed must not pull the tone of all the rest.
    rest = inner & (_excess(fitted, other, inner) < 1)
    if rest.mean() > 0.2:
        fitted = tone.fitted(laid.picture, other, rest)
    excess = _excess(fitted, other, rest if rest.any() else inner)
    return _settled(np.where(inner, excess, 0))


def _excess(fitted: FloatArray, other: FloatArray, known: BoolArray) -> FloatArray:
    """Return the difference in units of what counts: above 1 is a change."""
    gap = cv2.blur(fitted - other, (3, 3))
    size = np.sqrt((gap**2).mean(axis=2))
    noise = max(1.0, 1.4826 * float(np.median(size[known])))
    plane = preview.luma_of(fitted)
    slope = np.hypot(*(cv2.Sobel(plane, cv2.CV_32F, x, 1 - x, scale=0.125) for x in (1, 0)))
    tolerance = noise + _SLOPE * cv2.dilate(slope, np.ones((5, 5), np.uint8))
    return np.asarray(np.minimum(size / _LEVELS, size / (_DEVIATION * tolerance)), np.float32)


def _settled(excess: FloatArray) -> FloatArray:
    """Return the soft map of an excess: specks gone, gaps closed, p = e^4 / (1 + e^4)."""
    level = np.log(np.maximum(excess, 1e-3)).astype(np.float32)
    opened = cv2.morphologyEx(level, cv2.MORPH_OPEN, dense_match.disk(_SPECK // 2))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, dense_match.disk(_GAP // 2))
    smooth = cv2.GaussianBlur(closed, (0, 0), 1.0)
    soft = 1 / (1 + np.exp(-_STEEP * smooth))
    return _without_crumbs(np.asarray(soft, np.float32))


def _without_crumbs(soft: FloatArray) -> FloatArray:
    """Return a map without parts that are too small to be an edit, and with what the large ones enclose."""
    least = max(16, int(_LEAST_SHARE * soft.size))
    count, labels, stats, _ = cv2.connectedComponentsWithStats((soft > 0.5).astype(np.uint8), connectivity=8)
    small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] < least]
    kept = np.where(np.isin(labels, small), np.float32(0), soft)
    filled = dense_match.fill_holes(kept > 0.5)
    return np.asarray(np.where(filled & (kept <= 0.5), np.float32(1), kept), np.float32)


def shared(laid: Laid, edited: UInt8Array) -> FloatArray:
    """Return the soft map of an object of the original on another canvas, (H, W) in [0, 1].

    Args:
        laid: The original, aligned with the object.
        edited: (H, W, 3).
    """
    nothing = np.zeros(laid.covered.shape, np.float32)
    other = edited.astype(np.float32)
    first = agreement_of(laid.picture, edited, laid.covered)
    alike = (first.correlation > _ALIKE) & first.textured & laid.covered & _around(laid)
    if alike.sum() < 64:
        return nothing
    fitted = tone.fitted(laid.picture, other, alike)
    again = agreement_of(fitted, edited, laid.covered)
    region = dense_match.region(again, laid.points, 64)
    if region is None:
        return nothing
    gap = np.sqrt((cv2.blur(fitted - other, (3, 3)) ** 2).mean(axis=2))
    noise = max(2.0, 1.4826 * float(np.median(gap[region])))
    fits = np.maximum(np.where(again.textured, again.correlation, 0), np.exp(-((gap / (3 * noise)) ** 2)))
    whole = _grown(region, (fits > 0.5) & laid.covered)
    inside = cv2.GaussianBlur(whole.astype(np.float32), (0, 0), 1.5)
    level = cv2.GaussianBlur(fits.astype(np.float32), (0, 0), 2.0)
    return np.asarray(np.clip(2 * inside, 0, 1) * np.clip((level - 0.2) / 0.5, 0, 1), np.float32)


def _around(laid: Laid, reach: int = 24) -> BoolArray:
    """Return what lies near the known points."""
    near = np.zeros(laid.covered.shape, np.uint8)
    at = np.clip(np.rint(laid.points).astype(int), 0, np.array(near.shape[::-1]) - 1)
    near[at[:, 1], at[:, 0]] = 1
    return np.asarray(cv2.dilate(near, dense_match.disk(reach)) > 0)


def _grown(region: BoolArray, fits: BoolArray) -> BoolArray:
    """Return a region with all that fits and hangs together with it."""
    opened = cv2.morphologyEx((fits | region).astype(np.uint8), cv2.MORPH_OPEN, dense_match.disk(2))
    labels = cv2.connectedComponents(opened, connectivity=4)[1]
    held = np.unique(labels[region & (labels > 0)])
    closed = cv2.morphologyEx((np.isin(labels, held[held > 0]) | region).astype(np.uint8), cv2.MORPH_CLOSE, _DISK)
    return dense_match.fill_holes(closed > 0)
