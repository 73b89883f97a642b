"""Turn pictures and maps upright, colour maps, lay them over the picture, and encode both for a page."""

from __future__ import annotations

import base64
import io
from functools import lru_cache

import cv2
import numpy as np

from tamperscope.types import Box, UInt8Array

ABOVE = 128
"""Smallest byte of a map that lies above its decision level."""

_STEP = 4
_FULL_ALPHA, _LEVEL_ALPHA, _SILENT = 0.92, 0.5, 0.2


def upright(array: UInt8Array, orientation: int) -> UInt8Array:
    """Return an (H, W) or (H, W, C) array turned as EXIF `orientation` (1 to 8) says."""
    if orientation >= 5:
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def upright_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Return the box of a picture of `size` (H, W) as stored, turned as EXIF `orientation` says."""
    x0, y0, x1, y1 = box
    height, width = size
    if orientation >= 5:
        x0, y0, x1, y1, height, width = y0, x0, y1, x1, width, height
    if orientation in (3, 4, 7, 8):
        y0, y1 = height - y1, height - y0
    if orientation in (2, 3, 6, 7):
        x0, x1 = width - x1, width - x0
    return x0, y0, x1, y1


def shrink(array: UInt8Array, long_side: int) -> UInt8Array:
    """Return the array with a longer side of at most `long_side`, averaged; unchanged when it is small enough."""
    height, width = array.shape[:2]
    factor = long_side / max(height, width)
    if factor >= 1.0:
        return array
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small: UInt8Array = cv2.resize(array, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small


@lru_cache(maxsize=1)
def heat_table() -> UInt8Array:
    """Return the (256, 4) RGBA colours of a map: inferno, clear where the map is silent, dense where it is loud.

    Opacity is zero up to 0.2, one half at the decision level 0.5, and nearly full at 1.
    """
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    alpha = np.interp(np.arange(256) / 255.0, [0.0, _SILENT, 0.5, 1.0], [0.0, 0.0, _LEVEL_ALPHA, _FULL_ALPHA])
    return np.concatenate([ramp, np.rint(alpha * 255.0)[:, None].astype(np.uint8)], axis=1)


def overlay(rgb: UInt8Array, heat: UInt8Array, strength: float = 1.0) -> UInt8Array:
    """Return the (H, W, 3) picture with the (H, W) map laid over it in colour.

    Args:
        rgb: Picture.
        heat: Map of the same height and width, 255 = 1.0.
        strength: Scales the opacity, 0 to 1.
    """
    table = heat_table()
    alpha = table[:, 3:].astype(np.float32) * np.float32(strength / 255.0)
    colour = (table[:, :3] * alpha).astype(np.float32)
    out = np.empty_like(rgb)
    for row in range(0, rgb.shape[0], 512):
        part = slice(row, row + 512)
        mixed = rgb[part] * (1.0 - alpha[heat[part]]) + colour[heat[part]]
        out[part] = np.rint(mixed)
    return out


def grey_png(heat: UInt8Array) -> bytes:
    """Return the (H, W) map as the bytes of a greyscale PNG."""
    done, data = cv2.imencode(".png", heat, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise RuntimeError(f"PNG encoder refused a map of shape {heat.shape}")
    return data.tobytes()


def read_grey(data: bytes) -> UInt8Array:
    """Return the (H, W) map of a greyscale PNG that `grey_png` made."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def read_rgb(data: bytes) -> UInt8Array:
    """Return the (H, W, 3) picture of a JPEG that `jpeg` made."""
    import simplejpeg

    return np.asarray(simplejpeg.decode_jpeg(data), np.uint8)


def heat_png(heat: UInt8Array) -> bytes:
    """Return the (H, W) map as the bytes of a palette PNG in the colours and opacities of `heat_table`."""
    from PIL import Image

    table = heat_table()
    picture = Image.fromarray(heat).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette(table[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=table[:, 3].tobytes(), compress_level=4)
    return buffer.getvalue()


def bounded_heat_png(heat: UInt8Array, budget: int) -> tuple[bytes, tuple[int, int]]:
    """Return `heat_png` of the map within `budget` bytes, and the (H, W) that it has.

    The map is drawn in 64 steps, of which the decision level is a boundary; one that is too busy gets fewer pixels.
    """
    data = heat_png(heat // _STEP * _STEP + _STEP // 2)
    while len(data) > budget and max(heat.shape) > 64:
        factor = min(0.8, (budget / len(data)) ** 0.5)
        heat = shrink(heat, max(64, int(max(heat.shape) * factor)))
        data = heat_png(heat // _STEP * _STEP + _STEP // 2)
    return data, (heat.shape[0], heat.shape[1])


def jpeg(rgb: UInt8Array, quality: int = 90) -> bytes:
    """Return the (H, W, 3) picture as the bytes of a JPEG file."""
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=quality, colorsubsampling="420"))


def data_uri(data: bytes, kind: str) -> str:
    """Return the bytes as a data URI of media type `image/<kind>`."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def outline(heat: UInt8Array, limit: int = 60) -> list[list[tuple[float, float]]]:
    """Return the borders of the parts of the map above its level, as polygons in shares of width and height.

    Args:
        heat: (H, W) map, 255 = 1.0.
        limit: At most so many, the longest first.
    """
    small = shrink(heat, 1200)
    height, width = small.shape
    found, _ = cv2.findContours((small >= ABOVE).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    longest = sorted((cv2.approxPolyDP(line, 1.0, True)[:, 0] for line in found), key=len, reverse=True)
    return [
        [((float(x) + 0.5) / width, (float(y) + 0.5) / height) for x, y in line]
        for line in longest[:limit]
        if len(line) > 2
    ]
