"""Attacks that move pixels: resizing, cropping, rotation, flips; a sample's maps and boxes move along exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tamperscope.errors import InvalidValueError
from tamperscope.ops import boxes
from tamperscope.ops.params import Range
from tamperscope.types import Sample, UInt8Array

Interpolation = Literal["nearest", "area", "bilinear", "bicubic", "lanczos"]
Factor = Annotated[float, Range(0.01, 16)]
_PILLOW = {"area": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos": "LANCZOS"}


def _moved(
    sample: Sample, rgb: UInt8Array, move: Callable[[NDArray[Any]], NDArray[Any]], way: boxes.Way | None
) -> Sample:
    """Return a sample with new pixels; its mask, its maps of editors and changes, and its boxes moved as they were."""
    maps = {"mask": sample.mask, "classes": sample.classes, "change": sample.change}
    moved = {name: np.ascontiguousarray(move(x)) for name, x in maps.items() if x is not None}
    meta = boxes.followed(sample.meta, way, sample.size, (rgb.shape[0], rgb.shape[1]))
    return sample.with_pixels(rgb, meta=meta, **moved)


def window(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Return the part of a sample that starts at (top, left).

    Raises:
        InvalidValueError: The part does not lie inside the picture.
    """
    rows, columns = sample.size
    if not (0 <= top < top + height <= rows and 0 <= left < left + width <= columns):
        raise InvalidValueError(
            f"crop: expected a part of {sample.size}, found {height} x {width} at ({top}, {left}); use a larger picture"
        )
    part = np.s_[top : top + height, left : left + width]
    return _moved(sample, sample.rgb[part].copy(), lambda x: x[part].copy(), lambda p: p - (left, top))


def scaled(sample: Sample, size: tuple[int, int], interpolation: Interpolation = "bicubic") -> Sample:
    """Return a sample resized to (H, W) with Pillow's kernels, which smooth before they shrink; the mask is nearest.

    Nearest takes, for pixel i of n, pixel floor((i + 1/2) N / n) of the N old ones, exactly, of pixels and maps alike;
    Pillow's own can be one off where that is a whole number.
    """
    if size == sample.size:
        return sample.with_pixels(sample.rgb)
    if interpolation == "nearest":
        rgb = _nearest(sample.rgb, size)
    else:
        kernel = Image.Resampling[_PILLOW[interpolation]]
        rgb = np.asarray(Image.fromarray(sample.rgb).resize((size[1], size[0]), kernel), np.uint8)
    return _moved(sample, rgb, lambda x: _nearest(x, size), lambda p: p * size[::-1] / sample.size[::-1])


