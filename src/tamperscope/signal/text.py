"""Words and lines of text on a page: given, read by an OCR, or found without reading, and how they stand beside others.

Whoever finds the words, the page has one shape: each word has its box, its characters' boxes and the row that it stands
in. A row holds all columns of the page; how far rows rise to the right is known at each word, so that a page may be
turned a little or seen from the side.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from tamperscope.errors import InputError, InvalidValueError, unknown_name
from tamperscope.signal import words as found
from tamperscope.types import BoolArray, Box, Sample

Finder = Literal["auto", "given", "ocr", "built_in"]
FINDERS: tuple[Finder, ...] = get_args(Finder)

_LENGTH = 4.0  # what a word that is off by its line's height costs, in gaps as wide as the line is high
_SPECK = 2  # pixels: a full stop is ink too
_TALL = 0.6  # of the height of a row: lower characters do not tell where the row stands
_SHARED = 0.4  # of the lower one's height: what words of one row share at least
_NEXT = 3.0  # heights of a word, within which the next one stands
_STEEPEST = 0.2
_NEAR = (8, 24)  # least and most words around one that tell how its row falls; else a quarter of all
_LOCK = threading.Lock()

Known = list[tuple[Box, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """A word of a page.

    Attributes:
        box: Where it is.
        row: Number of its row, from the top.
        tall: Boxes of its characters that are about as high as the row, from the left.
        text: What it says; "" where nobody knows.
    """

    box: Box
    row: int
    tall: tuple[Box, ...]
    text: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The words of a page.

    Attributes:
        dark: (H, W) bool, the page's ink.
        words: From the top, each row from the left.
        slopes: (N,), by how many pixels a row falls for each pixel to the right, at each word.
        finder: Who found the words.
    """

    dark: BoolArray
    words: Sequence[Word]
    slopes: NDArray[np.float64]
    finder: Finder

    @property
    def rows(self) -> int:
        """How many rows hold a word."""
        return len({word.row for word in self.words})


def find(sample: Sample, finder: Finder = "auto") -> Page:
    """Return the words of a page.

    Args:
        sample: The page. Words in its `meta["words"]`, or lines in its `meta["lines"]`, are given ones: lists of
            `{"box": [x0, y0, x1, y1], "text": "…"}`.
        finder: `given`, `ocr` (needs the extra `ocr`), `built_in`; or `auto`: given ones where there are some, else
            found ones.

    Raises:
        InputError: The OCR is asked for and not installed.
        InvalidValueError: Given words are asked for and there are none, or a box is empty or not in the picture.
        UnknownNameError: There is no such finder.
    """
    if finder not in FINDERS:
        raise unknown_name("finder of words", finder, FINDERS)
    dark = found.ink(sample.rgb)
    words = known(sample, dark) if finder in ("auto", "given") else []
    if words:
        return page(dark, words, "given")
    if finder == "given":
        raise InvalidValueError("text: expected words or lines in the sample's meta, found none")
    if finder == "ocr":
        return page(dark, of_lines(dark, read(sample)), "ocr")
    return page(dark, [(box, "") for line in found.lines(dark) for box in line], "built_in")


def known(sample: Sample, dark: BoolArray | None = None) -> Known:
    """Return the words that a sample's `meta` tells of, or those of the lines that it tells of.

    Args:
        sample: The page.
        dark: (H, W) bool, its ink, where that is known already.

    Raises:
        InvalidValueError: A box is empty or not inside the picture.
    """
    if given := _boxed(sample.meta.get("words")):
        return [(checked(entry["box"], sample.size), str(entry.get("text", ""))) for entry in given]
    if given := _boxed(sample.meta.get("lines")):
        lines = [{"box": checked(line["box"], sample.size), "text": line["text"]} for line in given]
        return of_lines(found.ink(sample.rgb) if dark is None else dark, lines)
    return []


def are_given(sample: Sample) -> bool:
    """Return whether a sample's `meta` tells where words or lines are."""
    return any(_boxed(sample.meta.get(name)) for name in ("words", "lines"))


def _boxed(entries: Any) -> list[Mapping[str, Any]]:
    """Return the entries that tell of a place; a forgery's `words` tell of its edits."""
    return [entry for entry in entries or () if isinstance(entry, Mapping) and "box" in entry]


def checked(box: Sequence[int], size: tuple[int, int]) -> Box:
    """Return a box of a picture (H, W).

    Raises:
        InvalidValueError: It is empty or not inside.
    """
    height, width = size
    if len(box) == 4 and 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height:
        return int(box[0]), int(box[1]), int(box[2]), int(box[3])
    raise InvalidValueError(f"text box: expected (x0, y0, x1, y1) inside {width} x {height} pixels, found {box}")


# Lines whose place and text are known.


def of_lines(dark: BoolArray, lines: Iterable[Mapping[str, Any]]) -> Known:
    """Return the words of lines: each is parted where gaps are wide and lengths fit its text.

    A line with less ink than words is left out.

    Args:
        dark: (H, W) bool, the page's ink.
        lines: Each with a `box` (x0, y0, x1, y1) and its `text`.
    """
    return [word for line in lines for word in _parted(dark, line)]


def _parted(dark: BoolArray, line: Mapping[str, Any]) -> Known:
    texts = str(line["text"]).split()
    glyphs = found.glyphs(dark, tuple(line["box"]), _SPECK)
    if not texts or len(glyphs) < len(texts):
        return []
    cuts = _cuts(glyphs, [len(text) for text in texts])
    return [(found.bounds(glyphs[a:b]), text) for (a, b), text in zip(pairwise(cuts), texts, strict=True)]


