"""Checks one picture of a set against its truth, mends the mask, and remembers what was checked."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from pydantic import ValidationError

from tamperscope.data import masks
from tamperscope.data.manifest import Entry, relative
from tamperscope.data.sources.base import Found, Note
from tamperscope.errors import InputError, TamperscopeError, UnsupportedFormatError
from tamperscope.files import write_atomic
from tamperscope.settings import wrong
from tamperscope.types import BoolArray

MASKS = "masks"


@dataclass(frozen=True, slots=True)
class Look:
    """What the bytes of a picture say without decoding them: (H, W) and their SHA-256."""

    size: tuple[int, int]
    sha256: str


def look(path: str | Path) -> Look:
    """Return the size of a picture from its headers, and the digest of its bytes.

    Raises:
        InputError: There is no such file, it is no picture of an allowed type, or its header is damaged.
    """
    from tamperscope.media import Limits
    from tamperscope.media.headers import check_header
    from tamperscope.media.sniff import describe, sniff

    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}': cannot be read: {getattr(error, 'strerror', None) or error}") from error
    kind = sniff(data)
    if kind is None or kind == "PDF":
        raise UnsupportedFormatError(f"expected a picture, found that it is {kind or describe(data)}")
    header = check_header(data, kind, Limits())
    return Look((header.height, header.width), hashlib.sha256(data).hexdigest())


@dataclass(slots=True)
class Row:
    """One picture after its check.

    Attributes:
        entry: Fields of the manifest's line; empty where the picture is left out.
        notes: What was repaired, is missing or doubtful.
        sha256: Of the picture's bytes.
    """

    entry: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Checker:
    """Makes a line of a manifest of each picture that a set's file names.

    Attributes:
        name: Of the set.
        domain: Of its pictures.
        root: Folder of the set, absolute.
        out: Folder of the manifest, absolute.
        mend_polarity: Whether to invert masks that mark more than half of the picture.
    """

    name: str
    domain: str
    root: Path
    out: Path
    mend_polarity: bool = False

    def key(self, found: Found) -> str:
        """Return a digest of all that a check depends on; it changes with the files."""
        facts = [self.name, self.domain, self.mend_polarity, relative(self.root, self.out), asdict(found)]
        facts += [_stamp(self.root / path) for path in (found.image, found.mask) if path]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def check(self, found: Found) -> Row:
        """Return the line of a picture; it is empty, with a note, where picture or mask cannot be used."""
        row = Row()
        try:
            seen = look(self.root / found.image)
            row.sha256 = seen.sha256
            own = {"label": found.label, "split": found.split, "domain": self.domain, "group": found.group or None}
            fields = {**found.extra, "image": relative(self.root / found.image, self.out), **own, "source": self.name}
            if found.mask is not None and found.label != 0:
                fields |= self._mask(found, seen.size, row)
            elif found.label != 0 and (found.extra.get("polygons") or found.extra.get("boxes")):
                fields["mask"] = self._drawn(found, seen.size, row)
            row.entry = Entry.model_validate(fields).model_dump(exclude_defaults=True)
        except (TamperscopeError, ValidationError, OSError) as error:
            row.notes = [Note("skipped", found.image, f"left out: {wrong(error)}")]
        return row

    def _mask(self, found: Found, size: tuple[int, int], row: Row) -> dict[str, str]:
        """Return the fields that name the mask, after writing it anew where it needs repair."""
        assert found.mask is not None
        stored, picture = self.root / found.mask, self.root / found.image
        reading = masks.examine(stored, found.truth, size, picture)
        mask, repairs = self._upright(reading.mask, found.image, row), list(reading.repairs)
        if mask is not reading.mask:
            repairs.append("polarity inverted")
        fields = {"labels": relative(stored, self.out)} if found.truth == "labels" else {}
        if not repairs:
            return fields | {"mask": relative(stored, self.out)}
        row.notes.append(Note("repaired", found.image, f"mask: {', '.join(repairs)}"))
        return fields | {"mask": self._written(found, mask)}

    def _drawn(self, found: Found, size: tuple[int, int], row: Row) -> str:
        """Return the path of a mask made of the polygons, or else the boxes, that a set states in place of a mask."""
        if polygons := found.extra.get("polygons"):
            row.notes.append(Note("repaired", found.image, "mask: drawn from the polygons"))
            return self._written(found, np.logical_or.reduce([masks.polygon(p, size) for p in polygons]))
        mask = np.zeros(size, np.bool_)
        for box in found.extra["boxes"]:
            if len(box) != 4:
                raise InputError(f"expected boxes [x0, y0, x1, y1], found {box}")
            x0, y0, x1, y1 = box
            mask[max(0, int(y0)) : math.ceil(y1), max(0, int(x0)) : math.ceil(x1)] = True
        row.notes.append(Note("repaired", found.image, "mask: drawn from the boxes"))
        return self._written(found, mask)

    def _written(self, found: Found, mask: BoolArray) -> str:
        path = self.out / MASKS / f"{found.image}.png"
        write_atomic(path, masks.png(mask))
        return relative(path, self.out)

    def _upright(self, mask: BoolArray, image: str, row: Row) -> BoolArray:
        share = float(mask.mean())
        if share > 0.5 and self.mend_polarity:
            return ~mask
        if share > 0.5:
            row.notes.append(Note("unknown", image, "the mask marks more than half of the picture; is it inverted?"))
        elif share == 0:
            row.notes.append(Note("unknown", image, "forged, but its mask marks nothing"))
        return mask


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


class Journal:
    """Rows of earlier runs, kept line by line, so that an interrupted run loses nothing; use it in a `with` block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Any] = {}
        self._stream: TextIO | None = None

    def __enter__(self) -> Journal:
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._rows.update(_parsed(line))
        self._stream = self._path.open("a", encoding="utf-8")
        # After a line that was cut short, the next one has to begin afresh.
        self._stream.write("\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()

    def row(self, checker: Checker, found: Found) -> Row:
        """Return the row of a picture: the earlier one where nothing has changed since, or that of a new check."""
        key = checker.key(found)
        if (known := self._rows.get(key)) is not None:
            entry, notes, sha256 = known
            mask = entry.get("mask")
            if mask is None or (checker.out / mask).exists():
                return Row(entry, [Note(*note) for note in notes], sha256)
        row = checker.check(found)
        if self._stream is not None:
            notes = [[note.kind, note.path, note.text] for note in row.notes]
            self._stream.write(json.dumps({key: [row.entry, notes, row.sha256]}) + "\n")
        return row


def _parsed(line: str) -> dict[str, Any]:
    """Return a line of the journal, nothing of a broken one."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    whole = isinstance(found, dict) and all(isinstance(row, list) and len(row) == 3 for row in found.values())
    return found if whole else {}
