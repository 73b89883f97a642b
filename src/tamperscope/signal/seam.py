"""Which of two copies was pasted: only where it was pasted do its surroundings end at its outline.

At the place that a region was taken from, what lies inside and outside of its outline belongs together; where it was
pasted, another scene begins there. The colour step across the outline is therefore larger at the copy.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from tamperscope.types import BoolArray, Box, FloatArray, UInt8Array

_SPREADS = (2, 1)  # pixels by which the outline is let out: a region that was found is rather too small
_BLUR = 1.5  # pixels over which each side of the outline is averaged
_FLOOR = 1.0  # grey levels that compression adds to any step
# Log-odds for one unit of log step ratio: a logistic fit on copies made in training pictures gives 8; less is taken,
# because an object that was cut out exactly along its own outline has a step there at its source too.
_SLOPE = 6.0


def step(rgb: UInt8Array, box: Box, mask: BoolArray) -> float:
    """Return the mean colour step across the outline of a region, in grey levels.

    Args:
        rgb: (H, W, 3) picture.
        box: (x0, y0, x1, y1) of the region.
        mask: (y1 - y0, x1 - x0) bool; the picture's own border is no outline.
    """
    margin = max(_SPREADS) + 6
    x0, y0 = max(0, box[0] - margin), max(0, box[1] - margin)
    x1, y1 = min(rgb.shape[1], box[2] + margin), min(rgb.shape[0], box[3] + margin)
    region = np.zeros((y1 - y0, x1 - x0), dtype=np.uint8)
    region[box[1] - y0 : box[3] - y0, box[0] - x0 : box[2] - x0] = mask
    inner = np.zeros(rgb.shape[:2], dtype=bool)
    inner[2:-2, 2:-2] = True
    pixels = rgb[y0:y1, x0:x1].astype(np.float32)
    let_out = (cv2.dilate(region, np.ones((2 * s + 1, 2 * s + 1), np.uint8)) > 0 for s in _SPREADS)
    return float(np.mean([_step(pixels, part, inner[y0:y1, x0:x1]) for part in let_out]))


def _step(pixels: FloatArray, region: BoolArray, inner: BoolArray) -> float:
    means = []
    for side in (region, ~region):
        weight = side.astype(np.float32)
        total = cv2.GaussianBlur(weight, (0, 0), _BLUR) + 1e-4
        means.append(cv2.GaussianBlur(pixels * weight[..., None], (0, 0), _BLUR) / total[..., None])
    edge = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    outline = edge & inner
    return float(np.linalg.norm(means[0] - means[1], axis=2)[outline].mean()) if outline.any() else 0.0


def chance_pasted(step_here: float, step_there: float) -> float:
    """Return the probability that the region with the first step is the paste and the other one its source."""
    return 1.0 / (1.0 + math.exp(-_SLOPE * math.log((step_here + _FLOOR) / (step_there + _FLOOR))))
