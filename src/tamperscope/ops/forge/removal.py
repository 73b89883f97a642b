"""Removal: an object or a piece of the picture is filled from its surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops.forge import objects, shapes
from tamperscope.types import BoolArray, Sample, UInt8Array

Fill = Literal["telea", "navier_stokes", "exemplar", "lowpass"]
FILLS: tuple[Fill, ...] = get_args(Fill)
_RADIUS = 3  # pixels around a filled one that Telea and Navier–Stokes look at
_FINE = 8.0  # pixels: what is blurred by more than this needs no full resolution


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """Fill a piece of the sample from its surroundings; `mask` marks what was filled, and nothing else changes.

    Attributes:
        share: Range of the area of a random shape, where there is no object, as a share of the picture.
        fill: How: Telea's or the Navier–Stokes inpainting, copies of other patches (`exemplar`), or the blurred
            surroundings (`lowpass`); None draws one.
        mask: (H, W) bool, the object to remove, or None.
        noun: What the object is called, such as `a person`.
        attributes: What else is known of it.
        seek: Whether to look for a salient object when none is given.
        margin: Range of the pixels by which the piece is grown, as editors do to catch soft edges.

    Raises:
        InvalidValueError: A range is upside down or out of bounds.
        UnknownNameError: There is no such fill.
    """

    share: shapes.Span = (0.01, 0.06)
    fill: Fill | None = None
    mask: BoolArray | None = None
    noun: str = ""
    attributes: Sequence[str] = ()
    seek: bool = False
    margin: tuple[int, int] = (0, 3)

    def __post_init__(self) -> None:
        shapes.check_span("removal.share", self.share, 1e-6, 0.5)
        shapes.check_span("removal.margin", self.margin, 0, 100)
        if self.fill is not None and self.fill not in FILLS:
            raise unknown_name("fill", self.fill, FILLS)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: The object has not the picture's size, or leaves nothing to fill from.
        """
        piece, kind = objects.chosen(sample, self.mask, self.seek, self.share, rng)
        margin = int(rng.integers(self.margin[0], self.margin[1] + 1))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
        mask = cv2.dilate(piece.astype(np.uint8), disc).astype(bool)
        if mask.all():
            raise InvalidValueError(f"removal: expected a mask that leaves a part of {sample.size} to fill from")
        fill = self.fill or FILLS[int(rng.integers(len(FILLS)))]
        rgb, values = filled(sample.rgb, mask, fill, rng)
        trace = ["duplication"] if fill == "exemplar" else ["blur", "statistics"]
        noun = objects.noun(self.noun, kind)
        return shapes.forged(
            sample,
            np.where(mask[..., None], rgb, sample.rgb),
            mask,
            "removal",
            method=fill,
            margin=margin,
            **values,
            object=kind,
            trace=trace,
            words=shapes.words(mask, noun, "removed and filled from its surroundings", self.attributes),
        )


def filled(
    rgb: UInt8Array, mask: BoolArray, fill: Fill, rng: np.random.Generator
) -> tuple[UInt8Array, dict[str, float]]:
    """Return the picture with new pixels in the mask, and what was drawn for that."""
    if fill == "exemplar":
        from tamperscope.ops.forge import patchmatch

        patch = int(rng.choice([5, 7, 9]))
        return patchmatch.fill(rgb, mask, rng, patch)[0], {"patch": patch}
    if fill == "lowpass":
        sigma = _depth(mask) * float(rng.uniform(0.5, 1.0))
        return diffused(rgb, mask, sigma), {"sigma": sigma}
    method = cv2.INPAINT_TELEA if fill == "telea" else cv2.INPAINT_NS
    return np.asarray(cv2.inpaint(rgb, mask.astype(np.uint8), _RADIUS, method), np.uint8), {"radius": _RADIUS}


def _depth(mask: BoolArray) -> float:
    """Return how many pixels the innermost one of the mask is from the known ones."""
    return float(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5).max())


def diffused(rgb: UInt8Array, mask: BoolArray, sigma: float) -> UInt8Array:
    """Return the known pixels blurred over the unknown ones: the mean of the known weighted by a Gaussian.

    Where the Gaussian reaches none of them, the mean of all known pixels stands in.

    Args:
        rgb: (H, W, 3) uint8 pixels.
        mask: (H, W) bool, True where unknown; not everywhere.
        sigma: Standard deviation in pixels, above 0.
    """
    height, width = mask.shape
    shrink = max(1.0, sigma / _FINE)
    small = max(1, round(width / shrink)), max(1, round(height / shrink))
    known = (~mask).astype(np.float32)
    planes = np.dstack([rgb * known[..., None], known])
    if shrink > 1:
        planes = cv2.resize(planes, small, interpolation=cv2.INTER_AREA)
    planes = cv2.GaussianBlur(planes, (0, 0), sigma / shrink, borderType=cv2.BORDER_REPLICATE)
    faint = np.float32(1e-6)
    mean = rgb[~mask].mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = (planes[..., :3] + faint * mean) / (planes[..., 3:] + faint)
    if shrink > 1:
        spread = cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(np.rint(spread), 0, 255), np.uint8)
