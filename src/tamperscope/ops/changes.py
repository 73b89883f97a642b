"""By how much forged pixels differ from the original: a map of grey levels beside the mask."""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.types import BoolArray, UInt8Array


def levels(rgb: UInt8Array, mask: BoolArray, original: UInt8Array | None = None) -> UInt8Array:
    """Return the grey level of the difference from the original where a picture is forged, 0 elsewhere.

    Args:
        rgb: (H, W, 3) uint8, the forged picture.
        mask: (H, W) bool.
        original: The same before it was forged. Without one, or with one of another size, a forged pixel counts as
            changed as much as one can be, by 255.

    Returns:
        (H, W) uint8.
    """
    if original is None or original.shape != rgb.shape:
        return mask * np.uint8(255)
    # Grey of the difference, not the difference of greys, in which colours cancel out.
    grey = cv2.cvtColor(cv2.absdiff(rgb, original), cv2.COLOR_RGB2GRAY)
    return np.asarray(mask * grey, np.uint8)
