"""Random patch swap (HiDA-Net): forgeries that show cells of their twins, which teaches where a picture is forged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tamperscope.engine.canvas import Canvas
from tamperscope.types import BoolArray

CELL = 16
SHARES = (0.2, 0.98)
"""Least and greatest share of cells that still show the forgery."""


def swapped(forged: Canvas, twin: Canvas, rate: float, rng: np.random.Generator) -> Canvas:
    """Return a forgery, at times with cells of its twin, with the truth of its cells: where it differs from the twin.

    So it is whatever the forgery's own mask marks, of a picture that was generated as a whole all that is seen of it
    (the published code labels the other cells so). What was known of tables no longer holds for a composite.

    Args:
        forged: Of a picture.
        twin: The same window of the twin.
        rate: How often cells are swapped, 0 to 1.
        rng: Of the draws.
    """
    image, needs = forged.image, forged.needs
    if rng.random() < rate:
        shown = cells(forged.image.shape[:2], float(rng.uniform(*SHARES)), rng)
        image = np.where(shown[..., None], forged.image, twin.image)
        needs = {key: np.ones_like(x) if key == "qtables" else x for key, x in needs.items()}
    differs = np.asarray((image != twin.image).any(2))
    mask: BoolArray = _spread(_any(differs), differs.shape) & forged.valid
    return replace(forged, image=image, mask=mask, needs=needs, label=int(mask.any()))


def cells(size: tuple[int, ...], share: float, rng: np.random.Generator) -> BoolArray:
    """Return a mask (H, W) that is true in cells of `CELL` pixels drawn at random, of a grid from the top left.

    Args:
        size: (H, W); cells at the right and lower edge may be cut off.
        share: Of the cells, 0 to 1; rounded to whole ones.
        rng: Of the draw.
    """
    rows, columns = (-(-n // CELL) for n in size)
    chosen = np.zeros(rows * columns, np.bool_)
    chosen[rng.permutation(rows * columns)[: round(share * rows * columns)]] = True
    return _spread(chosen.reshape(rows, columns), size)


def _any(pixels: BoolArray) -> BoolArray:
    """Return in which cells any pixel is true."""
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % CELL), (0, -width % CELL)))
    return np.asarray(padded.reshape(len(padded) // CELL, CELL, -1, CELL).any((1, 3)))


def _spread(blocks: NDArray[np.bool_], size: tuple[int, ...]) -> BoolArray:
    return np.ascontiguousarray(blocks.repeat(CELL, 0).repeat(CELL, 1)[: size[0], : size[1]])
