"""Make labelled forgeries: splice, copy-move and removal, with JPEG histories that are known.

Small on purpose: enough to calibrate detectors. Every operation draws its parameters from the generator it is given
and records them, so that one seed gives one forgery.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.media.recompress import Subsampling, encode_jpeg
from tamperscope.ops.record import record
from tamperscope.types import BoolArray, Sample, UInt8Array


def _record(sample: Sample, rgb: UInt8Array, mask: BoolArray, op: str, **values: Any) -> Sample:
    return record(sample, sample.with_pixels(rgb, mask=mask, label=None), op, **values)


def blob(size: tuple[int, int], share: float, rng: np.random.Generator) -> BoolArray:
    """Return a smooth random shape of about `share` of a picture of `size`, somewhere in it.

    Args:
        size: (H, W), each at least 16.
        share: Wanted area, in (0, 0.5].
        rng: Draws place and outline.
    """
    height, width = size
    radius = math.sqrt(share * height * width / math.pi)
    angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    waves = sum(rng.normal(0, 0.12 / k) * np.cos(k * angles + rng.uniform(0, 2 * math.pi)) for k in range(2, 6))
    squeeze = math.exp(rng.uniform(-0.4, 0.4))
    reach = radius * np.clip(1 + waves, 0.4, 1.8)
    margin_x, margin_y = (min(0.9 * radius * s, n / 2.2) for s, n in ((squeeze, width), (1 / squeeze, height)))
    centre = rng.uniform(margin_x, width - margin_x), rng.uniform(margin_y, height - margin_y)
    points = np.stack([centre[0] + reach * np.cos(angles) * squeeze, centre[1] + reach * np.sin(angles) / squeeze], 1)
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
    return canvas.astype(bool)


def _paste(rgb: UInt8Array, patch: UInt8Array, mask: BoolArray, feather: float) -> UInt8Array:
    """Blend `patch` over `rgb` where `mask`, with an edge `feather` pixels soft."""
    alpha = mask.astype(np.float32)
    if feather > 0:
        alpha = cv2.GaussianBlur(alpha, (0, 0), feather) * cv2.dilate(mask.astype(np.uint8), np.ones((3, 3)))
    mixed = rgb + alpha[..., None] * (patch.astype(np.float32) - rgb)
    return np.rint(mixed).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Splice:
    """Paste a piece of `donor` into the sample, at its own place in the donor's pixel grid shifted at random.

    Attributes:
        donor: Picture with another history; at least 32 pixels a side.
        donor_mask: The object to cut out, or None for a random shape.
        share: Range of the pasted area as a share of the host.
    """

    donor: Sample
    donor_mask: BoolArray | None = None
    share: tuple[float, float] = (0.02, 0.2)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample; `mask` marks the paste."""
        share = math.exp(rng.uniform(*np.log(self.share)))
        patch, shape, scale = self._piece(sample.size, share, rng)
        height, width = sample.size
        top, left = (int(rng.integers(0, n - p + 1)) for n, p in zip((height, width), shape.shape, strict=True))
        mask, canvas = np.zeros(sample.size, bool), sample.rgb.copy()
        window = np.s_[top : top + shape.shape[0], left : left + shape.shape[1]]
        mask[window], canvas[window] = shape, patch
        feather = float(rng.choice([0.0, 0.7, 1.5]))
        rgb = _paste(sample.rgb, canvas, mask, feather)
        return _record(sample, rgb, mask, "splice", donor=self.donor.id, scale=scale, at=[top, left], feather=feather)

    def _piece(
        self, host: tuple[int, int], share: float, rng: np.random.Generator
    ) -> tuple[UInt8Array, BoolArray, float]:
        mask = self.donor_mask if self.donor_mask is not None and self.donor_mask.any() else None
        mask = blob(self.donor.size, 0.15, rng) if mask is None else mask
        ys, xs = np.nonzero(mask)
        box = np.s_[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        patch, shape = self.donor.rgb[box], mask[box]
        wanted = math.sqrt(share * host[0] * host[1] / shape.sum())
        most = min(0.95 * n / p for n, p in zip(host, shape.shape, strict=True))
        # One paste in three keeps the donor's own pixels where that fits: then no resampling trace is left.
        scale = 1.0 if most >= 1.0 and rng.random() < 0.33 else min(wanted, most)
        if scale != 1.0:
            side = (max(8, round(shape.shape[1] * scale)), max(8, round(shape.shape[0] * scale)))
            patch = np.asarray(cv2.resize(patch, side, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
            shape = cv2.resize(shape.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST).astype(bool)
        return np.asarray(patch, np.uint8), shape, float(scale)


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
        source = blob(sample.size, math.exp(rng.uniform(*np.log(self.share))), rng)
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
        rgb = _paste(sample.rgb, moved, mask, float(rng.choice([0.0, 0.7])))
        return _record(sample, rgb, mask, "copy_move", turn=turn, scale=scale, gain=gain, warp=warp.tolist())


@dataclass(frozen=True, slots=True)
class Removal:
    """Fill a piece of the sample from its surroundings (Telea or Navier–Stokes inpainting)."""

    share: tuple[float, float] = (0.01, 0.06)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample; `mask` marks what was filled."""
        mask = blob(sample.size, math.exp(rng.uniform(*np.log(self.share))), rng)
        name, method = (("telea", cv2.INPAINT_TELEA), ("navier_stokes", cv2.INPAINT_NS))[int(rng.integers(2))]
        rgb = np.asarray(cv2.inpaint(sample.rgb, mask.astype(np.uint8), 3, method), np.uint8)
        return _record(sample, rgb, mask, "removal", method=name)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a finished picture reaches us: JPEG of a quality and subsampling, or lossless when `quality` is None."""

    quality: int | None
    subsampling: Subsampling = "4:2:0"

    def encode(self, rgb: UInt8Array) -> bytes:
        """Return the bytes of the delivered file."""
        if self.quality is not None:
            return encode_jpeg(rgb, self.quality, self.subsampling)
        done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        if not done:
            raise InvalidValueError(f"PNG encoding failed for a picture of {rgb.shape}")
        return bytes(data)
