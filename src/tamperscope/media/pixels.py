"""Turns pictures of any mode and depth into 8-bit RGB, band by band, and names every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.types import Finding, UInt8Array

if TYPE_CHECKING:
    from PIL import Image

BAND_BYTES = 16 * 2**20
_Convert = Callable[["Image.Image"], NDArray[Any]]
# A difference of colours under full transparency that no encoder's rounding explains.
_HIDDEN_SPREAD = 8
_HIDDEN_PIXELS = 64

STEPS = {
    "first_frame": "only the first frame or page is read",
    "video_frames": "frames of a video, spread evenly over it, were decoded and their colours became RGB",
    "bilevel_to_grey": "0 and 1 became 0 and 255",
    "grey_to_rgb": "the grey value was copied to red, green and blue",
    "palette_to_rgb": "palette indices were looked up",
    "alpha_dropped": "the alpha channel was dropped; colours are as stored under it",
    "cmyk_to_rgb": "CMYK became RGB without a colour profile",
    "ycbcr_to_rgb": "YCbCr became RGB (BT.601, full range)",
    "lab_to_rgb": "CIE L*a*b* became sRGB",
    "hsv_to_rgb": "HSV became RGB",
    "depth_to_8_high_bits": "the high 8 bits of every value were kept",
    "integers_scaled_to_8": "32-bit integers were scaled to 0 to 255",
    "float_unit_to_8": "floats from 0 to 1 became 0 to 255",
    "float_range_to_8": "floats were scaled from their own range to 0 to 255",
    "container_rotation_applied": "the decoder applied the rotation or mirroring that the container asks for",
    "rendered": "the page was rendered to pixels",
}


class Bands:
    """Iterates over a picture as (h, W, 3) uint8 bands, and notes what only a full pass can tell.

    Attributes:
        steps: Names of the transformations, in order; keys of `STEPS`.
        last_change: Last row that differs from the row above it, or from itself along the row; -1 for one colour.
        flat_end: Whether the last row has one colour, as a row that was never decoded.
    """

    def __init__(self, size: tuple[int, int], steps: list[str], source: Iterator[NDArray[np.uint8]]) -> None:
        self.size = size
        self.steps = steps
        self.last_change = -1
        self.watch_rows = False
        self.flat_end = False
        self._source = source
        self._hidden = 0
        self._low = np.full(3, 255, np.uint8)
        self._high = np.zeros(3, np.uint8)

    def __iter__(self) -> Iterator[UInt8Array]:
        above: UInt8Array | None = None
        row = 0
        for band in self._source:
            if band.shape[2] == 4:
                self._note_hidden(band)
                band = band[:, :, :3]
            band = np.ascontiguousarray(band)
            if self.watch_rows:
                self._note_rows(band, above, row)
                above = band[-1:].copy()
            row += band.shape[0]
            self.flat_end = bool((band[-1] == band[-1, 0]).all())
            yield band

    def _note_hidden(self, band: UInt8Array) -> None:
        hidden = band[:, :, :3][band[:, :, 3] == 0]
        if len(hidden):
            self._hidden += len(hidden)
            self._low = np.minimum(self._low, hidden.min(axis=0))
            self._high = np.maximum(self._high, hidden.max(axis=0))

    def _note_rows(self, band: UInt8Array, above: UInt8Array | None, row: int) -> None:
        stacked = band if above is None else np.concatenate([above, band])
        changed = (stacked[1:] != stacked[:-1]).any(axis=(1, 2))
        rows = np.flatnonzero(changed)
        if len(rows):
            self.last_change = row + int(rows[-1]) + (1 if above is None else 0)
        elif self.last_change < 0 and (band[0] != band[0, 0]).any():
            self.last_change = row

    def findings(self) -> list[Finding]:
        """Return what the pass showed; call it after the last band."""
        spread = int((self._high.astype(int) - self._low).max()) if self._hidden else 0
        if self._hidden < _HIDDEN_PIXELS or spread < _HIDDEN_SPREAD:
            return []
        text = f"{self._hidden:,} fully transparent pixels hide differing colours, which viewers do not show."
        return [Finding("media.hidden_pixels", text, "notice", {"pixels": self._hidden, "spread": spread}, "media")]


def from_pillow(picture: Image.Image, bits: int = 8) -> Bands:
    """Return the bands of a loaded Pillow picture.

    Args:
        picture: Of any mode; its data must be loaded.
        bits: Bits per value that the file states, for values that Pillow leaves in 16 bits unscaled.

    Raises:
        InvalidValueError: Pillow's mode is not known here.
    """
    steps, convert = _plan(picture, bits)
    width, height = picture.size
    rows = max(1, BAND_BYTES // (4 * width))

    def source() -> Iterator[UInt8Array]:
        for top in range(0, height, rows):
            yield _as_rgb(convert(picture.crop((0, top, width, min(top + rows, height)))))

    return Bands((height, width), steps, source())


def _as_rgb(band: NDArray[Any]) -> UInt8Array:
    return np.repeat(band[:, :, None], 3, axis=2) if band.ndim == 2 else band


def _plan(picture: Image.Image, bits: int) -> tuple[list[str], _Convert]:
    mode = picture.mode
    transparent = "transparency" in picture.info
    simple: dict[str, tuple[list[str], str]] = {
        "RGB": ([], "RGB"),
        "1": (["bilevel_to_grey", "grey_to_rgb"], "L"),
        "L": (["grey_to_rgb"], "L"),
        "LA": (["alpha_dropped", "grey_to_rgb"], "RGBA"),
        "PA": (["palette_to_rgb", "alpha_dropped"], "RGBA"),
        "P": (["palette_to_rgb", "alpha_dropped"], "RGBA") if transparent else (["palette_to_rgb"], "RGB"),
        "RGBA": (["alpha_dropped"], "RGBA"),
        "RGBX": (["alpha_dropped"], "RGB"),
        "RGBa": (["alpha_dropped"], "RGBA"),
        "La": (["alpha_dropped", "grey_to_rgb"], "LA"),
        "CMYK": (["cmyk_to_rgb"], "RGB"),
        "YCbCr": (["ycbcr_to_rgb"], "RGB"),
        "LAB": (["lab_to_rgb"], "RGB"),
        "HSV": (["hsv_to_rgb"], "RGB"),
    }
    if mode in simple:
        steps, target = simple[mode]
        return steps, lambda band: np.asarray(band if band.mode == target else band.convert(target))
    if mode.startswith("I;16"):
        shift = min(max(bits, 8), 16) - 8
        return ["depth_to_8_high_bits", "grey_to_rgb"], lambda band: (np.asarray(band) >> shift).astype(np.uint8)
    if mode == "I":
        return ["integers_scaled_to_8", "grey_to_rgb"], _integer_scaler(picture)
    if mode == "F":
        return _float_plan(picture)
    raise InvalidValueError(f"picture: expected a mode such as RGB, L, P or CMYK, found {mode!r}; convert it first")


def _integer_scaler(picture: Image.Image) -> _Convert:
    high = int(picture.getextrema()[1])  # type: ignore[arg-type]
    ceiling = next(c for c in (255, 65535, 2**31) if high <= c)

    def convert(band: Image.Image) -> NDArray[Any]:
        scaled: UInt8Array = (np.clip(np.asarray(band), 0, ceiling) * (255.0 / ceiling)).astype(np.uint8)
        return scaled

    return convert


def _float_plan(picture: Image.Image) -> tuple[list[str], _Convert]:
    low, high = np.inf, -np.inf
    rows = max(1, BAND_BYTES // (4 * picture.width))
    for top in range(0, picture.height, rows):
        band = np.asarray(picture.crop((0, top, picture.width, min(top + rows, picture.height))))
        finite = band[np.isfinite(band)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    unit = low >= 0 and high <= 1
    start, span = (0.0, 1.0) if unit or high <= low else (low, high - low)
    return ["float_unit_to_8" if unit else "float_range_to_8", "grey_to_rgb"], lambda band: _to_8(
        (np.asarray(band, dtype=np.float64) - start) / span
    )


def _to_8(unit: NDArray[Any]) -> UInt8Array:
    scaled: UInt8Array = (np.clip(np.nan_to_num(unit, nan=0.0), 0, 1) * 255 + 0.5).astype(np.uint8)
    return scaled


def from_array(array: NDArray[Any]) -> Bands:
    """Return the bands of (H, W), (H, W, 3) or (H, W, 4) values.

    Args:
        array: uint8, uint16 (the high byte is kept), float from 0 to 1, or bool; the channels are red, green,
            blue and alpha.

    Raises:
        InvalidValueError: Another shape, type or range.
    """
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (3, 4)) or 0 in shape:
        raise InvalidValueError(
            f"array: expected (H, W), (H, W, 3) or (H, W, 4) with at least one pixel, found {shape}; "
            "move the channels to the last axis"
        )
    steps: list[str] = []
    if array.dtype == np.uint8:
        pixels = array
    elif array.dtype == np.uint16:
        steps, pixels = ["depth_to_8_high_bits"], (array >> 8).astype(np.uint8)
    elif array.dtype == np.bool_:
        steps, pixels = ["bilevel_to_grey"], array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        steps, pixels = ["float_unit_to_8"], _unit_floats(array)
    else:
        raise InvalidValueError(
            f"array: expected uint8, uint16, float in [0, 1] or bool, found {array.dtype}; convert it first"
        )
    if array.ndim == 2:
        steps.append("grey_to_rgb")
    elif shape[2] == 4:
        steps.append("alpha_dropped")
    return Bands((shape[0], shape[1]), steps, iter([_as_rgb(pixels)]))


def _unit_floats(array: NDArray[Any]) -> UInt8Array:
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also catches nan
        raise InvalidValueError(f"array: expected floats in [0, 1], found {low:g} to {high:g}; divide by the maximum")
    return _to_8(array)
