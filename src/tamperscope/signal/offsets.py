"""Shifts at which a picture resembles itself, from its normalized autocorrelation.

A copied region acts as an echo: the autocorrelation of the locally normalized fine detail has a peak at the shift
between source and copy, even where no keypoint can be found. The height of a peak is a number of standard deviations
under the hypothesis of unrelated detail. Peaks only propose shifts; whether a region agrees is decided elsewhere.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import fft

from tamperscope.types import FloatArray

_MARGIN = 20  # shifts that leave an overlap narrower than this say nothing


def normalized_detail(gray: FloatArray, sigma: float = 1.0, window: int = 15, floor: float = 0.5) -> FloatArray:
    """Return the detail finer than `sigma` pixels, divided by its local standard deviation and clipped to [-3, 3]."""
    detail = gray - cv2.GaussianBlur(gray, (0, 0), sigma)
    spread = np.sqrt(cv2.boxFilter(detail * detail, -1, (window, window)) + floor * floor)
    return np.asarray(np.clip(detail / spread, -3.0, 3.0), dtype=np.float32)


def self_shifts(
    detail: FloatArray, count: int = 12, min_distance: float = 20.0, level: float = 3.5
) -> list[tuple[int, int, float]]:
    """Return the strongest (dx, dy, z) with dy >= 0 at which the picture resembles itself, strongest first.

    Shifts are standardized inside their class modulo 8: the block grid of a JPEG resembles itself at all multiples of 8
    and would outweigh every other shift otherwise.

    Args:
        detail: (H, W) float32 from `normalized_detail`.
        count: At most so many.
        min_distance: Shorter shifts are left out; neighbouring pixels always resemble each other.
        level: Smallest z.
    """
    height, width = detail.shape
    if min(height, width) <= _MARGIN + 8:
        return []
    size = [fft.next_fast_len(2 * n - 1, True) for n in (height, width)]
    spectrum = fft.rfft2(detail, size)
    power = fft.irfft2(spectrum.real**2 + spectrum.imag**2, size)
    dy = np.arange(height - _MARGIN)
    dx = np.arange(_MARGIN - width, width - _MARGIN + 1)
    overlap = (height - dy)[:, None] * (width - np.abs(dx))[None, :]
    z = (power[np.ix_(dy, dx % size[1])] / np.sqrt(overlap)).astype(np.float32)
    _standardize(z)
    z[(dy[:, None] ** 2 + dx[None] ** 2 < min_distance**2) | ((dy[:, None] == 0) & (dx[None] < 0))] = -np.inf
    peak = np.flatnonzero((z >= cv2.dilate(z, np.ones((5, 5), np.uint8))) & (z > level))
    best = peak[np.lexsort((peak, -z.ravel()[peak]))][:count]
    return [(int(dx[i % len(dx)]), int(dy[i // len(dx)]), float(z.ravel()[i])) for i in best]


def _standardize(z: FloatArray, step: int = 8) -> None:
    """Subtract the median and divide by the robust deviation of every class modulo `step`, in place."""
    for row in range(step):
        for column in range(step):
            part = z[row::step, column::step]
            if part.size:
                sample = part[:, :: max(1, part.size // 5_000)]
                middle = np.median(sample)
                part -= middle
                part /= 1.4826 * np.median(np.abs(sample - middle)) + 1e-6
