"""Manifests: one JSON line a picture, paths relative to the manifest's own folder."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from tamperscope.data.sources.base import Note, Tree, stem
from tamperscope.errors import InputError
from tamperscope.files import replacing
from tamperscope.settings import wrong

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tamperscope.types import BoolArray, Sample, UInt8Array

# Folders that state what their pictures are; the deepest one that is known decides.
_PRISTINE = {"real", "authentic", "pristine", "0_real", "au"}
_FORGED = {"fake", "forged", "tampered", "1_fake", "tp"}
_PICTURES = {"images"}
_MASKS = ("masks", "mask", "gt")
_NAMES = ("{}", "{}_mask", "{}_gt", "{}-mask", "{}.mask", "mask_{}", "{}_groundtruth")
_COLUMNS = {
    **dict.fromkeys(("image", "path", "file", "filename", "file_name"), "image"),
    **dict.fromkeys(("mask", "gt", "mask_path"), "mask"),
    **dict.fromkeys(("label", "class"), "label"),
}
_LABELS = {
    "": None,
    **dict.fromkeys(("0", *_PRISTINE, "negative"), 0),
    **dict.fromkeys(("1", *_FORGED, "generated", "positive"), 1),
}


_FILES = ("image", "mask", "object_mask")
# What other parts of this package note of a picture's files.
_MORE_FILES = ("labels", "text_boxes", "twin", "twin_of", "change", "editor", "turn")


class Entry(BaseModel):
    """One picture of a manifest; fields that are not named here are kept.

    Attributes:
        image: Path of the picture, relative to the manifest.
        mask: Path of its truth mask (> 127 is forged), or None.
        label: 0 pristine, 1 forged or generated, None unknown.
        split: Such as `train` or `dev`.
        domain: Such as `manipulation`, `pristine`, `document`, `generated`.
        group: Name shared by pictures of one source; they never go to different splits.
        object_mask: Path of an object's outline, which is no truth of tampering.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    image: str
    mask: str | None = None
    label: int | None = None
    split: str = ""
    domain: str = ""
    group: str | None = None
    object_mask: str | None = None

    @property
    def source_group(self) -> str:
        """The group, or the picture itself when it has none."""
        return self.group or self.image

    @property
    def edited_by(self) -> tuple[str, ...]:
        """Names of what edited the picture, in the order of their turns, where it is known which pixels each edited.

        The field `editors` lists them; `turn` is the path of a map of the turn of each pixel, from 1, which is not
        needed beside the mask of a single editor. `tamperscope forge` writes both. A public set may have `labels`
        instead, the path of a map of editors' numbers: these are then their names.
        """
        names = self.extra.get("editors")
        if names is None and "labels" in self.extra:
            return tuple(str(number) for number in range(1, 256))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return ()
        return tuple(names) if "turn" in self.extra or (len(names) == 1 and self.mask is not None) else ()

    @property
    def extra(self) -> dict[str, Any]:
        """Fields beyond the named ones."""
        return dict(self.model_extra or {})

    def line(self) -> str:
        """Return the entry as one line of JSON, without fields that hold nothing."""
        return json.dumps(self.model_dump(exclude_defaults=True), ensure_ascii=False)


def read(path: str | Path) -> Iterator[Entry]:
    """Yield the entries of a manifest, one line in memory at a time.

    Raises:
        InputError: There is no such file, or a line is no JSON object of the expected shape; the message names it.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        raise InputError(f"expected a manifest, found no file '{path}'")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield Entry.model_validate(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path.name}, line {number}: expected one JSON object a line: {wrong(error)}; mend it or drop it"
                ) from error


def write(path: str | Path, entries: Iterable[Entry]) -> int:
    """Write a manifest whole or not at all, one line in memory at a time; return the number of entries.

    Raises:
        InputError: A path is absolute, or no path that a manifest may hold (see `inside`).
    """
    count = 0
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as stream:
        for entry in entries:
            for name in (entry.image, entry.mask, entry.object_mask):
                if name is not None:
                    inside(Path(), name)
            stream.write(entry.line() + "\n")
            count += 1
    return count


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that a manifest in `folder` names.

    Paths are relative, with forward slashes. `..` may only stand at the start, as `relative` writes it where pictures
    lie outside of the manifest's folder.

    Raises:
        InputError: It is absolute, empty, or climbs out from within.
    """
    parts = PurePosixPath(name).parts
    below = [part for i, part in enumerate(parts) if part != ".." or any(p != ".." for p in parts[:i])]
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    if not below or ".." in below or "\0" in name or absolute:
        raise InputError(f"path {name!r}: expected one relative to the manifest, such as images/1.png")
    return folder / name


def relative(path: str | Path, folder: str | Path) -> str:
    """Return how a manifest in `folder` names the file `path`."""
    return Path(os.path.relpath(path, folder)).as_posix()


