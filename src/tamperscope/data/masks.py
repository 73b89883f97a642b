"""Reads truth masks as data sets store them: bright, dark, outlined, as holes, as numbers, or as the original picture.

Masks are opened by `media`, apart from what it leaves out on purpose: alpha, palette indices, and values of more than
8 bits. For those Pillow reads the file here, within the same limits and only in lossless formats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.data.sources.base import Truth
from tamperscope.errors import DecodeError, InputError, InvalidValueError, UnsupportedFormatError, unknown_name
from tamperscope.types import BoolArray, ClassArray, UInt8Array

if TYPE_CHECKING:
    from tamperscope.media.opening import Opened

_RAW_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
_DEEP = {"depth_to_8_high_bits", "integers_scaled_to_8"}
# A channel that leads both others by so much is a colour, not compression noise on grey.
_COLOURED = 40
# Above what JPEG leaves around an edge between 0 and 255.
_RINGING = 32
# Above what saving a picture once more as JPEG changes.
_CHANGED = 24
# How far the sides of a picture and its mask may differ in proportion for a resized mask to be meant.
_ASPECT = math.log(1.05)
_GAPS = (0, 1, 2, 4)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A mask with what had to be done to it.

    Attributes:
        mask: (H, W) bool, True where forged.
        repairs: What differed from a plain mask of values 0 and 255, as phrases.
    """

    mask: BoolArray
    repairs: tuple[str, ...] = ()


def read(
    path: str | Path,
    truth: Truth = "white",
    size: tuple[int, int] | None = None,
    picture: str | Path | UInt8Array | None = None,
) -> BoolArray:
    """Return a truth mask as (H, W) bool, True where forged; arguments and errors are those of `examine`."""
    return examine(path, truth, size, picture).mask


def examine(
    path: str | Path,
    truth: Truth = "white",
    size: tuple[int, int] | None = None,
    picture: str | Path | UInt8Array | None = None,
) -> Reading:
    """Return a truth mask with the repairs that it needed.

    Args:
        path: The truth file.
        truth: How it marks what is forged; see `sources.base.Truth`. Values of 0 and 1 count as 0 and 255. A channel
            above 127 makes a pixel bright.
        size: (H, W) of the picture; a mask of other size but the same proportions is resized by nearest neighbour.
        picture: The forged picture, as a file or as (H, W, 3) uint8; only for truth `original`.

    Raises:
        InputError: The file cannot be read so, or is of other proportions than `size`.
        UnknownNameError: There is no such truth.
    """
    path = Path(path)
    repairs: list[str] = []
    if truth == "original":
        mask = _changed(path, picture)
        repairs.append("difference from the original")
    elif truth == "edges":
        mask = _filled(_open(path).sample.rgb, path)
        repairs.append("outline filled")
    elif truth == "holes":
        mask = _alpha(path) < 128
        if not mask.any():
            raise InputError(f"'{path}': expected holes in an alpha channel, found an opaque picture")
        repairs.append("holes of the alpha channel")
    elif truth == "labels":
        mask = labels(path) > 0
        repairs.append("label image")
    elif truth in ("white", "black", "nonzero"):
        mask = _levels_marked(path, truth, repairs)
    else:
        raise unknown_name("truth", truth, Truth.__args__)  # type: ignore[attr-defined]
    if size is not None and mask.shape != size:
        mask = _resized(mask, size, path)
        repairs.append("resized by nearest neighbour")
    return Reading(mask, tuple(repairs))


def labels(path: str | Path) -> NDArray[np.int64]:
    """Return a label image as (H, W) whole numbers: grey values, palette indices, or 0xRRGGBB of a coloured one.

    Raises:
        InputError: The file cannot be read as a lossless picture.
    """
    values = _raw(Path(path)).astype(np.int64)
    if values.ndim == 2:
        return values
    if values.shape[2] == 2:
        return values[..., 0]
    red, green, blue = (values[..., i] for i in range(3))
    if (red == green).all() and (green == blue).all():
        return red
    return (red << 16) | (green << 8) | blue


