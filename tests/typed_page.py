"""Typeset pages whose words are set one by one, so that one of them may be set otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tamperscope.types import Box, Sample

_WORDS = (
    "Total",
    "amount",
    "37.50",
    "Invoice",
    "date",
    "2024",
    "Paid",
    "cash",
    "Bread",
    "4.20",
    "Coffee",
    "208.00",
    "EUR",
)
ALTERED = 32
"""Number of a word in the middle of a page, which is the same on every page."""


@dataclass(frozen=True)
class Style:
    """How a word is set."""

    size: int = 22
    bold: int = 0
    ink: tuple[int, int, int] = (40, 40, 44)
    down: int = 0
    blur: float = 0.9
    noise: float = 2.5
    paper: int = 0


@dataclass
class Typed:
    """A page: its pixels, and box and text of each word."""

    rgb: np.ndarray
    boxes: list[Box] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def sample(self) -> Sample:
        return Sample(self.rgb)


def typed(
    other: dict[int, Style] | None = None,
    rows: dict[int, Style] | None = None,
    count: int = 14,
    seed: int = 0,
    paper: int = 238,
) -> Typed:
    """Return a page of `count` rows of five words; `other` says how single words are set, `rows` how whole rows are."""
    rng, plain = np.random.default_rng(seed), Style()
    height, width = 60 + 40 * count, 720
    page = Typed(np.empty(0))
    ground = np.full((height, width, 3), paper, np.float64)
    strength = np.full((height, width), plain.noise)
    for row in range(count):
        x, foot = 40.0, 60 + 40 * row
        for column in range(5):
            number = len(page.boxes)
            text = "7315" if number == ALTERED else str(rng.choice(_WORDS))
            style = (other or {}).get(number, (rows or {}).get(row, plain))
            font = ImageFont.load_default(style.size)
            # A word is set on a canvas of its own, with room for its blur.
            left, top = int(x) - 12, foot - 2 * style.size
            canvas = Image.new("L", (int(font.getlength(text)) + 30, 3 * style.size))
            place = (x - left, foot + style.down - top)
            ImageDraw.Draw(canvas).text(place, text, fill=255, font=font, anchor="ls", stroke_width=style.bold)
            cover = np.asarray(canvas, np.float64) / 255
            ys, xs = np.nonzero(cover > 0.3)
            box = left + int(xs.min()), top + int(ys.min()), left + int(xs.max()) + 1, top + int(ys.max()) + 1
            page.boxes.append(box)
            page.texts.append(text)
            around = np.s_[max(0, box[1] - 2) : box[3] + 2, max(0, box[0] - 2) : box[2] + 2]
            ground[around] += style.paper
            strength[around] = style.noise
            cover = cv2.GaussianBlur(cover, (0, 0), style.blur)[..., None]
            part = ground[max(0, top) : top + canvas.height, left : left + canvas.width]
            cover = cover[max(0, -top) :][: part.shape[0], : part.shape[1]]
            part[:] = part * (1 - cover) + np.array(style.ink) * cover
            x = max(x + font.getlength(text) + 14, 40 + 128 * (column + 1) * (column % 2))
    noisy = ground + rng.normal(0, 1, (height, width, 1)) * strength[..., None]
    page.rgb = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return page
