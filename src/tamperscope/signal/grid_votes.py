"""Compiled kernels of the JPEG-grid detectors: rounded luma, grid votes, region growing, running median.

Import it inside the function that needs it: numba takes a moment to import. The machine code is cached on disk.

Reproducible to the bit: luma is rounded in integers; the DCT runs in double precision, whose error here (about
1e-12) is far below `MARGIN`, so that a coefficient of exactly 0.5 counts as "not zero" on every machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from tamperscope.types import UInt8Array

GRIDS = 64  # origins of an 8 x 8 grid
NO_VOTE = 255
MARGIN = 1e-9  # exact ties |c| = 0.5 must not depend on rounding
_ZERO = 0.5 - MARGIN
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (0.5 * math.cos(k * math.pi / 16) for k in range(1, 8))
_TILE = 256  # columns worked on at a time: 8 rows of doubles stay in the first-level cache
_LANE = _TILE + 8
PLANE, READ_PLANE = (types.Array(types.uint8, 2, "C", readonly=r) for r in (False, True))
"""Of kernels that state what they take: these are loaded with the module, so that workers forked later need not."""
_READ_PICTURE = types.Array(types.uint8, 3, "C", readonly=True)


@njit(PLANE(_READ_PICTURE), cache=True, nogil=True)
def luma8(rgb: UInt8Array) -> UInt8Array:
    """Return the BT.601 luma of (H, W, 3) pixels rounded half up to (H, W) uint8, in exact integers."""
    height, width = rgb.shape[:2]
    out = np.empty((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            weighted = 299 * np.uint32(rgb[y, x, 0]) + 587 * np.uint32(rgb[y, x, 1])
            weighted += 114 * np.uint32(rgb[y, x, 2]) + 500
            out[y, x] = np.uint32(weighted) // np.uint32(1000)
    return out


@njit(cache=True, inline="always")
def _dct(a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """Return the orthonormal DCT of eight values (one even-odd split, one multiplication deep)."""
    s0, s1, s2, s3 = a + h, b + g, c + f, d + e
    d0, d1, d2, d3 = a - h, b - g, c - f, d - e
    e0, e1, e2, e3 = s0 + s3, s1 + s2, s0 - s3, s1 - s2
    return (
        (e0 + e1) * _C4,
        d0 * _C1 + d1 * _C3 + d2 * _C5 + d3 * _C7,
        e2 * _C2 + e3 * _C6,
        d0 * _C3 - d1 * _C7 - d2 * _C1 - d3 * _C5,
        (e0 - e1) * _C4,
        d0 * _C5 - d1 * _C1 + d2 * _C7 + d3 * _C3,
        e2 * _C6 - e3 * _C2,
        d0 * _C7 - d1 * _C5 + d2 * _C3 - d3 * _C1,
    )


@njit(cache=True, nogil=True)
def _columns(plane, y, x0, count, out):  # type: ignore[no-untyped-def]
    """Transform the columns of rows y..y+7 into the eight lanes of `out`."""
    r0, r1, r2, r3 = plane[y, x0:], plane[y + 1, x0:], plane[y + 2, x0:], plane[y + 3, x0:]
    r4, r5, r6, r7 = plane[y + 4, x0:], plane[y + 5, x0:], plane[y + 6, x0:], plane[y + 7, x0:]
    for x in range(count):
        t = _dct(
            np.float64(r0[x]), np.float64(r1[x]), np.float64(r2[x]), np.float64(r3[x]),
            np.float64(r4[x]), np.float64(r5[x]), np.float64(r6[x]), np.float64(r7[x]),
        )  # fmt: skip
        for k in range(8):
            out[k * _LANE + x] = t[k]


@njit(cache=True, nogil=True)
def _add_zeros(lane, count, first, out):  # type: ignore[no-untyped-def]
    """Add to `out[x]` the zeros among the DCT of lane[x..x+7]; the coefficient 0 counts only if `first` = 1."""
    l0, l1, l2, l3, l4, l5, l6, l7 = (
        lane, lane[1:], lane[2:], lane[3:], lane[4:], lane[5:], lane[6:], lane[7:],
    )  # fmt: skip
    for x in range(count):
        c = _dct(l0[x], l1[x], l2[x], l3[x], l4[x], l5[x], l6[x], l7[x])
        zeros = first if abs(c[0]) < _ZERO else 0.0
        zeros += 1.0 if abs(c[1]) < _ZERO else 0.0
        zeros += 1.0 if abs(c[2]) < _ZERO else 0.0
        zeros += 1.0 if abs(c[3]) < _ZERO else 0.0
        zeros += 1.0 if abs(c[4]) < _ZERO else 0.0
        zeros += 1.0 if abs(c[5]) < _ZERO else 0.0
        zeros += 1.0 if abs(c[6]) < _ZERO else 0.0
        zeros += 1.0 if abs(c[7]) < _ZERO else 0.0
        out[x] += zeros


@njit(cache=True, nogil=True)
def zero_counts(plane: UInt8Array) -> UInt8Array:
    """Return how many of the 63 AC coefficients of each 8 x 8 window are zero, |c| < 0.5: (H - 7, W - 7) uint8.

    Args:
        plane: (H, W) uint8 luma, both sides >= 8.
    """
    rows, cols = plane.shape[0] - 7, plane.shape[1] - 7
    out = np.empty((rows, cols), np.uint8)
    lanes, zeros = np.empty(8 * _LANE), np.empty(_LANE)
    for x0 in range(0, cols, _TILE):
        count = min(_TILE, cols - x0)
        for y in range(rows):
            _columns(plane, y, x0, count + 7, lanes)
            zeros[:] = 0.0
            for k in range(8):
                _add_zeros(lanes[k * _LANE : (k + 1) * _LANE], count, 1.0 if k else 0.0, zeros)
            for x in range(count):
                out[y, x0 + x] = np.uint8(zeros[x])
    return out


@njit(cache=True, nogil=True)
def _flat(plane, y, steps_x, steps_y, out):  # type: ignore[no-untyped-def]
    """Mark with 1 the windows of row `y` that are constant along rows or along columns."""
    width = plane.shape[1]
    steps_x[:] = 0
    steps_y[:] = 0
    for k in range(8):
        row, right = plane[y + k, : width - 1], plane[y + k, 1:]
        for x in range(width - 1):
            steps_x[x] |= row[x] ^ right[x]
    for k in range(7):
        row, below = plane[y + k], plane[y + k + 1]
        for x in range(width):
            steps_y[x] |= row[x] ^ below[x]
    for x in range(width - 7):
        along_x = (steps_x[x] | steps_x[x + 1] | steps_x[x + 2] | steps_x[x + 3]
                   | steps_x[x + 4] | steps_x[x + 5] | steps_x[x + 6])  # fmt: skip
        along_y = (steps_y[x] | steps_y[x + 1] | steps_y[x + 2] | steps_y[x + 3]
                   | steps_y[x + 4] | steps_y[x + 5] | steps_y[x + 6] | steps_y[x + 7])  # fmt: skip
        out[x] = 1 if along_x == 0 or along_y == 0 else 0


@njit(cache=True, nogil=True)
def _keys(plane, counts):  # type: ignore[no-untyped-def]
    """Return zeros * 256 + vote for every window; the vote of a window without slope is NO_VOTE."""
    rows, cols = counts.shape
    keys = np.empty((rows, cols), np.uint16)
    flat = np.empty(cols, np.uint8)
    steps_x, steps_y = np.empty(cols + 7, np.uint8), np.empty(cols + 7, np.uint8)
    for y in range(rows):
        _flat(plane, y, steps_x, steps_y, flat)
        row, count = keys[y], counts[y]
        for x in range(cols):
            vote = NO_VOTE if flat[x] else (x & 7) + 8 * (y & 7)
            row[x] = np.uint16((np.uint32(count[x]) << 8) | vote)
    return keys


@njit(cache=True, nogil=True)
def _merge(left, right, out):  # type: ignore[no-untyped-def]
    """Keep the key with more zeros; equal zeros leave no vote. Associative, so pairs may be merged in a tree."""
    for x in range(out.size):
        a, b = left[x], right[x]
        tie = np.uint16(NO_VOTE) if (a >> 8) == (b >> 8) else np.uint16(0)
        out[x] = max(a, b) | tie


@njit(PLANE(READ_PLANE), cache=True, nogil=True)
def vote_map(plane: UInt8Array) -> UInt8Array:
    """Return for every pixel the grid origin, x % 8 + 8 * (y % 8), that it votes for, else NO_VOTE.

    A pixel votes for the window with most zeros (see `zero_counts`) among the 64 that contain it. It does not vote
    where two windows tie, where the best one is constant along rows or columns, nor within 7 pixels of the border.

    Args:
        plane: (H, W) uint8 luma.

    Source: Nikoukhah et al., "JPEG grid detection based on the number of DCT zeros", CVPR Workshops 2019.
    """
    height, width = plane.shape
    votes = np.full((height, width), NO_VOTE, np.uint8)
    if height < 15 or width < 15:
        return votes
    keys = _keys(plane, zero_counts(plane))
    rows, cols = keys.shape
    for span in (1, 2, 4):
        cols -= span
        for y in range(rows):
            _merge(keys[y, :cols], keys[y, span:], keys[y, :cols])
    for span in (1, 2, 4):
        rows -= span
        for y in range(rows):
            _merge(keys[y, :cols], keys[y + span, :cols], keys[y, :cols])
    for y in range(rows):
        for x in range(cols):
            votes[y + 7, x + 7] = keys[y, x] & 255
    return votes


class Groups(NamedTuple):
    """Groups of pixels with one vote, in order of their first pixel.

    Attributes:
        labels: (H, W) int32; 0 = in no group; `root[labels]` is the same number for all pixels of a group.
        root: Number of each label's group.
        number: (n,) number of each group, as in `root`.
        vote: (n,) what the group votes for.
        size: (n,) its pixels.
        box: (n, 4) x0, y0, x1, y1, half-open.
    """

    labels: NDArray[np.int32]
    root: NDArray[np.int32]
    number: NDArray[np.int32]
    vote: UInt8Array
    size: NDArray[np.int64]
    box: NDArray[np.int32]


@njit(cache=True, nogil=True)
def _find(parent, label):  # type: ignore[no-untyped-def]
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


@njit(cache=True, nogil=True)
def _union(parent, a, b):  # type: ignore[no-untyped-def]
    """Join two groups under the smaller number, which is then the group's number."""
    a, b = _find(parent, a), _find(parent, b)
    low, high = min(a, b), max(a, b)
    parent[high] = low
    return low


