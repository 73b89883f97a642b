"""Regions to forge, pieces to move, and how an operation leaves its mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.ops.record import record
from tamperscope.types import BoolArray, Sample, UInt8Array

Span: TypeAlias = tuple[float, float]
Warp: TypeAlias = NDArray[np.float64]


def forged(sample: Sample, rgb: UInt8Array, mask: BoolArray, op: str, **values: Any) -> Sample:
    """Return the sample with new pixels and the mask of what was forged, recorded under the operation's name."""
    return record(sample, sample.with_pixels(rgb, mask=mask, label=None), op, **values)


def blob(size: tuple[int, int], share: float, rng: np.random.Generator) -> BoolArray:
    """Return a smooth random shape of about `share` of a picture of `size`, somewhere in it.

    Args:
        size: (H, W), each at least 16.
        share: Wanted area, in (0, 0.5].
        rng: Draws place and outline.
    """
    height, width = size
    radius = math.sqrt(share * height * width / math.pi)
    angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    waves = sum(rng.normal(0, 0.12 / k) * np.cos(k * angles + rng.uniform(0, 2 * math.pi)) for k in range(2, 6))
    squeeze = math.exp(rng.uniform(-0.4, 0.4))
    reach = radius * np.clip(1 + waves, 0.4, 1.8)
    margin_x, margin_y = (min(0.9 * radius * s, n / 2.2) for s, n in ((squeeze, width), (1 / squeeze, height)))
    centre = rng.uniform(margin_x, width - margin_x), rng.uniform(margin_y, height - margin_y)
    points = np.stack([centre[0] + reach * np.cos(angles) * squeeze, centre[1] + reach * np.sin(angles) / squeeze], 1)
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
    return canvas.astype(bool)


def drawn(span: Span, rng: np.random.Generator) -> float:
    """Return a number drawn uniformly from (low, high); nothing is drawn where both are the same."""
    return float(rng.uniform(*span)) if span[0] != span[1] else float(span[0])


def area(span: Span, rng: np.random.Generator) -> float:
    """Return a share of a picture drawn log-uniformly from (low, high)."""
    return math.exp(drawn((math.log(span[0]), math.log(span[1])), rng))


def check_span(name: str, span: Span, low: float, high: float) -> None:
    """Check that a setting is a range inside [low, high].

    Raises:
        InvalidValueError: It is not.
    """
    if not (len(span) == 2 and low <= span[0] <= span[1] <= high):
        raise InvalidValueError(f"{name}: expected (low, high) inside [{low:g}, {high:g}], found {span}")


