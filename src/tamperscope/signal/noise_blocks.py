"""Which 3 x 3 blocks of a plane are the smoothest for their brightness, and which of those are the least noisy.

Importing this module imports numba; import it only where it is used.

Everything is counted in integers: the sum of a block (0 .. 2295), 36 times its low-frequency energy, 36 times its
high-frequency energy. Energies are those of the orthonormal 3 x 3 DCT: low are the five coefficients with
0 < i + j < 3, high are the three with i + j >= 3; under white noise the two are independent. Ties are broken by a hash
of the block's position, so that no part of the picture is preferred and a share is met exactly. Four passes over the
plane, none of which stores anything per pixel.

Source: Gardella, Musé, Morel, Colom, "Noisesniffer: a fully automatic image forgery detector based on noise analysis",
IWBF 2021, and its extension in IPOL 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tamperscope.types import BoolArray

SIDE = 3
SUMS = SIDE * SIDE * 255 + 1
_BUCKETS = 512


@njit(cache=True, nogil=True, inline="always")
def _bucket(energy):  # type: ignore[no-untyped-def]
    """Return a monotone bucket of a non-negative int64: exact below 32, then 16 buckets an octave."""
    shift = 0
    while (energy >> shift) >= 32:
        shift += 1
    return 16 * shift + (energy >> shift)


@njit(cache=True, nogil=True, inline="always")
def _block(p, y, x):  # type: ignore[no-untyped-def]
    """Return sum, 36 x low energy, 36 x high energy, and whether a pixel is clipped."""
    a, b, c = np.int64(p[y, x]), np.int64(p[y, x + 1]), np.int64(p[y, x + 2])
    d, e, f = np.int64(p[y + 1, x]), np.int64(p[y + 1, x + 1]), np.int64(p[y + 1, x + 2])
    g, h, i = np.int64(p[y + 2, x]), np.int64(p[y + 2, x + 1]), np.int64(p[y + 2, x + 2])
    top, mid, bottom = a + b + c, d + e + f, g + h + i
    left, centre, right = a + d + g, b + e + h, c + f + i
    total = top + mid + bottom
    slope_x, slope_y, twist = left - right, top - bottom, a - c - g + i
    curve_x, curve_y = left - 2 * centre + right, top - 2 * mid + bottom
    low = 6 * (slope_x * slope_x + slope_y * slope_y) + 9 * twist * twist
    low += 2 * (curve_x * curve_x + curve_y * curve_y)
    squares = a * a + b * b + c * c + d * d + e * e + f * f + g * g + h * h + i * i
    high = 36 * squares - 4 * total * total - low
    lowest = min(min(min(a, b), min(c, d)), min(min(e, f), min(g, min(h, i))))
    highest = max(max(max(a, b), max(c, d)), max(max(e, f), max(g, max(h, i))))
    return total, low, high, lowest <= 0 or highest >= 255


@njit(cache=True, nogil=True)
def block_statistics(plane, y, x):  # type: ignore[no-untyped-def]
    """Return (sum, 36 x low energy, 36 x high energy, clipped) of the block at row `y`, column `x`."""
    return _block(plane, y, x)


@njit(cache=True, nogil=True)
def _sum_histogram(plane, size):  # type: ignore[no-untyped-def]
    counts = np.zeros(size, np.int64)
    for y in range(plane.shape[0] - 2):
        for x in range(plane.shape[1] - 2):
            total, _, _, clipped = _block(plane, y, x)
            if not clipped:
                counts[total] += 1
    return counts


@njit(cache=True, nogil=True)
def _energy_histogram(plane, bin_of_sum, counts, constant):  # type: ignore[no-untyped-def]
    """Add every block to its bin's bucket of low energy, and the constant blocks to their bin."""
    for y in range(plane.shape[0] - 2):
        for x in range(plane.shape[1] - 2):
            total, low, high, clipped = _block(plane, y, x)
            if not clipped:
                counts[bin_of_sum[total], _bucket(low)] += 1
                if low == 0 and high == 0:
                    constant[bin_of_sum[total]] += 1


@njit(cache=True, nogil=True)
def _collect(plane, bin_of_sum, last_bucket, bins, lows, highs, positions):  # type: ignore[no-untyped-def]
    """Fill the arrays with the blocks up to each bin's last bucket, in raster order."""
    width = plane.shape[1] - 2
    n = 0
    for y in range(plane.shape[0] - 2):
        for x in range(width):
            total, low, high, clipped = _block(plane, y, x)
            if clipped:
                continue
            index = bin_of_sum[total]
            if _bucket(low) <= last_bucket[index]:
                bins[n], lows[n], highs[n], positions[n] = index, low, high, y * width + x
                n += 1


