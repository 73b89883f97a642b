"""Augmentation: attacks that happen now and then, copies within the picture, windows cut out at random.

Written as text with a chance each: `{"flip:axis=horizontal": 0.5, "jpeg:quality=60..100": 0.4, "copy_move": 0.1}`.
Names are those of `ops.attack`, and `copy_move`. All draw from the generator that they are given, and leave a record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops import attack
from tamperscope.ops.forge.copy_move import CopyMove
from tamperscope.ops.record import Op, record
from tamperscope.ops.warps import window
from tamperscope.types import Sample

COPY_MOVE = "copy_move"


@dataclass(frozen=True, slots=True)
class Sometimes:
    """An operation that happens with a chance; whether it does is drawn even where it is sure.

    Attributes:
        op: What happens.
        chance: In [0, 1].

    Raises:
        InvalidValueError: The chance lies outside.
    """

    op: Op
    chance: float

    def __post_init__(self) -> None:
        if not 0 <= self.chance <= 1:
            raise InvalidValueError(f"augment: expected a chance in [0, 1], found {self.chance}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, changed or not."""
        return self.op(sample, rng) if rng.random() < self.chance else sample


@dataclass(frozen=True, slots=True)
class Chained:
    """Operations one after another."""

    ops: Sequence[Op]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample after all of them."""
        for op in self.ops:
            sample = op(sample, rng)
        return sample


@dataclass(frozen=True, slots=True)
class Copied:
    """Copy a piece of the picture to another place, as IML-ViT and MMFusion do; the copy joins what is forged already.

    A picture in which no place is found, or whose forged part is not known, stays as it is.
    """

    forge: CopyMove = field(default_factory=CopyMove)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with a copy in it, its label 1."""
        if sample.mask is None:
            return sample
        try:
            after = self.forge(sample, rng)
        except InvalidValueError:
            return sample
        return replace(after, mask=sample.mask if after.mask is None else after.mask | sample.mask, label=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Cut out a window at a random place; a shorter side stays whole.

    Attributes:
        side: Of the window in pixels, at least 1.
        focus: How often the window is centred on a forged pixel drawn at random, where there is one.

    Raises:
        InvalidValueError: A value is out of range.
    """

    side: int
    focus: float = 0.0

    def __post_init__(self) -> None:
        if self.side < 1 or not 0 <= self.focus <= 1:
            raise InvalidValueError(
                f"Window: expected a side from 1 and a focus in [0, 1], found {self.side}, {self.focus}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the part of a sample; it is authentic where all that was forged has been cut off."""
        size = [min(n, self.side) for n in sample.size]
        place, focused = rng.random(2), bool(rng.random() < self.focus)
        start = [int(p * (n - s + 1)) for p, n, s in zip(place, sample.size, size, strict=True)]
        if focused and sample.mask is not None and sample.mask.any():
            forged = np.flatnonzero(sample.mask)
            centre = np.unravel_index(int(forged[rng.integers(len(forged))]), sample.size)
            start = [int(np.clip(c - s // 2, 0, n - s)) for c, s, n in zip(centre, size, sample.size, strict=True)]
        after = window(sample, start[0], start[1], size[0], size[1])
        if sample.mask is not None and sample.mask.any() and after.mask is not None and not after.mask.any():
            after = replace(after, label=0)
        return record(sample, after, "window", top=start[0], left=start[1], height=size[0], width=size[1])


def parse(chances: Mapping[str, float]) -> Chained:
    """Return the operations that texts stand for, in their order, each with its chance.

    Args:
        chances: Chance by text: a chain as `ops.attack.parse` reads it, or `copy_move`.

    Raises:
        InvalidValueError: A setting or a chance is out of range.
        UnknownNameError: There is no such operation or setting.
    """
    return Chained(tuple(Sometimes(_op(text), chance) for text, chance in chances.items()))


def _op(text: str) -> Op:
    return Copied() if text.strip() == COPY_MOVE else attack.parse(text)
