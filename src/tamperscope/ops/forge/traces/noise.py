"""Trace `noise`: the region has another noise level than the rest of the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import cv2
import numpy as np

from tamperscope.ops import tones
from tamperscope.ops.forge.traces.base import Trace
from tamperscope.ops.params import Range, Setting, Value
from tamperscope.types import Sample

_FIRST: list[Value] = ["keep", "denoise"]


def renoised(
    sample: Sample,
    sigma: Annotated[float, Range(0, 50)] = 4.0,
    first: Literal["keep", "denoise"] = "keep",
    seed: tones.Seed = 0,
) -> Sample:
    """Add white Gaussian noise to each channel, on top of the picture's own or after a light denoising.

    Args:
        sample: The picture.
        sigma: Standard deviation in grey levels.
        first: `denoise` smooths with a bilateral filter (Tomasi & Manduchi, ICCV 1998) of 5 pixels, which keeps edges.
        seed: Of the noise.
    """
    if first == "denoise":
        sample = sample.with_pixels(np.asarray(cv2.bilateralFilter(sample.rgb, 5, 18.0, 1.5), np.uint8))
    return tones.gaussian_noise(sample, sigma, seed)


@dataclass(frozen=True, kw_only=True)
class Noise(Trace):
    """Give a region another noise level: noise is added, or a denoised region gets noise of its own."""

    name = "trace_noise"
    traces = ("foreign_noise",)
    pipeline = staticmethod(renoised)
    sigma: Setting = (3.0, 6.0)
    first: Setting = field(default_factory=_FIRST.copy)
