"""Trace `grid`: the region was compressed on another JPEG grid than the rest of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.media.recompress import Subsampling, recompress
from tamperscope.ops.forge.traces.base import Trace
from tamperscope.ops.params import Range, Setting
from tamperscope.types import Sample

Shift = Annotated[int, Range(0, 7)]


def compressed(
    sample: Sample,
    quality: Annotated[int, Range(1, 100)] = 80,
    dy: Shift = 0,
    dx: Shift = 0,
    subsampling: Subsampling = "4:4:4",
) -> Sample:
    """Compress as JPEG with a grid whose corners lie at (dy, dx) modulo 8; the picture stays in its place.

    Args:
        sample: The picture.
        quality: Of the IJG tables.
        dy: Row of the grid's origin.
        dx: Column of the grid's origin.
        subsampling: Of the chroma planes; 4:4:4 leaves no other trace than the grid.
    """
    # A block starts at (dy, dx) of the picture when as many rows and columns as are missing to 8 precede it.
    top, left = -dy % 8, -dx % 8
    framed = np.asarray(cv2.copyMakeBorder(sample.rgb, top, 0, left, 0, cv2.BORDER_REPLICATE), np.uint8)
    return sample.with_pixels(recompress(framed, quality, subsampling)[top:, left:].copy())


@dataclass(frozen=True, kw_only=True)
class Grid(Trace):
    """Compress a region on a shifted JPEG grid; foreign where the rest of the picture has the grid of its origin.

    Raises:
        InvalidValueError: Both shifts may be 0.
    """

    name = "trace_grid"
    traces = ("foreign_grid",)
    pipeline = staticmethod(compressed)
    quality: Setting = (65, 90)
    dy: Setting = (1, 7)
    dx: Setting = (1, 7)
    subsampling: Setting = "4:4:4"

    def __post_init__(self) -> None:
        super().__post_init__()
        if all(0 in (setting if isinstance(setting, tuple | list) else [setting]) for setting in (self.dy, self.dx)):
            found = f"dy={self.dy}, dx={self.dx}"
            raise InvalidValueError(
                f"{self.name}: expected dy or dx to leave out 0, which is the own grid, found {found}"
            )
