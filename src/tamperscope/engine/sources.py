"""Where training pictures come from: entries of a manifest, or forgeries made on the way, each with its twin."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tamperscope.data import manifest
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.engine.recipe import Data
from tamperscope.errors import InputError
from tamperscope.types import Sample

if TYPE_CHECKING:
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

    def open(self, item: Any, epoch: int) -> list[Sample]:
        """Return the samples of an item."""

    def about(self) -> dict[str, Any]:
        """Return what a run card says of it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The entries of a manifest.

    Attributes:
        path: Of the manifest.
        where: Fields that an entry must have.
        masks: Whether truth masks are opened; else a forged picture has none.
    """

    path: str
    where: tuple[tuple[str, str | int], ...] = ()
    masks: bool = True
    each: int = field(default=1, init=False)

    def items(self) -> list[Entry]:
        """Return the entries.

        Raises:
            InputError: There is none, one has no label, or a forged one no mask where masks are needed.
        """
        found = [entry for entry in manifest.read(self.path) if _fits(entry, self.where)]
        if not found:
            raise InputError(f"'{self.path}': expected entries with {dict(self.where)}, found none")
        unknown = [e.image for e in found if e.label is None or (self.masks and e.label and e.mask is None)]
        if unknown:
            wanted = "a label, and a mask where forged" if self.masks else "a label"
            raise InputError(f"'{self.path}': expected {wanted}; {len(unknown)} lack it, such as '{unknown[0]}'")
        return found

    def open(self, item: Entry, epoch: int) -> list[Sample]:
        """Return the picture of an entry; the mask's file is opened only where masks are needed."""
        asked = item if self.masks else item.model_copy(update={"mask": None})
        return [Manifest(self.path).open(asked)]

    def about(self) -> dict[str, Any]:
        """Return path, SHA-256 of the manifest and of the lines that are used, and counts by split and label."""
        entries = self.items()
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
    """

    photos: str
    recipe: str
    change: tuple[str, ...]
    count: int
    seed: int
    each: int = field(default=2, init=False)

    def items(self) -> list[Index]:
        """Return the numbers of an epoch."""
        return [Index(i) for i in range(self.count)]

    def open(self, item: Index, epoch: int) -> list[Sample]:
        """Return a forgery and its twin.

        Raises:
            InputError: No draw was good enough.
        """
        from tamperscope.forging import gate

        recipe, pool = _kit(self.photos, self.recipe, self.change)
        number = epoch * self.count + item.number
        made = gate.pick(recipe, pool, self.seed, number).made
        if made is None:
            raise InputError(f"forgery {number}: no draw of {recipe.tries} was good enough")
        name = f"forged/{number}"
        twin = replace(made.twin, id=f"{name}/twin", mask=np.zeros(made.twin.size, np.bool_), label=0)
        return [replace(made.sample, id=name, label=1), twin]

    def about(self) -> dict[str, Any]:
        """Return what is forged, of what, and the SHA-256 of the recipe and of what is known of the photographs."""
        recipe, pool = _kit(self.photos, self.recipe, self.change)
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
def _kit(photos: str, recipe: str, change: tuple[str, ...]) -> tuple[ForgeRecipe, Pool]:
    """Return the recipe and the photographs of a forge; once a process."""
    from tamperscope.forging import recipe as recipes
    from tamperscope.forging.pool import Pool

    loaded = recipes.load(recipe, change)
    return loaded, Pool.of(photos, loaded.where)


def build(stated: Sequence[Data], counts: Sequence[int], seed: int, masks: bool) -> list[Source]:
    """Return the sources of a recipe.

    Args:
        stated: By the recipe.
        counts: Items of each, of an epoch; a forge has that many numbers.
        seed: Of forges; each one of a recipe has its own stream.
        masks: Whether the network looks at truth masks.
    """
    made: list[Source] = []
    for place, (data, count) in enumerate(zip(stated, counts, strict=True)):
        if data.forge is None:
            made.append(Listed(data.manifest, tuple(sorted(data.where.items())), masks))
        else:
            forge = data.forge
            # Below 2^32, as the seeds that people give.
            own = int(np.random.SeedSequence(seed, spawn_key=(3, place)).generate_state(1)[0])
            made.append(Forged(forge.photos, forge.recipe, forge.change, count, own))
    return made


def refuse_held_out(stated: Sequence[Data]) -> None:
    """Check that no picture of a held-out split chooses the network.

    Raises:
        InputError: A manifest has entries of the splits `dev` or `test`.
    """
    for data in stated:
        held = Counter(e.split for e in Listed(data.manifest, tuple(data.where.items()), False).items())
        found = {split: held[split] for split in HELD_OUT if held[split]}
        if found:
            raise InputError(
                f"validation on '{data.manifest}': expected no entries of the splits {HELD_OUT}, found {found}; "
                "choose by pictures that no number is reported on, or set validation.allow_held_out"
            )


def _fits(entry: Entry, where: Sequence[tuple[str, str | int]]) -> bool:
    fields = entry.model_dump()
    return all(str(v) in entry.image if k == "under" else fields.get(k) == v for k, v in where)
