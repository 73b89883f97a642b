"""White-out: a word of a document is covered with the colour of the paper around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.document import boxes, paper
from tamperscope.ops.forge.document.base import Edit, laid, mask_of, new_content
from tamperscope.types import Sample


@dataclass(frozen=True, kw_only=True)
class WhiteOut(Edit):
    """Cover a word with paper; `mask` marks the box that was covered, and nothing else changes.

    Attributes:
        matched: How often the cover has the noise of the paper; else it has none.
    """

    matched: float = 0.5

    def __post_init__(self) -> None:
        Edit.__post_init__(self)
        shapes.check_span("white_out.matched", (self.matched, self.matched), 0, 1)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: The page has no word, or a given box does not fit it.
        """
        words = self.words(sample)
        word = words[int(rng.integers(len(words)))]
        matched = bool(rng.random() < self.matched)
        box = self.region(word, words, sample.size)
        cover = paper.around(sample.rgb, boxes.ink(sample.rgb), box).drawn(rng if matched else None)
        rgb = sample.rgb.copy()
        laid(rgb, cover, box)
        mask = mask_of(sample.size, box)
        return shapes.forged(
            sample,
            rgb,
            mask,
            "white_out",
            box=list(box),
            matched=matched,
            old=word.text,
            trace=new_content(sample, matched),
            words=shapes.words(mask, word.noun, "covered with the colour of the paper"),
        )
