"""Attacks by a codec: the picture is encoded to bytes, and those are opened like any other file."""

from __future__ import annotations

import io
from typing import Annotated, Any

from PIL import Image, features

from tamperscope import media
from tamperscope.errors import InvalidValueError
from tamperscope.media.recompress import Subsampling, encode_jpeg, encode_with_tables
from tamperscope.ops import tables as others
from tamperscope.ops.params import Range
from tamperscope.ops.warps import window
from tamperscope.types import Sample, UInt8Array

Quality = Annotated[int, Range(1, 100)]
Shift = Annotated[int, Range(0, 7)]
MOST_TABLES = 2**31 - 1
Tables = Annotated[int, Range(0, MOST_TABLES)]


def _reopened(sample: Sample, data: bytes) -> Sample:
    # We made these bytes: a flat picture may take fewer bits, a large one longer, than a stranger's file is allowed to.
    opened = media.open(data, media.Limits(min_bits_per_pixel=0.0, max_seconds=120.0)).sample
    return sample.with_pixels(opened.rgb, jpeg=opened.jpeg)


def jpeg(sample: Sample, quality: Quality = 75, subsampling: Subsampling = "4:2:0", tables: Tables = 0) -> Sample:
    """Compress as JPEG; the sample gets the new file's coefficients.

    Args:
        sample: The picture.
        quality: Of the IJG's tables.
        subsampling: Of the chroma.
        tables: 0 = the IJG's; any other number = the tables that `tables.drawn` draws with it, about as coarse.
    """
    return _reopened(sample, jpeg_file(sample.rgb, quality, subsampling, tables))


def jpeg_file(rgb: UInt8Array, quality: int, subsampling: Subsampling, tables: int = 0) -> bytes:
    """Return the file that `jpeg` opens again."""
    if not tables:
        return encode_jpeg(rgb, quality, subsampling)
    return encode_with_tables(rgb, others.drawn(tables, quality), subsampling)


def double_jpeg(
    sample: Sample,
    first: Quality = 70,
    second: Quality = 90,
    dy: Shift = 0,
    dx: Shift = 0,
    subsampling: Subsampling = "4:2:0",
) -> Sample:
    """Compress as JPEG twice; rows and columns cut off in between shift the second grid against the first.

    Args:
        sample: The picture.
        first: Quality of the first compression.
        second: Quality of the second one, whose coefficients the sample gets.
        dy: Rows cut off at the top; 0 leaves the grids aligned.
        dx: Columns cut off at the left.
        subsampling: Of both.
    """
    return jpeg(compressed_once(sample, first, dy, dx, subsampling), second, subsampling)


def compressed_once(sample: Sample, quality: int, dy: int, dx: int, subsampling: Subsampling) -> Sample:
    """Return what the second compression of `double_jpeg` is given."""
    once = jpeg(sample, quality, subsampling)
    return window(once, dy, dx, once.size[0] - dy, once.size[1] - dx)


def webp(sample: Sample, quality: Quality = 75) -> Sample:
    """Compress as lossy WebP, whose chroma is always 4:2:0; no side longer than 16383 pixels."""
    return _reopened(sample, _encoded(sample, "WEBP", "WebP", quality=quality))


def avif(sample: Sample, quality: Quality = 60, subsampling: Subsampling = "4:2:0") -> Sample:
    """Compress as AVIF.

    Raises:
        InvalidValueError: This Pillow has no AVIF codec.
    """
    if not features.check("avif"):
        raise InvalidValueError("avif: expected a Pillow with the AVIF codec, found none; pip install 'pillow>=12.0'")
    # One thread: with several, a busy machine encodes many small pictures more slowly.
    data = _encoded(sample, "AVIF", "AVIF", quality=quality, subsampling=subsampling, max_threads=1)
    return _reopened(sample, data)


def _encoded(sample: Sample, fmt: str, shown: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        Image.fromarray(sample.rgb).save(buffer, fmt, **options)
    except (OSError, ValueError) as error:
        raise InvalidValueError(f"{shown}: a picture of {sample.size} cannot be encoded: {error}") from error
    return buffer.getvalue()
