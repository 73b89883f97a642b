"""The stream of training canvases: which one comes at which place follows from the seed and the place alone.

So a run goes on at any step without having kept anything, and one worker or many, one process or several give the same
canvases. What cannot be opened is reported, counted and replaced by another item of its source.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import numpy as np

from tamperscope.data import loader, sequences
from tamperscope.data.loader import Failure
from tamperscope.engine import canvas, swapping
from tamperscope.engine.canvas import Canvas
from tamperscope.engine.sources import Source
from tamperscope.errors import InputError, TamperscopeError
from tamperscope.geometry import Fit
from tamperscope.inference import needs
from tamperscope.ops import augment
from tamperscope.ops.augment import Window
from tamperscope.ops.forge.video.clip import Clip
from tamperscope.ops.record import Op
from tamperscope.types import Sample
from tamperscope.workers import processes

_TRIES = 10


@dataclass(frozen=True, slots=True)
class Preparation:
    """What happens to each sample in a worker.

    Attributes:
        op: Augmentation, before the window is cut.
        window: What is cut out.
        needs: Names of what the network needs.
        masks: Whether the canvas has the truth mask.
        seed: Of the draws.
        frames: Of a canvas; with 1 it is a picture.
        mirror: How often a canvas is mirrored.
        edits: Names that have numbers in sequences of edits; without one none is told.
        paired: Whether what belongs together, a forgery and its twin, goes the same way.
        swap: How often a forgery then shows cells of its twin; above 0, the truth is where it differs from the twin.
    """

    op: Op
    window: Window
    needs: tuple[str, ...] = ()
    masks: bool = True
    seed: int = 0
    frames: int = 1
    mirror: float = 0.0
    edits: tuple[str, ...] = ()
    paired: bool = False
    swap: float = 0.0

    def __call__(self, opened: Sample | Clip, key: tuple[int, ...]) -> Canvas:
        """Return the canvas of a picture or clip; what is drawn follows from the seed and `key`.

        All frames of a clip go the same way: what is drawn for the first one, with the forged pixels of all, is done to
        each.
        """
        rng = _rng(self.seed, *key)
        return self._mirror([self._canvas_of(opened, rng)], rng)[0]

    def pair(self, forged: Sample, twin: Sample, key: tuple[int, ...]) -> list[Canvas]:
        """Return the canvases of a forgery and its twin, to which is done what is drawn for the forgery."""
        rng = _rng(self.seed, *key)
        first, second = self._mirror(self._alike(forged, (forged, twin), (forged.id, twin.id), rng), rng)
        return [swapping.swapped(first, second, self.swap, rng) if self.swap else first, second]

    def _mirror(self, canvases: list[Canvas], rng: np.random.Generator) -> list[Canvas]:
        # Only where it is asked for, so that it changes no draw of other trainings.
        turned = self.mirror and rng.random() < self.mirror
        return [canvas.mirrored(one) for one in canvases] if turned else canvases

    def _canvas_of(self, opened: Sample | Clip, rng: np.random.Generator) -> Canvas:
        frames = opened.frames if isinstance(opened, Clip) else (opened,)
        if self.frames == 1:
            changed = self.op(frames[0], rng)
            return self._canvas(changed, self.window(changed, rng), opened.id)
        known = [frame.mask for frame in frames if frame.mask is not None]
        together = np.logical_or.reduce(known) if len(known) == len(frames) else None
        # What only happens to authentic pictures goes by the whole clip, too.
        label = max((frame.label for frame in frames if frame.label is not None), default=None)
        lead = replace(frames[0], mask=together, label=label)
        return canvas.clip(self._alike(lead, frames, [opened.id] * len(frames), rng, range(len(frames))), self.frames)

    def _alike(
        self,
        lead: Sample,
        pictures: Sequence[Sample],
        names: Sequence[str],
        rng: np.random.Generator,
        numbers: Sequence[int] = (0, 0),
    ) -> list[Canvas]:
        """Return the canvases of pictures to which is done what is drawn for one; noise differs by their numbers."""
        drawn = self.window(self.op(lead, rng), rng)
        ops = drawn.meta["ops"][len(lead.meta.get("ops", ())) :]
        made = []
        for picture, name, number in zip(pictures, names, numbers, strict=True):
            changed = augment.replay(picture, ops[:-1], number)
            made.append(self._canvas(changed, augment.replay(changed, ops[-1:]), name))
        return made

    def _canvas(self, changed: Sample, part: Sample, name: str) -> Canvas:
        """Return the canvas of a part of a picture."""
        plan = Fit("pad", self.window.side).plan(part.size)
        mask = None
        if self.masks:
            mask = plan.cut(np.zeros(part.size, np.bool_) if part.mask is None else part.mask, 0)
        return Canvas(
            image=plan.cut(part.rgb, 0),
            mask=mask,
            valid=plan.valid(0),
            label=int(part.label or 0),
            id=name,
            needs=needs.needs_of(changed, self.needs),
            classes=None if part.classes is None else plan.cut(part.classes, 0),
            change=None if part.change is None else plan.cut(part.change, 0),
            sequence=sequences.numbered(part.meta, part.label, self.edits, name) if self.edits else None,
        )


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@dataclass(frozen=True, slots=True)
class _Unit:
    """An item of the stream, and the place of its first canvas."""

    source: Source
    item: Any
    epoch: int
    place: int


def _prepared(unit: _Unit, prepare: Preparation) -> list[Canvas] | Failure:
    try:
        opened = unit.source.open(unit.item, unit.epoch)
        if prepare.paired:
            forged, twin = (sample for sample in opened if isinstance(sample, Sample))
            return prepare.pair(forged, twin, (1, unit.place))
        return [prepare(sample, (1, unit.place + i)) for i, sample in enumerate(opened)]
    except (TamperscopeError, OSError, MemoryError) as error:
        return Failure(str(unit.item.image), f"{type(error).__name__}: {error}")


@dataclass(slots=True)
class Stream:
    """Canvases without end, in the order of shuffled epochs.

    Attributes:
        sources: Where pictures come from.
        counts: Items of each source in an epoch.
        prepare: What happens to each sample.
        step: Canvases of one step of all processes together.
        balanced: Whether the classes of a source come equally often.
        seed: Of the order.
        workers: Processes; 0 = none.
        failures: Pictures that were replaced.
    """

    sources: Sequence[Source]
    counts: Sequence[int]
    prepare: Preparation
    step: int
    balanced: bool = False
    seed: int = 0
    workers: int = 0
    failures: list[Failure] = field(default_factory=list)
    _items: list[Sequence[Any]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        needs.checked(self.prepare.needs)
        self._items = [source.items() for source in self.sources]

    @property
    def epoch_length(self) -> int:
        """Canvases of an epoch."""
        return sum(n * source.each for n, source in zip(self.counts, self.sources, strict=True))

    def steps(self, first: int = 0, process: int = 0, of: int = 1) -> Generator[list[Canvas], None, None]:
        """Yield one process's canvases of each step, from a step on.

        Args:
            first: Step to begin with.
            process: Number of the process.
            of: Number of processes; each has an equal part of a step, one after another.

        Raises:
            InputError: Pictures cannot be opened, time and again.
        """
        own = self.step // of
        low = process * own

        def mine(place: int) -> bool:
            return place >= first * self.step and low <= place % self.step < low + own

        rows = self._canvases(first * self.step, mine)
        while True:
            yield list(islice(rows, own))

    def _canvases(self, start: int, mine: Callable[[int], bool]) -> Iterator[Canvas]:
        units = (u for u in self._units(start) if any(mine(u.place + i) for i in range(u.source.each)))
        for unit, result in _ahead(units, self.prepare, self.workers, self.step):
            for i, made in enumerate(self._replaced(unit, result)):
                if mine(unit.place + i):
                    yield made

    def _units(self, start: int) -> Iterator[_Unit]:
        """Yield the units from that of a place on, without end."""
        for epoch in count(start // self.epoch_length):
            place = epoch * self.epoch_length
            for source, item in self._order(epoch):
                if place + source.each > start:
                    yield _Unit(source, item, epoch, place)
                place += source.each

    def _order(self, epoch: int) -> list[tuple[Source, Any]]:
        rng = _rng(self.seed, 0, epoch)
        listed: list[tuple[Source, Any]] = []
        for source, items, number in zip(self.sources, self._items, self.counts, strict=True):
            listed += [(source, item) for item in loader.drawn(list(items), number, self.balanced, rng)]
        return [listed[i] for i in rng.permutation(len(listed))]

    def _replaced(self, unit: _Unit, result: list[Canvas] | Failure) -> list[Canvas]:
        """Return the canvases of a unit, or those of another item of its class in its place."""
        if not isinstance(result, Failure):
            return result
        rng = _rng(self.seed, 2, unit.place)
        listed = self._items[next(i for i, s in enumerate(self.sources) if s is unit.source)]
        # Of its class, or a source that lost some would be balanced no more.
        items = [item for item in listed if item.label == unit.item.label]
        for _ in range(_TRIES):
            if not isinstance(result, Failure):
                return result
            self.failures.append(result)
            logging.getLogger(__name__).warning("replaced: %s: %s", result.id, result.cause)
            other = items[int(rng.integers(len(items)))]
            result = _prepared(_Unit(unit.source, other, unit.epoch, unit.place), self.prepare)
        raise InputError(f"{_TRIES} pictures in a row cannot be opened; the last one: {self.failures[-1]}")


def _ahead(
    units: Iterator[_Unit], prepare: Preparation, workers: int, step: int
) -> Iterator[tuple[_Unit, list[Canvas] | Failure]]:
    """Yield the units with what came of them, in order; as many as two steps hold are begun ahead."""
    if workers == 0:
        for unit in units:
            yield unit, _prepared(unit, prepare)
        return
    executor: ProcessPoolExecutor = processes(workers)
    waiting: deque[tuple[_Unit, Future[list[Canvas] | Failure]]] = deque()
    try:
        for unit in units:
            waiting.append((unit, executor.submit(_prepared, unit, prepare)))
            if len(waiting) > max(2 * step, 2 * workers):
                first, future = waiting.popleft()
                yield first, future.result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
