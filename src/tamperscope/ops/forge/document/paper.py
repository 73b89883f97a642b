"""Paper and ink around a word: what a fill or a new word has to look like."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.types import BoolArray, Box, FloatArray, UInt8Array

_ENOUGH = 60  # pixels of paper that a plane is fitted to
_REACH = (4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True, eq=False)
class Paper:
    """The paper of a box, as its surroundings suggest.

    Attributes:
        rgb: (h, w, 3) float32, smooth shading without noise, grey levels.
        noise: (3,) standard deviation of the surrounding paper around that shading, grey levels.
    """

    rgb: FloatArray
    noise: FloatArray

    def drawn(self, rng: np.random.Generator | None) -> FloatArray:
        """Return the paper with Gaussian noise of its own strength, or without any where there is no generator."""
        if rng is None:
            return self.rgb
        return np.asarray(self.rgb + rng.normal(0, 1, self.rgb.shape) * self.noise, np.float32)


def around(rgb: UInt8Array, dark: BoolArray, box: Box) -> Paper:
    """Return the paper of a box: a plane fitted to the paper around it, a channel at a time.

    Args:
        rgb: (H, W, 3), the page.
        dark: (H, W) bool, its ink.
        box: Where the paper is wanted.
    """
    x0, y0, x1, y1 = box
    blank = ~cv2.dilate(dark.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    blank[y0:y1, x0:x1] = False
    for reach in _REACH:
        top, left = max(0, y0 - reach), max(0, x0 - reach)
        part = np.s_[top : y1 + reach, left : x1 + reach]
        if blank[part].sum() >= _ENOUGH:
            rows, columns = np.nonzero(blank[part])
            return _plane(rgb[part][rows, columns].astype(np.float64), rows + top, columns + left, box)
    # No paper is left between the words: the box's own brightest pixels stand in.
    own = rgb[y0:y1, x0:x1].reshape(-1, 3).astype(np.float64)
    bright = own[own.sum(1) >= np.percentile(own.sum(1), 75)]
    flat = np.broadcast_to(bright.mean(0), (y1 - y0, x1 - x0, 3))
    return Paper(flat.astype(np.float32), bright.std(0).astype(np.float32))


def _plane(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, box: Box) -> Paper:
    x0, y0, x1, y1 = box
    middle, spread = ((y0 + y1) / 2, (x0 + x1) / 2), max(y1 - y0, x1 - x0)

    def design(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.stack([np.ones(y.size), (y.ravel() - middle[0]) / spread, (x.ravel() - middle[1]) / spread], 1)

    known = design(rows, columns)
    fit = np.linalg.lstsq(known, values, rcond=None)[0]
    inside = (design(*np.mgrid[y0:y1, x0:x1]) @ fit).reshape(y1 - y0, x1 - x0, 3)
    # A plane that paper on one side alone determines must not run away on the other.
    inside = np.clip(inside, *np.percentile(values, (1, 99), axis=0))
    return Paper(inside.astype(np.float32), (values - known @ fit).std(0).astype(np.float32))


def ink_colour(rgb: UInt8Array, dark: BoolArray, box: Box) -> FloatArray:
    """Return the colour of a word's strokes, (3,) grey levels: the mean of the darker quarter of its ink.

    Args:
        rgb: (H, W, 3), the page.
        dark: (H, W) bool, its ink.
        box: Of the word; without ink in it, its darkest pixel counts.
    """
    x0, y0, x1, y1 = box
    pixels = rgb[y0:y1, x0:x1].reshape(-1, 3)
    inked = pixels[dark[y0:y1, x0:x1].ravel()]
    sums = (pixels if not len(inked) else inked).sum(1, dtype=np.int64)
    level = np.percentile(sums, 25) if len(inked) else sums.min()
    return np.asarray((inked if len(inked) else pixels)[sums <= level].mean(0), np.float32)


def edge_blur(rgb: UInt8Array, box: Box) -> float:
    """Return the standard deviation, in pixels, of the blur of a word's edges.

    A step of contrast c that a Gaussian of deviation s blurs is nowhere steeper than c / (s sqrt(2 pi)).

    Args:
        rgb: (H, W, 3), the page.
        box: Of the word.
    """
    x0, y0, x1, y1 = box
    grey = cv2.cvtColor(rgb[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY).astype(np.float32)
    low, high = np.percentile(grey, (2, 98))
    if min(grey.shape) < 3 or high <= low:
        return 0.0
    slope = max(np.abs(np.diff(grey, axis=axis)).max() for axis in (0, 1))
    return float((high - low) / (slope * math.sqrt(2 * math.pi)))


def stroke_width(cover: FloatArray) -> float:
    """Return the mean width of strokes in pixels: their area over half the length of their edges.

    Args:
        cover: (h, w) in [0, 1], how far each pixel is covered by ink.
    """
    padded = np.pad(cover, 1).astype(np.float64)
    # Mean |step| along rows and columns overstates the length of slanted edges by 4 / pi.
    edge = sum(float(np.abs(np.diff(padded, axis=axis)).sum()) for axis in (0, 1)) * math.pi / 4
    return 2 * float(padded.sum()) / edge if edge else 0.0
