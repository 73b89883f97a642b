"""JPEG quantization tables: the Annex K base tables, the IJG quality scale, and the nearest quality of a table.

Source: ITU-T T.81 (1992), tables K.1 and K.2; scaling as in the Independent JPEG Group's `jcparam.c`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError

Table = NDArray[np.uint16]

# ZIGZAG[k] = 8 * row + column of the k-th coefficient in the order of a JPEG file (T.81, figure A.6).
ZIGZAG: tuple[int, ...] = tuple(
    8 * row + column
    for row, column in sorted(
        ((r, c) for r in range(8) for c in range(8)),
        key=lambda rc: (sum(rc), rc[0] if sum(rc) % 2 else rc[1]),
    )
)

_BASE_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=np.int64,
)
_BASE_CHROMA = np.full((8, 8), 99, dtype=np.int64)
_BASE_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


@dataclass(frozen=True, slots=True)
class QualityMatch:
    """The IJG quality whose tables are nearest to given ones.

    Attributes:
        quality: 1 to 100.
        distance: Sum of absolute differences of the entries, averaged over the three colour components.
        exact: Whether every entry is equal.
    """

    quality: int
    distance: float
    exact: bool


def ijg_table(quality: int, chroma: bool = False) -> Table:
    """Return the (8, 8) uint16 table that the IJG library writes at `quality`, in natural order.

    Args:
        quality: 1 to 100.
        chroma: Scale table K.2 (chrominance) instead of K.1 (luminance).

    Raises:
        InvalidValueError: `quality` is outside 1 to 100.
    """
    if not 1 <= quality <= 100:
        raise InvalidValueError(f"quality: expected 1 to 100, found {quality}")
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = _BASE_CHROMA if chroma else _BASE_LUMA
    return np.clip((base * scale + 50) // 100, 1, 255).astype(np.uint16)


@lru_cache(maxsize=2)
def _all_tables(chroma: bool) -> NDArray[np.int64]:
    return np.stack([ijg_table(q, chroma) for q in range(1, 101)]).astype(np.int64)


def nearest_quality(tables: Sequence[NDArray[np.integer]]) -> QualityMatch:
    """Return the IJG quality whose tables are nearest to `tables`; ties go to the lowest quality.

    The distance is (L1 of luma + 2 L1 of chroma) / 3 with one chroma table, the mean L1 over Y, Cb and Cr
    with two, and the L1 of luma alone with none.

    Args:
        tables: One to three (8, 8) tables in natural order: luminance first, then chrominance.

    Raises:
        InvalidValueError: No table, more than three, or one that is not (8, 8).
    """
    if not 1 <= len(tables) <= 3 or any(t.shape != (8, 8) for t in tables):
        found = [t.shape for t in tables]
        raise InvalidValueError(f"tables: expected one to three (8, 8) tables, luminance first, found {found}")
    luma, *chroma = (np.asarray(t, dtype=np.int64) for t in tables)
    distance = np.abs(_all_tables(False) - luma).sum(axis=(1, 2)).astype(np.float64)
    if chroma:
        l1 = np.mean([np.abs(_all_tables(True) - t).sum(axis=(1, 2)) for t in chroma], axis=0)
        distance = (distance + 2 * l1) / 3
    best = int(distance.argmin())
    return QualityMatch(best + 1, float(distance[best]), bool(distance[best] == 0))
