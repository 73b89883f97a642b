"""Compiled kernels of `blk`: lines that recur every eight pixels, by exact running medians.

Import it inside the function that needs it: numba takes a moment to import. The machine code is cached on disk. All
values are integers, so that results are the same on every machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from tamperscope.signal.grid_votes import READ_PLANE
from tamperscope.types import UInt8Array

_TILE = 256  # columns worked on at a time: 33 rows of them stay in the first-level cache


@njit(cache=True, nogil=True)
def _mirror(index, length):  # type: ignore[no-untyped-def]
    """Return the row that stands in for one outside 0 .. length - 1: mirrored, the edge row not repeated."""
    period = max(2 * (length - 1), 1)
    index = abs(index) % period
    return index if index < length else period - index


@njit(cache=True, nogil=True)
def _second_difference(luma, limit):  # type: ignore[no-untyped-def]
    """Return |2 Y(y) - Y(y - 1) - Y(y + 1)| down the columns, 0 where above `limit`, as int16."""
    out = np.zeros(luma.shape, np.int16)
    for y in range(1, luma.shape[0] - 1):
        above, here, below, row = luma[y - 1], luma[y], luma[y + 1], out[y]
        for x in range(luma.shape[1]):
            step = abs(2 * np.int16(here[x]) - np.int16(above[x]) - np.int16(below[x]))
            row[x] = step if step <= limit else 0
    return out


@njit(cache=True, nogil=True)
def _sum_rows(plane, radius):  # type: ignore[no-untyped-def]
    """Replace every value by the sum of the 2 radius + 1 values around it in its row, mirrored at the ends."""
    width = plane.shape[1]
    total = np.empty(width, np.int16)
    for y in range(plane.shape[0]):
        row = plane[y]
        value = 0
        for k in range(-radius, radius + 1):
            value += row[_mirror(k, width)]
        for x in range(width):
            total[x] = value
            value += row[_mirror(x + radius + 1, width)] - row[_mirror(x - radius, width)]
        row[:] = total


@njit(cache=True, nogil=True)
def _count_below(row, level, out):  # type: ignore[no-untyped-def]
    for x in range(out.size):
        out[x] += np.int16(1) if row[x] < level[x] else np.int16(0)


@njit(cache=True, nogil=True)
def running_median(plane: NDArray[np.int16], radius: int) -> NDArray[np.int16]:
    """Return the exact median of the 2 radius + 1 values around each value in its column, mirrored at the ends.

    Finds the median bit by bit: the largest level with at most `radius` values below it.

    Args:
        plane: (H, W) int16 in [0, 2047].
        radius: Half width of the window, in rows.
    """
    height, width = plane.shape
    out = np.zeros((height, width), np.int16)
    level, below = np.empty(_TILE, np.int16), np.empty(_TILE, np.int16)
    for x0 in range(0, width, _TILE):
        x1 = min(x0 + _TILE, width)
        part, count = level[: x1 - x0], below[: x1 - x0]
        for y in range(height):
            best = out[y, x0:x1]
            for bit in (1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1):
                for x in range(part.size):
                    part[x] = best[x] + np.int16(bit)
                    count[x] = 0
                for k in range(y - radius, y + radius + 1):
                    _count_below(plane[_mirror(k, height), x0:x1], part, count)
                for x in range(part.size):
                    best[x] = part[x] if count[x] <= radius else best[x]
    return out


@njit(cache=True, nogil=True)
def _median5(a, b, c, d, e):  # type: ignore[no-untyped-def]
    """Return the third of five values."""
    a, b = min(a, b), max(a, b)
    c, d = min(c, d), max(c, d)
    low, high = max(a, c), min(b, d)
    return max(min(low, high), min(max(low, high), e))


@njit(cache=True, nogil=True)
def _lag_median(plane, period):  # type: ignore[no-untyped-def]
    """Return the median of the values 0, 1 and 2 periods above and below; a missing one is that nearest to it."""
    height, width = plane.shape
    out = np.empty((height, width), plane.dtype)
    for y in range(height):
        first, last = y % period, y + (height - 1 - y) // period * period
        a, b = plane[max(y - 2 * period, first)], plane[max(y - period, first)]
        d, e = plane[min(y + period, last)], plane[min(y + 2 * period, last)]
        c, row = plane[y], out[y]
        for x in range(width):
            row[x] = _median5(a[x], b[x], c[x], d[x], e[x])
    return out


@njit(types.Array(types.int16, 2, "C")(READ_PLANE), cache=True, nogil=True)
def grid_lines(luma: UInt8Array) -> NDArray[np.int16]:
    """Return the strength of lines that recur every 8 rows, (H, W) int16; call it on luma.T for columns.

    Second difference down the columns (0 above 50), summed over 33 pixels along the line, minus its median over 33
    rows, then the median of the values 0, 8 and 16 rows above and below.

    Source: Li, Yuan, Yu, "Passive detection of doctored JPEG image via block artifact grid extraction", Signal
    Processing 89 (9), 2009.
    """
    lines = _second_difference(luma, 50)
    _sum_rows(lines, 16)
    lines -= running_median(lines, 16)
    repeated: NDArray[np.int16] = _lag_median(lines, 8)
    return repeated