@njit(cache=True, nogil=True)
def _label(votes, skip, radius):  # type: ignore[no-untyped-def]
    """Number the pixels of each group; returns (labels, parent, count of labels + 1)."""
    height, width = votes.shape
    labels = np.zeros((height, width), np.int32)
    # A new label has no pixel of its vote within `radius` above or to the left: one a vote and cell at most.
    cells = (height // (radius + 1) + 1) * (width // (radius + 1) + 1)
    parent = np.empty(min(GRIDS * cells, height * width) + 1, np.int32)
    parent[0] = 0
    used = 1
    seen_row = np.full((GRIDS, width), -radius - 1, np.int32)  # last row with this vote in this column
    seen_label = np.zeros((GRIDS, width), np.int32)
    left = np.empty(GRIDS, np.int64)  # last column with this vote in this row
    for y in range(height):
        left[:] = -radius - 1
        for x in range(width):
            vote = votes[y, x]
            if vote >= GRIDS or vote == skip:
                continue
            start, label = x - radius, 0
            if x - left[vote] <= radius:  # what that pixel reached is joined to it already
                label = seen_label[vote, left[vote]]
                start = left[vote] + radius + 1
            for near in range(max(start, 0), min(x + radius, width - 1) + 1):
                if y - seen_row[vote, near] <= radius:
                    other = seen_label[vote, near]
                    label = _union(parent, label, other) if label else other
            if label == 0:
                label, used = used, used + 1
                parent[label] = label
            labels[y, x], seen_label[vote, x], seen_row[vote, x], left[vote] = label, label, y, x
    return labels, parent, used


@njit(cache=True, nogil=True)
def _measure(votes, labels, root):  # type: ignore[no-untyped-def]
    """Return size, box and vote of every label that is its own root."""
    size = np.zeros(root.size, np.int64)
    box = np.empty((root.size, 4), np.int32)
    vote = np.empty(root.size, np.uint8)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = root[labels[y, x]]
            if label == 0:
                continue
            if size[label] == 0:
                box[label, 0], box[label, 1], box[label, 2], box[label, 3] = x, y, x + 1, y + 1
                vote[label] = votes[y, x]
            size[label] += 1
            box[label, 0] = min(box[label, 0], x)
            box[label, 2] = max(box[label, 2], x + 1)
            box[label, 3] = y + 1
    return size, box, vote


@njit(cache=True, nogil=True)
def _roots(parent, used):  # type: ignore[no-untyped-def]
    root = np.empty(used, np.int32)
    for label in range(used):
        root[label] = root[parent[label]] if parent[label] < label else label
    return root


def grow(votes: UInt8Array, skip: int = NO_VOTE, radius: int = 9, min_size: int = 1) -> Groups:
    """Group the pixels of equal vote that chains of steps of at most `radius` (Chebyshev) connect.

    One pass over the picture for all votes together; time grows with the pixels, not with the votes.

    Args:
        votes: (H, W) uint8 from `vote_map`.
        skip: A vote to leave out, such as the main grid's.
        radius: Longest step, in pixels.
        min_size: Groups of fewer pixels are left out of the tables (their labels stay).
    """
    labels, parent, used = _label(votes, skip, radius)
    root = _roots(parent, used)
    size, box, vote = _measure(votes, labels, root)
    number = np.flatnonzero(size >= max(min_size, 1)).astype(np.int32)
    return Groups(labels, root, number, vote[number], size[number], box[number])
