"""Data sets of the library `datasets`, which is optional."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tamperscope.data import masks
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import InputError
from tamperscope.files import write_atomic
from tamperscope.media.sniff import sniff

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif"}
_TEXTS = ("split", "domain", "group")


def _library() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise InputError("expected the library `datasets`, found none; install it: pip install datasets") from error


def write_saved(manifest: Manifest, path: Path) -> int:
    """Save a manifest as a data set with the columns image, mask, label, name, split, domain and group.

    Pictures go in byte for byte; an unknown label is -1.

    Raises:
        InputError: The library is missing, or a file cannot be read.
    """
    library = _library()
    texts = {name: library.Value("string") for name in ("name", *_TEXTS)}
    columns = {"image": library.Image(), "mask": library.Image(), "label": library.Value("int64"), **texts}

    def rows() -> Iterator[dict[str, Any]]:
        for entry in manifest:
            yield _row(manifest, entry)

    saved = library.Dataset.from_generator(rows, features=library.Features(columns))
    saved.save_to_disk(str(path))
    return len(saved)


def _row(manifest: Manifest, entry: Entry) -> dict[str, Any]:
    try:
        data = manifest.locate(entry.image).read_bytes()
    except OSError as error:
        raise InputError(f"'{entry.image}': cannot be read: {error.strerror or error}") from error
    mask = None
    if entry.mask is not None:
        mask = {"bytes": masks.png(masks.read(manifest.locate(entry.mask))), "path": None}
    own = {"image": {"bytes": data, "path": None}, "mask": mask, "label": -1 if entry.label is None else entry.label}
    return own | {"name": entry.image} | {name: getattr(entry, name) or "" for name in _TEXTS}


def read_saved(path: Path, folder: Path) -> Iterator[Entry]:
    """Yield the pictures of a data set that was saved to disk, after writing them below `folder`.

    Raises:
        InputError: The library is missing, or it finds no data set with a column `image` there.
    """
    library = _library()
    try:
        loaded = library.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}': expected a data set saved by `datasets`: {error}") from error
    parts = loaded.items() if isinstance(loaded, dict) else [("", loaded)]
    for split, part in parts:
        yield from from_dataset(part, folder, str(split), path.name)


def from_dataset(dataset: Any, folder: Path, split: str = "", name: str = "dataset") -> Iterator[Entry]:
    """Yield the pictures of a loaded data set, after writing them below `folder`.

    Args:
        dataset: Has the column `image`, and may have mask, label, name, split, domain and group.
        folder: Of the manifest.
        split: Where the data set has no such column.
        name: Of the folders below `images` and `masks` that are written to.

    Raises:
        InputError: It has no column `image`, or a picture's bytes are of no known type.
    """
    library = _library()
    names = set(dataset.column_names)
    if "image" not in names:
        raise InputError(f"data set: expected a column 'image', found {', '.join(sorted(names)) or 'none'}")
    for column in ("image", "mask"):
        if column in names:
            # The bytes as stored: decoding and encoding again would change the traces that matter.
            dataset = dataset.cast_column(column, library.Image(decode=False))
    for number, row in enumerate(dataset):
        base = f"{name}/{split}-{number:06d}" if split else f"{name}/{number:06d}"
        fields = {text: row[text] for text in ("name", *_TEXTS) if row.get(text)}
        image = _store(row["image"], folder, f"images/{base}")
        mask = _store(row["mask"], folder, f"masks/{base}") if row.get("mask") is not None else None
        label = row.get("label")
        yield Entry(image=image, mask=mask, label=label if label in (0, 1) else None, **{"split": split, **fields})


def _store(cell: Any, folder: Path, name: str) -> str:
    """Write the bytes of a cell under `name` with the suffix of their type; return the path."""
    data = cell.get("bytes")
    if data is None:
        data = Path(cell["path"]).read_bytes()
    kind = sniff(data)
    if kind not in _SUFFIXES:
        raise InputError(f"{name}: expected a picture ({', '.join(_SUFFIXES)}), found {kind or 'something else'}")
    write_atomic(folder / f"{name}{_SUFFIXES[kind]}", data)
    return f"{name}{_SUFFIXES[kind]}"
