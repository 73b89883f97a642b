"""Part: one part of a face is changed by a photometric or textural operator, or replaced by its mirrored self.

With several such edits the sequence of parts is the label of Seq-DeepFake (Shao et al., ECCV 2022), whose components
these are. An operator reads nothing outside of its own part, so that edits which do not overlap commute bit for bit:
only where parts overlap do the pixels hold the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops import tones
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.faces import geometry
from tamperscope.ops.forge.faces.base import FaceEdit, mixed, soft
from tamperscope.ops.forge.upsampled import remade
from tamperscope.signal import alignment
from tamperscope.signal.faces import Face
from tamperscope.types import BoolArray, Sample, UInt8Array

Change = Literal["recolour", "smooth", "blur", "median", "gamma", "resample", "sharpen", "mirror", "upsampled"]
LABELS = {"nose": 1, "eye": 2, "eyebrow": 3, "lip": 4, "hair": 5}
"""Numbers of the parts in a sequence; 0 is padding."""
LENGTH = 5
"""Of a sequence."""
_FRONTAL = 0.12  # distances between the eyes by which a face seen straight on may differ from the mean one
_WARM = (-0.6, 1.2)  # directions of colour, radians in CIELAB, that skin may take: from pink to yellow
_RELATIONS = {
    "recolour": "given another colour",
    "smooth": "smoothed",
    "blur": "blurred",
    "median": "filtered by a median",
    "gamma": "brightened or darkened",
    "resample": "made coarser",
    "sharpen": "sharpened",
    "mirror": "replaced by its mirrored self",
    "upsampled": "remade by an up-sampler",
}
_TRACES: Mapping[str, list[str]] = {
    "recolour": ["statistics"],
    "smooth": ["blur"],
    "blur": ["blur"],
    "median": ["median"],
    "gamma": ["statistics"],
    "resample": ["resampling"],
    "sharpen": ["sharpening"],
    "mirror": ["resampling"],
    "upsampled": ["upsampling"],
}
_NOUNS = {"nose": "a nose", "eye": "eyes", "eyebrow": "eyebrows", "lip": "lips", "hair": "hair", "skin": "skin"}


@dataclass(frozen=True, kw_only=True)
class Part(FaceEdit):
    """Change one part of a face that no edit before has changed; `mask` marks it, and nothing else changes.

    Attributes:
        parts: What may be changed.
        changes: What may happen to it.
        wider: Range of the part's dilation, in distances between the eyes: neighbours overlap from about 0.15.
        edge: Width of its soft edge, inside of the mask, in distances between the eyes.
        strength: Range of how far a change goes, in (0, 1].
        least: Mean absolute change of the part, grey levels, below which a draw is refused.

    Raises:
        InvalidValueError: A range is upside down or out of bounds, or nothing may be changed.
        UnknownNameError: There is no such part or change.
    """

    name = "face_part"
    parts: Sequence[str] = tuple(LABELS)
    changes: Sequence[Change] = get_args(Change)
    wider: shapes.Span = (0.15, 0.22)
    edge: float = 0.08
    strength: shapes.Span = (0.5, 1.0)
    least: float = 1.0

    def __post_init__(self) -> None:
        shapes.check_span("face_part.wider", self.wider, 0, 1)
        shapes.check_span("face_part.strength", self.strength, 0.01, 1)
        shapes.check_span("face_part.edge", (self.edge, self.edge), 0, 1)
        for kind, names, known in (
            ("part", self.parts, geometry.PARTS),
            ("change", self.changes, get_args(Change)),
        ):
            for name in set(names) - set(known):
                raise unknown_name(kind, name, known)
            if not names:
                raise InvalidValueError(f"face_part.{kind}s: expected at least one, found none")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: There is no face, every part was changed before, or the change is next to nothing.
        """
        forged = super().__call__(sample, rng)
        change = float(cv2.absdiff(forged.rgb, sample.rgb)[forged.mask].mean())
        if change < self.least:
            raise InvalidValueError(f"face_part: expected a change of {self.least:g} grey levels, found {change:.2f}")
        return forged

    def draw(self, sample: Sample, face: Face, rng: np.random.Generator) -> dict[str, Any]:
        """Return all values that the forgery follows from.

        Raises:
            InvalidValueError: Every part was changed before.
        """
        taken = [entry["part"] for entry in sample.meta.get("ops", ()) if entry["op"] == self.name]
        free = [part for part in self.parts if part not in taken]
        if not free:
            raise InvalidValueError(
                f"face_part: expected a part besides {', '.join(taken)}, found none; use fewer steps"
            )
        part = free[int(rng.integers(len(free)))]
        changes = list(self.changes)
        if part in ("hair", "skin") or geometry.unlikeness(face.points, alignment.MEAN) > _FRONTAL:
            # Light comes from one side, and a turned face has but one side to show.
            changes = [change for change in changes if change != "mirror"] or changes
        way = (0, 2 * np.pi) if part in ("hair", "eye") else _WARM
        return {
            "part": part,
            "change": changes[int(rng.integers(len(changes)))],
            "strength": shapes.drawn(self.strength, rng),
            "direction": float(rng.uniform(*way)),
            "brighter": bool(rng.random() < 0.5),
            "seed": int(rng.integers(2**32)),
            "wider": shapes.drawn(self.wider, rng),
            "edge": float(self.edge),
        }

    def made(self, sample: Sample, face: Face, values: Mapping[str, Any]) -> tuple[UInt8Array, BoolArray]:
        """Return pixels and mask.

        Raises:
            InvalidValueError: The part lies outside of the picture.
        """
        fit = geometry.placed(face.points)
        mask = geometry.mask(fit, values["part"], sample.size, values["wider"])
        if mask.sum() < 16:
            raise InvalidValueError(
                f"face_part: expected {values['part']} inside of the picture, found next to nothing"
            )
        where = shapes.box(mask)
        own, out = mask[where], sample.rgb.copy()
        alone = extended(sample.rgb[where], own)
        centred = _moved(geometry.mirrored(face.points, values["part"]), where)
        new = changed(alone, values, geometry.unit(fit), centred)
        out[where] = mixed(sample.rgb[where], new, soft(own, values["edge"] * geometry.unit(fit)))
        return out, mask

    @classmethod
    def traces(cls, sample: Sample, values: Mapping[str, Any]) -> list[str]:
        """Return what is meant to be detectable."""
        return list(_TRACES[values["change"]])

    @classmethod
    def words(cls, values: Mapping[str, Any]) -> tuple[str, str]:
        """Return what the part is called, and what happened to it."""
        return _NOUNS[values["part"]], _RELATIONS[values["change"]]


