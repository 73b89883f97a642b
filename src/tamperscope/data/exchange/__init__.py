"""Manifests to and from what other tools read: lists, COCO, webdataset shards, Hugging Face data sets."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamperscope.data.manifest import Entry, Manifest, from_csv, from_folder, moved, write
from tamperscope.data.sources.base import Note
from tamperscope.errors import InputError, unknown_name

_HERE = __name__
# Name: module, function that reads or None, function that writes or None, what it is.
_FORMATS: dict[str, tuple[str, str | None, str | None, str]] = {
    "benco": ("lists", "read_list", "write_benco", 'IMDL-BenCo list: [[picture, mask or "Negative"], …]'),
    "forensichub": ("lists", "read_list", "write_forensichub", 'ForensicHub list: [{"path", "mask", "label"}, …]'),
    "coco": ("coco", "read_coco", "write_coco", "COCO JSON with polygons or run lengths"),
    "webdataset": ("shards", "read_shards", "write_shards", "tar shards of picture, mask and JSON"),
    "huggingface": ("huggingface", "read_saved", "write_saved", "folder saved by the library `datasets`"),
}
_LISTED = {"folder": "folders named for their class, masks beside them", "csv": "table with a heading"}


@dataclass(frozen=True, slots=True)
class Format:
    """A format that manifests can be made from or turned into.

    Attributes:
        name: For the command line.
        about: What it is, in words.
        reads: Whether a manifest can be made from it.
        writes: Whether a manifest can be turned into it.
    """

    name: str
    about: str
    reads: bool
    writes: bool


def formats() -> list[Format]:
    """Return the formats, sorted by name."""
    found = [Format(name, about, bool(r), bool(w)) for name, (_, r, w, about) in _FORMATS.items()]
    return sorted(
        [*found, *(Format(name, about, True, False) for name, about in _LISTED.items())], key=lambda f: f.name
    )


def to_manifest(source: str | Path, target: str | Path, fmt: str) -> tuple[int, list[Note]]:
    """Write a manifest of `source`, which has the format `fmt`; return the number of its pictures, and what is missing.

    Pictures stay where they are, apart from those inside of shards and saved data sets: these are written below the
    manifest's folder, as are masks that are no files.

    Raises:
        InputError: The source is not of that format.
        UnknownNameError: There is no such format.
    """
    source, target = Path(source), Path(target)
    if not source.exists():
        raise InputError(f"'{source}': expected a file or folder of the format {fmt}, found nothing")
    folder, notes = target.parent, list[Note]()
    if fmt == "folder":
        entries, notes = from_folder(source)
        return write(target, (moved(e, source, folder) for e in entries)), notes
    if fmt == "csv":
        return write(target, (moved(e, source.parent, folder) for e in from_csv(source))), notes
    reader: Callable[[Path, Path], Iterator[Entry]] = _function(fmt, 1)
    return write(target, reader(source, folder)), notes


def from_manifest(source: str | Path, target: str | Path, fmt: str) -> int:
    """Write the pictures of a manifest to `target` in the format `fmt`; return their number.

    Raises:
        InputError: The manifest holds what the format cannot say.
        UnknownNameError: There is no such format.
    """
    writer: Callable[[Manifest, Path], int] = _function(fmt, 2)
    return writer(Manifest(source), Path(target))


def _function(fmt: str, place: int) -> Any:
    able = {name: row for name, row in _FORMATS.items() if row[place]}
    if fmt not in able:
        raise unknown_name("format", fmt, [*able, *(_LISTED if place == 1 else ())])
    return getattr(importlib.import_module(f"{_HERE}.{able[fmt][0]}"), str(able[fmt][place]))
