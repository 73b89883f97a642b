"""Up-samplers as generators have them: a picture is halved, doubled again by sub-pixel filters, and refined.

Doubling is one filter of the small picture for each of the four pixels that one becomes. Nearest-neighbour and bilinear
enlargement, a transposed convolution of stride 2 and a pixel shuffle (Shi et al., CVPR 2016) differ in these filters
only. Where the four do not weigh alike, flat parts get a checkerboard (Odena et al., Distill 2016).
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.types import FloatArray, UInt8Array

Kind = Literal["nearest", "bilinear", "transposed", "pixel_shuffle"]
FACTORS = (2, 4, 8)
# Weights of the small pixel before, at and after: for the first and for the second of its two large pixels.
_NEAREST = np.array([[0, 1, 0], [0, 1, 0]], np.float64)
_BILINEAR = np.array([[1, 3, 0], [0, 3, 1]], np.float64) / 4
_LINES: dict[str, NDArray[np.float64]] = {
    "nearest": _NEAREST,
    "bilinear": _BILINEAR,
    "transposed": _BILINEAR,
    "pixel_shuffle": _BILINEAR,
}
_BINOMIAL = np.array([1, 2, 1], np.float64) / 4


def filters(kind: Kind, ripple: float = 0.0, seed: int = 0) -> FloatArray:
    """Return the four sub-pixel filters of an up-sampler; brightness is kept on the whole.

    A `transposed` convolution has the bilinear kernel of 4 x 4 taps with another weight for each of the four pixels; a
    `pixel_shuffle` has four filters of 3 x 3 taps whose shapes differ too. The other two have equal weights.

    Args:
        kind: Of the up-sampler.
        ripple: Standard deviation of the four weights, whose mean is 1; what is drawn is the pattern alone.
        seed: Of the pattern and the shapes.

    Returns:
        (2, 2, 3, 3) float32: row and column among the four pixels, row and column of the small pixel's neighbourhood.

    Raises:
        UnknownNameError: There is no such up-sampler.
    """
    if kind not in _LINES:
        raise unknown_name("up-sampler", kind, _LINES)
    lines = _LINES[kind]
    found = np.einsum("ai,bj->abij", lines, lines)
    if kind in ("transposed", "pixel_shuffle"):
        rng = np.random.default_rng(seed)
        weights = 1 + ripple * _pattern(rng)
        if kind == "pixel_shuffle":
            found = found + ripple * rng.normal(size=found.shape)
            found /= found.sum((2, 3), keepdims=True)
        found = found * weights[..., None, None]
    return np.asarray(found, np.float32)


def _pattern(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (2, 2) random numbers of mean 0 and standard deviation 1: columns, rows and a checkerboard, mixed."""
    mixed = rng.normal(size=(2, 2))
    mixed -= mixed.mean()
    return np.asarray(mixed / mixed.std(), np.float64)


def upsampled(rgb: UInt8Array, kernels: FloatArray, factor: int = 2, refine: float = 0.0) -> UInt8Array:
    """Reduce a picture and enlarge it again; the content keeps its place, fine detail is lost.

    Args:
        rgb: (H, W, 3) uint8, of any size from one pixel on.
        kernels: (2, 2, 3, 3), as `filters` returns them; every doubling uses the same ones.
        factor: 2, 4 or 8: one, two or three halvings, and as many doublings.
        refine: Amount of the 3 x 3 filter at the end: above 0 it sharpens, below 0 it smooths, 0 is none.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InvalidValueError: The factor is another one.
    """
    if factor not in FACTORS:
        raise InvalidValueError(f"factor: expected one of {FACTORS}, found {factor!r}")
    new = _remade(rgb.astype(np.float32), kernels, FACTORS.index(factor) + 1)
    return np.asarray(np.clip(np.rint(refined(new, refine)), 0, 255), np.uint8)


def _remade(values: FloatArray, kernels: FloatArray, steps: int) -> FloatArray:
    if not steps:
        return values
    height, width = values.shape[:2]
    return doubled(_remade(halved(values), kernels, steps - 1), kernels)[:height, :width]


def halved(values: FloatArray) -> FloatArray:
    """Return the means of 2 x 2 pixels; the last row or column of an odd size counts twice.

    Args:
        values: (H, W, C) float32.
    """
    height, width, channels = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    cells = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, channels)
    return np.asarray(cells.mean((1, 3)), np.float32)


def doubled(small: FloatArray, kernels: FloatArray) -> FloatArray:
    """Return a picture twice as large, each pixel of it made by one of four filters; the border is repeated.

    Args:
        small: (h, w, C) float32.
        kernels: (2, 2, 3, 3), as `filters` returns them.

    Returns:
        (2 h, 2 w, C) float32.
    """
    height, width, channels = small.shape
    out = np.empty((2 * height, 2 * width, channels), np.float32)
    for row, column in np.ndindex(2, 2):
        out[row::2, column::2] = _filtered(small, kernels[row, column])
    return out


def refined(values: FloatArray, amount: float) -> FloatArray:
    """Return values with `amount` times their difference from a 3 x 3 binomial blur added.

    Args:
        values: (H, W, C) float32.
        amount: Above 0 sharpens, below 0 smooths.
    """
    if not amount:
        return values
    blurred = _filtered(values, np.outer(_BINOMIAL, _BINOMIAL))
    return values + np.float32(amount) * (values - blurred)


def _filtered(values: FloatArray, kernel: NDArray[Any]) -> FloatArray:
    done = cv2.filter2D(values, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(done, np.float32).reshape(values.shape)
