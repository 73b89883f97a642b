"""Turns a user's copy of a public data set into a manifest: names paired, sizes checked, masks repaired."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tamperscope.data import sources
from tamperscope.data.checking import Checker, Journal, Row
from tamperscope.data.manifest import Entry, write
from tamperscope.data.sources.base import Found, Note, Source, Tree
from tamperscope.errors import InputError
from tamperscope.files import write_atomic

MANIFEST = "manifest.jsonl"
CARD = "source.json"
JOURNAL = ".prepared.jsonl"


@dataclass(frozen=True, slots=True)
class Summary:
    """What preparing a set came to.

    Attributes:
        name: Of the set.
        manifest: The file that was written.
        counts: Pictures by part: `forged`, `pristine`, and with a split `train/forged`.
        expected: What the makers state, by the same names.
        notes: What was repaired, missing, skipped or is doubtful.
        duplicates: (first, again) pictures of the same bytes.
    """

    name: str
    manifest: Path
    counts: Mapping[str, int]
    expected: Mapping[str, int]
    notes: tuple[Note, ...]
    duplicates: tuple[tuple[str, str], ...]

    @property
    def complete(self) -> bool:
        """Whether every stated count was met; True where none is stated."""
        return all(self.counts.get(part, 0) == count for part, count in self.expected.items())

    def text(self, examples: int = 5) -> str:
        """Return the summary for a person, with so many examples of each kind of note."""
        total = sum(self.counts.get(part, 0) for part in ("forged", "pristine"))
        lines = [f"{self.name}: {total} pictures in {self.manifest}"]
        for part in sorted({*self.counts, *self.expected}):
            wanted = self.expected.get(part)
            found = self.counts.get(part, 0)
            lines.append(f"  {part}: {found}" + ("" if wanted in (None, found) else f" (expected {wanted})"))
        for (kind, text), group in _grouped(self.notes).items():
            lines.append(f"{kind}: {text}: {len(group)}")
            lines += [f"  {note.path}" for note in group[:examples]]
        if self.duplicates:
            lines.append(f"duplicates: the same bytes under two names: {len(self.duplicates)}")
            lines += [f"  {first} = {again}" for first, again in self.duplicates[:examples]]
        return "\n".join(lines)


def _grouped(notes: Iterable[Note]) -> dict[tuple[str, str], list[Note]]:
    found: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        found.setdefault((note.kind, note.text), []).append(note)
    return found


def prepare(
    name: str, src: str | Path, out: str | Path, *, mend_polarity: bool = False, progress: bool = True
) -> Summary:
    """Write the manifest of a public data set; return what was found.

    Masks that are not plain ones of the picture's size are written anew below OUT/masks; everything else stays where it
    is. `source.json` beside the manifest keeps licence and origin. What an earlier, even interrupted, run has checked
    is not checked again unless a file has changed.

    Args:
        name: Of the set; see `sources.names`.
        src: Folder of the user's copy.
        out: Folder of the manifest.
        mend_polarity: Invert masks that mark more than half of the picture; always done for sets known to mix both.
        progress: Show a bar on standard error where that is a terminal.

    Raises:
        InputError: There is no such folder, or nothing in it was recognized.
        UnknownNameError: No set has that name.
    """
    module = sources.load(name)
    source: Source = module.SOURCE
    tree, out = Tree(src), Path(out)
    root, home = tree.root.resolve(), out.resolve()
    if home.is_relative_to(root):
        raise InputError(f"'{out}': expected a folder outside of the set's own, '{src}', whose files are read again")
    found = list(module.read(tree))
    if not found:
        hints = "".join(f"; {note.path}: {note.text}" for note in tree.notes[:3])
        raise InputError(f"'{src}': expected {source.title} as {source.layout}; recognized nothing{hints}")
    out.mkdir(parents=True, exist_ok=True)
    checker = Checker(name, source.domain, root, home, mend_polarity or source.mixed_polarity)
    with Journal(out / JOURNAL) as journal:
        done = [journal.row(checker, item) for item in _shown(found, name, progress)]
    rows = [row for row in done if row.entry]
    write(out / MANIFEST, (Entry.model_validate(row.entry) for row in rows))
    notes = (*tree.notes, *(note for row in done for note in row.notes))
    summary = Summary(name, out / MANIFEST, _counted(rows), source.expected, notes, tuple(_duplicates(rows)))
    _write_card(source, summary)
    return summary


def _shown(items: Sequence[Found], name: str, progress: bool) -> Iterator[Found]:
    """Yield the items while a bar shows how many came."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(items, name, console=console, transient=True, disable=not (progress and console.is_terminal))


def _counted(rows: Iterable[Row]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        part = "forged" if row.entry["label"] else "pristine"
        counts[part] += 1
        if split := row.entry.get("split"):
            counts[f"{split}/{part}"] += 1
    return dict(counts)


def _duplicates(rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    first: dict[str, str] = {}
    for row in rows:
        image = row.entry["image"]
        if (known := first.setdefault(row.sha256, image)) != image:
            yield known, image


def _write_card(source: Source, summary: Summary) -> None:
    card = {
        "name": summary.name,
        **{key: value for key, value in asdict(source).items() if key != "layout"},
        "counts": dict(sorted(summary.counts.items())),
        "complete": summary.complete,
        "duplicates": len(summary.duplicates),
        "notes": [asdict(note) for note in summary.notes],
    }
    write_atomic(summary.manifest.parent / CARD, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
