"""Decodes the first picture of a file to 8-bit RGB as stored; runs in the decoder process only.

Damaged files are decoded as far as they go, for display; `Picture.damage` then says what is wrong.
"""

from __future__ import annotations

import importlib
import io
import re
import warnings
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tamperscope.errors import BudgetError, DecodeError, TamperscopeError, UnsupportedFormatError
from tamperscope.media.chunks import png_chunks
from tamperscope.media.headers import Header, png_depth
from tamperscope.media.limits import Limits
from tamperscope.media.pixels import Bands, from_pillow
from tamperscope.types import Finding, UInt8Array

if TYPE_CHECKING:
    from PIL import Image

_PLUGINS = {"WEBP": "WebP", "TIFF": "Tiff", "AVIF": "Avif", "PNG": "Png", "JPEG": "Jpeg", "GIF": "Gif", "BMP": "Bmp"}
_ORIENTATION = 274
_PIECE = 2**20
# Messages of libjpeg for oddities between segments, none of which concerns a coefficient.
_HARMLESS = re.compile(r"Invalid SOS parameters|unknown JFIF revision|Unknown Adobe color transform|the end marker")
_CUT_OFF = "Premature end of JPEG file"
_ONLY_THE_END = "the end marker (EOI) is missing, all picture data are there"
_LEFTOVER = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


@dataclass(slots=True)
class Picture:
    """The pixels of a file and how they came about.

    Attributes:
        bands: Pixels, band by band; also the names of the transformations.
        decoder: Name of the decoding library.
        damage: What is wrong with the picture data, or "".
        truncated: Whether the damage is that data are missing at the end.
        findings: What decoding showed beside damage.
    """

    bands: Bands
    decoder: str
    damage: str = ""
    truncated: bool = False
    findings: list[Finding] = field(default_factory=list)


def decode(data: bytes, fmt: str, header: Header, limits: Limits) -> Picture:
    """Return the first picture of a file.

    Args:
        data: The whole file.
        fmt: Type as returned by `sniff`, other than `PDF`.
        header: As returned by `check_header`.
        limits: Checked again against what the codec finds.

    Raises:
        BudgetError: The codec finds a larger picture than the header claimed.
        DecodeError: Not one pixel can be decoded.
        UnsupportedFormatError: The library for this type is not installed.
    """
    picture = _decode_jpeg(data, header, limits) if fmt == "JPEG" else None
    if picture is None:
        picture = _decode_pillow(data, fmt, header, limits)
    if header.frames > 1:
        picture.bands.steps.insert(0, "first_frame")
    if header.problems and not picture.damage:
        picture.damage = "; ".join(header.problems[:3])
        picture.truncated = any("cut off" in problem for problem in header.problems)
    picture.bands.watch_rows = bool(picture.damage)
    return picture


def png_shortfall(data: bytes, header: Header) -> str:
    """Return what is missing when the compressed data of a PNG end early but cleanly, which Pillow does not notice.

    Interlaced pictures are not checked.
    """
    expected = header.height * (1 + -(-header.width * png_depth(data) // 8))
    if data[28]:
        return ""
    engine, found = zlib.decompressobj(), 0
    for part in png_chunks(data):
        rest = data[part.start : part.stop] if part.kind == "IDAT" else b""
        while rest and not engine.eof:
            found += len(engine.decompress(rest, _PIECE))
            rest = engine.unconsumed_tail
    return "" if found >= expected else f"the compressed data end after {found:,} of {expected:,} bytes"


def _decode_jpeg(data: bytes, header: Header, limits: Limits) -> Picture | None:
    """Return the picture by simplejpeg, or None where it does not apply (CMYK, odd sampling …)."""
    import simplejpeg

    if header.bits != 8:
        raise DecodeError(f"JPEG: expected 8 bits a sample, found {header.bits}; no decoder here reads them")
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, RuntimeError, TypeError, KeyError):
        return None
    limits.check_size(width, height)
    if colours not in ("Gray", "YCbCr", "RGB"):
        return None
    try:
        rgb, complaint = _strict_jpeg(data)
        if rgb is None:
            rgb = simplejpeg.decode_jpeg(data, "RGB", strict=False)
    except (ValueError, RuntimeError):
        return None
    steps = {"Gray": ["grey_to_rgb"], "YCbCr": ["ycbcr_to_rgb"]}.get(colours, [])
    picture = Picture(_whole(rgb, steps), "simplejpeg")
    if complaint and _concerns_pixels(complaint, data, header):
        picture.damage, picture.truncated = complaint, _CUT_OFF in complaint
    elif complaint:
        text = f"The decoder met an oddity that concerns no pixel: {complaint}."
        picture.findings.append(Finding("media.jpeg_oddity", text, "info", {"message": complaint}, "media"))
    return picture


def _strict_jpeg(data: bytes) -> tuple[UInt8Array | None, str]:
    """Return the pixels and what libjpeg complains of, without pixels where these may be wrong."""
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, "RGB"), ""
    except ValueError as error:
        complaint = str(error)
    if complaint != _CUT_OFF:
        return None, complaint
    try:
        return simplejpeg.decode_jpeg(data + b"\xff\xd9", "RGB"), _ONLY_THE_END
    except ValueError:
        return None, complaint


