"""Attacks that change values in place: blur, noise, tone curves, sharpening, lost pixels; the mask stays as it is."""

from __future__ import annotations

from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.ops.params import Range
from tamperscope.types import Sample, UInt8Array

Seed = Annotated[int, Range(0, 2**32 - 1, drawn=True)]


def _bytes(values: NDArray[Any]) -> UInt8Array:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _curve(sample: Sample, levels: NDArray[Any]) -> Sample:
    """Send every grey level to its own new one."""
    return sample.with_pixels(_bytes(levels)[sample.rgb])


def gaussian_blur(
    sample: Sample,
    sigma: Annotated[float, Range(0, 50)] = 1.0,
    kernel: Annotated[int, Range(0, 201, odd=True)] = 0,
) -> Sample:
    """Blur with a Gaussian; the border is mirrored.

    Args:
        sample: The picture.
        sigma: Standard deviation in pixels; the kernel is cut off at four of them.
        kernel: Side of the kernel in pixels. When it is above 0, sigma is not used but follows from it as in OpenCV:
            0.3 ((kernel - 1) / 2 - 1) + 0.8; up to 7, OpenCV has fixed weights.
    """
    side = kernel or 2 * round(4 * sigma) + 1
    rgb = cv2.GaussianBlur(sample.rgb, (side, side), 0 if kernel else sigma)
    return sample.with_pixels(np.asarray(rgb, np.uint8))


def gaussian_noise(sample: Sample, sigma: Annotated[float, Range(0, 255)] = 5.0, seed: Seed = 0) -> Sample:
    """Add white Gaussian noise to each channel; `sigma` is its standard deviation in grey levels, no variance."""
    noise = np.random.default_rng(seed).standard_normal(sample.rgb.shape, np.float32)
    return sample.with_pixels(_bytes(sample.rgb + np.float32(sigma) * noise))


def gamma(sample: Sample, gamma: Annotated[float, Range(0.05, 20)] = 0.8) -> Sample:
    """Raise values in [0, 1] to the power `gamma`; below 1 is brighter."""
    return _curve(sample, 255 * (np.arange(256) / 255) ** gamma)


def contrast(sample: Sample, gain: Annotated[float, Range(0, 10)] = 1.25) -> Sample:
    """Multiply the distance from mid-grey (127.5) by `gain`."""
    return _curve(sample, 127.5 + gain * (np.arange(256) - 127.5))


def brightness(sample: Sample, shift: Annotated[float, Range(-255, 255)] = 20.0) -> Sample:
    """Add `shift` grey levels."""
    return _curve(sample, np.arange(256) + shift)


def median(sample: Sample, kernel: Annotated[int, Range(1, 101, odd=True)] = 3) -> Sample:
    """Take the median of each channel over `kernel` x `kernel` pixels."""
    return sample.with_pixels(np.asarray(cv2.medianBlur(sample.rgb, kernel), np.uint8))


def sharpen(
    sample: Sample, amount: Annotated[float, Range(0, 10)] = 1.0, sigma: Annotated[float, Range(0.1, 20)] = 1.0
) -> Sample:
    """Sharpen by an unsharp mask: add `amount` times what a Gaussian of `sigma` pixels takes away."""
    values = sample.rgb.astype(np.float32)
    return sample.with_pixels(_bytes(values + amount * (values - cv2.GaussianBlur(values, (0, 0), sigma))))


def dropout(
    sample: Sample,
    share: Annotated[float, Range(0, 1)] = 0.05,
    block: Annotated[int, Range(1, 1024)] = 1,
    seed: Seed = 0,
) -> Sample:
    """Blacken each pixel, or each `block` x `block` square of a grid, with the probability `share`."""
    cells = tuple(-(-n // block) for n in sample.size)
    lost = np.random.default_rng(seed).random(cells) < share
    lost = lost.repeat(block, axis=0).repeat(block, axis=1)[: sample.size[0], : sample.size[1]]
    return sample.with_pixels(np.where(lost[..., None], np.uint8(0), sample.rgb))
