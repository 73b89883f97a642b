"""Which domain a picture belongs to, from its pixels alone and cheaply: a page of text, a face, a drawing, or a photo.

A page has many letters that stand in rows; a face is found by `signal.faces`, and large enough to be judged; a drawing
has few colours and is flat in most places. What is neither page nor drawing is a photo, and a face may be in any of
them. `scripts/domains_table.py` measured what the thresholds are worth.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.signal import faces
from tamperscope.signal.words import ink
from tamperscope.types import BoolArray, Finding, Sample, UInt8Array

Name = Literal["document", "face", "drawing", "photo"]
NAMES: tuple[Name, ...] = get_args(Name)

LETTERS = 66
"""Letters in rows that a page has at least."""
SHARE = 0.03
"""Of all ink that the letters in rows of a page make up, the desk that it lies on among it."""
FACE = 80
"""Pixels of the shorter side of a face that can be judged."""
FLAT = 0.8
"""Of a drawing that is flat."""
COLOURS = 0.9
"""Of a drawing that its commonest colours cover: eight of the 4096 that four bits a channel tell apart."""

_SIDE, _SMALL = 1024, 512  # pixels of the longer side of what letters, and flat places, are looked for in
_HEIGHTS = (5, 0.1)  # of a letter: pixels, and of the picture's longer side
_PARTS = 12_000  # parts of ink: a page has fewer
_PHRASES: dict[Name, str] = {
    "document": "a page of text",
    "face": "a picture of a face",
    "drawing": "a drawing, a chart or a screen",
    "photo": "a photo",
}


@dataclass(frozen=True, slots=True)
class Domains:
    """How much a picture looks like each domain; from 0.5 on it counts as one of it.

    Attributes:
        document: A page of text.
        face: A face that is large enough to be judged.
        drawing: A drawing, chart or screen.
    """

    document: float
    face: float
    drawing: float

    @property
    def names(self) -> tuple[Name, ...]:
        """The domains, the one with the highest score first; `photo` where it is neither page nor drawing."""
        scores: dict[Name, float] = {"document": self.document, "face": self.face, "drawing": self.drawing}
        found = tuple(sorted((name for name in scores if scores[name] >= 0.5), key=lambda name: -scores[name]))
        return found if {"document", "drawing"} & set(found) else (*found, "photo")

    @property
    def words(self) -> str:
        """What the picture looks like, for a person."""
        return _PHRASES[self.names[0]]


def phrase(names: Iterable[str]) -> str:
    """Return what pictures of some domains are, for a person, such as `a page of text or a photo`."""
    return " or ".join(_PHRASES[name] for name in NAMES if name in set(names))


_LOCK = threading.Lock()
_known: dict[int, tuple[weakref.ref[Any], Domains]] = {}


def of(sample: Sample) -> Domains:
    """Return the domains of a picture; they are kept as long as its pixels are.

    Args:
        sample: The picture, whose pixels nobody changes in place.
    """
    found = known(sample)
    if found is None:
        found = measured(sample)
        key, rgb = id(sample.rgb), sample.rgb
        with _LOCK:
            _known[key] = weakref.ref(rgb, lambda _: _known.pop(key, None)), found
    return found


def known(sample: Sample) -> Domains | None:
    """Return the domains of a picture that were asked for before, or None."""
    kept = _known.get(id(sample.rgb))
    return kept[1] if kept is not None and kept[0]() is sample.rgb else None


def findings(sample: Sample) -> list[Finding]:
    """Return what a picture looks like as a finding, where that was asked for before; else none."""
    found = known(sample)
    if found is None:
        return []
    scores = {"document": found.document, "face": found.face, "drawing": found.drawing}
    values = {"domains": list(found.names), "scores": {name: round(score, 3) for name, score in scores.items()}}
    return [Finding("picture.domain", f"The picture looks like {found.words}.", "info", values, "domains")]


def measured(sample: Sample) -> Domains:
    """Return the domains of a picture, measured anew."""
    return Domains(page(sample.rgb), face(sample), drawing(sample.rgb))


def page(rgb: UInt8Array) -> float:
    """Return how much a picture looks like a page of dark text in about level lines, in [0, 1]; 0.5 decides.

    Args:
        rgb: (H, W, 3).
    """
    return page_score(*letters_in_rows(ink_of(rgb)))


def sideways(rgb: UInt8Array) -> bool:
    """Return whether a picture looks like a page that lies on its side, and half as much at most like one as stored.

    Args:
        rgb: (H, W, 3).
    """
    dark = ink_of(rgb)
    turned = page_score(*letters_in_rows(np.ascontiguousarray(np.rot90(dark))))
    return turned >= max(0.5, 2 * page_score(*letters_in_rows(dark)))


def page_score(letters: int, share: float) -> float:
    """Return the score of a page by what `letters_in_rows` counted."""
    return min(1.0, 0.5 * letters / LETTERS, 0.5 * share / SHARE)


def ink_of(rgb: UInt8Array) -> BoolArray:
    """Return the ink of a picture (H, W, 3), which is shrunk to 1024 pixels a side before."""
    return ink(_shrunk(rgb, _SIDE))


def letters_in_rows(dark: BoolArray) -> tuple[int, float]:
    """Return how many letters stand in rows, and the share of all ink that they make up.

    A letter stands in a row where another one as high stands beside it on the same line, and one beside either of
    these.

    Args:
        dark: (H, W) bool, ink.
    """
    parts = cv2.connectedComponentsWithStats(dark.view(np.uint8), connectivity=8)[2][1:]
    if not 0 < len(parts) <= _PARTS:
        return 0, 0.0
    left, top, wide, high, areas = parts.T
    boxes = np.stack([left, top, left + wide, top + high], 1).astype(np.float64)
    fits = (high >= _HEIGHTS[0]) & (high <= _HEIGHTS[1] * max(dark.shape)) & (wide <= 1.6 * high)
    letters = np.flatnonzero(fits)
    if len(letters) < 2:
        return 0, 0.0
    after = _after(boxes[letters])
    has = after >= 0
    before = np.zeros(len(letters), np.bool_)
    before[after[has]] = True
    # Of three in a row, the middle one follows one and is followed.
    middle = np.flatnonzero(has & before)
    row = np.zeros(len(letters), np.bool_)
    row[middle] = True
    row[after[middle]] = True
    row[np.flatnonzero(has)[np.isin(after[has], middle)]] = True
    return int(row.sum()), float(areas[letters][row].sum() / max(1, areas.sum()))


def _after(boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each letter the nearest one to its right that stands on its line and is about as high, or -1."""
    from scipy.spatial import cKDTree  # every scan imports this module, and few need that one at its start

    high = boxes[:, 3] - boxes[:, 1]
    places = np.stack([boxes[:, 0], boxes[:, 3]], 1)
    near = cKDTree(places).query(places, k=min(9, len(places)))[1]
    ahead = boxes[near, 0] - boxes[:, None, 2]
    level = np.abs(boxes[near, 3] - boxes[:, None, 3])
    alike = np.abs(np.log(high[near] / high[:, None]))
    fits = (ahead > -0.3 * high[:, None]) & (ahead < 1.2 * high[:, None]) & (boxes[near, 0] > boxes[:, None, 0])
    fits &= (level <= 0.12 * high[:, None] + 1) & (alike <= 0.4)
    ahead = np.where(fits, ahead, math.inf)
    best = ahead.argmin(1)
    rows = np.arange(len(boxes))
    return np.where(fits[rows, best], near[rows, best], -1)


