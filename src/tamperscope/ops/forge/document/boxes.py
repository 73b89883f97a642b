"""Boxes of words on a page, as edits need them; they are found in `signal.words`."""

from __future__ import annotations

from collections.abc import Iterable

from tamperscope.signal.words import bounds, glyphs, ink, words
from tamperscope.types import Box

__all__ = ["bounds", "glyphs", "grown", "ink", "overlap", "words"]


def overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes have a pixel in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def grown(box: Box, others: Iterable[Box], margin: int, size: tuple[int, int]) -> Box:
    """Return a box grown by `margin` pixels, but at most half-way to its neighbours and not past the page's edge.

    Boxes that do not overlap do not overlap when all of them are grown.

    Args:
        box: What to grow.
        others: Boxes that do not overlap it; the box itself is passed over.
        margin: Pixels.
        size: (H, W) of the page.
    """
    left, top, right, bottom = box
    room = [margin] * 4
    for other in others:
        if other[1] < bottom + 2 * margin and other[3] > top - 2 * margin:
            room[0] = min(room[0], (left - other[2]) // 2 if other[2] <= left else margin)
            room[2] = min(room[2], (other[0] - right) // 2 if other[0] >= right else margin)
        if other[0] < right + 2 * margin and other[2] > left - 2 * margin:
            room[1] = min(room[1], (top - other[3]) // 2 if other[3] <= top else margin)
            room[3] = min(room[3], (other[1] - bottom) // 2 if other[1] >= bottom else margin)
    height, width = size
    return max(0, left - room[0]), max(0, top - room[1]), min(width, right + room[2]), min(height, bottom + room[3])