def sequence(ops: Iterable[Mapping[str, Any]]) -> list[int]:
    """Return the label of a sequence of edits: `LABELS` of the parts in the order of the edits, 0 to the length of 5.

    Args:
        ops: Entries of `meta["ops"]`; those of other operations do not count.

    Raises:
        InvalidValueError: There are more than five edits, or one of a part without a number.
    """
    parts = [entry["part"] for entry in ops if entry["op"] == Part.name]
    if len(parts) > LENGTH or not set(parts) <= set(LABELS):
        raise InvalidValueError(f"sequence: expected up to {LENGTH} of {', '.join(LABELS)}, found {', '.join(parts)}")
    return [LABELS[part] for part in parts] + [0] * (LENGTH - len(parts))


def extended(rgb: UInt8Array, mask: BoolArray) -> UInt8Array:
    """Return a picture in which each pixel outside of a mask is the nearest one inside."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return np.ascontiguousarray(rgb[rows, columns])


def changed(rgb: UInt8Array, values: Mapping[str, Any], unit: float, mirror: np.ndarray) -> UInt8Array:
    """Return the pixels of a part after its change.

    Args:
        rgb: (h, w, 3), the part.
        values: The record: change, strength in (0, 1], direction in radians, brighter, seed.
        unit: Pixels between the eyes.
        mirror: (2, 3), takes a pixel to its place on the other side.
    """
    change, strength, sample = values["change"], float(values["strength"]), Sample(rgb)
    sigma = max(0.8, 0.05 * strength * unit)
    if change == "recolour":
        return _recoloured(rgb, strength, values["direction"])
    if change == "smooth":
        level = 60 * strength
        return np.asarray(cv2.bilateralFilter(rgb, 2 * round(1.5 * sigma) + 1, level, sigma), np.uint8)
    if change == "mirror":
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        size = rgb.shape[1::-1]
        return np.asarray(cv2.warpAffine(rgb, mirror, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    if change == "resample":
        small = cv2.resize(rgb, None, fx=1 / (1 + sigma), fy=1 / (1 + sigma), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    if change == "upsampled":
        return remade(sample, "transposed", 4 if sigma > 2 else 2, 0.03 * strength, 0.0, values["seed"]).rgb
    made = {
        "blur": lambda: tones.gaussian_blur(sample, sigma),
        "median": lambda: tones.median(sample, min(2 * round(1.2 * sigma) + 1, 31)),
        "gamma": lambda: tones.gamma(sample, (1 + 0.6 * strength) ** (-1 if values["brighter"] else 1)),
        "sharpen": lambda: tones.sharpen(sample, 1.5 * strength, sigma),
    }
    return made[change]().rgb


def _recoloured(rgb: UInt8Array, strength: float, direction: float) -> UInt8Array:
    """Return a picture whose CIELAB colours are moved, and a little more saturated, at the same lightness."""
    lab = np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)
    lab[..., 1:] = lab[..., 1:] * 1.1 + 18 * strength * np.array([np.cos(direction), np.sin(direction)], np.float32)
    out = 255 * np.asarray(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), np.float32)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _moved(warp: np.ndarray, where: tuple[slice, slice]) -> np.ndarray:
    """Return an affine map of a picture as one of a part of it."""
    corner = np.array([where[1].start, where[0].start])
    out = warp.copy()
    out[:, 2] += warp[:, :2] @ corner - corner
    return out