def numbered(turns: NDArray[Any], editors: Sequence[str], wanted: Sequence[str]) -> ClassArray:
    """Return a map of editors, (H, W) int16: the place of each pixel's editor among `wanted`, from 1.

    Args:
        turns: (H, W) whole numbers, the place of the pixel's editor among `editors`, from 1; 0 = none.
        editors: Names, in the order of their turns.
        wanted: Names that have a number; a pixel of any other editor is -1.
    """
    table = [0, *(wanted.index(name) + 1 if name in wanted else -1 for name in editors), -1]
    return np.asarray(np.array(table, np.int16)[np.clip(turns, 0, len(table) - 1)])


def png(mask: BoolArray) -> bytes:
    """Return a mask as a PNG of the values 0 and 255."""
    import cv2

    return bytes(cv2.imencode(".png", mask.astype(np.uint8) * np.uint8(255))[1])


def _levels_marked(path: Path, truth: Truth, repairs: list[str]) -> BoolArray:
    """Return where a mask of levels marks forged pixels; `repairs` grows by what was unusual."""
    values, lossy = _levels(path, repairs)
    if truth == "nonzero":
        mask = np.asarray(values > (_RINGING if lossy else 0))
        if (mask != (values > 127)).any():
            repairs.append("any value above 0 is forged")
        return mask
    top = int(values.max())
    half = 0 if top <= 1 else 127 if top <= 255 else 32767
    if top == 1:
        repairs.append("values of 0 and 1")
    if truth == "black":
        repairs.append("forged where dark")
        return np.asarray(values <= half)
    return np.asarray(values > half)


def _levels(path: Path, repairs: list[str]) -> tuple[NDArray[Any], bool]:
    """Return the brightest channel of each pixel, and whether the file is lossily compressed."""
    try:
        opened = _open(path)
    except UnsupportedFormatError:
        return _brightest(_raw(path)), False  # JPEG 2000
    steps = set(opened.intake["transformations"])
    if steps & _DEEP:
        repairs.append("more than 8 bits a value")
        return _brightest(_raw(path)), False
    rgb = opened.sample.rgb
    if "alpha_dropped" in steps and (rgb == rgb[0, 0]).all():
        alpha = _alpha(path)
        if alpha.min() < alpha.max():
            repairs.append("drawn in the alpha channel")
            return alpha, False
    if _is_coloured(rgb):
        repairs.append("drawn in colour")
    return _brightest(rgb), opened.intake["type"] in ("JPEG", "HEIC", "AVIF")


def _is_coloured(rgb: UInt8Array) -> bool:
    """Return whether the mask would change where a reader takes the mean of the channels."""
    red, green, blue = (rgb[..., i].astype(np.uint16) for i in range(3))
    return bool(((_brightest(rgb) > 127) != (red + green + blue > 3 * 127)).mean() > 0.001)


