"""A soft shadow on the ground that a pasted object stands on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from tamperscope.types import BoolArray, UInt8Array

_FAINT = 0.04  # depth below which there is no shadow


@dataclass(frozen=True, slots=True)
class Shadow:
    """How an object shades the ground: its outline laid down to a side, and a dark spot where it stands.

    Attributes:
        depth: Share of the light that is taken away in full shadow.
        length: Of the shadow as a share of the object's height; below 0 it falls behind the object.
        lean: How far to the side it falls, as a share of the object's height.
        softness: Standard deviation of its edge as a share of the object's size.
    """

    depth: float
    length: float
    lean: float
    softness: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Shadow:
        """Return a shadow drawn at random; all frames of a clip share it, as they share the sun."""
        length = float(rng.uniform(0.08, 0.3)) * (1 if rng.random() < 0.5 else -1)
        return cls(
            float(rng.uniform(0.25, 0.55)), length, float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.02, 0.06))
        )

    def values(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)

    def cast(self, rgb: UInt8Array, mask: BoolArray, foot: tuple[float, float]) -> tuple[UInt8Array, BoolArray]:
        """Return the picture with the shadow of an object that is yet to be laid over it, and where it is, (H, W) bool.

        The mask is exact: no pixel outside of it changes, and it leaves the object out.

        Args:
            rgb: (H, W, 3) uint8.
            mask: (H, W) bool, the object.
            foot: (x, y), where it stands.
        """
        x, y = foot
        size = math.sqrt(float(mask.sum()))
        # A pixel h above the foot falls `length` times h before it and `lean` times h to the side.
        warp = np.array([[1.0, -self.lean, self.lean * y], [0.0, -self.length, y + self.length * y]])
        laid = cv2.warpAffine(mask.astype(np.float32), warp, mask.shape[::-1], flags=cv2.INTER_LINEAR)
        spot = np.zeros(mask.shape, np.float32)
        axes = max(1, round(0.3 * size)), max(1, round(0.07 * size))
        cv2.ellipse(spot, (round(x), round(y)), axes, 0, 0, 360, 1.0, -1)
        soft = cv2.GaussianBlur(np.maximum(laid, spot), (0, 0), max(0.7, self.softness * size))
        depth = self.depth * soft
        depth[depth < _FAINT] = 0
        shaded = np.rint(rgb * (1 - depth[..., None])).astype(np.uint8)
        return shaded, np.asarray((depth > 0) & ~mask)
