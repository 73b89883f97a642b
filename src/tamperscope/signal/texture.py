"""Whether a picture has anything that a trace can lie in."""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.types import UInt8Array

STEP = 2
"""Grey levels by which neighbours may differ where there is no texture: a smooth ramp, rounded, or compressed flat."""

_ROWS = 16


def bare(rgb: UInt8Array) -> bool:
    """Tell whether a picture has no texture: no pixel differs from the next or the one below by more than `STEP`.

    Args:
        rgb: (H, W, 3).
    """
    # Every detector asks, and any ordinary picture shows some on the few rows that are looked at first.
    few = np.ascontiguousarray(rgb[:: max(1, len(rgb) // _ROWS)])
    pairs = ((few[:, 1:], few[:, :-1]), (rgb[:, 1:], rgb[:, :-1]), (rgb[1:], rgb[:-1]))
    return not any(one.size and cv2.absdiff(one, other).max() > STEP for one, other in pairs)
