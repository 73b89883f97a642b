"""Exact nearest neighbours among the descriptors of one picture, and which of them are worth a look.

Sources: Amerini, Ballan, Caldelli, Del Bimbo, Serra, "A SIFT-based forensic method for copy-move attack detection",
TIFS 2011 (generalized ratio test, "g2NN").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamperscope.types import BoolArray, FloatArray

_BLOCK = 1024


def nearest(
    queries: FloatArray, base: FloatArray, xy: FloatArray, count: int, min_distance: float
) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the exact `count` nearest neighbours of every query that lie `min_distance` or more away in the picture.

    Distances come from blocked matrix products; for integer-valued descriptors with squared lengths below 2**24 they
    are exact. Ties go to the lower index.

    Args:
        queries: (N, D) float32; row i is the descriptor of the point xy[i].
        base: (N, D) float32; row j is the descriptor of the point xy[j].
        xy: (N, 2) positions, sorted by y.
        count: Neighbours a query.
        min_distance: Points nearer than this to the query's own place are no neighbours.

    Returns:
        (N, count) indices and (N, count) distances, nearest first; missing neighbours have distance inf.
    """
    n = len(base)
    index = np.zeros((n, count), dtype=np.intp)
    value = np.full((n, count), -np.inf, dtype=np.float32)
    norms = np.einsum("ij,ij->i", base, base)
    doubled = queries * np.float32(2.0)
    for low in range(0, n, _BLOCK):
        rows = slice(low, min(n, low + _BLOCK))
        closeness: FloatArray = np.matmul(doubled[rows], base.T)
        closeness -= norms
        _blank_near(closeness, xy[rows], xy, min_distance)
        here = np.arange(closeness.shape[0])
        for k in range(min(count, n)):
            best = closeness.argmax(axis=1)
            index[rows, k], value[rows, k] = best, closeness[here, best]
            closeness[here, best] = -np.inf
    lengths = np.einsum("ij,ij->i", queries, queries)
    return index, np.sqrt(np.maximum(lengths[:, None] - value, 0.0))


def _blank_near(closeness: FloatArray, points: FloatArray, xy: FloatArray, min_distance: float) -> None:
    """Set to -inf what lies too near; only the band of rows around the block can."""
    low = int(np.searchsorted(xy[:, 1], points[0, 1] - min_distance))
    high = int(np.searchsorted(xy[:, 1], points[-1, 1] + min_distance, side="right"))
    squared = points[:, 0, None] - xy[None, low:high, 0]
    squared *= squared
    down = points[:, 1, None] - xy[None, low:high, 1]
    squared += down * down
    closeness[:, low:high][squared < min_distance**2] = -np.inf


def generalized_ratio(distances: FloatArray, ratio: float) -> BoolArray:
    """Return which neighbours pass the generalized ratio test (g2NN).

    The neighbours 1..k of a point are kept, for the largest k with d_k / d_(k+1) < `ratio` and all quotients before it
    below `ratio` too (Amerini et al. 2011, section III-B); the last neighbour only serves as a reference.

    Args:
        distances: (N, K) sorted; inf = missing.
        ratio: Largest quotient of a good match, in (0, 1).
    """
    ahead = distances[:, 1:]
    good = np.isfinite(ahead) & (distances[:, :-1] < ratio * ahead)
    kept = np.logical_and.accumulate(good, axis=1)
    return np.asarray(np.pad(kept, ((0, 0), (0, 1))))
