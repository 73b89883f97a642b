"""Camera motion of a clip: how the background of one frame lies in another.

A homography from matched features (SIFT: Lowe, 2004) by RANSAC, an affine or a shift where it is not supported; what
depth leaves of motion is followed by dense flow (DIS: Kroeger et al., 2016), which is continued into unknown parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.ops.forge.video.clip import grown
from tamperscope.types import BoolArray, FloatArray, UInt8Array

Homography: TypeAlias = NDArray[np.float64]
_FEATURES, _RATIO, _TOLERANCE = 1500, 0.8, 2.0
_SUPPORT = {"homography": 24, "affine": 10, "shift": 4}
_COARSE = 4
_RIM = 12  # pixels around what is unknown in which frames are compared
_CLOSE = 3.0  # grey levels: noise alone makes such a difference
_CLEAR = 5  # pixels around an object whose features are not the background's


@dataclass(slots=True, eq=False)
class Motion:
    """The camera motion among the frames of a clip; pairs are measured when they are asked for.

    Attributes:
        frames: (H, W, 3) uint8 each.
        moving: (H, W) bool each, what moves on its own and is not looked at.
    """

    frames: Sequence[UInt8Array]
    moving: Sequence[BoolArray]
    _features: dict[int, tuple[FloatArray, Any]] = field(default_factory=dict)
    _known: dict[tuple[int, int], Homography] = field(default_factory=dict)

    def between(self, source: int, target: int) -> Homography:
        """Return the (3, 3) that takes (x, y, 1) of the background in frame `source` to its place in frame `target`.

        Frames that share too little are joined by those between them.
        """
        if source == target:
            return np.eye(3)
        if source > target:
            return np.asarray(np.linalg.inv(self.between(target, source)))
        if (source, target) not in self._known:
            found = self._matched(source, target)
            if found is None and target - source > 1:
                middle = (source + target) // 2
                found = self.between(middle, target) @ self.between(source, middle)
            self._known[source, target] = np.eye(3) if found is None else found / found[2, 2]
        return self._known[source, target]

    def warped(self, source: int, target: int, values: NDArray[Any], flags: int = cv2.INTER_CUBIC) -> NDArray[Any]:
        """Return (H, W) or (H, W, C) values of frame `source` as they lie in frame `target`; 0 where it did not see."""
        height, width = values.shape[:2]
        matrix = self.between(source, target)
        return np.asarray(cv2.warpPerspective(values, matrix, (width, height), flags=flags))

    def _matched(self, source: int, target: int) -> Homography | None:
        """Return the motion that the features of two frames support, or None."""
        (here, own), (there, other) = self._described(source), self._described(target)
        if len(here) < 2 or len(there) < 2:
            return None
        pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(own, other, k=2)
        kept = [a for a, b in pairs if a.distance < _RATIO * b.distance]
        if len(kept) < _SUPPORT["shift"]:
            return None
        first = np.asarray([here[match.queryIdx] for match in kept], np.float32)
        second = np.asarray([there[match.trainIdx] for match in kept], np.float32)
        return fitted(first, second, self.frames[source].shape[:2])

    def _described(self, number: int) -> tuple[FloatArray, Any]:
        if number not in self._features:
            grey = cv2.cvtColor(self.frames[number], cv2.COLOR_RGB2GRAY)
            still = (~grown(self.moving[number], _CLEAR)).astype(np.uint8) * np.uint8(255)
            sift = cv2.SIFT.create(nfeatures=_FEATURES, contrastThreshold=0.02)
            points, words = sift.detectAndCompute(grey, still)
            places = np.asarray([point.pt for point in points], np.float32).reshape(-1, 2)
            self._features[number] = places, words
        return self._features[number]


def fitted(first: FloatArray, second: FloatArray, size: tuple[int, int]) -> Homography | None:
    """Return the (3, 3) motion that takes points to points: the richest model with enough support, or None.

    Args:
        first: (N, 2), N >= 4, (x, y).
        second: (N, 2), where they went.
        size: (H, W) of the frame; a homography that folds or shrinks it too much is not believed.
    """
    matrix, inliers = cv2.findHomography(first, second, cv2.RANSAC, _TOLERANCE, maxIters=2000, confidence=0.999)
    if matrix is not None and inliers.sum() >= _SUPPORT["homography"] and _sane(np.asarray(matrix, np.float64), size):
        return np.asarray(matrix, np.float64)
    matrix, inliers = cv2.estimateAffine2D(first, second, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE)
    if matrix is not None and inliers.sum() >= _SUPPORT["affine"]:
        whole = np.vstack([matrix, [0.0, 0.0, 1.0]]).astype(np.float64)
        if _sane(whole, size):
            return whole
    steps = second - first
    shift = np.median(steps, axis=0)
    if (np.hypot(*(steps - shift).T) < 2 * _TOLERANCE).sum() < _SUPPORT["shift"]:
        return None
    return np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]], [0.0, 0.0, 1.0]])


def moved(matrix: Homography, x: float, y: float) -> tuple[float, float]:
    """Return where a point goes."""
    across, down, depth = matrix @ (x, y, 1.0)
    return float(across / depth), float(down / depth)


def local(matrix: Homography, x: float, y: float) -> NDArray[np.float64]:
    """Return the (2, 2) that a homography amounts to around a point: its Jacobian."""
    across, down, depth = matrix @ (x, y, 1.0)
    top = matrix[:2, :2] * depth - np.outer([across, down], matrix[2, :2])
    return np.asarray(top / depth**2)


def aligned(
    warped: UInt8Array, seen: BoolArray, target: UInt8Array, unknown: BoolArray
) -> tuple[UInt8Array, BoolArray]:
    """Return a warped frame and where it saw, after dense flow has followed what its homography missed.

    The flow is measured where both are known, continued smoothly into `unknown`, and used only where that brings the
    two closer around it.

    Args:
        warped: (H, W, 3) uint8, another frame brought to the target's place.
        seen: (H, W) bool, where it holds background.
        target: (H, W, 3) uint8.
        unknown: (H, W) bool, where the target does not show background.
    """
    both = seen & ~unknown
    rim = grown(unknown, _RIM) & both
    if both.mean() < 0.05 or not rim.any():
        return warped, seen
    old = np.abs(warped[rim].astype(np.int16) - target[rim]).mean()
    if old < _CLOSE:
        return warped, seen
    first = cv2.cvtColor(np.where(both[..., None], target, warped), cv2.COLOR_RGB2GRAY)
    second = cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY)
    start = np.zeros((*seen.shape, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, start)
    flow = continued(np.asarray(flow, np.float32), both)
    height, width = seen.shape
    grid = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))) + flow
    across, down = cv2.split(grid)
    again = cv2.remap(warped, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    where = cv2.remap(seen.astype(np.float32), across, down, cv2.INTER_LINEAR) > 0.999
    rim &= where
    if not rim.any():
        return warped, seen
    new = np.abs(again[rim].astype(np.int16) - target[rim]).mean()
    return (np.asarray(again, np.uint8), where) if new < 0.9 * old else (warped, seen)


def continued(values: FloatArray, known: BoolArray, sigma: float = 6.0) -> FloatArray:
    """Return values smoothed over what is known, and continued from it where it is not; 0 where nothing is near.

    Args:
        values: (H, W, C) float32.
        known: (H, W) bool.
        sigma: Of the finest mean, pixels; where it reaches nothing, one of twice, four or eight times that speaks.
    """
    height, width = known.shape
    weight = known.astype(np.float32)
    planes = np.dstack([values * weight[..., None], weight])
    # What is smoothed so widely needs no full resolution.
    small = max(1, round(width / _COARSE)), max(1, round(height / _COARSE))
    planes = np.asarray(cv2.resize(planes, small, interpolation=cv2.INTER_AREA), np.float32)
    total = np.zeros_like(planes)
    # Each wider mean counts far less, so that it only speaks where narrower ones have nothing to say.
    for step in range(4):
        wide = np.asarray(cv2.GaussianBlur(planes, (0, 0), sigma / _COARSE * 2**step), np.float32)
        total += np.float32(1e-3**step) * wide
    means = total[..., :-1] / np.maximum(total[..., -1:], 1e-14)
    return np.asarray(cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _sane(matrix: Homography, size: tuple[int, int]) -> bool:
    """Return whether a motion neither folds a frame nor changes its area more than fourfold."""
    height, width = size
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    if min(float((matrix @ (x, y, 1.0))[2] / matrix[2, 2]) for x, y in corners) < 0.2:
        return False
    areas = [float(np.linalg.det(local(matrix, x, y))) for x, y in corners]
    return min(areas) > 0.25 and max(areas) < 4.0
