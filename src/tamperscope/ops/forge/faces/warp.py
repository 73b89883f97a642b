"""Warp: landmarks of a face are moved, and what lies around follows smoothly: larger eyes, slimmer jaw, smile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.faces import geometry
from tamperscope.ops.forge.faces.base import FaceEdit
from tamperscope.signal.faces import Face
from tamperscope.types import BoolArray, Sample, UInt8Array

Points = geometry.Points
Change = Literal["eyes", "jaw", "smile", "nose"]
_WORDS = {
    "eyes": ("eyes", "enlarged or made smaller"),
    "jaw": ("a jaw", "made slimmer or wider"),
    "smile": ("a mouth", "given another expression"),
    "nose": ("a nose", "made narrower or wider"),
}
_LEAST = 0.5
# In units of the mean face; x is mirrored for the other side.
_JAW = ((0.97, 0.75), (0.84, 1.1), (0.62, 1.44))
_SUPPORT = {"eyes": 0.5, "jaw": 0.75, "smile": 0.55, "nose": 0.45}


@dataclass(frozen=True, kw_only=True)
class Warp(FaceEdit):
    """Move landmarks of a face; `mask` marks where pixels moved by more than half a pixel, and no other changes.

    Attributes:
        changes: What may be done; one is.
        amount: Range of how far, in distances between the eyes; either way.

    Raises:
        InvalidValueError: The range is upside down or beyond 0.12, where maps begin to fold, or nothing may be done.
        UnknownNameError: There is no such change.
    """

    name = "face_warp"
    changes: Sequence[Change] = get_args(Change)
    amount: shapes.Span = (0.06, 0.12)

    def __post_init__(self) -> None:
        shapes.check_span("face_warp.amount", self.amount, 0, 0.12)
        if not self.changes:
            raise InvalidValueError("face_warp.changes: expected at least one, found none")
        for name in set(self.changes) - set(get_args(Change)):
            raise unknown_name("change", name, get_args(Change))

    def draw(self, sample: Sample, face: Face, rng: np.random.Generator) -> dict[str, Any]:
        """Return the change and its signed amount."""
        change = self.changes[int(rng.integers(len(self.changes)))]
        return {"change": change, "amount": shapes.drawn(self.amount, rng) * (1 if rng.random() < 0.7 else -1)}

    def made(self, sample: Sample, face: Face, values: Mapping[str, Any]) -> tuple[UInt8Array, BoolArray]:
        """Return pixels and mask.

        Raises:
            InvalidValueError: Nothing moves by half a pixel inside of the picture.
        """
        fit = geometry.placed(face.points)
        controls, aims = moved(values["change"], values["amount"])
        reach = _SUPPORT[values["change"]] * geometry.unit(fit)
        field = displacement(sample.size, fit(controls), fit(aims), reach)
        mask = np.asarray(np.any(field != 0, axis=2))
        if not mask.any():
            raise InvalidValueError("face_warp: expected a face large enough that something moves, found a small one")
        ys, xs = np.indices(sample.size, np.float32)
        out = cv2.remap(
            sample.rgb, xs + field[..., 0], ys + field[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        return np.where(mask[..., None], np.asarray(out, np.uint8), sample.rgb), mask

    @classmethod
    def traces(cls, sample: Sample, values: Mapping[str, Any]) -> list[str]:
        """Return what is meant to be detectable."""
        return ["resampling"]

    @classmethod
    def words(cls, values: Mapping[str, Any]) -> tuple[str, str]:
        """Return what the part is called, and what happened to it."""
        return _WORDS[values["change"]]


def moved(change: str, amount: float) -> tuple[Points, Points]:
    """Return landmarks of the mean face, (n, 2), and where they go; those that hold the rest stay where they are.

    Above 0, eyes grow, the jaw gets slimmer, the mouth smiles and the nose gets narrower; below 0, the other way.
    """
    held: list[tuple[float, float]]
    if change == "eyes":
        ring = np.array([(np.cos(a), 0.7 * np.sin(a)) for a in np.arange(8) * np.pi / 4])
        eyes = [np.array([x, 0.0]) + 0.22 * ring for x in (-0.5, 0.5)]
        points, steps = np.vstack(eyes), np.vstack([ring, ring]) * amount * 0.5
        held = [(-0.5, 0), (0.5, 0), (0, 0.1), (-0.5, -0.45), (0.5, -0.45)]
    elif change == "jaw":
        points = np.array([(s * x, y) for s in (-1, 1) for x, y in _JAW])
        steps = np.array([(-s * amount, 0.0) for s in (-1, 1) for _ in _JAW])
        held = [(-0.42, 1.08), (0.42, 1.08), (0, 1.85)]
    elif change == "smile":
        points = np.array([(-0.44, 1.04), (0.44, 1.04)])
        steps = np.array([(-0.5, -0.8), (0.5, -0.8)]) * amount
        held = [(0, 0.9), (0, 1.04), (0, 1.26), (0, 0.7), (-0.28, 0.7), (0.28, 0.7)]
    else:
        points = np.array([(-0.27, 0.68), (0.27, 0.68), (-0.15, 0.4), (0.15, 0.4)])
        steps = np.array([(1, 0), (-1, 0), (0.5, 0), (-0.5, 0)]) * amount * 0.7
        held = [(0, 0.62), (-0.44, 1.04), (0.44, 1.04), (0, 0.95)]
    controls = np.vstack([points, np.array(held)])
    return controls, np.vstack([points + steps, np.array(held)])


def displacement(size: tuple[int, int], controls: Points, aims: Points, reach: float) -> np.ndarray:
    """Return from where each pixel is taken, as (right, down) of itself: (H, W, 2) float32.

    Radial functions of compact support (Wendland, 1995: (1 - r)^4 (4 r + 1)) about the aims interpolate: what was at a
    control comes to lie at its aim, and farther than `reach` from all aims nothing moves. Ways of up to half a
    pixel are not gone; up to a pixel, ways are shortened so that the map stays continuous.

    Args:
        size: (H, W).
        controls: (n, 2), (x, y) in pixels.
        aims: (n, 2), where they go.
        reach: Of a function, pixels.
    """
    heights = np.linalg.solve(_wendland(aims, aims, reach) + 1e-9 * np.eye(len(aims)), controls - aims)
    field = np.zeros((*size, 2), np.float32)
    low = np.clip(np.floor(aims.min(0) - reach).astype(int), 0, None)
    high = np.clip(np.ceil(aims.max(0) + reach).astype(int) + 1, 0, size[::-1])
    if (high <= low).any():
        return field
    xs, ys = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    places = np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float64)
    way = sum(_wendland(places, aim[None], reach) * height for aim, height in zip(aims, heights, strict=True))
    length = np.linalg.norm(way, axis=1, keepdims=True)
    t = np.clip((length - _LEAST) / _LEAST, 0, 1)
    way = way * t * t * (3 - 2 * t)
    field[low[1] : high[1], low[0] : high[0]] = way.reshape(*xs.shape, 2)
    return field


def _wendland(points: Points, centres: Points, reach: float) -> np.ndarray:
    r = np.sqrt(((points[:, None] - centres) ** 2).sum(-1)) / reach
    return np.asarray(np.clip(1 - r, 0, None) ** 4 * (4 * r + 1), np.float64)