def _brightest(values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim == 2:
        return values
    # Channel by channel: numpy's maximum over a short last axis takes ten times as long.
    return np.asarray(reduce(np.maximum, (values[..., i] for i in range(min(3, values.shape[2])))))


def _open(path: Path) -> Opened:
    from tamperscope import media

    return media.open(path)


def _raw(path: Path, mode: str | None = None) -> NDArray[Any]:
    """Return the stored values of a lossless picture, (H, W) or (H, W, C); palettes are not looked up.

    Raises:
        BudgetError: It is larger than the limits of `media` allow.
        DecodeError: It cannot be decoded.
    """
    from PIL import Image

    from tamperscope.media import Limits

    try:
        with Image.open(path, formats=_RAW_FORMATS) as picture:
            Limits().check_size(*picture.size)
            values = np.asarray(picture.convert(mode) if mode else picture)
    except FileNotFoundError as error:
        raise InputError(f"'{path}': no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DecodeError(f"'{path}': expected a lossless picture ({', '.join(_RAW_FORMATS)}): {error}") from error
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def _alpha(path: Path) -> UInt8Array:
    return np.asarray(_raw(path, "RGBA")[..., 3], np.uint8)


def _changed(path: Path, picture: str | Path | UInt8Array | None) -> BoolArray:
    """Return where the forged picture differs from its original; specks go, small gaps close."""
    import cv2

    if picture is None:
        raise InputError(f"'{path}': expected the forged picture beside its original, found none; pass picture=")
    forged = picture if isinstance(picture, np.ndarray) else _open(Path(picture)).sample.rgb
    original = _open(path).sample.rgb
    if forged.shape != original.shape:
        raise InputError(
            f"'{path}': expected the original in the size of the forged picture, {_shown(forged.shape)}, "
            f"found {_shown(original.shape)}"
        )
    apart = (cv2.absdiff(forged, original).max(axis=2) > _CHANGED).astype(np.uint8)
    opened = cv2.morphologyEx(apart, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) > 0)


def _filled(rgb: UInt8Array, path: Path) -> BoolArray:
    """Return the region that an outline bounds.

    Columbia draws the pasted side of each boundary green and the host's side red (bright on the boundary, and in some
    copies darker over the regions). A pixel belongs to the colour that is nearest to it, so that gaps, boundaries that
    end at the picture's edge and JPEG noise do no harm. An outline of one colour is filled where it closes.
    """
    import cv2

    red, green, blue = (rgb[..., i].astype(np.int16) for i in range(3))
    pasted = green - np.maximum(red, blue) > _COLOURED
    host = red - np.maximum(green, blue) > _COLOURED
    if pasted.any() and host.any():
        to_pasted, to_host = (
            cv2.distanceTransform((~side).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            for side in (pasted, host)
        )
        return np.asarray(to_pasted < to_host)
    line = pasted | host if pasted.any() or host.any() else rgb.max(axis=2) > 127
    for gap in _GAPS:
        inside = _enclosed(line, gap)
        if (inside & ~line).any():
            return inside | line
    raise InputError(f"'{path}': expected an outline that closes, or one in green and red, found none")


def _enclosed(line: BoolArray, gap: int) -> BoolArray:
    """Return what cannot be reached from the picture's edge without crossing the line, widened by `gap`."""
    import cv2

    brush = np.ones((2 * gap + 1, 2 * gap + 1), np.uint8)
    # A free frame, wider than the brush, connects all that is outside.
    walls = cv2.dilate(np.pad(line.astype(np.uint8), 2 * gap + 1), brush)
    parts = cv2.connectedComponents(1 - walls, connectivity=4)[1]
    inside = (parts != parts[0, 0]).astype(np.uint8)
    crop = slice(2 * gap + 1, -(2 * gap + 1))
    return np.asarray(cv2.erode(inside, brush)[crop, crop] > 0)


def _resized(mask: BoolArray, size: tuple[int, int], path: Path) -> BoolArray:
    import cv2

    height, width = mask.shape
    if abs(math.log(width / height) - math.log(size[1] / size[0])) > _ASPECT:
        raise InputError(
            f"'{path}': expected a mask in the picture's size {_shown(size)} or of its proportions, "
            f"found {_shown(mask.shape)}"
        )
    smaller = cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(smaller > 0)


def _shown(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} × {shape[0]}"


def polygon(points: Sequence[float], size: tuple[int, int]) -> BoolArray:
    """Return the (H, W) mask of the pixels whose centres a polygon holds (even-odd rule).

    Args:
        points: x0, y0, x1, y1 …; pixel (0, 0) reaches from 0 to 1.
        size: (H, W).

    Raises:
        InvalidValueError: Fewer than three points, or a coordinate is not finite.
    """
    corners = np.asarray(points, np.float64)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
        raise InvalidValueError(f"polygon: expected at least three finite points x, y, found {str(points)[:60]}")
    x, y = corners[::2], corners[1::2]
    height, width = size
    mask = np.zeros(size, np.bool_)
    top, bottom = np.clip([np.floor(y.min()), np.ceil(y.max())], 0, height).astype(int)
    for row in range(top, bottom):
        at = row + 0.5
        crossed = (y <= at) != (np.roll(y, -1) <= at)
        x0, y0, x1, y1 = x[crossed], y[crossed], np.roll(x, -1)[crossed], np.roll(y, -1)[crossed]
        cuts = np.sort(x0 + (at - y0) * (x1 - x0) / (y1 - y0))
        for left, right in zip(*np.clip(np.ceil(cuts - 0.5), 0, width).astype(int).reshape(-1, 2).T, strict=True):
            mask[row, left:right] = True
    return mask
