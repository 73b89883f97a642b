"""Cut and paste: a word or character of a document is overwritten with a copy of another one of the same page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.document import boxes, paper
from tamperscope.ops.forge.document.base import Edit, Word, laid, mask_of
from tamperscope.types import BoolArray, Box, Sample, UInt8Array

Unit = Literal["word", "character"]
UNITS: tuple[Unit, ...] = get_args(Unit)
_TARGETS = 40  # words that are tried before the page counts as unfit
_SEEN = 40  # grey levels by which a change is plain to see


@dataclass(frozen=True, kw_only=True)
class CutPaste(Edit):
    """Copy a word or character over another one of like height, pixel for pixel and without a soft edge.

    `mask` marks the copy and what it replaced: paper with its noise covers what is left of a wider word.

    Attributes:
        unit: What is copied; None draws it.
        height: Range of the copy's height as a share of the height of what it replaces.
    """

    unit: Unit | None = None
    height: shapes.Span = (0.85, 1.18)

    def __post_init__(self) -> None:
        Edit.__post_init__(self)
        shapes.check_span("cut_paste.height", self.height, 0.2, 5)
        if self.unit is not None and self.unit not in UNITS:
            raise unknown_name("unit", self.unit, UNITS)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: The page has no word, no two of like height that look different and fit, or a given box
                does not fit it.
        """
        words, dark = self.words(sample), boxes.ink(sample.rgb)
        unit = self.unit or UNITS[int(rng.integers(len(UNITS)))]
        pieces = _characters(words, dark) if unit == "character" else words
        for target, source in self._pairs(pieces, rng):
            region = self.region(target, pieces, sample.size)
            cut = self.region(source, pieces, sample.size)
            dx, dy = target.box[0] - source.box[0], target.box[3] - source.box[3]
            placed = (cut[0] + dx, cut[1] + dy, cut[2] + dx, cut[3] + dy)
            if not _fits(placed, target, pieces, sample.size):
                continue
            rgb = sample.rgb.copy()
            laid(rgb, paper.around(sample.rgb, dark, region).drawn(rng), region)
            laid(rgb, sample.rgb[cut[1] : cut[3], cut[0] : cut[2]], placed)
            mask = mask_of(sample.size, region, placed)
            if not _visible(sample.rgb, rgb, mask):
                continue
            warp = np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]])
            relation = f"overwritten with a copy of another one from the {shapes.place(mask_of(sample.size, cut))}"
            return shapes.forged(
                sample,
                rgb,
                mask,
                "cut_paste",
                unit=unit,
                box=list(placed),
                source=list(cut),
                replaced=list(region),
                warp=warp.tolist(),
                old=target.text,
                new=source.text,
                trace=["duplication", *shapes.history_traces(sample, sample, warp)],
                words=shapes.words(mask, source.noun if unit == "word" else "a character", relation),
            )
        raise InvalidValueError(
            f"cut_paste: found no two {unit}s of like height that fit in each other's place; widen the range of height"
        )

    def _pairs(self, pieces: Sequence[Word], rng: np.random.Generator) -> Iterator[tuple[Word, Word]]:
        """Yield pairs of what is replaced and what replaces it, of like height, in a drawn order."""
        low, high = self.height
        heights = np.array([piece.box[3] - piece.box[1] for piece in pieces])
        for target in rng.permutation(len(pieces))[:_TARGETS]:
            alike = (heights >= low * heights[target]) & (heights <= high * heights[target])
            alike[target] = False
            for source in rng.permutation(np.flatnonzero(alike)):
                yield pieces[target], pieces[source]


def _characters(words: Sequence[Word], dark: BoolArray) -> list[Word]:
    return [Word(glyph) for word in words for glyph in boxes.glyphs(dark, word.box)]


def _fits(placed: Box, target: Word, pieces: Sequence[Word], size: tuple[int, int]) -> bool:
    """Return whether a copy is on the page and covers nothing but what it replaces."""
    inside = placed[0] >= 0 and placed[1] >= 0 and placed[2] <= size[1] and placed[3] <= size[0]
    return inside and not any(piece is not target and boxes.overlap(placed, piece.box) for piece in pieces)


def _visible(before: UInt8Array, after: UInt8Array, mask: BoolArray) -> bool:
    """Return whether at least a twentieth of the mask changed plainly: another word, not the same one once more."""
    change = np.abs(before[mask].astype(int) - after[mask]).max(axis=1)
    return bool((change >= _SEEN).mean() >= 0.05)
