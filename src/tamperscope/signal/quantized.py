"""Traces that quantization leaves in the 8 x 8 DCT coefficients of the luma.

Two tools: what a second JPEG compression does to the histogram of a coefficient (`magnitude_cdf`, `step_models`),
and how far coefficients lie from the multiples of another table (`requantization_trace`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tamperscope.media.quantization import ZIGZAG
from tamperscope.signal.blocks import BLOCK, block_dct, luma
from tamperscope.types import BoolArray, FloatArray, Jpeg, Sample, UInt8Array

# Flat index (8 * row + column) of the k-th coefficient in zig-zag order; 0 is DC.
ORDER: NDArray[np.intp] = np.array(ZIGZAG, dtype=np.intp)

# Rounding R, G, B and then Y to integers between two compressions: variance (.299^2 + .587^2 + .114^2 + 1) / 12.
ROUNDING_SIGMA = 0.35
_CHUNK = 1024


def readable_luma(jpeg: Jpeg, size: tuple[int, int]) -> bool:
    """Tell whether component 0 covers a picture of `size` (H, W) with one 8 x 8 block per 8 x 8 pixels."""
    rows, cols = jpeg.coefficients[0].shape[:2]
    return bool(rows >= -(-size[0] // BLOCK) and cols >= -(-size[1] // BLOCK))


def luma_planes(sample: Sample, count: int = 64) -> tuple[FloatArray, tuple[int, int]]:
    """Return the first `count` zig-zag coefficients of every luma block on grid (0, 0), and the blocks' layout.

    They are the file's own dequantized coefficients where it is a JPEG, else the DCT of the pixels.

    Returns:
        (count, rows * cols) float32, and (rows, cols).
    """
    order = ORDER[:count]
    jpeg = sample.jpeg
    if jpeg is None or not readable_luma(jpeg, sample.size):
        blocks = block_dct(luma(sample.rgb) - np.float32(128))
        rows, cols = blocks.shape[:2]
        return np.ascontiguousarray(blocks.reshape(-1, 64)[:, order].T), (rows, cols)
    levels = jpeg.coefficients[0]
    rows, cols = levels.shape[:2]
    steps = jpeg.qtables[0].reshape(64)[order].astype(np.float32)
    planes = levels.reshape(-1, 64)[:, order].T.astype(np.float32)
    return np.ascontiguousarray(planes * steps[:, None]), (rows, cols)


def saturated_share(rgb: UInt8Array, shape: tuple[int, int], low: int = 3, high: int = 252) -> FloatArray:
    """Return the share of clipped pixels of every 8 x 8 block, looking at every second row and column.

    Clipping to 0..255 between two compressions moves coefficients off the first lattice, so that a block
    that was compressed twice looks as if it had been compressed once. So does padding, which every encoder
    makes anew: blocks that stick out of the picture count as clipped throughout.

    Args:
        rgb: (H, W, 3) pixels.
        shape: (rows, cols) of blocks to fill.
        low: A pixel is clipped when any channel is at most this.
        high: Or at least this.

    Returns:
        (rows, cols) float32 in [0, 1].
    """
    half = np.ascontiguousarray(rgb[::2, ::2])
    extreme = ((half <= low) | (half >= high)).view(np.uint8)
    clipped = extreme[..., 0] | extreme[..., 1] | extreme[..., 2]
    side = BLOCK // 2
    rows, cols = (min(n // BLOCK, k) for n, k in zip(rgb.shape, shape, strict=False))
    share = np.ones(shape, np.float32)
    inner = clipped[: rows * side, : cols * side].reshape(rows, side, cols, side)
    share[:rows, :cols] = inner.sum(axis=(1, 3), dtype=np.float32) / np.float32(side * side)
    return share


def informative(active: NDArray[np.integer], share: FloatArray, least: int = 3) -> BoolArray:
    """Return which blocks can bear witness: enough AC coefficients, at most one pixel in eight clipped.

    In a nearly flat block the rounding error of the first decoding is itself a DCT pattern: every row is
    rounded alike, so it is no Gaussian noise and imitates coefficients of a single compression.

    Args:
        active: (rows, cols) AC coefficients of each block that are not zero.
        share: (rows, cols) of `saturated_share`.
        least: Fewest such coefficients.
    """
    return np.asarray((active >= least) & (share <= 1 / 8))


def _parts(planes: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    for start in range(0, planes.shape[1], _CHUNK):
        part = slice(start, min(start + _CHUNK, planes.shape[1]))
        yield part, np.ascontiguousarray(planes[:, part])


def requantization_trace(planes: FloatArray, tables: FloatArray) -> tuple[FloatArray, UInt8Array]:
    """Return how far the coefficients that survive another quantization lie from its lattice.

    A coefficient survives when it rounds to a multiple other than 0. Its distance in steps is uniform on
    [-1/2, 1/2] (mean square 1/12) unless it was quantized with that step before, whatever the texture.

    Args:
        planes: (K, n) coefficients.
        tables: (T, K) quantization steps.

    Returns:
        (T, n) float32 sums of 12 * distance^2, and (T, n) uint8 counts of surviving coefficients.
    """
    sums = np.empty((len(tables), planes.shape[1]), np.float32)
    counts = np.empty(sums.shape, np.uint8)
    inverse = (1 / tables).astype(np.float32)
    for part, values in _parts(planes):
        error, level = np.empty_like(values), np.empty_like(values)
        for index, factor in enumerate(inverse):
            np.multiply(values, factor[:, None], out=error)
            np.rint(error, out=level)
            error -= level
            np.multiply(error, error, out=error)
            np.abs(level, out=level)
            np.minimum(level, 1, out=level)
            error *= level
            sums[index, part] = 12 * error.sum(axis=0)
            counts[index, part] = level.sum(axis=0)
    return sums, counts


def otsu(values: NDArray[np.floating], weights: NDArray[np.floating], bins: int = 64) -> tuple[float, float]:
    """Return Otsu's threshold of weighted values and the share of the variance that it explains, in [0, 1].

    The range is cut at the 0.2 and 99.8 % quantiles. Values that are all equal give (that value, 0).
    """
    low, high = (float(q) for q in np.quantile(values, (0.002, 0.998)))
    if high - low < 1e-6:
        return low, 0.0
    width = (high - low) / bins
    index = np.clip((values - low) / width, 0, bins - 1).astype(np.intp)
    mass = np.bincount(index, weights, bins) / weights.sum()
    centres = low + (np.arange(bins) + 0.5) * width
    below, moment = mass.cumsum(), (mass * centres).cumsum()
    mean = moment[-1]
    spread = below * (1 - below)
    between = np.divide((mean * below - moment) ** 2, spread, out=np.zeros(bins), where=spread > 1e-9)
    best = int(between.argmax())
    total = float((mass * (centres - mean) ** 2).sum())
    return float(centres[best] + width / 2), float(between[best]) / max(total, 1e-12)


def magnitude_cdf(values: FloatArray, group: NDArray[np.integer], groups: int, top: int) -> NDArray[np.float64]:
    """Return how many magnitudes lie below each half unit, for every group of blocks and coefficient.

    Args:
        values: (n, K) unquantized coefficients.
        group: (n,) group of each block, in [0, groups).
        groups: Number of groups.
        top: Largest magnitude that is told apart.

    Returns:
        (groups * K, 2 * top + 1) float64; entry [g * K + k, i] counts the |values| below i / 2.
    """
    count = values.shape[1]
    cells = 2 * top
    bins = np.minimum(np.abs(values) * 2, cells - 1).astype(np.intp)
    bins += np.arange(count) * cells + group[:, None].astype(np.intp) * (count * cells)
    histogram = np.bincount(bins.ravel(), minlength=groups * count * cells).reshape(groups * count, cells)
    cdf = np.zeros((groups * count, cells + 1))
    np.cumsum(histogram, axis=1, out=cdf[:, 1:])
    return cdf


def step_models(
    cdf: NDArray[np.float64],
    second: NDArray[np.integer],
    firsts: NDArray[np.integer],
    levels: int,
    sigma: float = ROUNDING_SIGMA,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the law of a quantized magnitude after one and after two quantizations.

    The first lattice gathers the mass between (u - 1/2) and (u + 1/2) first steps at u steps; rounding of the
    decoded pixels spreads it with `sigma`; the second step then counts what falls between (v - 1/2) and
    (v + 1/2) of it. This is the mapping of Lin et al. 2009 (eq. 5), with the true density in place of a flat one.

    Args:
        cdf: (R, L) counts of `magnitude_cdf`.
        second: (R,) step of the last compression of each row.
        firsts: (F,) candidate steps of an earlier compression.
        levels: Quantized magnitudes 1 .. levels are modelled; 0 carries no trace and is left out.
        sigma: Standard deviation of the rounding noise, in unquantized units.

    Returns:
        (R, levels) law after one quantization and (R, F, levels) after two, each summing to 1 over the levels.
    """
    rows, last = len(cdf), cdf.shape[1] - 1

    def below(limit: NDArray[np.floating]) -> NDArray[np.float64]:
        index = np.clip(2 * limit, 0, last).astype(np.intp).reshape(rows, -1)
        return np.asarray(np.take_along_axis(cdf, index, 1).reshape(limit.shape))

    edges = (np.arange(1, levels + 2) - 0.5) * second[:, None].astype(np.float64)
    single = np.diff(below(edges), axis=1)
    step = firsts[None, :, None].astype(np.float64)
    edge = edges[:, None, :]
    point = np.floor(edge / step)
    under, over = below((point - 0.5) * step), below((point + 0.5) * step)
    beyond = below((point + 1.5) * step)
    near, far = ndtr((edge - point * step) / sigma), ndtr((edge - (point + 1) * step) / sigma)
    near = np.where(point == 0, 2 * near - 1, near)  # noise on a zero counts on either side
    double = np.diff(under + (over - under) * near + (beyond - over) * far, axis=2)
    # A little of the mean everywhere keeps empty levels of the reference from counting as impossible.
    single += 0.01 / levels * single.sum(axis=1, keepdims=True) + 1e-9
    double = np.maximum(double, 0) + 1e-9
    return single / single.sum(axis=1, keepdims=True), double / double.sum(axis=2, keepdims=True)
