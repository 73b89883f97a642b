"""Where the parts of a face lie, from five points: a mean face is laid over them, and its outlines become masks.

The mean face has its own units: the eyes are 1 apart, (0, 0) is midway between them, y runs down. It was drawn for this
package after common proportions (pupils 63 mm apart, a face 140 mm wide), its five points are the mean of what YuNet
answers to portraits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.signal.alignment import MEAN, similarity
from tamperscope.types import BoolArray

Points = NDArray[np.float64]

_REACH = 0.5  # width of the bump by which the mean face gives way to one of the five points
_LEAST = 16.0  # pixels between the eyes

# The half of each outline on the person's left; parts that come in pairs are whole. All are drawn as smooth curves.
_HALVES: Mapping[str, tuple[tuple[float, float], ...]] = MappingProxyType(
    {
        "face": ((0, -1.1), (0.55, -1.02), (0.95, -0.6), (1.08, 0.0), (1.0, 0.7), (0.76, 1.28), (0.4, 1.68), (0, 1.82)),
        "inner": ((0, -0.58), (0.5, -0.62), (0.88, -0.42), (0.95, 0.1), (0.86, 0.75), (0.6, 1.3), (0, 1.55)),
        "nose": ((0, -0.02), (0.1, 0.02), (0.12, 0.3), (0.26, 0.56), (0.28, 0.72), (0.14, 0.8), (0, 0.82)),
        "lip": ((0, 0.93), (0.1, 0.89), (0.28, 0.94), (0.47, 1.04), (0.34, 1.16), (0.15, 1.25), (0, 1.26)),
        "hair": (
            (0, -1.8),
            (0.6, -1.72),
            (1.1, -1.3),
            (1.3, -0.6),
            (1.15, -0.35),
            (0.98, -0.62),
            (0.6, -0.95),
            (0, -1.02),
        ),
    }
)
_PAIRS: Mapping[str, tuple[tuple[float, float], ...]] = MappingProxyType(
    {
        "eye": (
            (0.22, 0.04),
            (0.34, -0.1),
            (0.5, -0.16),
            (0.67, -0.1),
            (0.78, 0.02),
            (0.66, 0.12),
            (0.5, 0.15),
            (0.34, 0.12),
        ),
        "eyebrow": (
            (0.16, -0.3),
            (0.3, -0.41),
            (0.58, -0.48),
            (0.82, -0.4),
            (0.94, -0.22),
            (0.8, -0.27),
            (0.56, -0.32),
            (0.3, -0.26),
        ),
    }
)
PARTS = ("nose", "eye", "eyebrow", "lip", "hair", "skin")
"""Parts of a face; `eye` and `eyebrow` are both of them, `skin` is the face without the parts before."""
OUTLINES = (*_HALVES, *_PAIRS)
"""Names that `outlines` knows."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A smooth map of the plane that takes five points exactly to five others.

    It is an affine map, or a similarity, in the sense of least squares, and a bump around each point for the rest.

    Attributes:
        linear: (2, 3), takes (x, y, 1).
        anchors: (5, 2), where the bumps are.
        pushes: (5, 2), their heights.
        reach: Standard deviation of a bump, in the units of the first points.
    """

    linear: NDArray[np.float64]
    anchors: Points
    pushes: Points
    reach: float

    def __call__(self, points: Points) -> Points:
        """Return where points, (..., 2), go."""
        shape, flat = points.shape, points.reshape(-1, 2)
        bumps = _bumps(flat, self.anchors, self.reach)
        moved = flat @ self.linear[:, :2].T + self.linear[:, 2] + bumps @ self.pushes
        return np.asarray(moved.reshape(shape), np.float64)


def fitted(points: Points, onto: Points, similar: bool = False) -> Fit:
    """Return the map that takes five points onto five others.

    Args:
        points: (5, 2).
        onto: (5, 2).
        similar: Whether the linear part only turns, scales and shifts.
    """
    ones = np.hstack([points, np.ones((5, 1))])
    linear = similarity(points, onto) if similar else np.linalg.lstsq(ones, onto, rcond=None)[0].T
    reach = _REACH * float(np.linalg.norm(points[1] - points[0]))
    rest = onto - ones @ linear.T
    pushes = np.linalg.solve(_bumps(points, points, reach) + 1e-9 * np.eye(5), rest)
    return Fit(np.asarray(linear, np.float64), points, np.asarray(pushes, np.float64), reach)


def _bumps(points: Points, anchors: Points, reach: float) -> NDArray[np.float64]:
    squares = ((points[:, None] - anchors) ** 2).sum(-1)
    return np.asarray(np.exp(-squares / (2 * reach**2)), np.float64)


def unlikeness(points: Points, others: Points) -> float:
    """Return how far five points at most miss five others after the best turn, scale and shift.

    In distances between the eyes of the others. With the mean face it is near 0 for a face seen straight on.
    """
    linear = similarity(points, others)
    missed = np.linalg.norm(points @ linear[:, :2].T + linear[:, 2] - others, axis=1).max()
    return float(missed / np.linalg.norm(others[1] - others[0]))


def placed(points: Points) -> Fit:
    """Return the map from the mean face to a face with five given points.

    Raises:
        InvalidValueError: The eyes are less than 16 pixels apart, or the points lie as on no face seen from before.
    """
    apart = float(np.linalg.norm(points[1] - points[0]))
    if apart < _LEAST:
        raise InvalidValueError(f"face: expected eyes at least {_LEAST:g} pixels apart, found {apart:.1f}")
    fit = fitted(MEAN, points)
    stretch = np.linalg.svd(fit.linear[:, :2], compute_uv=False)
    if np.linalg.det(fit.linear[:, :2]) <= 0 or stretch[1] < 0.55 * stretch[0]:
        raise InvalidValueError("face: expected five points of a face seen from before, found a profile; use another")
    return fit


def outlines(name: str) -> list[Points]:
    """Return the closed outlines of a part of the mean face, each (n, 2), smooth.

    Raises:
        UnknownNameError: There is no such part; `skin` has no outline of its own.
    """
    if name in _PAIRS:
        one = _smooth(np.array(_PAIRS[name]))
        return [one * (-1, 1), one]
    if name not in _HALVES:
        raise unknown_name("part of a face", name, OUTLINES)
    half = np.array(_HALVES[name], np.float64)
    return [_smooth(np.vstack([half, half[-2:0:-1] * (-1, 1)]))]


def _smooth(corners: Points, steps: int = 8) -> Points:
    """Return a closed curve through corners (Catmull and Rom, 1974)."""
    before, here, after, beyond = (np.roll(corners, -k, axis=0)[:, None] for k in (-1, 0, 1, 2))
    t = (np.arange(steps) / steps)[:, None]
    curve = here + t / 2 * (after - before)
    curve = curve + t**2 / 2 * (2 * before - 5 * here + 4 * after - beyond)
    curve = curve + t**3 / 2 * (3 * (here - after) + beyond - before)
    return np.asarray(curve.reshape(-1, 2), np.float64)


def mask(fit: Fit, name: str, size: tuple[int, int], wider: float = 0.0) -> BoolArray:
    """Return where a part of a face lies in a picture.

    Args:
        fit: From the mean face to the picture.
        name: Of the part, one of `PARTS` or `OUTLINES`.
        size: (H, W) of the picture.
        wider: By how much the part is dilated, in distances between the eyes.

    Raises:
        UnknownNameError: There is no such part.
    """
    if name == "skin":
        others = np.logical_or.reduce([mask(fit, part, size) for part in ("nose", "eye", "eyebrow", "lip")])
        return np.asarray(mask(fit, "face", size, wider) & ~others)
    canvas = np.zeros(size, np.uint8)
    # Sixteenths of a pixel.
    for outline in outlines(name):
        cv2.fillPoly(canvas, [np.rint(fit(outline) * 16).astype(np.int32)], 1, shift=4)
    radius = wider * unit(fit)
    if radius >= 0.5:
        distance = cv2.distanceTransform(1 - canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.asarray(distance <= radius)
    return canvas.astype(bool)


def unit(fit: Fit) -> float:
    """Return the length in pixels of a unit of the mean face: the root of how much areas grow."""
    return float(np.sqrt(abs(np.linalg.det(fit.linear[:, :2]))))


def mirrored(points: Points, name: str) -> NDArray[np.float64]:
    """Return the reflection, (2, 3), that takes each pixel of a part to its place on the face's other side.

    The mirror is square to the line through the eyes and midway between them; for the lips, to that of their corners;
    for the nose it goes through its tip.

    Args:
        points: (5, 2), of the face.
        name: Of the part.
    """
    first, second = points[3:] if name == "lip" else points[:2]
    middle = points[2] if name == "nose" else (first + second) / 2
    normal = (second - first) / np.linalg.norm(second - first)
    flip = np.eye(2) - 2 * np.outer(normal, normal)
    return np.asarray(np.hstack([flip, (middle - flip @ middle)[:, None]]), np.float64)
