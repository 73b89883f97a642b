"""Faces brought to one place, size and turn, as networks for faces expect them, and maps brought back.

The mean face has its own units: the eyes are 1 apart, (0, 0) is midway between them, y runs down.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.types import FloatArray, UInt8Array

Points = NDArray[np.float64]

MEAN: Points = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.62], [-0.44, 1.04], [0.44, 1.04]])
"""(5, 2), right eye, left eye, nose, right and left corner of the mouth of the mean face."""
WIDE = 4.2
"""Units of the mean face that a crop is wide: the face and about a third of its size around it."""
_MIDDLE = (0.0, 0.4)


def similarity(points: Points, onto: Points) -> NDArray[np.float64]:
    """Return the turn, scale and shift, (2, 3), with the least squared error (Umeyama, 1991, without mirroring)."""
    a, b = (p - p.mean(0) for p in (points, onto))
    square = (a**2).sum()
    cos = (a * b).sum() / square
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / square
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([turn, (onto.mean(0) - turn @ points.mean(0))[:, None]])


def warp_of(points: Points, side: int, wide: float = WIDE) -> NDArray[np.float64]:
    """Return the affine map (2, 3) from a picture to the crop of one of its faces.

    Args:
        points: (5, 2), (x, y), as `MEAN` orders them.
        side: Of the crop, pixels.
        wide: Distances between the eyes that the crop is wide.
    """
    return similarity(points, (MEAN - _MIDDLE) * (side / wide) + (side - 1) / 2)


def crop(rgb: UInt8Array, warp: NDArray[np.float64], side: int) -> UInt8Array:
    """Return the crop (side, side, 3) or (side, side) of a picture; beyond its edges it goes on with them.

    What is made smaller is smoothed first, so that it does not alias.

    Args:
        rgb: (H, W, 3) or (H, W) uint8.
        warp: As from `warp_of`.
        side: Pixels.
    """
    scale = float(np.sqrt(abs(np.linalg.det(warp[:, :2]))))
    if scale < 0.8:
        low, high = _reach(warp, side, rgb.shape[:2])
        part = cv2.GaussianBlur(rgb[low[1] : high[1], low[0] : high[0]], (0, 0), 0.4 / scale)
        warp = np.hstack([warp[:, :2], warp[:, 2:] + warp[:, :2] @ low[:, None]])
        rgb = np.asarray(part, np.uint8)
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    found = cv2.warpAffine(rgb, warp, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.uint8)


def back(heat: FloatArray, warp: NDArray[np.float64], size: tuple[int, int]) -> FloatArray:
    """Return the map (H, W) of a picture of which only a crop has one; 0 elsewhere.

    Args:
        heat: (side, side) float32, of the crop.
        warp: As from `warp_of`.
        size: (H, W) of the picture.
    """
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = cv2.warpAffine(heat, warp, size[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(whole, np.float32)


def _reach(warp: NDArray[np.float64], side: int, size: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the box (x, y) to (x, y) of a picture that a crop shows, with a little around it."""
    inverse = np.linalg.inv(np.vstack([warp, [0, 0, 1]]))
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ inverse.T
    limit = np.array(size[::-1])
    low = np.clip(np.floor(corners[:, :2].min(0)) - 8, 0, limit - 1).astype(np.intp)
    high = np.clip(np.ceil(corners[:, :2].max(0)) + 8, low + 1, limit).astype(np.intp)
    return low, high