def _cuts(glyphs: Sequence[Box], lengths: Sequence[int]) -> list[int]:
    """Return where words begin among a line's glyphs, and its end: the cheapest of all partings.

    Args:
        glyphs: From the left.
        lengths: Characters of each word, of which there are no more than glyphs.
    """
    whole = found.bounds(glyphs)
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


def read(sample: Sample) -> list[dict[str, Any]]:
    """Return the lines that an OCR reads, each a `box` (x0, y0, x1, y1) and its `text`; takes seconds.

    Args:
        sample: The page.

    Raises:
        InputError: The extra `ocr` is not installed.
    """
    with _LOCK:
        answer = _reader()(np.ascontiguousarray(sample.rgb[..., ::-1]))
    height, width = sample.size
    lines = []
    for corners, text in zip(() if answer.boxes is None else answer.boxes, answer.txts or (), strict=True):
        x0, y0 = np.floor(np.asarray(corners).min(0)).astype(int).clip(0).tolist()
        x1, y1 = np.ceil(np.asarray(corners).max(0)).astype(int).tolist()
        if x0 < (x1 := min(x1, width)) and y0 < (y1 := min(y1, height)):
            lines.append({"box": (x0, y0, x1, y1), "text": str(text)})
    return lines


@cache
def _reader() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise InputError('reading text needs the extra `ocr`: pip install "tamperscope[ocr]"') from error
    return RapidOCR(params={"Global.log_level": "error"})


# Rows.


def page(dark: BoolArray, words: Known, finder: Finder = "given") -> Page:
    """Return words with their characters and rows.

    Args:
        dark: (H, W) bool, the page's ink.
        words: Box and text of each.
        finder: Who found them.
    """
    if not words:
        return Page(dark, (), np.zeros(0), finder)
    boxes = np.array([box for box, _ in words], np.float64)
    glyphs = [found.glyphs(dark, box) for box, _ in words]
    feet = np.array([_foot(*both) for both in zip(boxes, glyphs, strict=True)])
    slopes = _slopes(boxes, feet)
    rows = _rows(boxes, slopes)
    height = {row: float(np.median([b[3] - b[1] for b in boxes[rows == row]])) for row in set(rows.tolist())}
    order = np.lexsort((boxes[:, 0], rows))
    made = []
    for k in order:
        row = int(rows[k])
        tall = tuple(g for g in glyphs[k] if g[3] - g[1] >= _TALL * height[row])
        made.append(Word(words[k][0], row, tall, words[k][1]))
    return Page(dark, made, slopes[order], finder)


def _foot(box: NDArray[np.float64], glyphs: Sequence[Box]) -> float:
    """Return where a word stands: the median foot of its tall characters, most of which have no descender."""
    tall = [g[3] for g in glyphs if g[3] - g[1] >= _TALL * (box[3] - box[1])]
    return float(np.median(tall)) if tall else float(box[3])


def _slopes(boxes: NDArray[np.float64], feet: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how rows fall at each word: the median over words around it of the way to the next word of a line."""
    x, height = boxes[:, [0, 2]].mean(1), boxes[:, 3] - boxes[:, 1]
    places, ways, reaches = [], [], []
    for k, (_, top, right, foot) in enumerate(boxes):
        shared = np.minimum(foot, boxes[:, 3]) - np.maximum(top, boxes[:, 1])
        gap = boxes[:, 0] - right
        # Across a wide gap the next word of a line that falls may be another line's.
        ahead = np.flatnonzero((gap >= 0) & (gap <= _NEXT * height[k]) & (shared >= 0.3 * height[k]))
        if len(ahead):
            following = ahead[np.argmin(boxes[ahead, 0])]
            reach = x[following] - x[k]
            places.append(((x[k] + x[following]) / 2, foot))
            ways.append((feet[following] - feet[k]) / reach)
            reaches.append(reach)
    if len(ways) < 3:
        return np.zeros(len(boxes))
    count = min(len(ways), int(np.clip(len(ways) // 4, *_NEAR)))
    near = spatial.cKDTree(places).query(np.stack([x, boxes[:, 3]], 1), k=count)[1]
    steep = [_weighted_median(np.array(ways)[some], np.array(reaches)[some]) for some in near]
    return np.clip(steep, -_STEEPEST, _STEEPEST)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _rows(boxes: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of each word's row: words follow each other in it, as high and as low as its slope says."""
    ends: list[int] = []  # of each row, its last word
    rows = np.zeros(len(boxes), np.int64)
    for k in np.argsort(boxes[:, 0], kind="stable"):
        x0, top, _, foot = boxes[k]
        best, most = -1, _SHARED
        for row, last in enumerate(ends):
            before = boxes[last]
            fall = (slopes[last] + slopes[k]) / 2 * (x0 - before[0])
            shared = min(foot, before[3] + fall) - max(top, before[1] + fall)
            part = shared / min(foot - top, before[3] - before[1])
            if part > most and before[2] <= x0 + (foot - top) / 2:
                best, most = row, part
        if best < 0:
            best = len(ends)
            ends.append(int(k))
        ends[best] = int(k)
        rows[k] = best
    level = boxes[:, 3] - slopes * boxes[:, 0]
    first = [level[rows == row].mean() for row in range(len(ends))]
    return np.argsort(np.argsort(first, kind="stable"), kind="stable")[rows]
