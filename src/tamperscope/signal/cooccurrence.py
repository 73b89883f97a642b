"""Third-order residuals and the histograms of their 4-pixel co-occurrences, counted per 8 x 8 cell.

Importing this module imports numba; import it only where it is used.

Source of the feature: Cozzolino, Poggi, Verdoliva, "Splicebuster: a new blind image splicing detector", WIFS 2015,
section 2, after the rich models of Fridrich and Kodovsky, TIFS 2012.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tamperscope.signal.blocks import luma
from tamperscope.types import FloatArray, UInt8Array

LEVELS = 3
PIXELS = 4
# A residual needs 4 pixels and a code 4 residuals: 7 pixels, 3 on either side of the code's centre.
MARGIN = 3
_STRIP = 256


def symmetry_classes(levels: int = LEVELS, pixels: int = PIXELS) -> tuple[UInt8Array, int]:
    """Return the class of each co-occurrence code under sign change and mirroring, and the number of classes.

    Args:
        levels: Odd number of residual levels, 0 .. levels - 1, symmetric about the middle.
        pixels: Length of a code; its first pixel is the most significant digit.

    Returns:
        (levels ** pixels,) uint8 class of each code, and how many classes there are: 25 for 3 levels, 4 pixels.
    """
    classes: dict[tuple[int, ...], int] = {}
    table = np.empty(levels**pixels, dtype=np.uint8)
    for code, word in enumerate(product(range(levels), repeat=pixels)):
        negative = tuple(levels - 1 - v for v in word)
        alias = min(word, word[::-1], negative, negative[::-1])
        table[code] = classes.setdefault(alias, len(classes))
    return table, len(classes)


CLASS_OF_CODE, CLASSES = symmetry_classes()
FEATURES = 2 * CLASSES


@njit(cache=True, nogil=True)
def _levels(plane, step):  # type: ignore[no-untyped-def]
    """Quantise both third-order residuals of `plane` to 0, 1, 2, cropped to where both are defined."""
    rows, cols = plane.shape[0] - 3, plane.shape[1] - 3
    across = np.empty((plane.shape[0], cols), np.uint8)
    down = np.empty((rows, plane.shape[1]), np.uint8)
    half = np.float32(0.5 * step)
    three = np.float32(3.0)
    for y in range(plane.shape[0]):
        for x in range(cols):
            r = plane[y, x] - plane[y, x + 3] + three * (plane[y, x + 2] - plane[y, x + 1])
            across[y, x] = np.uint8(1) + np.uint8(r > half) - np.uint8(r < -half)
    for y in range(rows):
        for x in range(plane.shape[1]):
            r = plane[y, x] - plane[y + 3, x] + three * (plane[y + 2, x] - plane[y + 1, x])
            down[y, x] = np.uint8(1) + np.uint8(r > half) - np.uint8(r < -half)
    return across, down


@njit(cache=True, nogil=True)
def _count(across, down, table, cell, counts):  # type: ignore[no-untyped-def]
    """Add the codes of one strip to `counts` (cell rows, cell columns, 2 * classes)."""
    classes = counts.shape[2] // 2
    for y in range(counts.shape[0] * cell):
        row = counts[y // cell]
        for x in range(counts.shape[1] * cell):
            bins = row[x // cell]
            h, v = across, down
            ha = 27 * h[y, x] + 9 * h[y, x + 1] + 3 * h[y, x + 2] + h[y, x + 3]
            va = 27 * v[y, x] + 9 * v[y + 1, x] + 3 * v[y + 2, x] + v[y + 3, x]
            hc = 27 * h[y, x] + 9 * h[y + 1, x] + 3 * h[y + 2, x] + h[y + 3, x]
            vc = 27 * v[y, x] + 9 * v[y, x + 1] + 3 * v[y, x + 2] + v[y, x + 3]
            bins[table[ha]] += 1
            bins[table[va]] += 1
            bins[classes + table[hc]] += 1
            bins[classes + table[vc]] += 1


def cell_counts(rgb: UInt8Array, step: float, cell: int = 8) -> UInt8Array:
    """Count the co-occurrence classes of the luma's third-order residuals in every whole cell.

    Args:
        rgb: (H, W, 3) pixels; H and W of at least `cell` + 6.
        step: Quantisation step of the residual, in grey levels of 255.
        cell: Side of a cell in pixels, at most 11 (so that a count fits a byte).

    Returns:
        (rows, columns, 50) uint8: 25 classes of codes along the filter's direction (horizontal and vertical residual
        together), then 25 across it. Cell (i, j) covers the pixels from (3 + cell * i, 3 + cell * j) on.
    """
    height, width = rgb.shape[0] - 2 * MARGIN, rgb.shape[1] - 2 * MARGIN
    rows, cols = height // cell, width // cell
    counts = np.zeros((rows, cols, FEATURES), dtype=np.uint8)
    per_strip = max(1, _STRIP // cell)
    for first in range(0, rows, per_strip):
        last = min(rows, first + per_strip)
        plane = luma(rgb[first * cell : last * cell + 2 * MARGIN])
        across, down = _levels(plane, step)
        _count(across, down, CLASS_OF_CODE, cell, counts[first:last])
    return counts


def box_sums(cells: NDArray[np.integer], side: int, stride: int = 1) -> NDArray[np.int32]:
    """Sum (rows, columns, ...) cells over every square of `side` x `side` cells, one square each `stride` cells."""
    return _window_sums(_window_sums(cells, side, stride).swapaxes(0, 1), side, stride).swapaxes(0, 1)


def _window_sums(values: NDArray[np.integer], side: int, stride: int) -> NDArray[np.int32]:
    total = np.cumsum(values, axis=0, dtype=np.int32)
    del values  # a large picture has hundreds of megabytes of them
    sums = total[side - 1 :: stride].copy()
    sums[1:] -= total[stride - 1 :: stride][: len(sums) - 1]
    return sums


def block_features(counts: UInt8Array, side: int, stride: int = 1) -> FloatArray:
    """Return the square roots of the two normalised histograms of every block of `side` x `side` cells.

    Returns:
        (block rows, block columns, 50) float32; the squares of each half sum to 1.
    """
    sums = box_sums(counts, side, stride).astype(np.float32)
    sums *= 1.0 / float(sums[0, 0, :CLASSES].sum())
    return np.sqrt(sums, out=sums)
