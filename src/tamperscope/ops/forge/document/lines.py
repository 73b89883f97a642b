"""Words of lines whose place and text are known: a line is parted where gaps are wide and lengths fit the text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tamperscope.ops.forge.document import boxes
from tamperscope.types import BoolArray, Box

_LENGTH = 4.0  # what a word that is off by its line's height costs, in gaps as wide as the line is high
_SPECK = 2  # pixels: a full stop is ink too


def words(dark: BoolArray, lines: Iterable[Mapping[str, Any]]) -> list[tuple[Box, str]]:
    """Return the box and text of each word; a line with less ink than words is left out.

    Args:
        dark: (H, W) bool, the page's ink.
        lines: Each with a `box` (x0, y0, x1, y1) and its `text`.
    """
    return [word for line in lines for word in _split(dark, line)]


def _split(dark: BoolArray, line: Mapping[str, Any]) -> list[tuple[Box, str]]:
    texts = str(line["text"]).split()
    glyphs = boxes.glyphs(dark, tuple(line["box"]), _SPECK)
    if not texts or len(glyphs) < len(texts):
        return []
    cuts = _cuts(glyphs, [len(text) for text in texts])
    return [(boxes.bounds(glyphs[a:b]), text) for (a, b), text in zip(pairwise(cuts), texts, strict=True)]


def _cuts(glyphs: Sequence[Box], lengths: Sequence[int]) -> list[int]:
    """Return where words begin among a line's glyphs, and its end: the cheapest of all partings.

    Args:
        glyphs: From the left.
        lengths: Characters of each word, of which there are no more than glyphs.
    """
    whole = boxes.bounds(glyphs)
    height = whole[3] - whole[1]
    character = (whole[2] - whole[0]) / (sum(lengths) + len(lengths) - 1)
    # Of the words so far: where the last one ends -> (cost, cuts).
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [0])}
    for done, length in enumerate(lengths, 1):
        reached: dict[int, tuple[float, list[int]]] = {}
        for begin, (cost, cuts) in best.items():
            gap = glyphs[begin][0] - glyphs[begin - 1][2] if begin else 0
            for end in range(begin + 1, len(glyphs) - (len(lengths) - done) + 1):
                off = (glyphs[end - 1][2] - glyphs[begin][0] - length * character) / height
                total = cost - gap / height + _LENGTH * off * off
                if end not in reached or total < reached[end][0]:
                    reached[end] = (total, [*cuts, end])
        best = reached
    return best[len(glyphs)][1]
