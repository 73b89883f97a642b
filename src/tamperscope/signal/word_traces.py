"""What the words of a page look like, and by how much each differs from those around it.

A word is set against the words of its own row and the words near to it: what it has in common with either, such as a
heading with its row or faded ink with its surroundings, is no deviation. Deviations are in robust units of the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from tamperscope.signal.text import Page, Word
from tamperscope.types import BoolArray, Box, FloatArray, UInt8Array

TRACES = ("shift", "size", "stroke", "ink", "colour", "edges", "grain", "paper")
"""Baseline, height of characters, width of strokes, darkness and colour of ink, sharpness, noise and level of paper."""
NEAR = 12
"""Words around one that it is set against, beside those of its row."""
_FEWEST = 6  # words around that must be measured
_MARGIN = 2  # pixels around a word that belong to it: its edges' blur, or what was laid around it
_FLOORS = {"stroke": 0.04, "ink": 0.05, "colour": 1.5, "edges": 0.05, "grain": 0.1, "paper": 0.7}
_LEAST = 0.03  # of a character's height: the least deviation of place and size that counts as one
_TURN = 0.004  # how uncertain the fall of a row is
_STYLE = ("size", "stroke")  # what a row of one word has of its own

Floats = NDArray[np.float64]


def judged(page: Page) -> NDArray[np.bool_]:
    """Return which words look like print: (N,).

    They have two characters at least, not much wider than high and none much higher than the others, and are no two
    lines in one box.
    """

    def prints(word: Word) -> bool:
        wide = [(x1 - x0) / (y1 - y0) for x0, y0, x1, y1 in word.tall]
        high = [y1 - y0 for _, y0, _, y1 in word.tall]
        if len(wide) < 2 or float(np.median(wide)) > 1.4 or max(high) > 1.6 * float(np.median(high)):
            return False
        x0, y0, x1, y1 = word.box
        third = (y1 - y0) // 3
        return bool(page.dark[y0 + third : y1 - third, x0:x1].any(axis=1).all())

    return np.array([prints(word) for word in page.words], bool)


def measures(rgb: UInt8Array, page: Page) -> Floats:
    """Return (N, 6), for each word the `TRACES` that its pixels have; nan where there is too little to measure.

    Args:
        rgb: (H, W, 3), the page.
        page: Its words.
    """
    halo = cv2.dilate(page.dark.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)
    values = np.full((len(page.words), len(TRACES) - 2), math.nan)
    for k, word in enumerate(page.words):
        values[k] = _measured(rgb, page.dark, halo, word.box)
    return values


def _measured(rgb: UInt8Array, dark: BoolArray, halo: BoolArray, box: Box) -> list[float]:
    reach = max(6, (box[3] - box[1]) // 2)
    part, own = (_around(box, margin, dark.shape) for margin in (_MARGIN + reach, _MARGIN))
    lab = cv2.cvtColor(rgb[part], cv2.COLOR_RGB2LAB).astype(np.float32)
    grey = cv2.cvtColor(rgb[part], cv2.COLOR_RGB2GRAY).astype(np.float32)
    rows, columns = (slice(o.start - p.start, o.stop - p.start) for o, p in zip(own, part, strict=True))
    ring = ~halo[part]
    ring[rows, columns] = False
    ink, paper = dark[own], ~halo[own]
    near, shade = grey[rows, columns], lab[rows, columns]
    if ink.sum() < 8:
        return [math.nan] * 6
    enough = int(paper.sum()) >= 20
    inked = near[ink]
    level = float(np.median(near[paper])) if enough else float(np.percentile(near, 95))
    contrast = max(level - float(np.percentile(inked, 20)), 5.0)
    tint = shade[ink][inked <= np.percentile(inked, 40), 1:].mean(0)
    blank = np.median(shade[paper], 0)[1:] if enough else np.array([128.0, 128.0])
    residual = np.abs(grey - cv2.blur(grey, (3, 3)))[rows, columns]
    return [
        math.log(_stroke(np.clip((level - near) / contrast, 0, 1)) + 0.1),
        math.log(contrast),
        # The hue's side is kept, for blue ink among red differs more than either from black.
        math.copysign(float(np.hypot(*(tint - blank))), float(tint[1] - blank[1]) + 1e-3),
        math.log(_steepness(grey, rows, columns, ink) / contrast + 1e-3),
        math.log(float(residual[paper].mean()) + 0.25) if enough else math.nan,
        float(near[paper].mean() - grey[ring].mean()) if enough and ring.sum() >= 20 else math.nan,
    ]


def _around(box: Box, margin: int, size: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a box that is grown by a margin, inside of a picture."""
    x0, y0, x1, y1 = box
    down = slice(max(0, y0 - margin), min(size[0], y1 + margin))
    return down, slice(max(0, x0 - margin), min(size[1], x1 + margin))


def _stroke(cover: FloatArray) -> float:
    """Return the width of strokes: their area over half the length of their edges; see `paper.stroke_width`."""
    padded = np.pad(np.where(cover > 0.25, cover, 0), 1).astype(np.float64)
    edge = sum(float(np.abs(np.diff(padded, axis=axis)).sum()) for axis in (0, 1)) * math.pi / 4
    return 2 * float(padded.sum()) / edge if edge else 0.0


