"""Boxes of lines, words and characters on a page: dark ink on lighter paper, found without reading the text.

Ink is what is darker than its surroundings; its connected parts are strung together to lines by their vertical overlap,
and lines are split to words where a gap is wide for the page. Nothing is drawn: a page has one list of boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.types import BoolArray, Box, UInt8Array

_LEAST = 5  # pixels: nothing lower is a character
_GAPS = (0.25, 0.6)  # heights of a line's tall characters: where a gap between words may begin
_FAR = 0.8  # heights of a line: wider gaps are all alike
_COLUMN = 1.25  # heights of a line: a wider gap parts columns
_SHARED = 0.6  # of the lower piece's height: pieces of one line share so much
_FITTING = (0.45, 3.5)  # heights of the page's text: what is text


def ink(rgb: UInt8Array) -> BoolArray:
    """Return where a page is darker than its surroundings, (H, W) bool.

    The threshold is the local mean less a sixth of the page's contrast, so that shading is no ink.

    Args:
        rgb: (H, W, 3) uint8.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    dark, bright = np.percentile(grey, (1, 95))
    below = float(np.clip((bright - dark) / 6, 12, 30))
    window = max(31, min(grey.shape) // 12) | 1
    kind, method = cv2.THRESH_BINARY_INV, cv2.ADAPTIVE_THRESH_GAUSSIAN_C
    return np.asarray(cv2.adaptiveThreshold(grey, 1, method, kind, window, below)).astype(bool)


def words(rgb: UInt8Array) -> list[Box]:
    """Return the boxes of the words of a page, line by line from the top, each line from the left.

    Only gaps part words: where a font sets narrow figures as far apart as words (`11`), a number falls into pieces.

    Args:
        rgb: (H, W, 3) uint8, dark text in about level lines.
    """
    lines = _lines(_parts(ink(rgb)))
    widest = _word_gap(lines)
    found = [_split(line, widest * _height(line)) for line in lines]
    found = [[word for word in line if word[3] - word[1] >= _LEAST] for line in found]
    return [word for line in sorted(filter(None, found), key=lambda line: (line[0][1], line[0][0])) for word in line]


def lines(dark: BoolArray) -> list[list[Box]]:
    """Return the words of each line of text, both in reading order; columns far apart are lines of their own.

    Differs from `words`, which gives each part of ink to one chain of parts: pieces of broken characters are joined
    with the line that they lie in, and what is far lower or higher than the page's text is left out.

    Args:
        dark: (H, W) bool, the page's ink.
    """
    strung = _lines(_parts(dark))
    widest = _word_gap(strung)
    pieces = [piece for line in strung for piece in _pieces(line, _COLUMN * _height(line))]
    pieces = _fitting(_joined(pieces))
    found = []
    for _, parts in pieces:
        split = _split(parts, widest * _height(parts))
        found.append([word for word in split if word[3] - word[1] >= _LEAST])
    return sorted(filter(None, found), key=lambda line: (line[0][1], line[0][0]))


def glyphs(dark: BoolArray, word: Box, least: int = _LEAST) -> list[Box]:
    """Return the boxes of the characters of a word from the left; those that touch are one.

    Args:
        dark: (H, W) bool, the page's ink.
        word: Box of the word.
        least: Pixels; what is lower, such as a full stop, is left out.
    """
    x0, y0, x1, y1 = word
    parts = [(x0 + a, y0 + b, x0 + c, y0 + d) for a, b, c, d in _components(dark[y0:y1, x0:x1])]
    return [glyph for glyph in _split(parts, -1) if glyph[3] - glyph[1] >= least]


def bounds(boxes: Iterable[Box]) -> Box:
    """Return the smallest box around some boxes, of which there must be one."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _components(dark: BoolArray) -> list[Box]:
    stats = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=8)[2][1:, :4].tolist()
    return [(x, y, x + w, y + h) for x, y, w, h in stats]


def _parts(dark: BoolArray) -> list[Box]:
    """Return the connected parts of ink that may belong to characters: neither rules, frames nor pictures."""
    parts = _components(dark)
    heights = [bottom - top for _, top, _, bottom in parts if bottom - top >= _LEAST]
    if not heights:
        return []
    usual = float(np.median(heights))

    def fits(part: Box) -> bool:
        width, height = part[2] - part[0], part[3] - part[1]
        rule = width > 8 * height and width > 3 * usual
        return height <= 4 * usual and width <= 15 * usual and not rule and width * height >= 2

    return [part for part in parts if fits(part)]


def _lines(parts: Sequence[Box]) -> list[list[Box]]:
    """Return parts strung together to lines, each sorted from the left."""
    if not parts:
        return []
    half = float(np.median([p[3] - p[1] for p in parts if p[3] - p[1] >= _LEAST] or [_LEAST])) / 2
    cores = sorted(p for p in parts if p[3] - p[1] >= half)
    lines: list[list[Box]] = []
    homes: list[list[Box]] = []
    near: list[list[Box]] = []
    for part in cores:
        near = [line for line in near if part[0] - line[-1][2] <= 8 * half]
        fitting = [line for line in near if _beside(part, line[-1])]
        line = min(fitting, key=lambda line: (part[0] - line[-1][2], line[-1][1]), default=[])
        if not line:
            lines.append(line)
            near.append(line)
        line.append(part)
        homes.append(line)
    _attach([p for p in parts if p[3] - p[1] < half], np.array(cores, np.float64).reshape(-1, 4), homes, half)
    return [sorted(line) for line in lines]


def _attach(small: Sequence[Box], cores: NDArray[np.float64], homes: Sequence[list[Box]], half: float) -> None:
    """Add dots, commas and strokes to the line of the nearest character beside, above or below them."""
    widest = float((cores[:, 2] - cores[:, 0]).max(initial=0))
    for part in small:
        first = int(np.searchsorted(cores[:, 0], part[0] - widest - 2 * half))
        last = int(np.searchsorted(cores[:, 0], part[2] + 2 * half, "right"))
        if first == last:
            continue
        left, top, right, bottom = cores[first:last].T
        across = np.maximum(0, np.maximum(left - part[2], part[0] - right))
        down = np.maximum(0, np.maximum(top - part[3], part[1] - bottom))
        nearest = int(np.argmin(across + 2 * down))
        if across[nearest] <= 2 * half and down[nearest] <= half:
            homes[first + nearest].append(part)


def _beside(part: Box, last: Box) -> bool:
    """Return whether two parts may stand on one line: they share half of the lower one's height."""
    shared = min(part[3], last[3]) - max(part[1], last[1])
    return 2 * shared >= min(part[3] - part[1], last[3] - last[1])


def _height(line: Sequence[Box]) -> float:
    """Return the height of a line's tall characters, pixels."""
    return float(np.percentile([bottom - top for _, top, _, bottom in line], 80))


def _word_gap(lines: Sequence[Sequence[Box]]) -> float:
    """Return the gap, in heights of a line, from which a new word begins: Otsu's threshold over the page's gaps."""
    gaps = [
        (right[0] - left[2]) / _height(line) for line in lines for left, right in pairwise(line) if right[0] > left[2]
    ]
    if len(gaps) < 8:
        return 0.4
    # Gaps between columns must not outweigh those between words.
    near = np.clip(gaps, 0, _FAR)
    level, _ = cv2.threshold(np.rint(100 * near).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    wide = np.rint(100 * near) > level
    if wide.all() or not wide.any():
        return 0.4
    return float(np.clip((near[~wide].max() + near[wide].min()) / 2, *_GAPS))


def _split(line: Sequence[Box], gap: float) -> list[Box]:
    """Return the boxes of a line's parts, those together that are at most `gap` pixels apart."""
    found: list[Box] = []
    for part in sorted(line):
        if found and part[0] - found[-1][2] <= gap:
            found[-1] = bounds([found[-1], part])
        else:
            found.append(part)
    return found


_Piece = tuple[Box, list[Box]]


def _pieces(line: Sequence[Box], gap: float) -> list[_Piece]:
    """Return the pieces of a line that wide gaps part, each with its parts."""
    return [(box, [p for p in line if p[0] >= box[0] and p[2] <= box[2]]) for box in _split(line, gap)]


def _joined(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Return pieces of which those that lie side by side, or one in the other, are one; a page's lines stay apart."""
    waiting = sorted(pieces, key=lambda piece: -(piece[0][2] - piece[0][0]) * (piece[0][3] - piece[0][1]))
    while True:
        kept: list[_Piece] = []
        for box, parts in waiting:
            home = next((k for k, (other, _) in enumerate(kept) if _one_line(other, box)), None)
            if home is None:
                kept.append((box, parts))
            else:
                kept[home] = (bounds([kept[home][0], box]), [*kept[home][1], *parts])
        if len(kept) == len(waiting):
            return kept
        waiting = kept


def _one_line(one: Box, other: Box) -> bool:
    low, high = sorted((one[3] - one[1], other[3] - other[1]))
    shared = min(one[3], other[3]) - max(one[1], other[1])
    apart = max(one[0] - other[2], other[0] - one[2])
    together = max(one[3], other[3]) - min(one[1], other[1])
    return shared >= _SHARED * low and apart <= 0.8 * _COLUMN * high and together <= 1.4 * high


def _fitting(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Return the pieces that are as high as text of this page may be, and no rules or specks."""
    heights = [box[3] - box[1] for box, parts in pieces for _ in parts]
    usual = float(np.median(heights)) if heights else 0.0

    def fits(piece: _Piece) -> bool:
        (x0, y0, x1, y1), parts = piece
        tall = any(p[3] - p[1] >= usual / 2 for p in parts)
        speck = len(parts) == 1 and (x1 - x0) * (y1 - y0) < 0.35 * usual * usual
        return _FITTING[0] * usual <= y1 - y0 <= _FITTING[1] * usual and tall and not speck

    return [piece for piece in pieces if fits(piece)]
