"""Hot loops of the metrics. Import it inside the function that needs it: numba takes a moment to import."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@njit(cache=True)
def group(keys: NDArray[np.uint64], tp: Ints, fp: Ints, ends: Ints) -> int:
    """Walk sorted keys (score bits, then truth bit) from the top, and write the counts below each distinct score.

    Args:
        keys: Ascending; bit 0 is the truth.
        tp: (N,) filled with cumulative true positives, one a distinct score.
        fp: (N,) likewise, false positives.
        ends: (N,) likewise, index of the last key of the score.

    Returns:
        Number of distinct scores.
    """
    count = 0
    positives = negatives = np.int64(0)
    i = keys.size - 1
    while i >= 0:
        score = keys[i] >> np.uint64(1)
        while i >= 0 and keys[i] >> np.uint64(1) == score:
            forged = np.int64(keys[i] & np.uint64(1))
            positives += forged
            negatives += 1 - forged
            i -= 1
        tp[count], fp[count], ends[count] = positives, negatives, i + 1
        count += 1
    return count


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
def fill(scores: NDArray[np.float32], truth: NDArray[np.uint8], histogram: Ints, threshold: float, above: Ints) -> int:
    """Add scores in [0, 1] to a histogram, and count those above the threshold.

    Args:
        scores: (N,).
        truth: (N,) 0 or 1.
        histogram: (2 · bins,): bin b of class t is entry 2b + t.
        threshold: Strict.
        above: (2,): entry t gains the scores above the threshold of class t.

    Returns:
        How many scores lie outside [0, 1] or are nan; these are left out.
    """
    bad = 0
    bins = histogram.size >> 1
    scale, last, level = np.float32(bins), np.int64(bins - 1), np.float32(threshold)
    for i in range(scores.size):
        score = scores[i]
        if not (score >= np.float32(0.0) and score <= np.float32(1.0)):
            bad += 1
            continue
        at = np.int64(score * scale)
        at = last if at > last else at
        forged = np.int64(truth[i])
        histogram[2 * at + forged] += 1
        above[forged] += np.int64(score > level)
    return bad
