"""Copy-move: a piece of the picture is copied to another place of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import blending, shapes
from tamperscope.types import Sample


@dataclass(frozen=True, slots=True)
class CopyMove:
    """Copy a piece of the sample to another place, sometimes turned, scaled or brightened; `mask` marks the copy."""

    share: tuple[float, float] = (0.02, 0.12)
    plain: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: No place for the copy beside its source was found.
        """
        source = shapes.blob(sample.size, math.exp(rng.uniform(*np.log(self.share))), rng)
        plain = rng.random() < self.plain
        turn, scale = (0.0, 1.0) if plain else (float(rng.uniform(-40, 40)), float(rng.uniform(0.8, 1.3)))
        gain = 1.0 if plain else float(rng.uniform(0.9, 1.1))
        ys, xs = np.nonzero(source)
        centre = float(xs.mean()), float(ys.mean())
        for _ in range(50):
            target = float(rng.uniform(0, sample.size[1])), float(rng.uniform(0, sample.size[0]))
            if plain:
                target = centre[0] + round(target[0] - centre[0]), centre[1] + round(target[1] - centre[1])
            warp = cv2.getRotationMatrix2D(centre, turn, scale)
            warp[:, 2] += np.subtract(target, centre)
            flip = (sample.size[1], sample.size[0])
            mask = cv2.warpAffine(source.astype(np.uint8), warp, flip, flags=cv2.INTER_NEAREST).astype(bool)
            if not (mask & source).any() and mask.sum() > 0.9 * scale**2 * source.sum():
                break
        else:
            raise InvalidValueError("copy-move: found no place for the copy; use a smaller share")
        moved = cv2.warpAffine(sample.rgb, warp, flip, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        moved = np.clip(np.rint(moved * gain), 0, 255).astype(np.uint8)
        rgb = blending.feathered(sample.rgb, moved, mask, float(rng.choice([0.0, 0.7])))
        return shapes.forged(sample, rgb, mask, "copy_move", turn=turn, scale=scale, gain=gain, warp=warp.tolist())
