"""Exemplar fill: a hole is filled with pieces of the rest of the picture, found by PatchMatch, from coarse to fine.

Import it inside the function that needs it: numba takes a moment to import. The machine code is cached on disk.
Distances are integers and random numbers come from an own generator, so that a seed gives the same fill everywhere.

Sources: Wexler, Shechtman, Irani, "Space-time completion of video", PAMI 29(3), 2007 (the coarse-to-fine votes);
Barnes, Shechtman, Finkelstein, Goldman, "PatchMatch", SIGGRAPH 2009 (the search). Departure: at the end each pixel
takes its own source's value instead of a vote, so that what is filled is a copy and not an average.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.types import BoolArray, UInt8Array

_KNOWN, _GUESSED = 4, 1  # weights of a pixel in a patch distance: outside the hole, inside it
_ROUNDS = (8, 1)  # of search and vote, at the coarsest and at the finest level
_MOST_LEVELS = 9


@dataclass(frozen=True, slots=True)
class _Level:
    """One resolution: pixels, what of them is unknown, and the patch centres to look up and to copy from."""

    rgb: UInt8Array
    hole: BoolArray
    valid: BoolArray
    targets: NDArray[np.int64]
    radius: int

    @classmethod
    def of(cls, rgb: UInt8Array, hole: BoolArray, patch: int) -> _Level:
        square, unknown = np.ones((patch, patch), np.uint8), hole.astype(np.uint8)
        # Outside the picture counts as unknown: a source is a whole patch.
        valid = cv2.erode(1 - unknown, square, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)
        targets = np.argwhere(cv2.dilate(unknown, square) > 0)
        return cls(rgb.copy(), hole, valid, targets, patch // 2)

    def halved(self) -> _Level:
        """Return the level at half the resolution, in which a pixel is unknown when any of its four was."""
        rows, columns = (n + n % 2 for n in self.hole.shape)
        odd = [(0, rows - self.hole.shape[0]), (0, columns - self.hole.shape[1])]
        quads = np.pad(self.hole, odd, "edge").reshape(rows // 2, 2, columns // 2, 2)
        known = ~quads[..., None]
        values = np.pad(self.rgb, [*odd, (0, 0)], "edge").reshape(rows // 2, 2, columns // 2, 2, 3) * known
        total = values.sum(axis=(1, 3), dtype=np.int64)
        count = np.maximum(known.sum(axis=(1, 3)), 1)
        mean = ((total + count // 2) // count).astype(np.uint8)
        return _Level.of(mean, np.asarray(quads.any(axis=(1, 3))), 2 * self.radius + 1)


def fill(
    rgb: UInt8Array, hole: BoolArray, rng: np.random.Generator, patch: int = 7
) -> tuple[UInt8Array, NDArray[np.int32]]:
    """Fill a hole with pixels from elsewhere in the picture, so that every patch of it resembles one outside.

    Args:
        rgb: (H, W, 3) uint8 pixels; those in the hole do not matter.
        hole: (H, W) bool, True where to fill.
        rng: Draws the candidates of the search.
        patch: Side in pixels of the patches compared, odd, at least 3.

    Returns:
        The filled pixels, and (H, W, 2) int32 `source`: filled[y, x] = rgb[source[y, x]], which lies outside the
        hole; a known pixel is its own source.

    Raises:
        InvalidValueError: `patch` is even or below 3, or no whole patch lies outside the hole.
    """
    if patch < 3 or patch % 2 == 0:
        raise InvalidValueError(f"patch: expected an odd number from 3, found {patch}")
    levels = _pyramid(rgb, hole, patch)
    state = np.array([rng.integers(0, 2**63)], np.uint64)
    field = None
    for rank in range(len(levels) - 1, -1, -1):
        level = levels[rank]
        field = _first(level, state) if field is None else _finer(level, field, state)
        share = rank / max(len(levels) - 1, 1)
        _refine(level, field, state, round(_ROUNDS[1] + share * (_ROUNDS[0] - _ROUNDS[1])), rank == len(levels) - 1)
    assert field is not None
    source = np.stack(list(np.indices(hole.shape, np.int32)), axis=2)
    source[hole] = field[hole]
    return rgb[source[..., 0], source[..., 1]], source


def _pyramid(rgb: UInt8Array, hole: BoolArray, patch: int) -> list[_Level]:
    levels = [_Level.of(rgb, hole, patch)]
    if not levels[0].valid.any():
        raise InvalidValueError(
            f"exemplar fill: expected a whole patch of {patch} x {patch} pixels outside the hole, found none in a "
            f"picture of {hole.shape}; use a smaller hole or patch"
        )
    while len(levels) < _MOST_LEVELS and _depth(levels[-1].hole) > patch // 2:
        coarser = levels[-1].halved()
        if coarser.valid.sum() < patch**2:
            break
        levels.append(coarser)
    return levels


def _depth(hole: BoolArray) -> float:
    """Return how far the innermost unknown pixel is from a known one."""
    return float(cv2.distanceTransform(np.pad(hole, 1, "edge").astype(np.uint8), cv2.DIST_L2, 3).max())


def _first(level: _Level, state: NDArray[np.uint64]) -> NDArray[np.int32]:
    field = np.full((*level.hole.shape, 2), -1, np.int32)
    _mend(field, level.targets, level.valid, np.argwhere(level.valid), state)
    return field


def _finer(level: _Level, coarse: NDArray[np.int32], state: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Return a coarse field at twice the resolution; sources that are none there are drawn anew."""
    rows, columns = np.indices(level.hole.shape)
    field = np.asarray(2 * coarse[rows // 2, columns // 2] + np.stack([rows % 2, columns % 2], axis=2), np.int32)
    _mend(field, level.targets, level.valid, np.argwhere(level.valid), state)
    return field


def _refine(level: _Level, field: NDArray[np.int32], state: NDArray[np.uint64], rounds: int, coarsest: bool) -> None:
    """Search and vote in turns, in place; in the first turn nothing is guessed yet, so that only what is known counts.

    A field that comes from a coarser level is not searched before it has voted once.
    """
    weight = np.where(level.hole, 0, _KNOWN).astype(np.int64)
    cost = np.zeros(level.hole.shape, np.int64)
    inside = np.argwhere(level.hole)
    for turn in range(rounds + 1):
        _measure(level.rgb, weight, field, cost, level.targets, level.radius)
        for sweep in range(2 if turn or coarsest else 0):
            _search(level.rgb, weight, level.valid, field, cost, level.targets, level.radius, sweep == 1, state)
        _vote(level.rgb, field, cost, inside, level.radius, _middle(cost, level.targets))
        weight[level.hole] = _GUESSED
    _measure(level.rgb, weight, field, cost, level.targets, level.radius)
    for sweep in range(2):
        _settle(level.rgb, weight, level.valid, field, cost, level.targets, level.radius, sweep == 1)


def _middle(cost: NDArray[np.int64], targets: NDArray[np.int64]) -> float:
    return float(np.median(cost[targets[:, 0], targets[:, 1]])) + 1.0


@njit(cache=True, nogil=True)
def _random(state, below):  # type: ignore[no-untyped-def]
    """Return a number from 0 to `below` - 1 and step the generator (Knuth's 64-bit congruential one)."""
    state[0] = state[0] * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    return np.int64(state[0] >> np.uint64(33)) % below


@njit(cache=True, nogil=True)
def _mend(field, targets, valid, choices, state):  # type: ignore[no-untyped-def]
    """Give a random source to every target whose own is none."""
    for k in range(targets.shape[0]):
        y, x = targets[k, 0], targets[k, 1]
        sy, sx = field[y, x, 0], field[y, x, 1]
        if 0 <= sy < valid.shape[0] and 0 <= sx < valid.shape[1] and valid[sy, sx]:
            continue
        chosen = _random(state, choices.shape[0])
        field[y, x, 0], field[y, x, 1] = choices[chosen, 0], choices[chosen, 1]


@njit(cache=True, nogil=True)
def _distance(rgb, weight, y, x, sy, sx, radius, limit):  # type: ignore[no-untyped-def]
    """Return the weighted squared distance of the patches at (y, x) and (sy, sx), or more than `limit` once it is."""
    total = np.int64(0)
    for dy in range(max(-radius, -y), min(radius, rgb.shape[0] - 1 - y) + 1):
        for dx in range(max(-radius, -x), min(radius, rgb.shape[1] - 1 - x) + 1):
            w = weight[y + dy, x + dx]
            if w:
                for c in range(3):
                    step = np.int64(rgb[y + dy, x + dx, c]) - np.int64(rgb[sy + dy, sx + dx, c])
                    total += w * step * step
        if total > limit:
            return total
    return total


@njit(cache=True, nogil=True)
def _measure(rgb, weight, field, cost, targets, radius):  # type: ignore[no-untyped-def]
    far = np.int64(1) << 62
    for k in range(targets.shape[0]):
        y, x = targets[k, 0], targets[k, 1]
        cost[y, x] = _distance(rgb, weight, y, x, field[y, x, 0], field[y, x, 1], radius, far)


@njit(cache=True, nogil=True)
def _try(rgb, weight, valid, field, cost, y, x, sy, sx, radius):  # type: ignore[no-untyped-def]
    """Take (sy, sx) as the source of (y, x) where it is one and nearer."""
    if 0 <= sy < valid.shape[0] and 0 <= sx < valid.shape[1] and valid[sy, sx]:
        found = _distance(rgb, weight, y, x, sy, sx, radius, cost[y, x])
        if found < cost[y, x]:
            cost[y, x] = found
            field[y, x, 0], field[y, x, 1] = sy, sx


@njit(cache=True, nogil=True)
def _search(rgb, weight, valid, field, cost, targets, radius, backwards, state):  # type: ignore[no-untyped-def]
    """Propagate good sources along one scan and look at random around the best, in place."""
    step = -1 if backwards else 1
    rows, columns = valid.shape
    for n in range(targets.shape[0]):
        k = targets.shape[0] - 1 - n if backwards else n
        y, x = targets[k, 0], targets[k, 1]
        for dy, dx in ((step, 0), (0, step)):
            py, px = y - dy, x - dx
            # Below 0: no target, so without a source.
            if 0 <= py < rows and 0 <= px < columns and field[py, px, 0] >= 0:
                _try(rgb, weight, valid, field, cost, y, x, field[py, px, 0] + dy, field[py, px, 1] + dx, radius)
        reach = max(rows, columns)
        while reach >= 1:
            sy = field[y, x, 0] + _random(state, 2 * reach + 1) - reach
            sx = field[y, x, 1] + _random(state, 2 * reach + 1) - reach
            _try(rgb, weight, valid, field, cost, y, x, sy, sx, radius)
            reach //= 2


@njit(cache=True, nogil=True)
def _settle(rgb, weight, valid, field, best, targets, radius, backwards):  # type: ignore[no-untyped-def]
    """Let a target go on with its neighbour's copy where that is at most a quarter worse than its own, in place.

    So the hole becomes a few large copies instead of many small ones.
    """
    step = -1 if backwards else 1
    rows, columns = valid.shape
    for n in range(targets.shape[0]):
        k = targets.shape[0] - 1 - n if backwards else n
        y, x = targets[k, 0], targets[k, 1]
        limit = best[y, x] + best[y, x] // 4
        for dy, dx in ((step, 0), (0, step)):
            py, px = y - dy, x - dx
            if 0 <= py < rows and 0 <= px < columns and field[py, px, 0] >= 0:
                sy, sx = field[py, px, 0] + dy, field[py, px, 1] + dx
                if not (0 <= sy < rows and 0 <= sx < columns and valid[sy, sx]):
                    continue
                if _distance(rgb, weight, y, x, sy, sx, radius, limit) <= limit:
                    field[y, x, 0], field[y, x, 1] = sy, sx
                    break


@njit(cache=True, nogil=True)
def _vote(rgb, field, cost, inside, radius, middle):  # type: ignore[no-untyped-def]
    """Set every pixel of the hole to the mean of what the sources of the patches over it have there.

    A patch of distance d votes with (m / (m + d))^4, m being the median distance.
    """
    rows, columns = cost.shape
    for k in range(inside.shape[0]):
        y, x = inside[k, 0], inside[k, 1]
        total, red, green, blue = 0.0, 0.0, 0.0, 0.0
        for dy in range(max(-radius, y - rows + 1), min(radius, y) + 1):
            for dx in range(max(-radius, x - columns + 1), min(radius, x) + 1):
                ty, tx = y - dy, x - dx
                near = middle / (middle + cost[ty, tx])
                share = near * near * near * near
                sy, sx = field[ty, tx, 0] + dy, field[ty, tx, 1] + dx
                total += share
                red += share * rgb[sy, sx, 0]
                green += share * rgb[sy, sx, 1]
                blue += share * rgb[sy, sx, 2]
        rgb[y, x, 0] = np.uint8(red / total + 0.5)
        rgb[y, x, 1] = np.uint8(green / total + 0.5)
        rgb[y, x, 2] = np.uint8(blue / total + 0.5)