def box(mask: BoolArray, margin: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns that hold all True pixels, `margin` pixels wider where the picture has them."""
    lines = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(max(0, int(line[0]) - margin), int(line[-1]) + 1 + margin) for line in lines)
    return rows, columns


def place(mask: BoolArray) -> str:
    """Return in which ninth of the picture the middle of a region lies, such as `top left`, `right` or `middle`."""
    thirds = [int(3 * (index.mean() + 0.5) / n) for index, n in zip(np.nonzero(mask), mask.shape, strict=True)]
    down, across = ("top", "", "bottom")[thirds[0]], ("left", "", "right")[thirds[1]]
    return " ".join(filter(None, (down, across))) or "middle"


def words(mask: BoolArray, noun: str, relation: str, attributes: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a sentence about an edit needs: noun, attributes, place in the picture, and relation."""
    return {"noun": noun, "attributes": list(attributes), "place": place(mask), "relation": relation}


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a picture to be pasted elsewhere.

    Attributes:
        rgb: (h, w, 3) uint8, the object and a little of what surrounds it.
        mask: (h, w) bool, the object.
        warp: (2, 3), takes (x, y, 1) of the picture that it was cut from to (x, y) of the piece.
    """

    rgb: UInt8Array
    mask: BoolArray
    warp: Warp


def cut(rgb: UInt8Array, mask: BoolArray, margin: int = 2) -> Piece:
    """Return the part of a picture that a mask marks, with `margin` pixels around; past the edge they are repeated."""
    rows, columns = box(mask)
    top, left = rows.start - margin, columns.start - margin
    bottom, right = rows.stop + margin, columns.stop + margin
    part = np.s_[max(0, top) : bottom, max(0, left) : right]
    lacking = [
        (max(0, -low), max(0, high - n)) for low, high, n in zip((top, left), (bottom, right), mask.shape, strict=True)
    ]
    pixels = np.pad(rgb[part], [*lacking, (0, 0)], mode="edge")
    warp = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])
    return Piece(pixels, np.pad(mask[part], lacking), warp)


def reshaped(piece: Piece, scale: float = 1.0, turn: float = 0.0, flip: bool = False) -> Piece:
    """Return a piece mirrored, scaled and turned, in this order; as it is where nothing is asked.

    Args:
        piece: What to change.
        scale: Factor above 0; smaller pieces are averaged over areas, larger ones interpolated cubically.
        turn: Degrees, counter-clockwise.
        flip: Whether left and right change sides.

    Raises:
        InvalidValueError: Nothing is left of the piece.
    """
    if flip:
        mirror = np.array([[-1.0, 0.0, piece.mask.shape[1] - 1.0], [0.0, 1.0, 0.0]])
        piece = Piece(piece.rgb[:, ::-1].copy(), piece.mask[:, ::-1].copy(), _after(mirror, piece.warp))
    if scale < 1 or (scale > 1 and not turn):
        # A turn that also enlarges is one interpolation; one that also shrinks would alias.
        piece, scale = _scaled(piece, scale), 1.0
    if turn:
        piece = _turned(piece, scale, turn)
    if not piece.mask.any():
        raise InvalidValueError(f"piece: nothing is left of it at scale {scale:g}; use a larger object")
    return piece


def _after(second: Warp, first: Warp) -> Warp:
    return np.asarray(second @ np.vstack([first, [0.0, 0.0, 1.0]]), np.float64)


def _scaled(piece: Piece, scale: float) -> Piece:
    old = piece.mask.shape[::-1]
    side = (max(3, round(old[0] * scale)), max(3, round(old[1] * scale)))
    rgb = cv2.resize(piece.rgb, side, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    mask = cv2.resize(piece.mask.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
    x, y = side[0] / old[0], side[1] / old[1]
    warp = np.array([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2]])
    return Piece(np.asarray(rgb, np.uint8), mask, _after(warp, piece.warp))


def _turned(piece: Piece, scale: float, turn: float) -> Piece:
    height, width = piece.mask.shape
    warp = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, scale)
    across, down = np.abs(warp[:, :2]) @ (width, height)
    side = (math.ceil(across) + 2, math.ceil(down) + 2)
    warp[:, 2] += (side[0] - width) / 2, (side[1] - height) / 2
    rgb = cv2.warpAffine(piece.rgb, warp, side, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    soft = cv2.warpAffine(piece.mask.astype(np.float32), warp, side, flags=cv2.INTER_LINEAR)
    return Piece(np.asarray(rgb, np.uint8), soft > 0.5, _after(np.asarray(warp), piece.warp))


def pasted(rgb: UInt8Array, piece: Piece, top: int, left: int) -> Piece:
    """Return the picture with a piece laid over it, hard-edged, where `mask` marks the object and `warp` leads there.

    What surrounds the object in the piece is laid down too, for blending needs it. What lies outside is cut off.

    Args:
        rgb: (H, W, 3), the picture.
        piece: What to lay over it.
        top: Row of the object's first row.
        left: Column of the object's first column.
    """
    rows, columns = box(piece.mask)
    y, x = top - rows.start, left - columns.start
    height, width = piece.mask.shape
    to = np.s_[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]
    mask, canvas = np.zeros(rgb.shape[:2], bool), rgb.copy()
    shape = mask[to].shape
    of = np.s_[max(0, -y) : max(0, -y) + shape[0], max(0, -x) : max(0, -x) + shape[1]]
    mask[to], canvas[to] = piece.mask[of], piece.rgb[of]
    return Piece(canvas, mask, piece.warp + np.array([[0.0, 0.0, x], [0.0, 0.0, y]]))


def history_traces(host: Sample, source: Sample, warp: Warp) -> list[str]:
    """Return what JPEG compression of host and source leaves to be detected where a piece went the way of `warp`."""
    compressed = [_compressed(host), _compressed(source)]
    found = ["jpeg_history"] if any(compressed) else []
    # The first block begins half a pixel before pixel 0, also where the piece is mirrored.
    begin = warp[:, :2] @ (-0.5, -0.5) + warp[:, 2] + 0.5
    shifted = not compressed[0] or bool(np.any(np.rint(begin) % 8))
    return [*found, "foreign_grid"] if compressed[1] and not resampled(warp) and shifted else found


def _compressed(sample: Sample) -> bool:
    names = [entry["op"] for entry in sample.meta.get("ops", ())]
    return sample.jpeg is not None or any("jpeg" in name or name == "recompressed" for name in names)


def resampled(warp: Warp) -> bool:
    """Return whether a warp takes pixels between pixels: neither a whole shift nor a mirror."""
    return bool(np.any(np.abs(np.abs(warp[:, :2]) - np.eye(2)) > 1e-9) or np.any(np.abs(warp - np.rint(warp)) > 1e-9))
