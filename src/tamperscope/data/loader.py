"""Batches of pictures: opened, attacked or augmented, brought to a canvas, in an order that follows from a seed.

Which pictures come, in which order, and what is drawn for each follows from (seed, epoch, place in the order) alone:
one worker or many give the same batches. No picture is dropped; one that cannot be read is reported and counted.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError, TamperscopeError
from tamperscope.geometry import Fit, Plan
from tamperscope.ops.record import Op
from tamperscope.types import BoolArray, FloatArray, Sample, UInt8Array
from tamperscope.workers import processes

UNKNOWN = -1


class Item(Protocol):
    """What is known of a picture before it is opened; a manifest's entry is one."""

    @property
    def image(self) -> str:
        """Name of the picture."""

    @property
    def label(self) -> int | None:
        """0 pristine, 1 forged, None unknown."""


class Source(Protocol):
    """Pictures that can be listed and opened; `data.manifest.Manifest` is one."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the items."""

    def open(self, entry: Any) -> Sample:
        """Return the picture of an item."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A `Source` made of items and a function that opens one of them."""

    items: Sequence[Any]
    opener: Callable[[Any], Sample]

    def __iter__(self) -> Iterator[Any]:
        """Yield the items."""
        return iter(self.items)

    def open(self, entry: Any) -> Sample:
        """Return the picture of an item."""
        return self.opener(entry)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How many pictures of each source an epoch has; they come shuffled together.

    Within an epoch a source's pictures are drawn without replacement until all have come, then once more from the
    start. IMDL-BenCo's balanced set draws the same number of each set, but with replacement.

    Attributes:
        counts: Pictures of each source, in the order of the sources.
        classes: Whether pristine and forged pictures of a source come equally often; a source of one class gives
            only that one. Pictures without a label are a class of their own.
    """

    counts: tuple[int, ...]
    classes: bool = False

    def __post_init__(self) -> None:
        if any(count < 0 for count in self.counts):
            raise InvalidValueError(f"Sampling: expected counts of at least 0, found {self.counts}")

    @classmethod
    def balanced(cls, sources: int, per_source: int, classes: bool = False) -> Sampling:
        """Take the same number of pictures of each source."""
        return cls((per_source,) * sources, classes)

    @classmethod
    def ratio(cls, weights: Sequence[float], total: int, classes: bool = False) -> Sampling:
        """Take `total` pictures, shared among the sources by weight (largest remainders round up).

        Raises:
            InvalidValueError: A weight is negative, or all are 0.
        """
        return cls(tuple(_shares(weights, total)), classes)


def _shares(weights: Sequence[float], total: int) -> list[int]:
    if not all(0 <= w < math.inf for w in weights) or not sum(weights) > 0 or total < 0:
        raise InvalidValueError(f"weights: expected numbers of at least 0, one above it, found {list(weights)}")
    exact = [w / sum(weights) * total for w in weights]
    counts = [math.floor(x) for x in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be delivered, and why."""

    id: str
    cause: str


def _log(failure: Failure) -> None:
    logging.getLogger(__name__).warning("not delivered: %s: %s", failure.id, failure.cause)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B canvases; `tile` makes several of one picture, every other fit makes one.

    Attributes:
        images: (B, S, S, 3) uint8.
        masks: (B, S, S) bool, True where forged; all False where `known` is False.
        known: (B,) bool: whether the picture has a mask.
        valid: (B, S, S) bool: which pixels come from the picture.
        labels: (B,) int64 of the pictures: 0, 1, or -1 for unknown.
        ids: Names of the pictures.
        plans: The way back from canvas to picture, each.
        canvases: Which canvas of its plan each is.
    """

    images: UInt8Array
    masks: BoolArray
    known: BoolArray
    valid: BoolArray
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    plans: tuple[Plan, ...]
    canvases: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of canvases."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One canvas of a batch, before it is stacked."""

    image: UInt8Array
    mask: BoolArray
    known: bool
    valid: BoolArray
    label: int
    id: str
    plan: Plan
    canvas: int


@dataclass(frozen=True, slots=True)
class _Task:
    """All that a worker needs for one picture."""

    open: Callable[[Any], Sample]
    item: Any
    fit: Fit
    op: Op | None
    seed: np.random.SeedSequence


def _rows(task: _Task) -> list[_Row] | Failure:
    try:
        sample = task.open(task.item)
        if task.op is not None:
            sample = task.op(sample, np.random.default_rng(task.seed))
        plan = task.fit.plan(sample.size)
        mask = np.zeros(sample.size, bool) if sample.mask is None else sample.mask
        label = UNKNOWN if sample.label is None else sample.label
        name, known = sample.id or str(task.item.image), sample.mask is not None
        return [
            _Row(plan.cut(sample.rgb, i), plan.cut(mask, i), known, plan.valid(i), label, name, plan, i)
            for i in range(len(plan))
        ]
    except (TamperscopeError, OSError, MemoryError) as error:
        return Failure(str(task.item.image), f"{type(error).__name__}: {error}")


