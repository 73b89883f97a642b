"""Retyping: a word of a document is erased and another one is set in its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.document import boxes, paper, typeset
from tamperscope.ops.forge.document.base import Edit, Word, laid, mask_of, new_content, noun
from tamperscope.types import BoolArray, Box, FloatArray, Sample

_SHARP = 0.4  # pixels: the blur of freshly set edges
_FAINT = 0.25  # of the ink: what is fainter is noise of the paper


@dataclass(frozen=True, kw_only=True)
class Retype(Edit):
    """Erase a word and set another one in its box; `mask` marks the box, and nothing else changes.

    Height, stroke width and colour are those of the old word. What it says is `text`; else, where the old word is
    known, the old one with other letters or digits; else a made-up one with as many characters, which
    has no digit and no tall letter where the old word is low.

    Attributes:
        text: The new word, or "" for one that is drawn.
        numbers: How often a made-up tall word is a number.
        matched: How often the new word has the noise of the paper and the blur of the old word's edges; else it has
            neither.
    """

    text: str = ""
    numbers: float = 0.5
    matched: float = 0.5

    def __post_init__(self) -> None:
        Edit.__post_init__(self)
        for name in ("numbers", "matched"):
            shapes.check_span(f"retype.{name}", (getattr(self, name),) * 2, 0, 1)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: The page has no word, a given box does not fit it, or the text cannot be printed.
        """
        words, dark = self.words(sample), boxes.ink(sample.rgb)
        word = words[int(rng.integers(len(words)))]
        text = self._text(word, words, dark, rng)
        matched = bool(rng.random() < self.matched)
        box = self.region(word, words, sample.size)
        cover, weight = _set(sample, dark, word, box, text)
        blur = _missing_blur(sample, word) if matched else 0.0
        if blur:
            cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), blur, borderType=cv2.BORDER_CONSTANT), np.float32)
        ground = paper.around(sample.rgb, dark, box).drawn(rng if matched else None)
        colour = paper.ink_colour(sample.rgb, dark, word.box)
        rgb, mask = sample.rgb.copy(), mask_of(sample.size, box)
        laid(rgb, ground * (1 - cover[..., None]) + colour * cover[..., None], box)
        return shapes.forged(
            sample,
            rgb,
            mask,
            "retype",
            box=list(box),
            old=word.text,
            new=text,
            colour=[round(float(c), 2) for c in colour],
            weight=weight,
            blur=blur,
            matched=matched,
            trace=new_content(sample, matched),
            words=shapes.words(mask, noun(text), f"retyped as '{text}'"),
        )

    def _text(self, word: Word, words: Sequence[Word], dark: BoolArray, rng: np.random.Generator) -> str:
        if self.text:
            return self.text
        if any(c.isascii() and c.isalnum() for c in word.text):
            return typeset.altered(word.text, rng)
        length = max(1, len(boxes.glyphs(dark, word.box)))
        number = bool(rng.random() < self.numbers)
        heights = [other.box[3] - other.box[1] for other in words]
        tall = word.box[3] - word.box[1] >= 0.85 * float(np.median(heights))
        return typeset.made_up(length, number, tall, rng)


def _set(sample: Sample, dark: BoolArray, word: Word, box: Box, text: str) -> tuple[FloatArray, float]:
    """Return how far the new word covers each pixel of the changed box, and the weight of its font."""
    x0, y0, x1, y1 = word.box
    ground = paper.around(sample.rgb, dark, word.box).rgb.mean(2)
    colour = float(paper.ink_colour(sample.rgb, dark, word.box).mean())
    old = (ground - sample.rgb[y0:y1, x0:x1].mean(2)) / np.maximum(ground - colour, 1)
    stroke = paper.stroke_width(np.where(old > _FAINT, np.clip(old, 0, 1), 0).astype(np.float32))
    cover, weight = typeset.coverage(text, (y1 - y0, x1 - x0), stroke)
    lacking = ((y0 - box[1], box[3] - y1), (x0 - box[0], box[2] - x1))
    return np.pad(cover, lacking), weight


def _missing_blur(sample: Sample, word: Word) -> float:
    """Return the blur that makes fresh edges as soft as the old word's, pixels; 0 where they are no softer."""
    missing = paper.edge_blur(sample.rgb, word.box) ** 2 - _SHARP**2
    return round(math.sqrt(missing), 3) if missing > 0.01 else 0.0