def _steepness(grey: FloatArray, rows: slice, columns: slice, ink: BoolArray) -> float:
    """Return how steep the steeper edges of ink are, grey levels a pixel."""
    across = np.abs(np.diff(grey, axis=1, prepend=grey[:, :1]))
    down = np.abs(np.diff(grey, axis=0, prepend=grey[:1]))
    beside = cv2.dilate(ink.astype(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
    return float(np.percentile(np.maximum(across, down)[rows, columns][beside], 85))


# How much words differ.


def deviations(page: Page, values: Floats) -> Floats:
    """Return (N, 8), how much each word differs from its row and its surroundings, in robust deviations of the page.

    Args:
        page: The words; those that are not judged are best left out.
        values: (N, 6), what `measures` returned of them.

    Returns:
        Signed, in the order of `TRACES`; nan where nothing can be said.
    """
    out = np.full((len(page.words), len(TRACES)), math.nan)
    if len(page.words) <= NEAR:
        return out
    rows = np.array([word.row for word in page.words])
    centres = np.array([[(w.box[0] + w.box[2]) / 2, w.box[1] + w.box[3]] for w in page.words])
    # Words of other rows are half as near as they look, for `y` is doubled.
    near = spatial.cKDTree(centres).query(centres, k=min(3 * NEAR, len(centres)))[1][:, 1:]
    mates = [np.flatnonzero(rows == row) for row in rows]
    mates = [row[row != k] for k, row in enumerate(mates)]
    out[:, 0] = [_shift(page, k, mates[k]) for k in range(len(rows))]
    out[:, 1] = [_size(page, k, mates[k], near[k][:NEAR]) for k in range(len(rows))]
    for column, name in enumerate(TRACES[2:]):
        differing = _differing(values[:, column], mates, near, name in _STYLE)
        usual = np.abs(differing[np.isfinite(differing) & (differing != 0)])
        scale = 1.4826 * float(np.median(usual)) if len(usual) > _FEWEST else math.inf
        out[:, column + 2] = differing / max(scale, _FLOORS[name])
    return out


def _differing(values: Floats, mates: Sequence[NDArray[np.int64]], near: NDArray[np.int64], style: bool) -> Floats:
    """Return by how much each value differs from both the median of its row and that of its surroundings, or 0."""
    known = np.isfinite(values)
    out = np.full(len(values), math.nan)
    for k in np.flatnonzero(known).tolist():
        around = [j for j in near[k].tolist() if known[j]][:NEAR]
        beside = [j for j in mates[k].tolist() if known[j]]
        if len(around) < _FEWEST or (style and not beside):
            continue
        off = float(values[k] - np.median(values[around]))
        if beside:
            other = float(values[k] - np.median(values[beside]))
            off = 0.0 if off * other <= 0 else min(off, other, key=abs)
        out[k] = off
    return out


def _shift(page: Page, k: int, mates: NDArray[np.int64]) -> float:
    """Return by how much a word stands lower than its row, in deviations: what all its characters have in common.

    A character stands where two of other words do, be it on the row's baseline or as deep as its descenders.
    """
    word, slope = page.words[k], page.slopes[k]
    feet = np.array([((g[0] + g[2]) / 2, g[3]) for j in mates.tolist() for g in page.words[j].tall], np.float64)
    if len(feet) < 3 or not word.tall:
        return math.nan
    height = float(np.median([g[3] - g[1] for g in word.tall]))
    offs = []
    for x0, _, x1, foot in word.tall:
        reach = (x0 + x1) / 2 - feet[:, 0]
        # The fall of a row is known too roughly to ask those at its other end.
        beside = np.argsort(np.abs(reach), kind="stable")[:NEAR]
        reach = reach[beside]
        low = (foot - feet[beside, 1] - slope * reach) / height
        units = low / (max(_LEAST, 0.75 / height) + _TURN * np.abs(reach) / height)
        offs.append(float(units[np.argsort(np.abs(units))[1]]))
    return _common(offs)


def _size(page: Page, k: int, mates: NDArray[np.int64], near: NDArray[np.int64]) -> float:
    """Return by how much a word's characters are higher than any two of the words around, in deviations."""
    word = page.words[k]
    others = [g for j in sorted({*mates.tolist(), *near.tolist()}) for g in page.words[int(j)].tall]
    if not len(mates) or len(others) < 10 or not word.tall:
        return math.nan
    heights = np.log([g[3] - g[1] for g in others])
    offs = []
    for _, top, _, foot in word.tall:
        off = math.log(foot - top) - heights
        offs.append(float(off[np.argsort(np.abs(off))[1]]) / max(_LEAST, 0.75 / (foot - top)))
    return _common(offs)


def _common(offs: Sequence[float]) -> float:
    """Return the least of some deviations where all have one sign, else 0."""
    return min(offs, key=abs) if all(off > 0 for off in offs) or all(off < 0 for off in offs) else 0.0
