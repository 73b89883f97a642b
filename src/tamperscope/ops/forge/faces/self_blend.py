"""Self-blended face: a face is blended with a slightly changed copy of itself (Shiohara and Yamasaki, CVPR 2022).

As in that paper the copy differs in colours, sharpness or place, and is blended by a soft mask whose outline is that of
a face, deformed, blurred and weighed. Departing from it, it is always the copy that is changed and never the rest: no
pixel outside of the mask changes, so that forgery and authentic twin differ where the mask says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.faces import geometry
from tamperscope.ops.forge.faces.base import FaceEdit, mixed
from tamperscope.signal import alignment
from tamperscope.signal.faces import Face
from tamperscope.types import BoolArray, FloatArray, Sample, UInt8Array

Outline = Literal["face", "inner", "hull", "lower"]
_LEAST = 1 / 16  # weight below which nothing is blended
_PARTS = {"hull": ("eyebrow", "eye", "nose", "lip"), "lower": ("nose", "lip")}


@dataclass(frozen=True, kw_only=True)
class SelfBlend(FaceEdit):
    """Blend a face with a changed copy of itself; `mask` marks where the copy's weight is above 0.

    Attributes:
        outlines: Of the blended region, to choose from: `face`, `inner` (from brows to chin), `hull` (the convex hull
            of brows, eyes, nose and lips), `lower` (that of nose and lips).
        colour: Range of how far colours move, 0 not at all to 1: up to 20 levels a channel, a third more or less
            saturation and brightness, a tenth more or less contrast.
        sharpness: How often the copy is sharpened or made coarser.
        shift: Range of the way of a move, in distances between the eyes; any way.
        scale: Greatest change of size, as a share.
        deform: Range of how far the outline is deformed, in distances between the eyes.
        blur: Range of the softness of the edge, in distances between the eyes.
        ratios: Greatest weights of the copy, to choose from.

    Raises:
        InvalidValueError: A range is upside down or out of bounds, or there is nothing to choose from.
        UnknownNameError: There is no such outline.
    """

    name = "face_blend"
    outlines: Sequence[Outline] = get_args(Outline)
    colour: shapes.Span = (0.4, 1.0)
    sharpness: float = 0.5
    shift: shapes.Span = (0.01, 0.06)
    scale: float = 0.04
    deform: shapes.Span = (0.02, 0.08)
    blur: shapes.Span = (0.04, 0.15)
    ratios: Sequence[float] = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        spans = {"colour": self.colour, "shift": self.shift, "deform": self.deform, "blur": self.blur}
        for name, span in {**spans, "scale": (self.scale,) * 2, "sharpness": (self.sharpness,) * 2}.items():
            shapes.check_span(f"face_blend.{name}", span, 0, 1)
        if not self.ratios or not self.outlines or not all(0 < ratio <= 1 for ratio in self.ratios):
            raise InvalidValueError(f"face_blend: expected outlines and ratios in (0, 1], found {self.ratios}")
        for name in set(self.outlines) - set(get_args(Outline)):
            raise unknown_name("outline", name, get_args(Outline))

    def draw(self, sample: Sample, face: Face, rng: np.random.Generator) -> dict[str, Any]:
        """Return all values that the forgery follows from."""
        far, way = shapes.drawn(self.shift, rng), rng.uniform(0, 2 * np.pi)
        colour = shapes.drawn(self.colour, rng)
        levels, tones = rng.uniform(-20, 20, 3) * colour, rng.uniform(-1, 1, 3) * colour
        kind = ("sharper", "coarser")[int(rng.integers(2))] if rng.random() < self.sharpness else "none"
        return {
            "outline": self.outlines[int(rng.integers(len(self.outlines)))],
            "levels": levels.tolist(),
            "saturation": float(1 + 0.3 * tones[0]),
            "brightness": float(1 + 0.3 * tones[1]),
            "contrast": float(1 + 0.1 * tones[2]),
            "sharpness": kind,
            "shift": [float(far * np.cos(way)), float(far * np.sin(way))],
            "scale": float(1 + rng.uniform(-self.scale, self.scale)),
            "deform": shapes.drawn(self.deform, rng),
            "blur": shapes.drawn(self.blur, rng),
            "ratio": float(self.ratios[int(rng.integers(len(self.ratios)))]),
            "seed": int(rng.integers(2**32)),
        }

    def made(self, sample: Sample, face: Face, values: Mapping[str, Any]) -> tuple[UInt8Array, BoolArray]:
        """Return pixels and mask.

        Raises:
            InvalidValueError: The face lies outside of the picture.
        """
        fit = geometry.placed(face.points)
        unit = geometry.unit(fit)
        weight = weights(outlined(fit, values["outline"], sample.size), unit, values)
        mask = weight > 0
        if not mask.any():
            raise InvalidValueError("face_blend: expected a face inside of the picture, found none")
        copy = displaced(retouched(sample.rgb, unit, values), fit, values)
        return mixed(sample.rgb, copy, weight), mask

    @classmethod
    def traces(cls, sample: Sample, values: Mapping[str, Any]) -> list[str]:
        """Return what is meant to be detectable."""
        moved = any(values["shift"]) or values["scale"] != 1
        changes = {
            "resampling": moved or values["sharpness"] == "coarser",
            "sharpening": values["sharpness"] == "sharper",
        }
        return ["edge_halo", "statistics", *(name for name, on in changes.items() if on)]

    @classmethod
    def words(cls, values: Mapping[str, Any]) -> tuple[str, str]:
        """Return what the part is called, and what happened to it."""
        return "a face", "blended with a changed copy of itself"


def outlined(fit: geometry.Fit, name: str, size: tuple[int, int]) -> BoolArray:
    """Return the region of an outline of a face, (H, W) bool."""
    if name not in _PARTS:
        return geometry.mask(fit, name, size)
    points = np.vstack([fit(outline) for part in _PARTS[name] for outline in geometry.outlines(part)])
    canvas = np.zeros(size, np.uint8)
    hull = cv2.convexHull(points.astype(np.float32)).astype(np.float64)
    cv2.fillConvexPoly(canvas, np.rint(hull * 16).astype(np.int32), 1, shift=4)
    return canvas.astype(bool)


def weights(region: BoolArray, unit: float, values: Mapping[str, Any]) -> FloatArray:
    """Return the weights of the copy, (H, W) float32 from 0 to `ratio`: the region deformed elastically and blurred.

    Args:
        region: (H, W) bool.
        unit: Pixels between the eyes.
        values: `deform` and `blur` in these units, `ratio`, and the `seed` of the deformation.
    """
    out = region.astype(np.float32)
    if values["deform"] > 0:
        # The field has a few bends along the outline (Simard et al., 2003); small, it costs the same at any size.
        rng = np.random.default_rng(values["seed"])
        cells = tuple(max(3, round(n / (0.5 * unit)) + 1) for n in region.shape)
        coarse = (rng.standard_normal((*cells, 2)) * values["deform"] * unit).astype(np.float32)
        field = cv2.resize(coarse, region.shape[::-1], interpolation=cv2.INTER_CUBIC)
        ys, xs = np.indices(region.shape, np.float32)
        out = np.asarray(cv2.remap(out, xs + field[..., 0], ys + field[..., 1], cv2.INTER_LINEAR), np.float32)
    if (sigma := values["blur"] * unit) > 0.3:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), sigma), np.float32)
    return np.asarray(np.clip((out - _LEAST) / (1 - _LEAST), 0, 1) * np.float32(values["ratio"]), np.float32)


def retouched(rgb: UInt8Array, unit: float, values: Mapping[str, Any]) -> UInt8Array:
    """Return a picture with other colours and sharpness; as it was where the values say so."""
    x: NDArray[Any] = rgb.astype(np.float32)
    sigma = max(0.7, 0.02 * unit)
    if values["sharpness"] == "sharper":
        x = 2 * x - cv2.GaussianBlur(x, (0, 0), sigma)
    elif values["sharpness"] == "coarser":
        small = cv2.resize(x, None, fx=1 / (1 + sigma), fy=1 / (1 + sigma), interpolation=cv2.INTER_AREA)
        x = cv2.resize(small, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    grey = x.mean(2, keepdims=True)
    x = grey + (x - grey) * np.float32(values["saturation"])
    x = (x * values["brightness"] - 127.5) * values["contrast"] + 127.5 + np.asarray(values["levels"])
    return np.asarray(np.clip(np.rint(x), 0, 255), np.uint8)


def displaced(rgb: UInt8Array, fit: geometry.Fit, values: Mapping[str, Any]) -> UInt8Array:
    """Return a picture moved by `shift` (right, down) in distances between the eyes, and scaled about the nose."""
    if not any(values["shift"]) and values["scale"] == 1:
        return rgb
    middle = fit(alignment.MEAN[2:3])[0]
    warp: NDArray[np.float64] = np.hstack([np.eye(2) * values["scale"], np.zeros((2, 1))])
    warp[:, 2] = middle * (1 - values["scale"]) + np.asarray(values["shift"]) * geometry.unit(fit)
    size = rgb.shape[1::-1]
    out = cv2.warpAffine(rgb, warp, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)