def moved(entry: Entry, root: str | Path, folder: str | Path) -> Entry:
    """Return an entry of a manifest in `root` as one in `folder` names it: the files stay where they are.

    Fields such as `editor`, which need not be paths, are those of a file where there is one.
    """
    known = {name: path for name in _FILES if (path := getattr(entry, name))}
    more = {name: path for name in _MORE_FILES if isinstance(path := entry.extra.get(name), str)}
    known |= {name: path for name, path in more.items() if Path(root, path).is_file()}
    return entry.model_copy(update={name: relative(Path(root, path), folder) for name, path in known.items()})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The pictures of a manifest: iterated over line by line, filtered on the way, opened one at a time.

    Attributes:
        path: The file.
        filters: (field, value) pairs that an entry must fulfil; made by `where`.
    """

    path: Path
    filters: tuple[tuple[str, str], ...] = ()

    def __init__(self, path: str | Path, filters: tuple[tuple[str, str], ...] = ()) -> None:
        object.__setattr__(self, "path", Path(path))
        object.__setattr__(self, "filters", filters)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries that pass the filters, in the order of the file."""
        return (entry for entry in read(self.path) if all(_passes(entry, *rule) for rule in self.filters))

    def where(self, split: str | None = None, domain: str | None = None, under: str | None = None) -> Manifest:
        """Return the same manifest with fewer entries; nothing is read yet.

        Args:
            split: Only entries of this split.
            domain: Only entries of this domain.
            under: Only pictures whose path holds this text.
        """
        asked = {"split": split, "domain": domain, "under": under}
        rules = tuple((name, value) for name, value in asked.items() if value is not None)
        return replace(self, filters=self.filters + rules)

    def locate(self, name: str) -> Path:
        """Return the path of a file that the manifest names.

        Raises:
            InputError: See `inside`.
        """
        return inside(self.path.parent, name)

    def open(self, entry: Entry, editors: Sequence[str] = (), change: bool = False, lines: bool = False) -> Sample:
        """Return the picture of an entry, with mask, label, and the entry's fields in `meta`.

        The mask is all False for a pristine picture, and None for a forged one without a mask.

        Args:
            entry: Of the manifest.
            editors: Names whose places, from 1, are the numbers in the map of editors; without one no map is opened.
            change: Whether the map of changes is asked for: of a forged picture, from the authentic one that the entry
                names as `twin`; without such a one of its size, the mask stands in.
            lines: Whether the lines of text are asked for that the entry names as `text_boxes`, as `meta["lines"]`.
                Who measures what a scan says does not ask: a scan is told of none.

        Raises:
            InputError: A file cannot be opened or is none of its kind, picture and map differ in size, or it is not
                known which pixels each editor edited.
        """
        import numpy as np

        from tamperscope import media
        from tamperscope.data import masks

        sample = media.open(self.locate(entry.image)).sample
        mask = classes = None
        if entry.label == 0:
            mask = np.zeros(sample.size, np.bool_)
        elif entry.mask is not None:
            mask = masks.read(self.locate(entry.mask))
            _same_size(entry, sample.size, mask.shape, entry.mask)
        if editors and entry.label == 0:
            classes = np.zeros(sample.size, np.int16)
        elif editors:
            classes = masks.numbered(self._turns(entry, sample.size, mask), entry.edited_by, editors)
        changed = self._changes(entry, sample, mask) if change and mask is not None else None
        fields = {"domain": entry.domain, "split": entry.split, "group": entry.source_group, **entry.extra}
        known = {"lines": self._lines(entry, sample.size)} if lines and "text_boxes" in entry.extra else {}
        meta = {**fields, **sample.meta, **known}
        return replace(sample, id=entry.image, mask=mask, label=entry.label, meta=meta, classes=classes, change=changed)

    def _lines(self, entry: Entry, size: tuple[int, int]) -> list[dict[str, Any]]:
        """Return the lines of text of a page, in its own pixels."""
        from tamperscope.data import text_boxes

        path = entry.extra["text_boxes"]
        if not isinstance(path, str):
            raise InputError(f"'{entry.image}': expected the path of a file as `text_boxes`, found {path!r}")
        return text_boxes.lines(text_boxes.read(self.locate(path)), size)

    def _changes(self, entry: Entry, sample: Sample, mask: BoolArray) -> UInt8Array:
        """Return by how many grey levels each pixel differs from the twin's."""
        from tamperscope import media
        from tamperscope.ops import changes

        twin = entry.extra.get("twin") if mask.any() else None
        original = None if twin is None else media.open(self.locate(str(twin))).sample.rgb
        return changes.levels(sample.rgb, mask, original)

    def _turns(self, entry: Entry, size: tuple[int, int], mask: BoolArray | None) -> NDArray[Any]:
        """Return the turn of each pixel of a forged picture, from 1."""
        from tamperscope.data import masks

        path = entry.extra.get("turn" if "editors" in entry.extra else "labels")
        if not entry.edited_by or (path is None and mask is None):
            raise InputError(f"'{entry.image}': expected `editors`, and a map of their turns as `turn`, found none")
        if path is None:
            assert mask is not None
            return mask.astype(int)
        turns = masks.labels(self.locate(str(path)))
        _same_size(entry, size, turns.shape, str(path))
        return turns


