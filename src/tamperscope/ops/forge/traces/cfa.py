"""Trace `cfa`: the region was demosaiced from another Bayer pattern than the rest of the picture."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from tamperscope.ops.forge.traces.base import Trace
from tamperscope.ops.params import Setting, Value
from tamperscope.types import BoolArray, Sample

Pattern = Literal["RGGB", "GRBG", "GBRG", "BGGR"]
PATTERNS: tuple[Value, ...] = typing.get_args(Pattern)
# Weights of the known neighbours; with zeros at the unknown places, each is the mean of two or four known values.
_GREEN = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
_RED_BLUE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4


def sampled(size: tuple[int, int], pattern: Pattern) -> BoolArray:
    """Return (H, W, 3) bool: at which pixels a sensor of this Bayer pattern measures red, green and blue."""
    rows, columns = np.arange(size[0])[:, None] % 2, np.arange(size[1]) % 2
    colour = np.array([*map("RGB".index, pattern)])[2 * rows + columns]
    return np.asarray(colour[..., None] == np.arange(3))


def remosaicked(sample: Sample, pattern: Pattern = "RGGB") -> Sample:
    """Keep one colour a pixel as a Bayer sensor does, and interpolate the others bilinearly.

    Args:
        sample: The picture.
        pattern: Colours of the top left 2 x 2 pixels, row by row.
    """
    known = np.where(sampled(sample.size, pattern), sample.rgb, 0).astype(np.float32)
    planes = [
        # Mirroring without repeating the border keeps the pattern going beyond it.
        cv2.filter2D(known[..., i], -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        for i, kernel in enumerate((_RED_BLUE, _GREEN, _RED_BLUE))
    ]
    return sample.with_pixels(np.clip(np.rint(np.stack(planes, 2)), 0, 255).astype(np.uint8))


@dataclass(frozen=True, kw_only=True)
class Cfa(Trace):
    """Mosaic a region with a Bayer pattern and demosaic it; foreign where the rest has another pattern or none."""

    name = "trace_cfa"
    traces = ("cfa",)
    pipeline = staticmethod(remosaicked)
    pattern: Setting = field(default_factory=lambda: [*PATTERNS])
