"""Where a piece goes, and how large: at random, where the host resembles the donor, or where a network puts it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import shapes
from tamperscope.types import BoolArray, Sample, UInt8Array

Placer: TypeAlias = Callable[[Sample, BoolArray, np.random.Generator], tuple[int, int, float]]
"""Chooses (top, left, scale) in a host for a piece whose mask, cut to its box, has scale 1."""


@dataclass(frozen=True, slots=True)
class Anywhere:
    """Place a piece at random, of a size drawn log-uniformly.

    Attributes:
        share: Range of the area as a share of the host.
        own: How often the donor's own pixels are kept where they fit: then no resampling trace is left.
    """

    name: ClassVar[str] = "anywhere"
    share: shapes.Span = (0.02, 0.2)
    own: float = 0.33

    def __call__(self, host: Sample, piece: BoolArray, rng: np.random.Generator) -> tuple[int, int, float]:
        """Return (top, left, scale)."""
        wanted = math.sqrt(shapes.area(self.share, rng) * host.rgb[..., 0].size / piece.sum())
        most = _most(host, piece)
        scale = 1.0 if most >= 1.0 and rng.random() < self.own else min(wanted, most)
        top, left = (
            int(rng.integers(0, n - round(p * scale) + 1)) for n, p in zip(host.size, piece.shape, strict=True)
        )
        return top, left, scale


@dataclass(frozen=True, slots=True, eq=False)
class Resembling:
    """Place a piece where the host looks like the donor around the object, about as high and as large as it was there.

    Of many places near the donor's height, the one is taken whose surroundings are the closest in lightness, colour and
    texture: so what stood on the ground is not put into the sky.

    Attributes:
        donor: The picture that the piece comes from.
        mask: (H, W) bool, where it lies there.
        share: Range that the area is kept in, as a share of the host.
        tries: Number of places to compare.
        spread: Standard deviation of the object's foot about the donor's, as a share of the height.
    """

    name: ClassVar[str] = "resembling"
    donor: Sample
    mask: BoolArray
    share: shapes.Span = (0.01, 0.3)
    tries: int = 64
    spread: float = 0.08

    def __call__(self, host: Sample, piece: BoolArray, rng: np.random.Generator) -> tuple[int, int, float]:
        """Return (top, left, scale)."""
        host_area, donor_area = host.rgb[..., 0].size, self.mask.size
        share = float(np.clip(piece.sum() / donor_area * rng.uniform(0.7, 1.4), *self.share))
        scale = min(math.sqrt(share * host_area / piece.sum()), _most(host, piece))
        size = np.array(piece.shape) * scale / host.size
        rows, columns = shapes.box(self.mask)
        feet = rows.stop / self.mask.shape[0] + rng.normal(0, self.spread, self.tries)
        tops = np.clip(feet - size[0], 0, 1 - size[0])
        lefts = rng.uniform(0, 1 - size[1], self.tries)
        there = np.array([[rows.start, columns.start, rows.stop, columns.stop]]) / np.tile(self.mask.shape, 2)
        wanted = _surroundings(self.donor.rgb, there)
        offered = _surroundings(host.rgb, np.stack([tops, lefts, tops + size[0], lefts + size[1]], 1))
        best = int(np.abs(offered - wanted).sum(1).argmin())
        return int(tops[best] * host.size[0]), int(lefts[best] * host.size[1]), scale


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Place a piece where a network holds it likely, and as large (TopNet: Zhu et al., 2023); needs torch.

    One of the likeliest cells that leave the piece inside of the host is drawn, each as often as the network thinks.
    The network sees the object as the donor has it, neither turned nor mirrored.

    Attributes:
        donor: The picture that the piece comes from.
        mask: (H, W) bool, where it lies there.
        share: Range that the area is kept in, as a share of the host.
        mass: The likeliest cells that hold this much probability are drawn from, in (0, 1].

    Raises:
        InvalidValueError: A setting is out of range, torch is absent, or the weights are not those of their card.
    """

    name: ClassVar[str] = "learned"
    donor: Sample
    mask: BoolArray
    share: shapes.Span = (0.01, 0.3)
    mass: float = 0.5

    def __post_init__(self) -> None:
        shapes.check_span("learned.share", self.share, 1e-6, 1)
        if not 0 < self.mass <= 1:
            raise InvalidValueError(f"learned.mass: expected more than 0 and at most 1, found {self.mass}")

    def __call__(self, host: Sample, piece: BoolArray, rng: np.random.Generator) -> tuple[int, int, float]:
        """Return (top, left, scale)."""
        topnet = _topnet()
        if topnet is None:
            raise InvalidValueError('learned: expected torch, found none; pip install "tamperscope[train]"')
        part = shapes.box(self.mask)
        heat = topnet.heatmap(topnet.shipped(), host.rgb, self.donor.rgb[part], self.mask[part])
        scales = self._scales(host, piece, topnet.SIZES)
        sides = np.array(piece.shape) * scales[:, None] / host.size
        middles = (np.arange(heat.shape[1]) + 0.5) / heat.shape[1]
        fits = np.abs(middles - 0.5) <= 0.5 - sides[..., None] / 2 + 0.5 / heat.shape[1]
        inside = fits[:, 0, :, None] & fits[:, 1, None]
        layer, *at = _cell(np.where(inside, heat, -np.inf), self.mass, rng)
        scale = float(scales[layer])
        size = [round(n * scale) for n in piece.shape]
        spots = [(i + rng.uniform()) / heat.shape[1] for i in at]
        top, left = (
            int(np.clip(round(spot * n - s / 2), 0, max(0, n - s)))
            for spot, n, s in zip(spots, host.size, size, strict=True)
        )
        return top, left, scale

    def _scales(self, host: Sample, piece: BoolArray, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the piece's scale at each of the network's sizes, kept inside of the wanted areas and the host."""
        low, high = (math.sqrt(share * host.rgb[..., 0].size / piece.sum()) for share in self.share)
        wanted = sizes * math.sqrt(host.rgb[..., 0].size / piece.size)
        return np.minimum(np.clip(wanted, low, high), _most(host, piece))


def learned(donor: Sample, mask: BoolArray, share: shapes.Span = (0.01, 0.3)) -> Learned | Resembling:
    """Return `Learned` where torch is installed, else `Resembling`, which needs nothing."""
    return Resembling(donor, mask, share) if _topnet() is None else Learned(donor, mask, share)


def _topnet() -> ModuleType | None:
    """Return the module of the network, or None without torch."""
    try:
        return import_module("tamperscope.networks.topnet")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("torch", "safetensors"):
            return None
        raise


def _cell(heat: NDArray[np.float64], mass: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return one of the likeliest cells that hold `mass` of the probability, drawn by it.

    Args:
        heat: (S, h, w), log-probabilities up to a constant, -inf where a piece may not be; finite somewhere.
        mass: In (0, 1].
        rng: Draws.
    """
    odds = np.exp(heat - heat.max()).ravel()
    order = np.argsort(-odds, kind="stable")
    sums = np.cumsum(odds[order])
    kept = order[: int(np.searchsorted(sums, mass * sums[-1])) + 1]
    drawn = kept[int(np.searchsorted(np.cumsum(odds[kept]), rng.uniform() * odds[kept].sum(), side="right"))]
    layer, row, column = (int(i) for i in np.unravel_index(drawn, heat.shape))
    return layer, row, column


def _most(host: Sample, piece: BoolArray) -> float:
    """Return the scale at which a piece nearly fills its host."""
    return min(float(0.95 * n / p) for n, p in zip(host.size, piece.shape, strict=True))


def _surroundings(rgb: UInt8Array, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the rim around each box looks like: mean L, a, b of CIELAB and the contrast of L, each over 10.

    The rim is half of the box wide on every side; nothing of it lies inside of the box.

    Args:
        rgb: (H, W, 3) uint8.
        boxes: (N, 4), (top, left, bottom, right) as shares of the picture.
    """
    small = cv2.resize(rgb, (128, 128), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    detail = np.abs(lab[..., :1] - cv2.GaussianBlur(lab[..., 0], (0, 0), 2)[..., None])
    planes = np.concatenate([lab, 2 * detail, np.ones_like(detail)], 2).astype(np.float64)
    sums = np.pad(planes.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    outer = np.clip(boxes + np.concatenate([-half, half], 1), 0, 1)
    total = _box_sums(sums, outer) - _box_sums(sums, boxes)
    return np.asarray(total[:, :4] / np.maximum(total[:, 4:], 1) / 10)


def _box_sums(sums: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[Any]:
    top, left, bottom, right = np.rint(np.clip(boxes, 0, 1) * (len(sums) - 1)).astype(int).T
    return np.asarray(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])
