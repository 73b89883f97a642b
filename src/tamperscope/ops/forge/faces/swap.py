"""Swap: the face of another picture is fitted to a face by its landmarks, matched in colour and blended in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import blending, shapes
from tamperscope.ops.forge.faces import geometry
from tamperscope.ops.forge.faces.base import FaceEdit, located
from tamperscope.signal import faces
from tamperscope.types import BoolArray, Sample, UInt8Array

_WHOLE = 0.95  # share of a face's outline that must lie in the picture


@dataclass(frozen=True, kw_only=True)
class Swap(FaceEdit):
    """Lay the largest face of `donor` over that of the sample; `mask` marks it, from the brows to the chin.

    The donor is turned, scaled and shifted, and gives way smoothly so that all five points meet.

    Attributes:
        donor: The picture that the face comes from.
        blends: Edges to choose from.
        feathers: Widths of a feathered edge to choose from, pixels.
        matches: Ways to match colours to the skin around, to choose from.
        strength: Range of how far colours are matched, in [0, 1].
        enlarged: Greatest factor by which the donor's face may be enlarged.
        unlike: Greatest distance between the points of both faces, fitted, in distances between the eyes.

    Raises:
        InvalidValueError: The range of strengths is upside down or out of bounds.
    """

    name = "face_swap"
    donor: Sample
    blends: Sequence[blending.Blend] = ("poisson", "poisson", "multiband")
    feathers: Sequence[float] = (0.7, 1.5)
    matches: Sequence[blending.Match] = ("reinhard", "gain")
    strength: shapes.Span = (0.6, 1.0)
    enlarged: float = 2.0
    unlike: float = 0.2

    def __post_init__(self) -> None:
        shapes.check_span("face_swap.strength", self.strength, 0, 1)

    def draw(self, sample: Sample, face: faces.Face, rng: np.random.Generator) -> dict[str, Any]:
        """Return the donor's points and how its face is brought in.

        Raises:
            InvalidValueError: The donor has no face, or one that is too small, cut off, or looks another way.
        """
        other, finder = located(self.donor, self.detector)
        scale = geometry.unit(geometry.placed(face.points)) / geometry.unit(geometry.placed(other.points))
        if scale > self.enlarged:
            raise InvalidValueError(f"face_swap: expected a donor enlarged up to {self.enlarged:g}, found {scale:.1f}")
        for picture, one in ((sample, face), (self.donor, other)):
            if inside(picture.size, one.points) < _WHOLE:
                raise InvalidValueError(f"face_swap: expected a whole face, found one cut off in '{picture.id}'")
        if (unlike := geometry.unlikeness(other.points, face.points)) > self.unlike:
            raise InvalidValueError(f"face_swap: expected a donor that looks the same way, found one {unlike:.2f} off")
        look = blending.draw(self.blends, self.feathers, rng, self.matches, self.strength)
        points = {"points": other.points.tolist(), "finder": finder}
        return {"donor": self.donor.id, "donor_face": points, "scale": float(scale), **asdict(look)}

    def made(self, sample: Sample, face: faces.Face, values: Mapping[str, Any]) -> tuple[UInt8Array, BoolArray]:
        """Return pixels and mask.

        Raises:
            InvalidValueError: The face lies outside of the picture.
        """
        mask = geometry.mask(geometry.placed(face.points), "inner", sample.size)
        if mask.sum() < 64:
            raise InvalidValueError("face_swap: expected a face inside of the picture, found next to none")
        patch = laid(self.donor.rgb, sample.size, face.points, np.asarray(values["donor_face"]["points"]))
        patch = matched(patch, sample.rgb, mask, values["match"], values["strength"])
        return blending.Look(values["blend"], values["feather"]).lay(sample.rgb, patch, mask), mask

    @classmethod
    def traces(cls, sample: Sample, values: Mapping[str, Any]) -> list[str]:
        """Return what is meant to be detectable."""
        look = blending.Look(values["blend"], values["feather"])
        return ["foreign_noise", "resampling", *look.traces]

    @classmethod
    def words(cls, values: Mapping[str, Any]) -> tuple[str, str]:
        """Return what the part is called, and what happened to it."""
        return "a face", "replaced by that of another person"


def matched(patch: UInt8Array, rgb: UInt8Array, mask: BoolArray, match: blending.Match, strength: float) -> UInt8Array:
    """Return a fitted face in the colours of the one that it covers: what surrounds faces is hair and ground, not skin.

    Args:
        patch: (H, W, 3), the donor's face in its new place.
        rgb: (H, W, 3), the host.
        mask: (H, W) bool, the face.
        match: How, as in `blending.Look`.
        strength: How far.
    """
    if match == "none":
        return patch
    where = shapes.box(mask, 2)
    out, own, there = patch.copy(), mask[where], rgb[where]
    if match == "reinhard":
        out[where] = blending.reinhard(patch[where], own, there, own, strength)
    else:
        out[where] = blending.exposed(patch[where], blending.gain(patch[where], own, there, own, strength))
    return out


def inside(size: tuple[int, int], points: geometry.Points) -> float:
    """Return the share of a face's outline, from brows to chin, that lies in a picture of `size`, (H, W)."""
    outline = geometry.placed(points)(geometry.outlines("inner")[0])
    return float(((outline >= 0) & (outline < size[::-1])).all(axis=1).mean())


def laid(rgb: UInt8Array, size: tuple[int, int], points: geometry.Points, others: geometry.Points) -> UInt8Array:
    """Return a donor's picture warped so that its five points lie on a host's: (H, W, 3) of the host's size.

    Args:
        rgb: (h, w, 3), the donor.
        size: (H, W) of the host.
        points: (5, 2), of the host.
        others: (5, 2), of the donor.
    """
    back = geometry.fitted(points, others, similar=True)
    scale = geometry.unit(back)
    if scale > 1.5:
        # Blurred first, so that shrinking does not alias.
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.4 * scale), np.uint8)
    ys, xs = np.indices(size, np.float64)
    places = back(np.stack([xs, ys], 2)).astype(np.float32)
    out = cv2.remap(rgb, places[..., 0], places[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)
