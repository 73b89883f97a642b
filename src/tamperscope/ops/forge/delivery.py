"""Delivery: how a finished picture reaches us."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from tamperscope.errors import InvalidValueError
from tamperscope.media.recompress import Subsampling, encode_jpeg
from tamperscope.types import UInt8Array


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a finished picture reaches us: JPEG of a quality and subsampling, or lossless when `quality` is None."""

    quality: int | None
    subsampling: Subsampling = "4:2:0"

    def encode(self, rgb: UInt8Array) -> bytes:
        """Return the bytes of the delivered file."""
        if self.quality is not None:
            return encode_jpeg(rgb, self.quality, self.subsampling)
        done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        if not done:
            raise InvalidValueError(f"PNG encoding failed for a picture of {rgb.shape}")
        return bytes(data)