@dataclass(slots=True)
class Loader:
    """Iterate over batches of canvases.

    Attributes:
        sources: Where pictures come from.
        fit: How each is brought to a canvas.
        batch_size: Canvases of a batch; the last one may have fewer.
        op: Applied to each picture before it is cut, such as an attack.
        sampling: Of an epoch; None = every picture once, source by source, in their own order.
        seed: Of the order and of `op`, at least 0.
        workers: 0 = none; else so many threads or processes.
        pool: `thread`, or `process`, for which sources and `op` must be picklable. Bytes are decoded by one
            process per process of ours, so that threads help where `op` takes the time.
        report: Called with each picture that fails; by default a line of the log.
        failures: Of the epoch that was last begun.
    """

    sources: Sequence[Source]
    fit: Fit
    batch_size: int = 8
    op: Op | None = None
    sampling: Sampling | None = None
    seed: int = 0
    workers: int = 0
    pool: Literal["thread", "process"] = "thread"
    report: Callable[[Failure], None] = _log
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0 or self.seed < 0:
            raise InvalidValueError(
                "Loader: expected batch_size >= 1, workers >= 0 and seed >= 0, "
                f"found {self.batch_size}, {self.workers}, {self.seed}"
            )
        if self.sampling is not None and len(self.sampling.counts) != len(self.sources):
            raise InvalidValueError(
                f"Loader: expected one count for each of {len(self.sources)} sources, found {self.sampling.counts}"
            )

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of epoch 0."""
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; `failures` is complete when the last one has come.

        Raises:
            InvalidValueError: Pictures are to be drawn from a source that has none.
        """
        self.failures = []
        rows = chain.from_iterable(self._delivered(number))
        while batch := list(islice(rows, self.batch_size)):
            yield _stacked(batch)

    def _delivered(self, epoch: int) -> Iterator[list[_Row]]:
        tasks = (
            _Task(source.open, item, self.fit, self.op, self._seed(epoch, place))
            for place, (source, item) in enumerate(self._order(epoch))
        )
        for result in _in_order(tasks, self.workers, self.pool):
            if isinstance(result, Failure):
                self.failures.append(result)
                self.report(result)
            else:
                yield result

    def _seed(self, *place: int) -> np.random.SeedSequence:
        # As a key: entropy is padded with zeros, so that (seed, epoch) and (seed, epoch, 0) would be one stream.
        return np.random.SeedSequence(self.seed, spawn_key=place)

    def _order(self, epoch: int) -> Iterable[tuple[Source, Any]]:
        if self.sampling is None:
            return ((source, item) for source in self.sources for item in source)
        rng = np.random.default_rng(self._seed(epoch))
        pairs: list[tuple[Source, Any]] = []
        for source, count in zip(self.sources, self.sampling.counts, strict=True):
            pairs += [(source, item) for item in drawn(list(source), count, self.sampling.classes, rng)]
        return (pairs[i] for i in rng.permutation(len(pairs)))


def drawn(items: list[Any], count: int, classes: bool, rng: np.random.Generator) -> list[Any]:
    """Return `count` items, each as often as any other of its class, give or take one."""
    if not items and count:
        raise InvalidValueError(f"Loader: expected a source with pictures to draw {count} from, found an empty one")
    groups = [items]
    if classes:
        groups = [group for label in (0, 1, None) if (group := [i for i in items if i.label == label])]
    # The odd picture goes to a class at random, or one class would have more over many epochs.
    shares = [int(s) for s in rng.permutation(_shares([1.0] * len(groups), count))] if items else []
    return [item for group, share in zip(groups, shares, strict=False) for item in islice(_cycled(group, rng), share)]


def _cycled(items: Sequence[Any], rng: np.random.Generator) -> Iterator[Any]:
    while True:
        yield from (items[i] for i in rng.permutation(len(items)))


def _in_order(
    tasks: Iterator[_Task], workers: int, pool: Literal["thread", "process"]
) -> Iterator[list[_Row] | Failure]:
    """Yield the results of the tasks in their order; at most two a worker are begun ahead."""
    if workers == 0:
        yield from map(_rows, tasks)
        return
    executor = _executor(workers, pool)
    try:
        waiting: deque[Future[list[_Row] | Failure]] = deque()
        for task in tasks:
            waiting.append(executor.submit(_rows, task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _executor(workers: int, pool: Literal["thread", "process"]) -> Executor:
    return ThreadPoolExecutor(workers) if pool == "thread" else processes(workers)


def _stacked(rows: Sequence[_Row]) -> Batch:
    return Batch(
        images=np.stack([r.image for r in rows]),
        masks=np.stack([r.mask for r in rows]),
        known=np.array([r.known for r in rows]),
        valid=np.stack([r.valid for r in rows]),
        labels=np.array([r.label for r in rows], np.int64),
        ids=tuple(r.id for r in rows),
        plans=tuple(r.plan for r in rows),
        canvases=tuple(r.canvas for r in rows),
    )


def pictures(answers: Iterable[tuple[Batch, NDArray[Any]]]) -> Iterator[tuple[str, FloatArray]]:
    """Yield (id, (H, W) float32 map) of each picture from the maps of its canvases, batch by batch.

    Args:
        answers: Batches in the order in which they came, each with its (B, S, S) maps.

    Raises:
        InvalidValueError: Maps do not match their batch, or a picture's canvases do not come one after another.
    """
    held: list[NDArray[Any]] = []
    for batch, maps in answers:
        if len(maps) != len(batch):
            raise InvalidValueError(f"pictures: expected {len(batch)} maps, one a canvas, found {len(maps)}")
        for name, plan, canvas, single in zip(batch.ids, batch.plans, batch.canvases, maps, strict=True):
            if canvas != len(held):
                raise InvalidValueError(
                    f"pictures: expected canvas {len(held)}, found {canvas} of '{name}'; keep order"
                )
            held.append(single)
            if len(held) == len(plan):
                yield name, plan.merge(held)
                held = []
