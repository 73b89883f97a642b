"""New words for a document: what they say, and how they are set in a font of like weight."""

from __future__ import annotations

import string

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge.document.paper import stroke_width
from tamperscope.types import FloatArray

# Letters of one shape take each other's place, so that a word keeps its height.
_CLASSES = (string.digits, "acemnorsuvwxz", "bdfhkl", "gpqy", string.ascii_uppercase)
_SQUEEZE = 0.75
_SIZE = 64  # points: large enough to be shrunk
_WEIGHTS = (0, 1, 2, 3, 4, 5, 6)


def altered(text: str, rng: np.random.Generator) -> str:
    """Return a text of the same shape with at least one other character: digits stay digits, capitals capitals.

    Raises:
        InvalidValueError: It holds no Latin letter and no digit.
    """
    places = [i for i, c in enumerate(text) if _class(c)]
    if not places:
        raise InvalidValueError(f"text: expected a letter or digit to change, found {text!r}")
    changed = {int(places[int(rng.integers(len(places)))]), *(i for i in places if rng.random() < 0.5)}
    return "".join(_other(c, rng) if i in changed else c for i, c in enumerate(text))


def made_up(length: int, number: bool, tall: bool, rng: np.random.Generator) -> str:
    """Return a text of some length: digits, small letters after a capital, or, where it must be low, low letters."""
    letters = string.digits if number and tall else _CLASSES[1]
    text = "".join(letters[int(k)] for k in rng.integers(len(letters), size=length))
    return text.title() if tall else text


def _class(character: str) -> str:
    return next((letters for letters in _CLASSES if character in letters), "")


def _other(character: str, rng: np.random.Generator) -> str:
    others = _class(character).replace(character, "")
    return others[int(rng.integers(len(others)))]


def coverage(text: str, size: tuple[int, int], stroke: float) -> tuple[FloatArray, float]:
    """Return a text set as large as a box allows, at its left and its foot, and the weight of the font.

    The weight is the one whose strokes come nearest to a wanted width. A text that is too long for its height is
    squeezed to three quarters of its width first and made lower then.

    Args:
        text: One line with something to print.
        size: (h, w) of the box.
        stroke: Wanted width of strokes, pixels.

    Returns:
        (h, w) float32 in [0, 1], how far each pixel is covered by ink; and the extra stroke width, in sixty-fourths of
        the font's size.

    Raises:
        InvalidValueError: There is nothing to print.
    """
    set_texts = [(_fitted(_rendered(text, weight), size), float(weight)) for weight in _WEIGHTS]
    return min(set_texts, key=lambda one: abs(stroke_width(one[0]) - stroke))


def _rendered(text: str, weight: int) -> FloatArray:
    """Return a text in the font that Pillow brings, cut to its ink."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_SIZE)
    left, top, right, bottom = (round(side) for side in font.getbbox(text, stroke_width=weight))
    canvas = Image.new("L", (max(1, right - left) + 8, max(1, bottom - top) + 8))
    ImageDraw.Draw(canvas).text((4 - left, 4 - top), text, fill=255, font=font, stroke_width=weight)
    cover = np.asarray(canvas, np.float32) / 255
    rows, columns = np.nonzero(cover > 0.5)
    if not len(rows):
        raise InvalidValueError(f"text: expected something to print, found {text!r}")
    return np.asarray(cover[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], np.float32)


def _fitted(cover: FloatArray, size: tuple[int, int]) -> FloatArray:
    height, width = size
    across = height / cover.shape[0]
    squeeze = min(1.0, max(_SQUEEZE, width / (cover.shape[1] * across)))
    scale = min(across, width / (cover.shape[1] * squeeze))
    side = (
        max(1, min(width, round(cover.shape[1] * scale * squeeze))),
        max(1, min(height, round(cover.shape[0] * scale))),
    )
    small = cv2.resize(cover, side, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    out = np.zeros(size, np.float32)
    out[height - side[1] :, : side[0]] = np.clip(small, 0, 1)
    return out
