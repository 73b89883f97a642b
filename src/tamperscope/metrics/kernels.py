"""Hot loops of the metrics. Import it inside the function that needs it: numba takes a moment to import."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Unsigned = NDArray[np.unsignedinteger[Any]]
_CHUNK = 2048  # scores at a time: their places stay in the first cache


@njit(cache=True)
def group(keys: Unsigned, tp: Ints, fp: Ints, scores: Unsigned) -> int:
    """Walk sorted keys (score bits, then truth bit) from the top, and write the counts below each distinct score.

    Args:
        keys: Ascending; bit 0 is the truth.
        tp: (N,) filled with cumulative true positives, one a distinct score.
        fp: (N,) likewise, false positives.
        scores: (N,) likewise, the score's bits; any unsigned type that holds them.

    Returns:
        Number of distinct scores.
    """
    count = 0
    positives = negatives = np.int64(0)
    last = keys.size - 1
    for i in range(keys.size):
        key = keys[last - i]
        score = key >> np.uint64(1)
        forged = np.int64(key & np.uint64(1))
        if i > 0 and score != scores[count]:
            count += 1
        positives += forged
        negatives += 1 - forged
        tp[count], fp[count], scores[count] = positives, negatives, score
    return min(keys.size, count + 1)


@njit(cache=True)
def summarize(tp: Ints, fp: Ints) -> tuple[float, float, float, int]:
    """Return (twice the area under tp over fp, Σ ΔTP · precision, best F1, its index) of a curve."""
    area, precision, best, where = 0.0, 0.0, 0.0, 0
    last_tp, last_fp, positives = 0, 0, tp[-1]
    for i in range(tp.size):
        rise = tp[i] - last_tp
        area += float(fp[i] - last_fp) * float(tp[i] + last_tp)
        if rise > 0:
            precision += rise * (tp[i] / (tp[i] + fp[i]))
            f1 = 2.0 * tp[i] / (tp[i] + fp[i] + positives)
            if f1 > best:
                best, where = f1, i
        last_tp, last_fp = tp[i], fp[i]
    return area, precision, best, where


@njit(cache=True)
def outside(scores: NDArray[np.float32]) -> int:
    """Return how many scores are nan or lie outside [0, 1]."""
    bad = 0
    for i in range(scores.size):
        bad += not ((scores[i] >= np.float32(0.0)) & (scores[i] <= np.float32(1.0)))
    return bad


@njit(cache=True)
def fill(scores: NDArray[np.float32], truth: NDArray[np.uint8], histogram: Ints, threshold: float, above: Ints) -> None:
    """Add scores to a histogram, and count those above the threshold.

    Args:
        scores: (N,), all in [0, 1].
        truth: (N,) 0 or 1.
        histogram: (2 · bins,): bin b of class t is entry 2b + t.
        threshold: Strict.
        above: (2,): entry t gains the scores above the threshold of class t.
    """
    bins = histogram.size >> 1
    scale, last, level = np.float32(bins), np.int32(bins - 1), np.float32(threshold)
    # The first inner loop is vectorized, the second cannot be; an unsigned index is not checked for being negative.
    places = np.empty(_CHUNK, np.uint32)
    for start in range(0, scores.size, _CHUNK):
        s, t = scores[start : start + _CHUNK], truth[start : start + _CHUNK]
        called = hits = np.int32(0)
        for i in range(s.size):
            forged, over = np.int32(t[i]), np.int32(s[i] > level)
            places[i] = np.uint32(2 * min(np.int32(s[i] * scale), last) + forged)
            called += over
            hits += over & forged
        above[0] += called - hits
        above[1] += hits
        for i in range(s.size):
            histogram[places[i]] += 1


@njit(cache=True)
def unroll(histogram: Ints, tp: Ints, fp: Ints, bins: Ints) -> int:
    """Walk a histogram from the top, and write the counts so far at each bin that is not empty.

    Args:
        histogram: As `fill` makes it.
        tp: (bins,) filled with cumulative positives, one a bin that is not empty.
        fp: (bins,) likewise, negatives.
        bins: (bins,) likewise, the number of the bin.

    Returns:
        Number of bins that are not empty.
    """
    count = 0
    positives = negatives = np.int64(0)
    for at in range((histogram.size >> 1) - 1, -1, -1):
        pristine, forged = histogram[2 * at], histogram[2 * at + 1]
        if pristine | forged:
            positives += forged
            negatives += pristine
            tp[count], fp[count], bins[count] = positives, negatives, at
            count += 1
    return count
