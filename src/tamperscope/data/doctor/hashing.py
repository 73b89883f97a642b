"""A 64-bit perceptual hash, and the pairs of hashes that lie near each other, found without comparing all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.types import UInt8Array

SIDE = 32
RADIUS = 7
MIN_DEVIATION = 2.0
_BANDS, _BATCH = 4, 1 << 20
Indices = NDArray[np.intp]


def thumbnail(rgb: UInt8Array) -> UInt8Array:
    """Return the (H, W, 3) picture as a (32, 32) grey one, each pixel the mean of what it covers."""
    import cv2

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def is_flat(thumb: UInt8Array) -> bool:
    """Return whether a thumbnail has too little contrast for its hash to mean anything."""
    return float(thumb.std()) < MIN_DEVIATION


@lru_cache(maxsize=1)
def _lowest() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows and columns of the 64 lowest frequencies without the mean, by their sum, then by row."""
    places = sorted((r + c, r, c) for r in range(SIDE) for c in range(SIDE))[1:65]
    return np.array([p[1] for p in places]), np.array([p[2] for p in places])


def dct_hash(thumb: NDArray[Any]) -> int:
    """Return 64 bits, one for each of the lowest frequencies: whether its DCT coefficient is above their median.

    The mean is left out and the median is relative, so that neither brightness nor contrast plays a part.

    Args:
        thumb: (32, 32) grey values.
    """
    import cv2

    coefficients = cv2.dct(np.asarray(thumb, np.float64))[_lowest()]
    return int.from_bytes(np.packbits(coefficients > np.median(coefficients)).tobytes(), "big")


def distance(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the number of bits that differ, element by element."""
    return np.asarray(np.bitwise_count(first ^ second), np.uint8)


def near(hashes: NDArray[np.uint64]) -> Iterator[tuple[Indices, Indices]]:
    """Yield all pairs i < j of hashes that differ in at most `RADIUS` bits, each pair once, in batches.

    The 64 bits are cut into four bands of 16. Two hashes with at most 7 different bits have a band with at most one,
    so it is enough to look up each band as it is and with each of its bits flipped.
    """
    bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), _BANDS)
    for band in range(_BANDS):
        keys = bands[:, band]
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
        for flip in (0, *(1 << bit for bit in range(16))):
            probe = keys ^ np.uint16(flip)
            start, end = np.searchsorted(ranked, probe, "left"), np.searchsorted(ranked, probe, "right")
            for i, j in _joined(start, end, order):
                fresh = (i < j) & (distance(hashes[i], hashes[j]) <= RADIUS)
                i, j = i[fresh], j[fresh]
                seen = (np.bitwise_count(bands[i, :band] ^ bands[j, :band]) <= 1).any(axis=1)
                if not seen.all():
                    yield i[~seen], j[~seen]


def _joined(start: Indices, end: Indices, order: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield each row with what `order` holds from its start to its end, about `_BATCH` pairs at a time."""
    counts = end - start
    parts = np.cumsum(counts) // _BATCH
    for rows in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(parts)) + 1):
        many = counts[rows]
        total = int(many.sum())
        if total:
            within = np.arange(total) - np.repeat(np.cumsum(many) - many, many)
            yield np.repeat(rows, many), order[np.repeat(start[rows], many) + within]


def correlation(first: UInt8Array, second: UInt8Array) -> NDArray[np.float32]:
    """Return the correlation of thumbnails, row by row; nan for a flat one.

    Args:
        first: (N, 1024) grey values.
        second: (N, 1024) grey values.
    """
    a, b = (x.astype(np.float32) - x.mean(axis=1, dtype=np.float32, keepdims=True) for x in (first, second))
    norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(axis=1) / norm, np.float32)
