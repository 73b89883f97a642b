"""Removal: a piece of the picture is filled from its surroundings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.ops.forge import shapes
from tamperscope.types import Sample


@dataclass(frozen=True, slots=True)
class Removal:
    """Fill a piece of the sample from its surroundings (Telea or Navier–Stokes inpainting)."""

    share: tuple[float, float] = (0.01, 0.06)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample; `mask` marks what was filled."""
        mask = shapes.blob(sample.size, math.exp(rng.uniform(*np.log(self.share))), rng)
        name, method = (("telea", cv2.INPAINT_TELEA), ("navier_stokes", cv2.INPAINT_NS))[int(rng.integers(2))]
        rgb = np.asarray(cv2.inpaint(sample.rgb, mask.astype(np.uint8), 3, method), np.uint8)
        return shapes.forged(sample, rgb, mask, "removal", method=name)
