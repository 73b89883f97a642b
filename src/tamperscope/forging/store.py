"""What a run leaves on disk: pictures, maps, a record a picture, the manifest, and the card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tamperscope import __version__
from tamperscope.data import manifest, masks
from tamperscope.data.manifest import Entry
from tamperscope.data.sequences import edits
from tamperscope.errors import InputError
from tamperscope.files import write_atomic
from tamperscope.forging import gate, making, operations, words
from tamperscope.forging.gate import Measured, Outcome
from tamperscope.forging.making import Made
from tamperscope.forging.pool import Pool
from tamperscope.forging.recipe import Recipe
from tamperscope.report import imaging
from tamperscope.settings import wrong

CARD, MANIFEST = "forge.json", "manifest.jsonl"
LICENCE = "as the photographs: forgeries and twins hold parts of them, so their terms apply"


@dataclass(frozen=True, slots=True)
class Store:
    """The folder of a run.

    Attributes:
        root: Where it is.
    """

    root: Path

    def begin(self, recipe: Recipe, seed: int, pool: Pool) -> None:
        """Write the card, and clear away what a killed run left half done.

        Raises:
            InputError: The folder holds another run.
        """
        card = {
            "recipe": recipe.model_dump(mode="json"),
            "seed": seed,
            "photographs": {"count": len(pool.photos), "sha256": pool.digest()},
            "versions": _versions(),
            "editors": operations.classes(),
            "licence": LICENCE,
        }
        path = self.root / CARD
        if path.is_file():
            _same_run(_json(path), card, path)
        for part in self.root.glob("*/.tamperscope-*.part"):
            part.unlink()
        write_atomic(path, (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())

    def record(self, index: int) -> Path:
        """Return where the record of a picture is kept."""
        return self.root / "records" / f"{index:06d}.json"

    def write(self, index: int, outcome: Outcome[Made, Measured]) -> None:
        """Write all files of a picture, its record last: a picture with a record is finished.

        Args:
            index: Of the picture.
            outcome: The forgery, or why there is none.
        """
        made, measured = outcome.made, outcome.measured
        entries: list[Entry] = []
        if made is not None and measured is not None:
            entries = self.save(f"{index:06d}", made, measured, outcome.level)
        self.keep(index, entries, outcome)

    def keep(self, index: int, entries: Sequence[Entry], outcome: Outcome[Any, Any]) -> None:
        """Write the record of a picture or clip.

        Args:
            index: Of it.
            entries: What the manifest says of it; none where no draw was good enough.
            outcome: Why draws were turned away.
        """
        told = [entry.model_dump(exclude_defaults=True) for entry in entries]
        why = {name: dict(getattr(outcome, name)) for name in ("rejected", "causes", "unreadable")}
        kept = {"entries": told, **why}
        write_atomic(self.record(index), json.dumps(kept, ensure_ascii=False).encode())

    def save(self, name: str, made: Made, measured: Measured, level: int) -> list[Entry]:
        """Write the files of a forgery and its twin; return their entries.

        Args:
            name: Of all of its files, without suffix.
            made: The forgery.
            measured: What the gate measured of it.
            level: Grey levels beyond which a pixel counts as changed.
        """
        image, twin = f"images/{name}{made.suffix}", f"twins/{name}{made.suffix}"
        mask, change, editor, turn = (f"{folder}/{name}.png" for folder in ("masks", "changes", "editors", "turns"))
        files = {
            image: made.data,
            twin: made.twin_data,
            mask: masks.png(made.turns > 0),
            change: masks.png(gate.changes(made, level)),
            editor: imaging.grey_png(made.editors),
            turn: imaging.grey_png(made.turns),
        }
        for path, data in files.items():
            write_atomic(self.root / path, data)
        photo = made.sources[0].photo
        common = {"domain": _domain(made), "split": photo.split, "group": photo.group, "host": photo.id}
        common["delivery"] = made.plan.delivery
        maps = {"twin": twin, "change": change, "editor": editor, "turn": turn}
        forged = {"image": image, "mask": mask, "label": 1, **common, **maps}
        return [
            Entry.model_validate(forged | _told(made) | {"measured": asdict(measured)}),
            Entry.model_validate({"image": twin, "label": 0, **common, "twin_of": image}),
        ]

    def records(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield the records of the first `count` pictures, in order; those that are not finished are left out."""
        for index in range(count):
            if self.record(index).is_file():
                yield _json(self.record(index))

    def finish(self, count: int) -> int:
        """Write the manifest of the first `count` pictures; return the number of its entries.

        Raises:
            InputError: A record is not as a run writes it.
        """
        entries = (Entry.model_validate(fields) for kept in self.records(count) for fields in kept["entries"])
        try:
            return manifest.write(self.root / MANIFEST, entries)
        except ValidationError as error:
            raise InputError(
                f"'{self.root}': expected the records of an earlier run: {wrong(error)}; use another folder"
            ) from error


def _domain(made: Made) -> str:
    """Return the domain of a forgery: its first edit's."""
    return operations.get(made.plan.steps[0].operation).domain


def _told(made: Made) -> dict[str, Any]:
    """Return what a manifest says of a forgery beside its files."""
    names = [step.operation for step in made.plan.steps]
    order = edits(made.sample.meta, 1)
    return {
        **({} if order is None else {"sequence": order}),
        "donors": [source.photo.id for source in made.sources[1:]],
        "histories": {source.photo.id: source.history for source in made.sources},
        "editors": names,
        "trace": list(dict.fromkeys(trace for edit in made.edits for trace in edit.get("trace", ()))),
        "ops": list(made.sample.meta["ops"]),
        "words": [edit.get("words", {}) for edit in made.edits],
        "sentences": words.sentences(names, made.edits, made.turns),
        "plan": made.plan.model_dump(mode="json"),
        "sha256": making.digests(made),
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"'{path.name}': expected the JSON of an earlier run: {error}; use another folder") from error
    return found


def _same_run(found: Mapping[str, Any], card: Mapping[str, Any], path: Path) -> None:
    differing = [name for name in ("recipe", "seed", "photographs", "versions") if found.get(name) != card[name]]
    if differing:
        stated = ", ".join(differing)
        raise InputError(
            f"'{path.name}' in '{path.parent}': expected the same run, found another {stated}; use another folder"
        )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = {name: version(name) for name in ("numpy", "opencv-python-headless", "pillow")}
    return {"tamperscope": __version__, **packages}
