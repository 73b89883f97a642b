"""SIFT keypoints of a whole picture with bounded memory, and the descriptors of its mirror image.

Sources: Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004 (detector, descriptor);
Arandjelovic and Zisserman, "Three things everyone should know", CVPR 2012 (Hellinger kernel, here in integers so
that distances are exact in single precision).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.types import FloatArray

_UNIT = 512  # an integer Hellinger descriptor has a squared length of about _UNIT**2, below 2**24
_GRID, _BINS = 4, 8


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """Keypoints of one picture.

    Attributes:
        xy: (N, 2) float32 positions (x, y) in pixels.
        size: (N,) float32 diameters in pixels.
        angle: (N,) float32 orientations in radians, from +x towards +y (clockwise on the screen).
        response: (N,) float32 contrast of the extremum.
        descriptors: (N, 128) float32 integer-valued Hellinger descriptors.
    """

    xy: FloatArray
    size: FloatArray
    angle: FloatArray
    response: FloatArray
    descriptors: FloatArray

    def __len__(self) -> int:
        return len(self.xy)

    def take(self, index: NDArray[np.intp]) -> Keypoints:
        """Return the keypoints at `index`, in that order."""
        return Keypoints(
            self.xy[index], self.size[index], self.angle[index], self.response[index], self.descriptors[index]
        )


def detect(
    gray: NDArray[np.uint8], contrast: float = 0.02, limit: int = 10_000, upsample: int = 1, strip: int = 1024
) -> Keypoints:
    """Return SIFT keypoints of `gray`, at most `limit`, spread over the picture; deterministic.

    The picture is worked on in horizontal strips of at most `strip` rows (plus a margin on either side), so that memory
    follows the width and not the area; each keypoint is kept by the strip that owns its row.

    Args:
        gray: (H, W) uint8.
        contrast: SIFT contrast threshold; lower finds keypoints in smoother places.
        limit: Largest number of keypoints kept; see `spread_index`.
        upsample: Enlarge the picture so many times first; positions and sizes are in pixels of `gray` all the same.
        strip: Rows of a strip before enlarging.
    """
    margin, height = 96, gray.shape[0]
    count = max(1, math.ceil(height / strip))
    strip = math.ceil(height / count)
    # Describing costs as much as detecting: what a strip finds beyond its share is dropped before, weakest first.
    sift = cv2.SIFT.create(nfeatures=limit // count + limit // 2, contrastThreshold=contrast, edgeThreshold=15)
    parts = []
    for top in range(0, height, strip):
        low, high = max(0, top - margin), min(height, top + strip + margin)
        part = _detect_part(sift, gray[low:high], upsample, low)
        rows = part.xy[:, 1]
        first, last = top == 0, top + strip >= height
        own = (first | (rows >= top)) & (last | (rows < top + strip))
        parts.append(part.take(np.flatnonzero(own)))
    found = _join(parts)
    return found.take(spread_index(found.xy, found.response, gray.shape[:2], limit))


def _detect_part(sift: cv2.SIFT, gray: NDArray[np.uint8], upsample: int, top: int) -> Keypoints:
    if upsample > 1:
        enlarged = cv2.resize(gray, None, fx=upsample, fy=upsample, interpolation=cv2.INTER_CUBIC)
        gray = np.asarray(enlarged, dtype=np.uint8)
    points, raw = sift.detectAndCompute(gray, None)
    if not points or raw is None:
        return _empty()
    table = np.array([(*p.pt, p.size, p.angle, p.response) for p in points], dtype=np.float32)
    # A pixel's centre (not its corner) has whole coordinates, before and after enlarging.
    xy = (table[:, :2] + 0.5) / upsample - 0.5 + np.array([0, top], dtype=np.float32)
    size, angle = table[:, 2] / np.float32(upsample), np.deg2rad(table[:, 3])
    return Keypoints(_single(xy), _single(size), _single(angle), table[:, 4], hellinger(_single(raw)))


def _single(values: NDArray[Any]) -> FloatArray:
    return np.asarray(values, dtype=np.float32)


def _empty() -> Keypoints:
    none = np.zeros(0, dtype=np.float32)
    return Keypoints(none.reshape(0, 2), none, none, none, none.reshape(0, _GRID * _GRID * _BINS))


def _join(parts: list[Keypoints]) -> Keypoints:
    return Keypoints(
        *(np.concatenate([getattr(p, n) for p in parts]) for n in ("xy", "size", "angle", "response", "descriptors"))
    )


def hellinger(raw: FloatArray) -> FloatArray:
    """Return integer-valued Hellinger (RootSIFT) descriptors of (N, 128) SIFT histograms.

    The Euclidean distance between two of them is the Hellinger distance of the histograms, times 512, up to rounding.
    """
    total = np.maximum(raw.sum(axis=1, keepdims=True), 1e-6)
    return _single(np.rint(np.sqrt(raw / total) * _UNIT))


def mirrored(descriptors: FloatArray) -> FloatArray:
    """Return the descriptors that the same points have in the mirror image.

    A mirror along the keypoint's own orientation reverses the rows of the 4 x 4 grid and the sense of the 8 gradient
    directions; nothing has to be detected again.
    """
    rows = np.arange(_GRID)[::-1]
    bins = (-np.arange(_BINS)) % _BINS
    grid = descriptors.reshape(-1, _GRID, _GRID, _BINS)[:, rows][..., bins]
    return np.ascontiguousarray(grid.reshape(len(descriptors), -1))


def spread_index(
    xy: FloatArray, response: FloatArray, size: tuple[int, int], limit: int, cells: int = 32
) -> NDArray[np.intp]:
    """Return the indices of at most `limit` points: the strongest of every cell in turn, ordered from top to bottom.

    Points are ranked inside the cells of a `cells` x `cells` grid; all first ones come before all second ones, so
    that one busy place cannot use up the allowance.
    """
    count = len(xy)
    if count > limit:
        scale = np.array([cells / size[1], cells / size[0]], dtype=np.float32)
        at = np.clip((xy * scale).astype(np.int64), 0, cells - 1)
        cell = at[:, 1] * cells + at[:, 0]
        order = np.lexsort((np.arange(count), -response, cell))
        starts = np.searchsorted(cell[order], np.arange(cells * cells))
        rank = np.empty(count, dtype=np.int64)
        rank[order] = np.arange(count) - starts[cell[order]]
        keep = np.lexsort((np.arange(count), -response, rank))[:limit]
    else:
        keep = np.arange(count)
    return np.asarray(keep[np.lexsort((keep, xy[keep, 0], xy[keep, 1]))])
