"""Augmentation: attacks that happen now and then, forgeries within the picture, windows cut out at random.

Written as text with a chance each: `{"flip:axis=horizontal": 0.5, "jpeg:quality=60..100": 0.4, "copy_move": 0.1}`.
Names are those of `ops.attack`, and `copy_move` and `object_jitter` (Web-IML: an object grows in its place; it is one
that stands out by its colour, for no outlines are known here). All draw from the generator that they are given, and
leave a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops import attack, changes
from tamperscope.ops.forge import jitter
from tamperscope.ops.forge.copy_move import CopyMove
from tamperscope.ops.record import Op, record
from tamperscope.ops.warps import window
from tamperscope.types import Sample

FORGERIES: dict[str, Callable[[], Op]] = {"copy_move": CopyMove, "object_jitter": jitter.published}
"""What can be forged within a picture, by name."""


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
class Forged:
    """Forge within the picture, as IML-ViT and MMFusion do; what is forged joins what is forged already.

    A picture in which no place is found, or whose forged part is not known, stays as it is. A map of editors says
    that the editor of the new part is not known, one of changes by how much it differs from what was there.

    Attributes:
        forge: What happens.
    """

    forge: Op

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with a forgery in it, its label 1."""
        if sample.mask is None:
            return sample
        try:
            after = self.forge(sample, rng)
        except InvalidValueError:
            return sample
        if after.mask is None:
            return replace(after, mask=sample.mask, label=1)
        classes = None if sample.classes is None else np.where(after.mask, np.int16(-1), sample.classes)
        change = sample.change
        if change is not None:
            change = np.where(after.mask, changes.levels(after.rgb, after.mask, sample.rgb), change)
        return replace(after, mask=after.mask | sample.mask, label=1, classes=classes, change=change)


@dataclass(frozen=True, slots=True)
class Pristine:
    """An operation that happens to authentic pictures alone; nothing is drawn for any other.

    What only ever happens to them cannot become a mark of forgeries (FakeLocator's partial data augmentation).

    Attributes:
        op: What happens.
    """

    op: Op

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, changed where its label is 0."""
        return self.op(sample, rng) if sample.label == 0 else sample


@dataclass(frozen=True, slots=True)
class Window:
    """Cut out a window at a random place; a shorter side stays whole.

    Attributes:
        side: Of the window in pixels, at least 1.
        focus: How often the window is centred on a forged pixel drawn at random, where there is one.
        grid: Where windows begin: at multiples of it, so that no window may reach the last pixels of a side.

    Raises:
        InvalidValueError: A value is out of range.
    """

    side: int
    focus: float = 0.0
    grid: int = 1

    def __post_init__(self) -> None:
        if self.side < 1 or self.grid < 1 or not 0 <= self.focus <= 1:
            found = f"{self.side}, {self.grid}, {self.focus}"
            raise InvalidValueError(f"Window: expected side and grid from 1 and a focus in [0, 1], found {found}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the part of a sample; it is authentic where all that was forged has been cut off."""
        size = [min(n, self.side) for n in sample.size]
        place, focused = rng.random(2), bool(rng.random() < self.focus)
        start = [int(p * (n - s + 1)) for p, n, s in zip(place, sample.size, size, strict=True)]
        if focused and sample.mask is not None and sample.mask.any():
            forged = np.flatnonzero(sample.mask)
            centre = np.unravel_index(int(forged[rng.integers(len(forged))]), sample.size)
            start = [int(np.clip(c - s // 2, 0, n - s)) for c, s, n in zip(centre, size, sample.size, strict=True)]
        top, left = (s // self.grid * self.grid for s in start)
        return _windowed(sample, top, left, size[0], size[1])


def _windowed(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    after = window(sample, top, left, height, width)
    if sample.mask is not None and sample.mask.any() and after.mask is not None and not after.mask.any():
        after = replace(after, label=0)
    return record(sample, after, "window", top=top, left=left, height=height, width=width)


def replay(sample: Sample, ops: Iterable[Mapping[str, Any]], frame: int = 0) -> Sample:
    """Return a sample after recorded operations: attacks as `attack.replay` repeats them, and windows.

    Args:
        sample: As it was before the first of `ops`.
        ops: Entries of `meta["ops"]`; no forgeries.
        frame: Number of the sample in a clip whose first frame they were drawn for. All is done alike, only what has a
            seed, such as noise, differs from frame to frame.

    Raises:
        InvalidValueError: An entry lacks a value, or a value does not fit.
        UnknownNameError: An entry names no such operation.
    """
    for entry in ops:
        values = {key: value for key, value in entry.items() if key != "op"}
        if entry["op"] == "window":
            sample = _windowed(sample, **values)
        else:
            if "seed" in values:
                values["seed"] = (values["seed"] + frame) % 2**32
            sample = attack.replay(sample, [{"op": entry["op"], **values}])
    return sample


def parse(chances: Mapping[str, float], pristine: Mapping[str, float] | None = None) -> Chained:
    """Return the operations that texts stand for, in their order, each with its chance.

    Args:
        chances: Chance by text: a chain as `ops.attack.parse` reads it, or a name of `FORGERIES`.
        pristine: The same for what happens afterwards, and to authentic pictures alone.

    Raises:
        InvalidValueError: A setting or a chance is out of range.
        UnknownNameError: There is no such operation or setting.
    """
    ops: list[Op] = [Sometimes(_op(text), chance) for text, chance in chances.items()]
    ops += [Pristine(Sometimes(_op(text), chance)) for text, chance in (pristine or {}).items()]
    return Chained(tuple(ops))


def _op(text: str) -> Op:
    name = text.strip()
    return Forged(FORGERIES[name]()) if name in FORGERIES else attack.parse(text)
