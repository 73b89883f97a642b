"""Registration of an embedded thumbnail with the picture that carries it.

A thumbnail shows the whole picture, usually between black bars when the aspect ratios differ, sometimes only the middle
of it, sometimes (after the picture was cropped) more than it, and turned by 90 degrees when the picture was turned
losslessly. Each of these is tried; the best is aligned to subpixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from tamperscope.signal.affine import Affine, invert
from tamperscope.signal.blocks import luma
from tamperscope.types import BoolArray, FloatArray, UInt8Array

Start = Literal["whole", "bars", "middle", "part"]
KERNELS: dict[str, Image.Resampling] = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_OVERSAMPLING = 4  # the picture is reduced to so many times the thumbnail's size before kernels are compared
_LEAST_PART = 0.4  # smallest side of the picture, as a share of the thumbnail's, at which a crop is looked for
_PART = 0.95  # correlation from which a picture is taken for a part of the thumbnail
_MAX_DRIFT = 0.1  # largest share of the thumbnail's side by which alignment may move a corner


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """Where the pixels of a thumbnail lie in the picture.

    Attributes:
        turn: Quarter turns (anticlockwise, as in `numpy.rot90`) that bring the thumbnail upright to the picture.
        start: The hypothesis that led here: the `whole` picture, the same between `bars`, its `middle`, or the picture
            as a `part` of what the thumbnail shows. Alignment can lead away from it; see `layout`.
        transform: (2, 3) from pixel centres (x, y) of the turned thumbnail to those of the picture.
        correlation: Normalized cross-correlation of the lumas where both exist.
    """

    turn: int
    start: Start
    transform: Affine
    correlation: float


def correlate(a: FloatArray, b: FloatArray, valid: BoolArray | None = None) -> float:
    """Return the normalized cross-correlation of two planes over `valid`; 0 when one of them is constant."""
    x, y = (a.ravel(), b.ravel()) if valid is None else (a[valid], b[valid])
    if x.size < 2:
        return 0.0
    x, y = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
    power = float((x @ x) * (y @ y))
    return float(x @ y) / power**0.5 if power > 1e-6 else 0.0


def reduce(rgb: UInt8Array, thumbnail: UInt8Array) -> UInt8Array:
    """Return the picture, area-averaged to about four times the thumbnail's longer side if it is larger than that."""
    scale = _OVERSAMPLING * max(thumbnail.shape[:2]) / max(rgb.shape[:2])
    if scale >= 1.0:
        return rgb
    size = tuple(max(1, round(n * scale)) for n in rgb.shape[1::-1])
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def render(
    rgb: UInt8Array, transform: Affine, size: tuple[int, int], kernel: str = "area"
) -> tuple[FloatArray, BoolArray]:
    """Return the picture on the thumbnail's pixels: (h, w, 3) float32, and which of them it covers.

    Args:
        rgb: The picture.
        transform: From the thumbnail's pixel centres to the picture's.
        size: (h, w) of the thumbnail.
        kernel: Name in `KERNELS`: how the picture is made smaller.
    """
    height, width = rgb.shape[:2]
    step = np.linalg.norm(transform[:, :2], axis=0)
    small_size = (max(1, round(width / max(step[0], 1.0))), max(1, round(height / max(step[1], 1.0))))
    small = np.asarray(Image.fromarray(rgb).resize(small_size, KERNELS[kernel]), dtype=np.float32)
    to_small = _scaling(small_size[0] / width, small_size[1] / height) @ _square(transform)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(small, to_small[:2], size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    x, y = np.arange(size[1])[None], np.arange(size[0])[:, None]
    u = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2]
    v = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2]
    covered = (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
    return np.asarray(out, dtype=np.float32), np.asarray(covered)


def _scaling(fx: float, fy: float) -> Affine:
    """Return the change of pixel centres when a picture is resized by (fx, fy)."""
    return np.array([[fx, 0.0, 0.5 * fx - 0.5], [0.0, fy, 0.5 * fy - 0.5], [0.0, 0.0, 1.0]])


def _square(transform: Affine) -> Affine:
    return np.vstack([transform, [0.0, 0.0, 1.0]])


def between(inner: tuple[float, float, float, float], outer: tuple[float, float, float, float]) -> Affine:
    """Return the transform that takes the box `inner` (x0, y0, x1, y1; edges, not centres) to the box `outer`."""
    fx = (outer[2] - outer[0]) / (inner[2] - inner[0])
    fy = (outer[3] - outer[1]) / (inner[3] - inner[1])
    return np.array(
        [
            [fx, 0.0, outer[0] + (0.5 - inner[0]) * fx - 0.5],
            [0.0, fy, outer[1] + (0.5 - inner[1]) * fy - 0.5],
        ]
    )


def layouts(size: tuple[int, int], thumbnail: tuple[int, int]) -> Iterator[tuple[Start, Affine]]:
    """Yield the ways in which a thumbnail of (h, w) may show a picture of (H, W), each with its transform."""
    height, width = size
    h, w = thumbnail
    picture, preview = (0.0, 0.0, float(width), float(height)), (0.0, 0.0, float(w), float(h))
    yield "whole", between(preview, picture)
    ratio, own = width / height, w / h
    if abs(ratio / own - 1.0) < 0.005:
        return
    if ratio > own:
        inside = (0.0, (h - w / ratio) / 2, float(w), (h + w / ratio) / 2)
        middle = ((width - height * own) / 2, 0.0, (width + height * own) / 2, float(height))
    else:
        inside = ((w - h * ratio) / 2, 0.0, (w + h * ratio) / 2, float(h))
        middle = (0.0, (height - width / own) / 2, float(width), (height + width / own) / 2)
    yield "bars", between(inside, picture)
    yield "middle", between(preview, middle)


def register(rgb: UInt8Array, thumbnail: UInt8Array, enough: float = 0.9) -> Registration:
    """Return the best registration of the thumbnail with the picture.

    Upright layouts are tried first, then quarter turns, then the picture as a part of the thumbnail; each stage only
    when the ones before stay below `enough`.

    Args:
        rgb: (H, W, 3), best already reduced (see `reduce`).
        thumbnail: (h, w, 3).
        enough: Correlation with which the search ends.
    """
    best = _try_layouts(rgb, thumbnail, (0,))
    if best.correlation < enough:
        best = max(best, _try_layouts(rgb, thumbnail, (1, 2, 3)), key=_by_correlation)
    if best.correlation < enough:
        part = _try_part(rgb, thumbnail)
        # A small picture fits somewhere in any thumbnail by chance; only a close fit counts.
        best = part if part.correlation >= _PART else best
    return best


def _by_correlation(registration: Registration) -> float:
    return registration.correlation


def _try_layouts(rgb: UInt8Array, thumbnail: UInt8Array, turns: tuple[int, ...]) -> Registration:
    tried = []
    for turn in turns:
        turned = luma(np.ascontiguousarray(np.rot90(thumbnail, turn)))
        for name, transform in layouts(rgb.shape[:2], turned.shape):
            picture, valid = render(rgb, transform, turned.shape)
            tried.append(Registration(turn, name, transform, correlate(_soft(luma_of(picture)), _soft(turned), valid)))
    tried.sort(key=_by_correlation, reverse=True)
    return max((align(rgb, thumbnail, r) for r in tried[:2]), key=_by_correlation)


def _soft(plane: FloatArray) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), 1.5), dtype=np.float32)


