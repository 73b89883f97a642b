"""Splice: a piece of another picture is pasted in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import blending, objects, shapes
from tamperscope.types import BoolArray, Sample, UInt8Array

Placer: TypeAlias = Callable[[Sample, BoolArray, np.random.Generator], tuple[int, int, float]]
"""Chooses (top, left, scale) in a host for a piece whose mask, cut to its box, has scale 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Splice:
    """Paste a piece of `donor` into the sample.

    Attributes:
        donor: Picture with another history; at least 32 pixels a side.
        donor_mask: The object to cut out, or None.
        share: Range of the pasted area as a share of the host.
        seek: Whether to look for a salient object when none is given; else a random shape is cut out.
        place: `anywhere`, `resembling` (see the classes of these names), or a function.
        turn: Range of the rotation, degrees counter-clockwise.
        flip: How often the piece is mirrored.
        blends: Edges to choose from.
        feathers: Widths of a feathered edge to choose from, pixels.
        matches: Ways to match colours to the new surroundings, to choose from.
        strength: Range of how far colours are matched, in [0, 1].
        noun: What the object is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A range is upside down or out of bounds.
    """

    donor: Sample
    donor_mask: BoolArray | None = None
    share: shapes.Span = (0.02, 0.2)
    seek: bool = False
    place: Literal["anywhere", "resembling"] | Placer = "anywhere"
    turn: shapes.Span = (0, 0)
    flip: float = 0.0
    blends: Sequence[blending.Blend] = ("feathered",)
    feathers: Sequence[float] = (0.0, 0.7, 1.5)
    matches: Sequence[blending.Match] = ("none",)
    strength: shapes.Span = (0.4, 0.9)
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, low, high in (("share", 1e-6, 1), ("turn", -180, 180), ("strength", 0, 1)):
            shapes.check_span(f"splice.{name}", getattr(self, name), low, high)
        if not callable(self.place) and self.place not in ("anywhere", "resembling"):
            raise InvalidValueError(f"splice.place: expected anywhere, resembling or a function, found {self.place!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample; `mask` marks the paste.

        Raises:
            InvalidValueError: The donor's mask is not of its size, or the place lies outside of the host.
        """
        mask, kind = objects.chosen(self.donor, self.donor_mask, self.seek, (0.15, 0.15), rng)
        turn, flip = shapes.drawn(self.turn, rng), bool(self.flip > 0 and rng.random() < self.flip)
        whole = shapes.reshaped(shapes.cut(self.donor.rgb, mask), turn=turn, flip=flip)
        top, left, scale = self._placer(mask)(sample, whole.mask[shapes.box(whole.mask)], rng)
        # What blending needs of the object's surroundings must outlast the scaling.
        piece = shapes.cut(self.donor.rgb, mask, 2 + math.ceil(2 / scale))
        paste = shapes.pasted(sample.rgb, shapes.reshaped(piece, scale, turn, flip), top, left)
        if not paste.mask.any():
            raise InvalidValueError(f"splice: expected a place inside {sample.size}, found ({top}, {left})")
        look = blending.draw(self.blends, self.feathers, rng, self.matches, self.strength)
        return shapes.forged(
            sample,
            look.lay(sample.rgb, paste.rgb, paste.mask),
            paste.mask,
            "splice",
            donor=self.donor.id,
            at=[int(top), int(left)],
            scale=float(scale),
            turn=turn,
            flip=flip,
            **asdict(look),
            warp=paste.warp.tolist(),
            object=kind,
            trace=self._traces(sample, paste.warp) + look.traces,
            words=shapes.words(
                paste.mask, objects.noun(self.noun, kind), "pasted in from another picture", self.attributes
            ),
        )

    def _placer(self, mask: BoolArray) -> Placer:
        if callable(self.place):
            return self.place
        return Anywhere(self.share) if self.place == "anywhere" else Resembling(self.donor, mask, self.share)

    def _traces(self, host: Sample, warp: shapes.Warp) -> list[str]:
        geometry = ["resampling"] if shapes.resampled(warp) else []
        return ["foreign_noise", *geometry, *shapes.history_traces(host, self.donor, warp)]


@dataclass(frozen=True, slots=True)
class Anywhere:
    """Place a piece at random, of a size drawn log-uniformly.

    Attributes:
        share: Range of the area as a share of the host.
        own: How often the donor's own pixels are kept where they fit: then no resampling trace is left.
    """

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
