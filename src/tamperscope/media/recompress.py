"""Encode, decode and recompress pixels as JPEG.

Encoding goes through Pillow: simplejpeg is 15 % faster but uses libjpeg's fast DCT below quality 96, whose
rounding hides the convergence of repeated compression. Decoding goes through simplejpeg, with the same pixels
as Pillow.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from tamperscope.errors import DecodeError, InvalidValueError
from tamperscope.types import UInt8Array

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
MAX_SIDE = 65500  # JPEG_MAX_DIMENSION of libjpeg


def encode_jpeg(rgb: UInt8Array, quality: int, subsampling: Subsampling = "4:4:4") -> bytes:
    """Return (H, W, 3) uint8 pixels as a baseline JPEG file with the IJG tables of `quality`.

    Args:
        rgb: Pixels, no side longer than 65500.
        quality: 1 to 100.
        subsampling: Of the chroma planes.

    Raises:
        InvalidValueError: A value is out of range.
    """
    if not 1 <= quality <= 100:
        raise InvalidValueError(f"quality: expected 1 to 100, found {quality}")
    return _save(rgb, subsampling, quality=int(quality))


def encode_with_tables(
    rgb: UInt8Array, tables: Sequence[NDArray[np.integer]], subsampling: Subsampling = "4:4:4"
) -> bytes:
    """Return (H, W, 3) uint8 pixels as a baseline JPEG file with the given quantization tables.

    Args:
        rgb: Pixels, no side longer than 65500.
        tables: One (8, 8) table for all components, two for luma and chroma, or three for Y, Cb and Cr; in
            natural order with entries from 1 to 255.
        subsampling: Of the chroma planes.

    Raises:
        InvalidValueError: A value is out of range.
    """
    if not 1 <= len(tables) <= 3 or any(t.shape != (8, 8) for t in tables):
        found = [t.shape for t in tables]
        raise InvalidValueError(f"tables: expected one to three (8, 8) tables, found {found}")
    if any(t.min() < 1 or t.max() > 255 for t in tables):
        raise InvalidValueError("tables: entries must lie in 1 to 255, the range of a baseline JPEG")
    return _save(rgb, subsampling, qtables=[[int(v) for v in t.flat] for t in tables])


def _save(rgb: UInt8Array, subsampling: Subsampling, **options: Any) -> bytes:
    if subsampling not in ("4:4:4", "4:2:2", "4:2:0"):
        raise InvalidValueError(f"subsampling: expected 4:4:4, 4:2:2 or 4:2:0, found {subsampling!r}")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InvalidValueError(f"rgb: expected uint8 (H, W, 3), found {rgb.dtype} {rgb.shape}")
    if not 1 <= min(rgb.shape[:2]) <= max(rgb.shape[:2]) <= MAX_SIDE:
        raise InvalidValueError(
            f"rgb: a JPEG has sides of 1 to {MAX_SIDE} pixels, found {rgb.shape[:2]}; crop or tile the picture"
        )
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", subsampling=subsampling, **options)
    return buffer.getvalue()


def decode_jpeg(data: bytes) -> UInt8Array:
    """Return the (H, W, 3) uint8 RGB pixels of a whole and sound grey or YCbCr JPEG file.

    Raises:
        DecodeError: The file is truncated, damaged, CMYK or no JPEG.
    """
    try:
        colours = simplejpeg.decode_jpeg_header(data)[2]
        if colours in ("CMYK", "YCCK"):
            raise DecodeError(f"expected a grey or YCbCr JPEG, found {colours}; open it with media.open()")
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB"), dtype=np.uint8)
    except (ValueError, RuntimeError, TypeError) as error:
        raise DecodeError(f"expected a sound grey or colour JPEG, found damage: {error}") from error


def recompress(rgb: UInt8Array, quality: int, subsampling: Subsampling = "4:4:4") -> UInt8Array:
    """Return (H, W, 3) uint8 pixels after one JPEG compression at `quality`.

    Raises:
        InvalidValueError: A value is out of range.
    """
    return decode_jpeg(encode_jpeg(rgb, quality, subsampling))