def face(sample: Sample) -> float:
    """Return how large the largest face is, as a share of twice the least that can be judged; 0.5 decides.

    Args:
        sample: The picture; see `signal.faces.find` for who finds faces.
    """
    sides = (min(one.box[2] - one.box[0], one.box[3] - one.box[1]) for one in faces.find(sample))
    return min(1.0, 0.5 * max(sides, default=0.0) / FACE)


def drawing(rgb: UInt8Array) -> float:
    """Return how much a picture looks drawn, in [0, 1]: few colours and flat places; 0.5 decides.

    Args:
        rgb: (H, W, 3).
    """
    return drawing_score(*flatness(rgb))


def drawing_score(flat: float, common: float) -> float:
    """Return the score of a drawing by what `flatness` measured."""
    # What is less flat, or has more colours, falls short by as much as it lacks of the whole.
    lacking = max((1 - flat) / (1 - FLAT), (1 - common) / (1 - COLOURS))
    return float(np.clip(1 - 0.5 * lacking, 0, 1))


def flatness(rgb: UInt8Array) -> tuple[float, float]:
    """Return the share of a picture that is flat, and the share that its eight commonest colours cover.

    Args:
        rgb: (H, W, 3); flat is a pixel that differs from the next and from the one below by at most 2 in each channel.
    """
    small = _shrunk(rgb, _SMALL)
    if min(small.shape[:2]) < 2:
        return 0.0, 0.0
    right = cv2.absdiff(small[:-1, :-1], small[:-1, 1:])
    down = cv2.absdiff(small[:-1, :-1], small[1:, :-1])
    flat = cv2.inRange(cv2.max(right, down), (0, 0, 0), (2, 2, 2))
    red, green, blue = (plane.astype(np.uint16) for plane in cv2.split(small >> 4))
    counts = np.sort(np.bincount(((red << 8) | (green << 4) | blue).ravel(), minlength=4096))
    return cv2.countNonZero(flat) / flat.size, float(counts[-8:].sum() / red.size)


def _shrunk(rgb: UInt8Array, side: int) -> UInt8Array:
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
