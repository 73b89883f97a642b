"""Where training pictures and clips come from: entries of a manifest, or forgeries made on the way with twins."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tamperscope.data import manifest, masks, sequences
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.engine.recipe import Data
from tamperscope.errors import InputError
from tamperscope.ops import changes
from tamperscope.ops.forge.video.clip import Clip
from tamperscope.types import Sample

if TYPE_CHECKING:
    from tamperscope.forging.clips import Clips
    from tamperscope.forging.making import Made
    from tamperscope.forging.pool import Pool
    from tamperscope.forging.recipe import Recipe as ForgeRecipe

HELD_OUT = ("dev", "test")


class Source(Protocol):
    """Items that can be listed, and opened in any process; each gives `each` samples."""

    @property
    def each(self) -> int:
        """Samples of one item."""

    def items(self) -> Sequence[Any]:
        """Return the items."""

    def open(self, item: Any, epoch: int) -> Sequence[Sample | Clip]:
        """Return the samples of an item."""

    def about(self) -> dict[str, Any]:
        """Return what a run card says of it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Frames of one clip that follow one another, as an item.

    Attributes:
        name: Of the clip.
        start: How many frames come before.
        entries: The frames, in order.
    """

    name: str
    start: int
    entries: tuple[Entry, ...]

    @property
    def image(self) -> str:
        """Name of the item."""
        return f"{self.name}#{self.start}-{self.start + len(self.entries)}"

    @property
    def label(self) -> int:
        """1 where a frame is forged."""
        return max(entry.label or 0 for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Pair:
    """A forgery and its authentic twin, as an item."""

    forged: Entry
    twin: Entry
    label: int = 1

    @property
    def image(self) -> str:
        """Name of the item."""
        return self.forged.image


@dataclass(frozen=True, slots=True)
class Listed:
    """The entries of a manifest.

    Attributes:
        path: Of the manifest.
        where: Fields that an entry must have.
        masks: Whether truth masks are opened; else a forged picture has none.
        editors: Names that have numbers in maps of editors; none = no such map is opened.
        frames: Of an item, at most; with 1 the items are pictures.
        levels: Whether maps of changes are opened.
        edits: Names that have numbers in sequences of edits, which every entry must then have.
        paired: Whether the items are forgeries with their twins.
    """

    path: str
    where: tuple[tuple[str, str | int], ...] = ()
    masks: bool = True
    editors: tuple[str, ...] = ()
    frames: int = 1
    levels: bool = False
    edits: tuple[str, ...] = ()
    paired: bool = False

    @property
    def each(self) -> int:
        """Samples of one item."""
        return 2 if self.paired else 1

    def items(self) -> Sequence[Entry | Part | Pair]:
        """Return the entries, or pairs, or clips cut into parts of `frames`; the last part of a clip may be shorter.

        A frame that is its own twin, for nothing was done to it, belongs to the clip and to that of the twin.

        Raises:
            InputError: There is none, one has no label, or a forged one no mask, no editors, or no sequence of edits,
                where they are needed; or no forgery has a twin, where pairs are wanted.
        """
        entries = self._entries()
        if self.paired:
            return self._pairs(entries)
        if self.frames == 1:
            return entries
        clips: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            name = str(entry.extra.get("clip") or entry.extra.get("video") or entry.image)
            clips[name].append(entry)
            if entry.extra.get("twin") == entry.image:
                clips[f"{name}_twin"].append(entry)
        for name, frames in clips.items():
            numbers = [entry.extra.get("frame") for entry in frames]
            if len(frames) > 1 and (len(set(numbers)) < len(frames) or not all(isinstance(n, int) for n in numbers)):
                raise InputError(
                    f"'{self.path}': expected a number `frame` of each entry of '{name}', found {numbers[:9]}"
                )
            frames.sort(key=lambda entry: entry.extra.get("frame", 0))
        return [
            Part(name, start, tuple(frames[start : start + self.frames]))
            for name, frames in clips.items()
            for start in range(0, len(frames), self.frames)
        ]

    def _entries(self) -> list[Entry]:
        found = [entry for entry in manifest.read(self.path) if _fits(entry, self.where)]
        if not found:
            raise InputError(f"'{self.path}': expected entries with {dict(self.where)}, found none")
        unknown = [e.image for e in found if e.label is None or (self.masks and e.label and e.mask is None)]
        if unknown:
            wanted = "a label, and a mask where forged" if self.masks else "a label"
            raise InputError(f"'{self.path}': expected {wanted}; {len(unknown)} lack it, such as '{unknown[0]}'")
        unknown = [e.image for e in found if self.editors and e.label and not e.edited_by]
        if unknown:
            wanted = "the editors of forged pictures and their map, fields `editors` and `turn`"
            raise InputError(f"'{self.path}': expected {wanted}; {len(unknown)} lack them, such as '{unknown[0]}'")
        for entry in found if self.edits else ():
            sequences.numbered(entry.extra, entry.label, self.edits, entry.image)
        return found

    def _pairs(self, entries: Sequence[Entry]) -> list[Pair]:
        known = {entry.image: entry for entry in entries if entry.label == 0}
        found = [
            Pair(entry, known[twin]) for entry in entries if entry.label and (twin := entry.extra.get("twin")) in known
        ]
        if not found:
            raise InputError(f"'{self.path}': expected forgeries whose `twin` is an authentic entry, found none")
        return found

    def open(self, item: Entry | Part | Pair, epoch: int) -> Sequence[Sample | Clip]:
        """Return the picture of an entry, both of a pair, or the clip of a part; masks only where they are needed."""
        if isinstance(item, Entry):
            return [self._opened(item)]
        if isinstance(item, Pair):
            return [self._opened(item.forged), self._opened(item.twin)]
        return [Clip(tuple(self._opened(entry) for entry in item.entries), id=item.image)]

    def _opened(self, entry: Entry) -> Sample:
        asked = entry if self.masks else entry.model_copy(update={"mask": None})
        return Manifest(self.path).open(asked, self.editors, self.levels)

    def about(self) -> dict[str, Any]:
        """Return path, SHA-256 of the manifest and of the lines that are used, and counts by split and label."""
        entries = self._entries()
        lines = hashlib.sha256("".join(f"{e.line()}\n" for e in entries).encode()).hexdigest()
        return {
            "manifest": self.path,
            "sha256": hashlib.sha256(Path(self.path).read_bytes()).hexdigest(),
            "lines": len(entries),
            "lines_sha256": lines,
            "splits": dict(sorted(Counter(e.split for e in entries).items())),
            "labels": {str(k): v for k, v in sorted(Counter(e.label for e in entries).items())},
        }


@dataclass(frozen=True, slots=True)
class Index:
    """The number of a forgery in an epoch, as an item."""

    number: int
    label: int | None = None

    @property
    def image(self) -> str:
        """Name of the item."""
        return f"forged/{self.number}"


@dataclass(frozen=True, slots=True)
class Forged:
    """Forgeries made on the way, each with its twin: which ones follows from (seed, epoch, number).

    Attributes:
        photos: Manifest or folder of authentic photographs.
        recipe: Of `forging`.
        change: Overrides of it.
        count: Of an epoch.
        seed: Of all draws.
        editors: As of `Listed`.
        frames: Of a clip, at most; with 1, one frame of each is drawn.
        levels: Whether a forgery has its map of changes from the twin.
    """

    photos: str
    recipe: str
    change: tuple[str, ...]
    count: int
    seed: int
    editors: tuple[str, ...] = ()
    frames: int = 1
    levels: bool = False
    each: int = field(default=2, init=False)

    def items(self) -> list[Index]:
        """Return the numbers of an epoch."""
        return [Index(i) for i in range(self.count)]

    def open(self, item: Index, epoch: int) -> Sequence[Sample | Clip]:
        """Return a forgery and its twin; of a clip, as many frames as are wanted, from a drawn one on.

        Raises:
            InputError: No draw was good enough.
        """
        number = epoch * self.count + item.number
        name = f"forged/{number}"
        made = self._made(number)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,)))
        start = int(rng.integers(max(1, len(made) - self.frames + 1)))
        pairs = [self._pair(frame, name) for frame in made[start : start + self.frames]]
        if len(pairs) == 1:
            return pairs[0]
        return [Clip(frames, id=frames[0].id) for frames in zip(*pairs, strict=True)]

    def _made(self, number: int) -> Sequence[Made]:
        """Return a forgery, as its frames."""
        from tamperscope.forging import clip_run, gate

        recipe, pool, clips = _kit(self.photos, self.recipe, self.change)
        if clips is None:
            made = gate.pick(recipe, pool, self.seed, number).made
            frames: tuple[Made, ...] = () if made is None else (made,)
        else:
            clip = clip_run.pick(recipe, clips, self.seed, number).made
            frames = () if clip is None else clip.frames
        if not frames:
            raise InputError(f"forgery {number}: no draw of {recipe.tries} was good enough")
        return frames

    def _pair(self, made: Made, name: str) -> tuple[Sample, Sample]:
        names = [step.operation for step in made.plan.steps]
        classes = masks.numbered(made.turns, names, self.editors) if self.editors else None
        change = changes.levels(made.sample.rgb, made.turns > 0, made.twin.rgb) if self.levels else None
        forged = replace(made.sample, id=name, label=int(made.turns.any()), classes=classes, change=change)
        twin = replace(made.twin, id=f"{name}/twin", mask=np.zeros(made.twin.size, np.bool_), label=0)
        same = None if change is None else np.zeros(twin.size, np.uint8)
        return forged, replace(twin, classes=np.zeros(twin.size, np.int16) if self.editors else None, change=same)

    def about(self) -> dict[str, Any]:
        """Return what is forged, of what, and the SHA-256 of the recipe and of what is known of the photographs."""
        recipe, pool, _ = _kit(self.photos, self.recipe, self.change)
        stated = hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()
        splits = dict(sorted(Counter(p.split for p in pool.photos).items()))
        return {
            "photos": self.photos,
            "recipe": self.recipe,
            "recipe_sha256": stated,
            "lines": len(pool.photos),
            "lines_sha256": pool.digest(),
            "splits": splits,
            "forgeries": self.count,
        }


@lru_cache(maxsize=8)
def _kit(photos: str, recipe: str, change: tuple[str, ...]) -> tuple[ForgeRecipe, Pool, Clips | None]:
    """Return the recipe of a forge, its photographs, and its clips if it is for clips; once a process."""
    from tamperscope.forging import clip_run
    from tamperscope.forging import recipe as recipes
    from tamperscope.forging.clips import Clips
    from tamperscope.forging.pool import Pool

    loaded = recipes.load(recipe, change)
    clip_run.check(loaded)
    if not loaded.clips.frames:
        return loaded, Pool.of(photos, loaded.where), None
    clips = Clips.of(photos, loaded.where)
    return loaded, clips.pool, clips


def build(
    stated: Sequence[Data],
    counts: Sequence[int],
    seed: int,
    masks: bool,
    editors: tuple[str, ...] = (),
    frames: int = 1,
    levels: bool = False,
    edits: tuple[str, ...] = (),
    paired: bool = False,
) -> list[Source]:
    """Return the sources of a recipe.

    Args:
        stated: By the recipe.
        counts: Items of each, of an epoch; a forge has that many numbers.
        seed: Of forges; each one of a recipe has its own stream.
        masks: Whether the network looks at truth masks.
        editors: Names that have numbers in maps of editors.
        frames: Of a clip, at most.
        levels: Whether forged pictures have maps of changes; none has one where masks are not looked at.
        edits: Names that have numbers in sequences of edits.
        paired: Whether the items of manifests are forgeries with their twins, as those of forges are.
    """
    levels = levels and masks
    made: list[Source] = []
    for place, (data, count) in enumerate(zip(stated, counts, strict=True)):
        if data.forge is None:
            where = tuple(sorted(data.where.items()))
            made.append(Listed(data.manifest, where, masks, editors, frames, levels, edits, paired))
        else:
            forge = data.forge
            # Below 2^32, as the seeds that people give.
            own = int(np.random.SeedSequence(seed, spawn_key=(3, place)).generate_state(1)[0])
            made.append(Forged(forge.photos, forge.recipe, forge.change, count, own, editors, frames, levels))
    return made


def refuse_held_out(stated: Sequence[Data]) -> None:
    """Check that no picture of a held-out split chooses the network.

    Raises:
        InputError: A manifest has entries of the splits `dev` or `test`.
    """
    for data in stated:
        held = Counter(e.split for e in Listed(data.manifest, tuple(data.where.items()), False)._entries())
        found = {split: held[split] for split in HELD_OUT if held[split]}
        if found:
            raise InputError(
                f"validation on '{data.manifest}': expected no entries of the splits {HELD_OUT}, found {found}; "
                "choose by pictures that no number is reported on, or set validation.allow_held_out"
            )


def _fits(entry: Entry, where: Sequence[tuple[str, str | int]]) -> bool:
    fields = entry.model_dump()
    return all(str(v) in entry.image if k == "under" else fields.get(k) == v for k, v in where)