@dataclass(frozen=True, slots=True)
class NoiseBlocks:
    """The smoothest blocks of a plane.

    Attributes:
        rows: (N,) row of each block's corner.
        cols: (N,) column of each block's corner.
        red: (N,) True for the blocks of least high-frequency energy within their bin of brightness.
        bins: Bins of brightness formed.
        valid_bins: Those of them that took part.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    red: BoolArray
    bins: int
    valid_bins: int


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Blocks that may be among the smoothest of their bin: bin, energies, position and tie-breaker, (N,) each."""

    bins: NDArray[np.uint16]
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    position: NDArray[np.integer]
    tie: NDArray[np.uint32]


def position_hash(positions: NDArray[np.integer], salt: int = 0) -> NDArray[np.uint32]:
    """Return 32 well-mixed bits for each position (the finaliser of MurmurHash3), the same everywhere."""
    mixed = positions.astype(np.uint32) * np.uint32(2654435761) + np.uint32(salt)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return np.asarray(mixed ^ (mixed >> np.uint32(16)))


def brightness_bins(counts: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], int]:
    """Cut the histogram of block sums into bins of whole sums with at least `size` blocks each.

    Returns:
        The bin of every sum, and the number of bins: 0 when all blocks together are fewer than `size`.
    """
    bin_of_sum = np.zeros(len(counts), dtype=np.int64)
    bins, held = 0, 0
    for value, count in enumerate(counts):
        bin_of_sum[value] = bins
        held += int(count)
        if held >= size:
            bins, held = bins + 1, 0
    # What is left above the last full bin joins it.
    return np.minimum(bin_of_sum, max(bins - 1, 0)), bins


def smoothest_blocks(
    plane: NDArray[np.uint8],
    bin_size: int = 20_000,
    smooth_share: float = 0.1,
    red_share: float = 0.5,
    salt: int = 0,
) -> NoiseBlocks:
    """Select the blocks of least low-frequency energy in each bin of brightness; mark the least noisy as red.

    A bin in which constant blocks alone would make up the red share says nothing on noise and is left out; so are
    blocks with a pixel of 0 or 255.

    Args:
        plane: (H, W) uint8, one colour channel, at least 3 x 3.
        bin_size: Fewest blocks of a bin.
        smooth_share: Share of each bin that is selected.
        red_share: Share of the selected that is red.
        salt: Changes how ties are broken.
    """
    bin_of_sum, bins = brightness_bins(_sum_histogram(plane, SUMS), bin_size)
    histogram = np.zeros((max(bins, 1), _BUCKETS), dtype=np.int64)
    constant = np.zeros(max(bins, 1), dtype=np.int64)
    if bins:
        _energy_histogram(plane, bin_of_sum, histogram, constant)
    wanted = (histogram.sum(axis=1) * smooth_share).astype(np.int64)
    reds = np.rint(wanted * red_share).astype(np.int64)
    # Where more blocks than wanted have no low energy, chance picks among them.
    chosen_constant = constant * np.minimum(1.0, wanted / np.maximum(histogram[:, 0], 1))
    wanted[chosen_constant >= reds] = 0
    found = _candidates(plane, bin_of_sum, histogram, wanted, salt)
    order = np.argsort(found.bins, kind="stable")
    ends = np.cumsum(np.bincount(found.bins, minlength=len(wanted)))
    ranked, red = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.bool_)]
    for index in np.flatnonzero(wanted):
        members = order[ends[index - 1] if index else 0 : ends[index]]
        chosen = _ranked(found.low, found.tie, members)[: wanted[index]]
        ranked.append(_ranked(found.high, found.tie, chosen))
        red.append(np.arange(len(chosen)) < reds[index])
    corners = found.position[np.concatenate(ranked)].astype(np.int64)
    rows, cols = np.divmod(corners, plane.shape[1] - SIDE + 1)
    return NoiseBlocks(rows, cols, np.concatenate(red), bins, len(ranked) - 1)


def _candidates(
    plane: NDArray[np.uint8],
    bin_of_sum: NDArray[np.int64],
    histogram: NDArray[np.int64],
    wanted: NDArray[np.int64],
    salt: int,
) -> _Candidates:
    """Collect the blocks up to the bucket in which each bin's wanted number is reached."""
    running = np.cumsum(histogram, axis=1)
    last = np.argmax(running >= wanted[:, None], axis=1)
    total = int(running[np.arange(len(last)), last][wanted > 0].sum())
    last[wanted == 0] = -1
    bins = np.empty(total, dtype=np.uint16)
    low, high = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.int32)
    # Half as large, and enough for any picture but the largest.
    position: NDArray[np.integer] = np.empty(total, np.uint32 if plane.size < 2**32 else np.int64)
    if total:
        _collect(plane, bin_of_sum, last, bins, low, high, position)
    return _Candidates(bins, low, high, position, position_hash(position, salt))


def _ranked(values: NDArray[np.int32], tie: NDArray[np.uint32], members: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return `members` by rising value; equal values in the order of their hash."""
    key = (values[members].astype(np.uint64) << np.uint64(32)) | tie[members].astype(np.uint64)
    return members[np.argsort(key)]