def _same_size(entry: Entry, size: tuple[int, int], found: tuple[int, ...], name: str) -> None:
    if found != size:
        (h, w), (mask_h, mask_w) = size, found
        raise InputError(
            f"'{entry.image}': expected a mask of the picture's size {w} × {h}, found {mask_w} × {mask_h} in "
            f"'{name}'; prepare the set again, which resizes masks"
        )


def _passes(entry: Entry, field: str, value: str) -> bool:
    return value in entry.image if field == "under" else bool(getattr(entry, field) == value)


def from_folder(root: str | Path) -> tuple[list[Entry], list[Note]]:
    """Return the pictures of a folder whose subfolders state what they hold, and what could not be paired.

    Known are `images` beside `masks`, `Tp` and `Au` beside `Gt`, and folders named for a class (real, authentic,
    pristine, 0_real, Au; fake, forged, tampered, 1_fake, Tp), at any depth and in any case. Masks pair by name, also
    with `_mask` or `_gt` added; never by order. A picture of `images` without a mask has no label.

    Raises:
        InputError: There is no such folder, or it holds no picture below a folder of a known name.
    """
    tree = Tree(root)
    pictures = tree.pictures("*")
    masks = [path for path in pictures if set(_folders(path)) & set(_MASKS)]
    homes = {
        "/".join(path.lower().split("/")[: _folders(path).index(name)])
        for path in masks
        for name in _MASKS
        if name in _folders(path)
    }
    entries: list[Entry] = []
    for image in pictures:
        folders = _folders(image)
        places = [i for i, name in enumerate(folders) if name in _PRISTINE | _FORGED | _PICTURES]
        if not places or set(folders) & set(_MASKS):
            continue
        classes = [folders[i] in _FORGED for i in places if folders[i] not in _PICTURES]
        mask = None if classes and not classes[-1] else _mask_of(tree, image, places)
        known = int(classes[-1]) if classes else 1 if mask else None
        if mask is None and known != 0 and any("/".join(folders[:i]) in homes for i in places):
            tree.note("missing", image, "no mask of its name")
        entries.append(Entry(image=image, mask=mask, label=known))
    if not entries:
        names = ", ".join(sorted(_PRISTINE | _FORGED | _PICTURES))
        raise InputError(f"'{root}': expected pictures below a folder named as one of {names}; found none")
    for mask in sorted(set(masks) - {entry.mask for entry in entries}):
        tree.note("missing", mask, "no picture of its name")
    return entries, tree.notes


def _folders(path: str) -> list[str]:
    return path.lower().split("/")[:-1]


def _mask_of(tree: Tree, image: str, places: list[int]) -> str | None:
    """Return the mask of a picture's name from a folder of masks that stands in for one of its own folders."""
    parts = image.split("/")[:-1]
    around = ["/".join([*parts[:i], name, *parts[i + 1 :]]) for i in reversed(places) for name in _MASKS]
    return tree.one_of(*(f"{folder}/{name.format(stem(image))}.*" for folder in around for name in _NAMES))


def from_csv(path: str | Path) -> Iterator[Entry]:
    """Yield the pictures of a table with a heading; paths are relative to it.

    Columns are `image` (or path, file, filename), `mask` (or gt), `label` (0, 1, or a word such as real or forged),
    and any field of a manifest; other columns are kept. Separators are comma, semicolon or tab.

    Raises:
        InputError: The heading has no column for the picture, or a row does not fit it; the message names the line.
    """
    path = Path(path)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        heading = stream.readline()
        separator = max(",;\t", key=heading.count)
        names = [name.strip() for name in next(csv.reader([heading], delimiter=separator), [])]
        fields = [_COLUMNS.get(name.lower(), name) for name in names]
        if fields.count("image") != 1:
            raise InputError(f"{path.name}: expected one column named image, path or file, found {', '.join(names)}")
        rows = csv.reader(stream, delimiter=separator, strict=True)
        try:
            for row in rows:
                if any(cell.strip() for cell in row):
                    yield _from_row(dict(zip(fields, row, strict=True)))
        except (csv.Error, ValueError, KeyError) as error:
            raise InputError(
                f"{path.name}, line {rows.line_num + 1}: expected {len(fields)} columns: {error}"
            ) from error


def _from_row(row: dict[str, str]) -> Entry:
    """Return a row as an entry; an empty cell holds nothing."""
    word = row.pop("label", "").strip().lower()
    if word not in _LABELS:
        raise ValueError(f"label {word!r} is none of {', '.join(filter(None, _LABELS))}")
    return Entry(label=_LABELS[word], **{name: cell for name, cell in row.items() if cell})
