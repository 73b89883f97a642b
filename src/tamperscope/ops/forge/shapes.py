"""Regions to forge, and how an operation leaves its mark."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from tamperscope.ops.record import record
from tamperscope.types import BoolArray, Sample, UInt8Array


def forged(sample: Sample, rgb: UInt8Array, mask: BoolArray, op: str, **values: Any) -> Sample:
    """Return the sample with new pixels and the mask of what was forged, recorded under the operation's name."""
    return record(sample, sample.with_pixels(rgb, mask=mask, label=None), op, **values)


def blob(size: tuple[int, int], share: float, rng: np.random.Generator) -> BoolArray:
    """Return a smooth random shape of about `share` of a picture of `size`, somewhere in it.

    Args:
        size: (H, W), each at least 16.
        share: Wanted area, in (0, 0.5].
        rng: Draws place and outline.
    """
    height, width = size
    radius = math.sqrt(share * height * width / math.pi)
    angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    waves = sum(rng.normal(0, 0.12 / k) * np.cos(k * angles + rng.uniform(0, 2 * math.pi)) for k in range(2, 6))
    squeeze = math.exp(rng.uniform(-0.4, 0.4))
    reach = radius * np.clip(1 + waves, 0.4, 1.8)
    margin_x, margin_y = (min(0.9 * radius * s, n / 2.2) for s, n in ((squeeze, width), (1 / squeeze, height)))
    centre = rng.uniform(margin_x, width - margin_x), rng.uniform(margin_y, height - margin_y)
    points = np.stack([centre[0] + reach * np.cos(angles) * squeeze, centre[1] + reach * np.sin(angles) / squeeze], 1)
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
    return canvas.astype(bool)