def luma_of(rgb: FloatArray) -> FloatArray:
    """Return the BT.601 luma of float pixels."""
    return np.asarray(rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def align(rgb: UInt8Array, thumbnail: UInt8Array, start: Registration) -> Registration:
    """Return the registration after subpixel affine alignment of the lumas, or with its own transform when that fails.

    Source: Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization",
    PAMI 2008.
    """
    turned = luma(np.ascontiguousarray(np.rot90(thumbnail, start.turn)))
    picture, valid = render(rgb, start.transform, turned.shape)
    plain = replace(start, correlation=correlate(luma_of(picture), turned, valid))
    moved = _align_planes(turned, luma_of(picture), valid)
    if moved is None:
        return plain
    transform = (_square(start.transform) @ _square(moved))[:2]
    picture, valid = render(rgb, transform, turned.shape)
    better = replace(start, transform=transform, correlation=correlate(luma_of(picture), turned, valid))
    return max(plain, better, key=_by_correlation)


def _align_planes(fixed: FloatArray, moving: FloatArray, valid: BoolArray) -> Affine | None:
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-5)
    start = np.eye(2, 3, dtype=np.float32)
    mask = valid.astype(np.uint8) * 255
    try:
        _, found = cv2.findTransformECC(fixed, moving, start, cv2.MOTION_AFFINE, stop, mask, 5)
    except cv2.error:
        return None
    h, w = fixed.shape
    corners = np.array([[0, 0, 1], [w, 0, 1], [0, h, 1], [w, h, 1]], dtype=np.float64)
    drift = np.abs(corners @ found.T.astype(np.float64) - corners[:, :2]).max()
    return found.astype(np.float64) if drift <= max(2.0, _MAX_DRIFT * max(h, w)) else None


def _try_part(rgb: UInt8Array, thumbnail: UInt8Array) -> Registration:
    """Look for the whole picture as a part of what the thumbnail shows: the picture was cropped after the thumbnail."""
    preview = luma(thumbnail)
    h, w = preview.shape
    ratio = rgb.shape[1] / rgb.shape[0]
    best = Registration(0, "part", between((0, 0, 1, 1), (0, 0, 1, 1)), -1.0)
    picture = luma(rgb)
    for share in np.arange(_LEAST_PART, 1.0, 0.03):
        width = share * min(w, h * ratio)
        size = (round(width), round(width / ratio))
        if min(size) < 12:
            continue
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        if small.std() < 1.0:
            continue
        fit = cv2.matchTemplate(preview, small, cv2.TM_CCOEFF_NORMED)
        _, value, _, (x, y) = cv2.minMaxLoc(fit)
        if value > best.correlation:
            box = (float(x), float(y), float(x + size[0]), float(y + size[1]))
            best = Registration(0, "part", between(box, (0.0, 0.0, rgb.shape[1], rgb.shape[0])), value)
    return align(rgb, thumbnail, best) if best.correlation > 0.5 else best


def to_picture(plane: FloatArray, transform: Affine, size: tuple[int, int]) -> FloatArray:
    """Return a map of the (turned) thumbnail's pixels on those of a picture of `size`; 0 where there is none."""
    out = cv2.warpAffine(plane, transform, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(out, dtype=np.float32)


def scaled(transform: Affine, factor: tuple[float, float]) -> Affine:
    """Return the transform to the picture's pixels from that to a reduced picture, enlarged by `factor` (x, y)."""
    return (_scaling(*factor) @ _square(transform))[:2]


def picture_box(transform: Affine, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the box (x0, y0, x1, y1; edges) that a picture of (H, W) takes up on the thumbnail."""
    back = invert(transform)
    ends = np.array([[-0.5, -0.5], [size[1] - 0.5, size[0] - 0.5]]) @ back[:, :2].T + back[:, 2] + 0.5
    return tuple(float(v) for v in ends.ravel())  # type: ignore[return-value]
