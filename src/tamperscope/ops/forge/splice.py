"""Splice: a piece of another picture is pasted in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.ops.forge import blending, shapes
from tamperscope.types import BoolArray, Sample, UInt8Array


@dataclass(frozen=True, slots=True)
class Splice:
    """Paste a piece of `donor` into the sample, at its own place in the donor's pixel grid shifted at random.

    Attributes:
        donor: Picture with another history; at least 32 pixels a side.
        donor_mask: The object to cut out, or None for a random shape.
        share: Range of the pasted area as a share of the host.
    """

    donor: Sample
    donor_mask: BoolArray | None = None
    share: tuple[float, float] = (0.02, 0.2)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample; `mask` marks the paste."""
        share = math.exp(rng.uniform(*np.log(self.share)))
        patch, shape, scale = self._piece(sample.size, share, rng)
        height, width = sample.size
        top, left = (int(rng.integers(0, n - p + 1)) for n, p in zip((height, width), shape.shape, strict=True))
        mask, canvas = np.zeros(sample.size, bool), sample.rgb.copy()
        window = np.s_[top : top + shape.shape[0], left : left + shape.shape[1]]
        mask[window], canvas[window] = shape, patch
        feather = float(rng.choice([0.0, 0.7, 1.5]))
        rgb = blending.feathered(sample.rgb, canvas, mask, feather)
        return shapes.forged(
            sample, rgb, mask, "splice", donor=self.donor.id, scale=scale, at=[top, left], feather=feather
        )

    def _piece(
        self, host: tuple[int, int], share: float, rng: np.random.Generator
    ) -> tuple[UInt8Array, BoolArray, float]:
        mask = self.donor_mask if self.donor_mask is not None and self.donor_mask.any() else None
        mask = shapes.blob(self.donor.size, 0.15, rng) if mask is None else mask
        ys, xs = np.nonzero(mask)
        box = np.s_[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        patch, shape = self.donor.rgb[box], mask[box]
        wanted = math.sqrt(share * host[0] * host[1] / shape.sum())
        most = min(0.95 * n / p for n, p in zip(host, shape.shape, strict=True))
        # One paste in three keeps the donor's own pixels where that fits: then no resampling trace is left.
        scale = 1.0 if most >= 1.0 and rng.random() < 0.33 else min(wanted, most)
        if scale != 1.0:
            side = (max(8, round(shape.shape[1] * scale)), max(8, round(shape.shape[0] * scale)))
            patch = np.asarray(cv2.resize(patch, side, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
            shape = cv2.resize(shape.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST).astype(bool)
        return np.asarray(patch, np.uint8), shape, float(scale)
