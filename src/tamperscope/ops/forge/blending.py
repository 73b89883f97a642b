"""Ways to lay pixels over others."""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.types import BoolArray, UInt8Array


def feathered(rgb: UInt8Array, patch: UInt8Array, mask: BoolArray, feather: float) -> UInt8Array:
    """Blend `patch` over `rgb` where `mask`, with an edge `feather` pixels soft."""
    alpha = mask.astype(np.float32)
    if feather > 0:
        alpha = cv2.GaussianBlur(alpha, (0, 0), feather) * cv2.dilate(mask.astype(np.uint8), np.ones((3, 3)))
    mixed = rgb + alpha[..., None] * (patch.astype(np.float32) - rgb)
    return np.rint(mixed).astype(np.uint8)
