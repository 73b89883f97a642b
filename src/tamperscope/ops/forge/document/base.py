"""What edits of a document share: the words of the page, and which one is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.document import boxes as found
from tamperscope.signal import text as given
from tamperscope.types import BoolArray, Box, Sample, UInt8Array

_HERE = np.eye(2, 3)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a page.

    Attributes:
        box: Where it is.
        text: What it says; "" where nobody knows.
    """

    box: Box
    text: str = ""

    @property
    def noun(self) -> str:
        """What to call it: a number has a digit and no letter."""
        return noun(self.text)


def noun(text: str) -> str:
    """Return what to call a text: `a number` where it has a digit and no letter, else `a word`."""
    number = any(c.isdigit() for c in text) and not any(c.isalpha() for c in text)
    return "a number" if number else "a word"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What every edit of a document is told.

    Attributes:
        boxes: Of the page's words; where there are none they are taken from the sample's `meta["words"]`, a list of
            `{"box": [x0, y0, x1, y1], "text": "…"}`, or parted from its `meta["lines"]`, which are alike; without
            these they are found.
        texts: What the words of `boxes` say, as many as these, or none.
        margin: Pixels that are changed around the word, so that its soft edges go too.

    Raises:
        InvalidValueError: There are texts but not one of each box, or the margin is out of range.
    """

    boxes: Sequence[Box] = ()
    texts: Sequence[str] = ()
    margin: int = 2

    def __post_init__(self) -> None:
        if self.texts and len(self.texts) != len(self.boxes):
            raise InvalidValueError(
                f"document.texts: expected one of each of {len(self.boxes)} boxes, found {len(self.texts)}"
            )
        if not 0 <= self.margin <= 20:
            raise InvalidValueError(f"document.margin: expected pixels from 0 to 20, found {self.margin}")

    def words(self, sample: Sample) -> list[Word]:
        """Return the words of a page.

        Raises:
            InvalidValueError: There is none, or a given box is empty or not inside the picture.
        """
        if self.boxes:
            words = [
                Word(given.checked(box, sample.size), said)
                for box, said in zip(self.boxes, self.texts or [""] * len(self.boxes), strict=True)
            ]
        else:
            words = [Word(*one) for one in given.known(sample)] or [Word(box) for box in found.words(sample.rgb)]
        if not words:
            raise InvalidValueError("document: expected a page with dark text, found no word; give the words' boxes")
        return words

    def region(self, word: Word, words: Sequence[Word], size: tuple[int, int]) -> Box:
        """Return the box that an edit of a word changes."""
        return found.grown(word.box, [other.box for other in words], self.margin, size)


def mask_of(size: tuple[int, int], *boxes: Box) -> BoolArray:
    """Return the mask, (H, W) bool, of all pixels of some boxes."""
    mask = np.zeros(size, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def laid(rgb: UInt8Array, pixels: NDArray[Any], box: Box) -> None:
    """Write (h, w, 3) pixels, rounded and clipped to 8 bits, into the box of a picture."""
    x0, y0, x1, y1 = box
    rgb[y0:y1, x0:x1] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def new_content(sample: Sample, matched: bool) -> list[str]:
    """Return what pixels that were made anew leave to be detected in a page, its noise matched or not."""
    noise = [] if matched else ["foreign_noise"]
    return ["statistics", *noise, *shapes.history_traces(sample, Sample(sample.rgb), _HERE)]