def _nearest(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    rows, columns = ((2 * np.arange(n) + 1) * old // (2 * n) for n, old in zip(size, values.shape[:2], strict=True))
    return np.asarray(values[rows[:, None], columns])


def limited(sample: Sample, long_side: int, interpolation: Interpolation = "bicubic") -> Sample:
    """Return a sample shrunk so that its longer side is at most `long_side` pixels; smaller ones stay as they are."""
    return scaled(sample, times(sample.size, min(1.0, long_side / max(sample.size))), interpolation)


def times(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return a size multiplied by a factor, at least one pixel a side."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resize(sample: Sample, factor: Factor = 0.5, interpolation: Interpolation = "bicubic") -> Sample:
    """Resize by a factor; the picture's size changes."""
    return scaled(sample, times(sample.size, factor), interpolation)


def resize_and_back(sample: Sample, factor: Factor = 0.5, interpolation: Interpolation = "bicubic") -> Sample:
    """Resize by a factor and back to the old size; the mask stays as it is."""
    there = scaled(sample, times(sample.size, factor), interpolation)
    return sample.with_pixels(scaled(there, sample.size, interpolation).rgb)


def crop(
    sample: Sample,
    keep: Annotated[float, Range(0.01, 1)] = 0.8,
    down: Annotated[float, Range(0, 1, drawn=True)] = 0.5,
    right: Annotated[float, Range(0, 1, drawn=True)] = 0.5,
) -> Sample:
    """Keep a part of each side.

    Args:
        sample: The picture.
        keep: Share of each side that is kept.
        down: Place of the part: 0 at the top, 1 at the bottom.
        right: Place of the part: 0 at the left, 1 at the right.
    """
    height, width = times(sample.size, keep)
    top, left = round(down * (sample.size[0] - height)), round(right * (sample.size[1] - width))
    return window(sample, top, left, height, width)


def flip(sample: Sample, axis: Literal["horizontal", "vertical", "both"] = "horizontal") -> Sample:
    """Mirror left and right (horizontal), top and bottom (vertical), or both."""
    down, across = (-1 if axis in (name, "both") else 1 for name in ("vertical", "horizontal"))
    rgb = np.ascontiguousarray(sample.rgb[::down, ::across])
    signs, ends = np.array([across, down]), np.array(sample.size[::-1])
    return _moved(sample, rgb, lambda x: x[::down, ::across], lambda p: np.where(signs < 0, ends - p, p))


def rotate(
    sample: Sample, angle: Annotated[float, Range(-180, 180)] = 5.0, border: Literal["constant", "inner"] = "constant"
) -> Sample:
    """Rotate counter-clockwise about the centre; multiples of 90 degrees only move pixels, and may swap the sides.

    Args:
        sample: The picture.
        angle: In degrees; interpolation is bicubic, of the mask nearest.
        border: `constant` keeps the size and leaves the corners black and unmarked; `inner` cuts out the largest
            upright part of the old aspect ratio that has no such corner.
    """
    if angle % 90 == 0:
        turns = round(angle / 90)
        rgb = np.ascontiguousarray(np.rot90(sample.rgb, turns))
        return _moved(sample, rgb, lambda x: np.rot90(x, turns), lambda p: _turned(p, sample.size, turns))
    height, width = sample.size
    # A replicated border keeps the constant fill out of the inner part's outermost pixels.
    mode = cv2.BORDER_CONSTANT if border == "constant" else cv2.BORDER_REPLICATE
    back = _back(sample.size, angle)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    rgb = np.asarray(cv2.warpAffine(sample.rgb, back, (width, height), flags=flags, borderMode=mode), np.uint8)
    turned = _moved(sample, rgb, lambda x: _rotated(x, back), None)
    return turned if border == "constant" else _inner(turned, angle)


def _turned(points: boxes.Points, size: tuple[int, int], turns: int) -> boxes.Points:
    """Return points (N, 2) of a picture (H, W) after quarter turns, counter-clockwise."""
    (x, y), (height, width) = points.T, size
    return np.stack([(x, y), (y, width - x), (width - x, height - y), (height - y, x)][turns % 4], axis=1)


def _back(size: tuple[int, int], angle: float) -> NDArray[np.float64]:
    """Return the (2, 3) matrix from (x, y) of the rotated picture to (x, y) of the old one, centre on centre."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cx, cy = (size[1] - 1) / 2, (size[0] - 1) / 2
    return np.array([[cos, -sin, cx - cos * cx + sin * cy], [sin, cos, cy - sin * cx - cos * cy]])


def _rotated(values: NDArray[Any], back: NDArray[np.float64]) -> NDArray[Any]:
    """Return a map looked up at the nearest old pixel; OpenCV's own nearest rounds to 1/1024 pixel first."""
    height, width = values.shape
    columns, rows = np.arange(width), np.arange(height)[:, None]
    x = np.rint(back[0, 0] * columns + back[0, 1] * rows + back[0, 2]).astype(np.int32)
    y = np.rint(back[1, 0] * columns + back[1, 1] * rows + back[1, 2]).astype(np.int32)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.asarray(values[y.clip(0, height - 1), x.clip(0, width - 1)] * inside)


def _inner(turned: Sample, angle: float) -> Sample:
    """Cut out the part, s times each side, whose own rotated outline still lies in the old picture."""
    height, width = turned.size
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    share = min(width / (width * cos + height * sin), height / (width * sin + height * cos))
    # An even margin, so that the part stays on the centre.
    margins = [math.ceil(n * (1 - share) / 2) for n in (height, width)]
    sides = [max(1, n - 2 * m) for n, m in zip((height, width), margins, strict=True)]
    top, left = ((n - s) // 2 for n, s in zip((height, width), sides, strict=True))
    return window(turned, top, left, sides[0], sides[1])
