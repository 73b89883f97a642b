"""Forge: make the pictures of a recipe, on any number of processes; what is finished is not made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from tamperscope.errors import InvalidValueError
from tamperscope.forging import clip_run, gate, operations
from tamperscope.forging.clips import Clips, unpacked
from tamperscope.forging.pool import Pool
from tamperscope.forging.recipe import Recipe
from tamperscope.forging.store import MANIFEST, Store
from tamperscope.workers import processes

SHARDS = "forged"
_AHEAD = 4


@dataclass(slots=True)
class Report:
    """What a run did.

    Attributes:
        made: Forgeries in the folder, each with its twin.
        missing: Pictures for which no draw was good enough.
        rejected: Draws that were turned away, by reason.
        causes: Those that were impossible, by what was found amiss.
        unreadable: Photographs that could not be opened, with the cause, by name.
    """

    made: int = 0
    missing: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the report for a person."""
        lines = [f"{self.made} forgeries, each with its authentic twin"]
        if self.missing:
            lines.append(f"{self.missing} pictures are missing: no draw was good enough")
        if self.rejected:
            total = sum(self.rejected.values())
            lines.append(f"{total} draws rejected: {', '.join(f'{n} {why}' for why, n in self.rejected.most_common())}")
        for cause, count in self.causes.most_common(1):
            lines.append(f"impossible most often, {count} times: {cause}")
        lines += [f"skipped, cannot be opened: {cause}" for cause in self.unreadable.values()]
        return "\n".join(lines)


def forge(
    photos: str | Path | Pool | Clips,
    recipe: Recipe,
    count: int,
    seed: int,
    out: str | Path,
    workers: int = 1,
    shards: bool = False,
    advance: Callable[[int], None] = lambda done: None,
) -> Report:
    """Make `count` forgeries with their twins in the folder `out`; the same bytes for any number of workers.

    Picture i depends on the photographs, the recipe, the seed and i only, so a run with a greater count, or a killed
    one, goes on where it stopped.

    Args:
        photos: Folder, manifest, or an opened pool; for a recipe for clips, see `Clips.of` and `clips.unpacked`, which
            writes frames of video files to `sources`.
        recipe: What to make.
        count: Number of forgeries.
        seed: Of all draws, from 0.
        out: Folder for pictures, maps, `manifest.jsonl` and `forge.json`.
        workers: Processes.
        shards: Whether to write webdataset shards too, below `shards`.
        advance: Called with the number of pictures done.

    Raises:
        InputError: There is no photograph, `out` holds another run, or what an operation needs is not there.
        InvalidValueError: A count or seed is out of range, or a recipe needs donors and there are none.
    """
    if count < 1 or seed < 0 or workers < 1:
        raise InvalidValueError(
            f"forge: expected count and workers from 1, seed from 0; found {count}, {workers}, {seed}"
        )
    clip_run.check(recipe)
    for name in (name for name, weight in recipe.operations.items() if weight):
        operations.ready(name, recipe.ranges.get(name, {}))
    clips = _clips(photos, recipe, Path(out)) if recipe.clips.frames else None
    pool = _pool(photos, recipe) if clips is None else clips.pool
    drawn = pool if clips is None else clips.keys
    if not drawn.has_donors() and all(operations.get(n).donor for n, weight in recipe.operations.items() if weight):
        raise InvalidValueError(
            "forge: expected photographs of two groups to take pieces from, found one; add pictures"
        )
    store = Store(Path(out))
    store.begin(recipe, seed, pool)
    missing = [index for index in range(count) if not store.record(index).is_file()]
    advance(count - len(missing))
    task = _Task(pool, recipe, seed, store, clips)
    for done, _ in enumerate(_work(task, missing, workers), count - len(missing) + 1):
        advance(done)
    store.finish(count)
    if shards:
        _shard(store)
    return report(store, count)


def _pool(source: str | Path | Pool | Clips, recipe: Recipe) -> Pool:
    if isinstance(source, Clips):
        return source.pool
    return source if isinstance(source, Pool) else Pool.of(source, recipe.where)


def _clips(source: str | Path | Pool | Clips, recipe: Recipe, out: Path) -> Clips:
    if isinstance(source, Clips):
        return source
    if isinstance(source, Pool):
        raise InvalidValueError("forge: expected clips for a recipe for clips, found a pool of pictures")
    return Clips.of(unpacked(source, out / "sources"), recipe.where)


def report(store: Store, count: int) -> Report:
    """Return what the records of the first `count` pictures say."""
    found = Report()
    for kept in store.records(count):
        found.made += bool(kept["entries"])
        found.missing += not kept["entries"]
        found.rejected.update(kept["rejected"])
        # Folders of earlier versions have none.
        found.causes.update(kept.get("causes", {}))
        found.unreadable |= kept["unreadable"]
    return found


@dataclass(frozen=True, slots=True)
class _Task:
    """What is common to all pictures of a run."""

    pool: Pool
    recipe: Recipe
    seed: int
    store: Store
    clips: Clips | None = None

    def do(self, index: int) -> int:
        """Make and write one picture or clip; return its index."""
        if self.clips is not None:
            clip_run.one(self.store, self.recipe, self.clips, self.seed, index)
            return index
        outcome = gate.pick(self.recipe, self.pool, self.seed, index)
        self.store.write(index, outcome)
        return index


_tasks: list[_Task] = []


def _start(task: _Task) -> None:
    _tasks[:] = [task]


def _one(index: int) -> int:
    return _tasks[0].do(index)


def _work(task: _Task, indexes: Iterable[int], workers: int) -> Iterator[int]:
    """Yield the pictures as they are finished."""
    if workers == 1:
        yield from map(task.do, indexes)
        return
    with processes(workers, _start, task) as executor:
        waiting: set[Future[int]] = set()
        for index in indexes:
            waiting.add(executor.submit(_one, index))
            if len(waiting) >= _AHEAD * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in waiting)


def _shard(store: Store) -> None:
    from tamperscope.data.exchange import shards
    from tamperscope.data.manifest import Manifest

    folder = store.root / "shards"
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"{SHARDS}-[0-9]*.tar"):
        old.unlink()
    shards.write_shards(Manifest(store.root / MANIFEST), folder / SHARDS)