def _whole(rgb: UInt8Array, steps: list[str]) -> Bands:
    return Bands((rgb.shape[0], rgb.shape[1]), steps, iter([np.asarray(rgb)]))


def _concerns_pixels(complaint: str, data: bytes, header: Header) -> bool:
    """Tell whether a complaint of libjpeg means wrong coefficients.

    Left-over bytes before the end are padding when all of them are 00 or FF, as some cameras write; otherwise
    the decoder finished a scan too early, which corrupt Huffman codes cause.
    """
    if _HARMLESS.search(complaint):
        return False
    leftover = _LEFTOVER.search(complaint)
    if leftover is None:
        return True
    count, marker = int(leftover[1]), int(leftover[2], 16)
    found = _NEXT_MARKER.search(data, header.scan_start)
    if header.coding != "progressive" and marker != 0xD9:
        # One scan follows all headers, unless another scan comes after it.
        return found is not None and data[found.start() + 1] != 0xD9
    if found is None or data[found.start() + 1] != marker:
        return True
    return bool(data[max(0, found.start() - count) : found.start()].strip(b"\0\xff"))


def _decode_pillow(data: bytes, fmt: str, header: Header, limits: Limits) -> Picture:
    from PIL import Image, PngImagePlugin

    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = limits.max_metadata_bytes
    register(fmt)
    image, complaint = _load(data, fmt, header, limits)
    bands = from_pillow(image, header.bits)
    if header.bits > 8 and image.mode[0] != "I" and image.mode != "F":
        # Pillow itself dropped the low bits.
        bands.steps.insert(0, "depth_to_8_high_bits")
    if fmt == "HEIC" and header.rotated:
        bands.steps.insert(0, "container_rotation_applied")
    truncated = "truncated" in complaint or "too small" in complaint
    return Picture(bands, "pillow_heif" if fmt == "HEIC" else "pillow", complaint, truncated)


def register(fmt: str) -> None:
    """Load the Pillow plugin of one type.

    Raises:
        UnsupportedFormatError: It is not installed; names the extra that brings it.
    """
    if fmt == "HEIC":
        from tamperscope.media.pages import register_heif

        register_heif()
        return
    # Only this one: Pillow would otherwise load its plugins for some forty formats.
    importlib.import_module(f"PIL.{_PLUGINS[fmt]}ImagePlugin")
    if fmt == "AVIF":
        from PIL import features

        if not features.check("avif"):
            raise UnsupportedFormatError("AVIF needs a Pillow built with libavif, as the wheels on PyPI are")


def _load(data: bytes, fmt: str, header: Header, limits: Limits) -> tuple[Image.Image, str]:
    """Return the loaded picture and what is wrong with it; a second, lenient pass follows a failed one."""
    from PIL import ImageFile

    try:
        return _open(data, fmt, limits), ""
    except (MemoryError, TamperscopeError):
        raise
    except Exception as error:  # Pillow's plugins raise whatever their parsers trip over
        complaint = str(error) or type(error).__name__
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        return _open(data, fmt, limits), complaint
    except (MemoryError, TamperscopeError):
        raise
    except Exception as error:
        causes = "; ".join([complaint, *header.problems[:3]])
        raise DecodeError(f"{fmt}: no pixel can be decoded: {causes}") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _open(data: bytes, fmt: str, limits: Limits) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=["HEIF" if fmt == "HEIC" else fmt])
            limits.check_size(*image.size)
            if fmt == "TIFF":
                _keep_orientation(image)
            image.load()
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise BudgetError(f"{error}; raise max_pixels to allow it") from error
        except UnidentifiedImageError as error:
            raise ValueError("the structure behind the signature is not of this type") from error
    return image


def _keep_orientation(image: Image.Image) -> None:
    """Stop Pillow from turning a TIFF picture upright on load: every map here refers to pixels as stored."""
    if image.tag_v2.get(_ORIENTATION) in (5, 6, 7, 8):  # type: ignore[attr-defined]
        image._size = image._tile_size  # type: ignore[attr-defined]
    image.getexif()[_ORIENTATION] = 1
