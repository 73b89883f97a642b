"""Brings a picture to the tone, colour and sharpness of another rendering of the same scene."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.signal.preview import luma_of
from tamperscope.types import BoolArray, FloatArray

_ENOUGH = 20_000  # pixels of which a fit is made at most, up to a factor of two


def fitted(picture: FloatArray, other: FloatArray, covered: BoolArray) -> FloatArray:
    """Return a picture with the tone, colour and sharpness of another one that lies over it, fitted robustly.

    Every channel of the other one is a linear function of the picture's own channel, its luma, the squared luma and two
    degrees of blur; Huber weights keep edited parts from pulling the fit.

    Args:
        picture: (H, W, 3).
        other: (H, W, 3).
        covered: (H, W) bool, where both can be compared.
    """
    plane = luma_of(picture)
    soft = cv2.GaussianBlur(plane, (0, 0), 0.8) - plane
    softer = cv2.GaussianBlur(plane, (0, 0), 1.6) - plane
    shared = [np.ones_like(plane), plane / 255.0, (plane / 255.0) ** 2, soft / 255.0, softer / 255.0]
    places = np.flatnonzero(covered)
    places = places[:: max(1, len(places) // _ENOUGH)]
    fitted = np.empty_like(picture)
    for channel in range(3):
        design = np.stack([*shared, picture[..., channel] / 255.0], axis=-1)
        known = other[..., channel].ravel()[places]
        fitted[..., channel] = design @ robust(design.reshape(-1, design.shape[-1])[places], known)
    return np.clip(fitted, 0.0, 255.0)


def robust(design: FloatArray, values: FloatArray, rounds: int = 6) -> FloatArray:
    """Return the Huber regression of `values` on the columns of `design` by damped, reweighted least squares."""
    a, b = design.astype(np.float64), values.astype(np.float64)
    weight: NDArray[np.float64] = np.ones(len(b))
    solution: NDArray[np.floating] = np.zeros(a.shape[1])
    for _ in range(rounds):
        gram = (a * weight[:, None]).T @ a + 1e-6 * len(b) * np.eye(a.shape[1])
        solution = np.linalg.solve(gram, (a * weight[:, None]).T @ b)
        gap = np.abs(b - a @ solution)
        limit = 1.345 * max(0.5, 1.4826 * float(np.median(gap)))
        weight = np.asarray(np.minimum(1.0, limit / np.maximum(gap, 1e-9)), dtype=np.float64)
    return np.asarray(solution, dtype=np.float32)
