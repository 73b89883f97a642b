"""What face forgeries share: the face is found, values are drawn, pixels and mask follow from the record alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import shapes
from tamperscope.signal import faces
from tamperscope.types import BoolArray, FloatArray, Sample, UInt8Array


@dataclass(frozen=True, kw_only=True)
class FaceEdit:
    """Change the largest face of a picture; subclasses draw and make.

    Attributes:
        name: Of the operation, as recorded.
        detector: Path of YuNet's file; "" as in `signal.faces.find`.
    """

    name: ClassVar[str]
    detector: str = ""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: There is no face, or it is too small, or seen from the side.
        """
        face, finder = located(sample, self.detector)
        values = self.draw(sample, face, rng)
        rgb, mask = self.made(sample, face, values)
        noun, relation = self.words(values)
        recorded = {"box": [float(x) for x in face.box], "points": face.points.tolist(), "finder": finder}
        return shapes.forged(
            sample,
            rgb,
            mask,
            self.name,
            face=recorded,
            **values,
            trace=self.traces(sample, values),
            words=shapes.words(mask, noun, relation),
        )

    def draw(self, sample: Sample, face: faces.Face, rng: np.random.Generator) -> dict[str, Any]:
        """Return all values, JSON-ready, that pixels and mask follow from."""
        raise NotImplementedError

    def made(self, sample: Sample, face: faces.Face, values: Mapping[str, Any]) -> tuple[UInt8Array, BoolArray]:
        """Return the pixels of the forgery, and where it is one; nothing is drawn."""
        raise NotImplementedError

    @classmethod
    def traces(cls, sample: Sample, values: Mapping[str, Any]) -> list[str]:
        """Return what is meant to be detectable."""
        raise NotImplementedError

    @classmethod
    def words(cls, values: Mapping[str, Any]) -> tuple[str, str]:
        """Return what the forged part is called, and what happened to it."""
        raise NotImplementedError

    def replay(self, sample: Sample, entry: Mapping[str, Any]) -> tuple[UInt8Array, BoolArray]:
        """Return pixels and mask of a recorded forgery.

        Args:
            sample: As it was before.
            entry: Of `meta["ops"]`.

        Raises:
            InvalidValueError: The entry is another operation's.
        """
        if entry.get("op") != self.name:
            raise InvalidValueError(f"expected a record of {self.name}, found one of {entry.get('op')!r}")
        return self.made(sample, recorded(entry), entry)


def located(sample: Sample, detector: str = "") -> tuple[faces.Face, str]:
    """Return the face to forge and who found it: the one that the edit before changed, else the largest whole one.

    Raises:
        InvalidValueError: There is none whose five points lie in the picture.
    """
    ops = sample.meta.get("ops", ())
    if ops and "face" in ops[-1]:
        return recorded(ops[-1]), str(ops[-1]["face"]["finder"])
    height, width = sample.size
    found = [f for f in faces.find(sample, detector) if (f.points >= 0).all() and (f.points < (width, height)).all()]
    if not found:
        raise InvalidValueError(f"'{sample.id}': expected a picture with a whole face, found none; use another")
    return found[0], found[0].finder


def recorded(entry: Mapping[str, Any]) -> faces.Face:
    """Return the face that a record of `meta["ops"]` names."""
    face = entry["face"]
    return faces.Face(tuple(face["box"]), np.asarray(face["points"], np.float64), 1.0, face["finder"])


def soft(mask: BoolArray, width: float) -> FloatArray:
    """Return weights, (H, W) float32: 0 outside of a mask, rising to 1 over `width` pixels inside of it."""
    if width <= 0:
        return mask.astype(np.float32)
    depth = cv2.distanceTransform(np.pad(mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    x = np.clip((depth[1:-1, 1:-1]) / (width + 1), 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)


def mixed(rgb: UInt8Array, new: UInt8Array, weight: FloatArray) -> UInt8Array:
    """Return `new` laid over `rgb` with weights, (H, W) in [0, 1]; where the weight is 0, `rgb` bit for bit."""
    return np.rint(rgb + weight[..., None] * (new.astype(np.float32) - rgb)).astype(np.uint8)
