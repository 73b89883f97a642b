"""JSON lists of IMDL-BenCo and ForensicHub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tamperscope.data.manifest import Entry, Manifest, relative
from tamperscope.errors import InputError
from tamperscope.files import write_atomic

NEGATIVE = "Negative"


def read_list(path: Path, folder: Path) -> Iterator[Entry]:
    """Yield the pictures of a list of pairs or of objects; its paths are absolute or relative to the list.

    Args:
        path: A JSON array of `[picture, mask]`, where "Negative" in place of a mask means pristine, or of
            `{"path", "mask", "label"}`, where mask or label may be missing.
        folder: Where the manifest will be; paths become relative to it.

    Raises:
        InputError: The file is no such list; the message names the row.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"'{path}': expected a JSON list: {error}") from error
    if not isinstance(rows, list):
        raise InputError(f"'{path}': expected a JSON list, found {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        fields = _fields(row)
        if fields is None:
            raise InputError(
                f"'{path}', row {number}: expected [picture, mask] or {{path, mask, label}}, found {str(row)[:80]}"
            )
        image, mask, label = fields
        located = None if mask is None else relative(path.parent / mask, folder)
        yield Entry(image=relative(path.parent / image, folder), mask=located, label=label)


def _fields(row: Any) -> tuple[str, str | None, int | None] | None:
    """Return picture, mask and label of a row, None where it is no such row."""
    if isinstance(row, list) and len(row) == 2:
        row = {"path": row[0], "mask": row[1]}
    if not isinstance(row, dict):
        return None
    image, mask, label = row.get("path"), row.get("mask"), row.get("label")
    if not isinstance(image, str) or not image or not isinstance(mask, str | None) or label not in (None, 0, 1):
        return None
    if mask == NEGATIVE:
        return (image, None, 0) if label in (None, 0) else None
    known = None if label is None else int(label)
    return image, mask or None, 1 if mask and known is None else known


def write_benco(manifest: Manifest, path: Path) -> int:
    """Write `[picture, mask or "Negative"]` pairs with absolute paths, as IMDL-BenCo opens them; return their number.

    Raises:
        InputError: A picture is forged or unlabelled and has no mask, which the list cannot say.
    """
    return _write(path, ([str(_absolute(manifest, e.image)), _mask(manifest, e, needed=True)] for e in manifest))


def write_forensichub(manifest: Manifest, path: Path) -> int:
    """Write `{"path", "mask", "label"}` objects with absolute paths; forged ones without a mask have none.

    Raises:
        InputError: A picture has neither label nor mask.
    """
    return _write(path, (_object(manifest, entry) for entry in manifest))


def _object(manifest: Manifest, entry: Entry) -> dict[str, Any]:
    mask = _mask(manifest, entry, needed=entry.label is None)
    row: dict[str, Any] = {"path": str(_absolute(manifest, entry.image))}
    return row | ({"mask": mask} if mask else {}) | {"label": 0 if mask == NEGATIVE else 1}


def _mask(manifest: Manifest, entry: Entry, needed: bool) -> str | None:
    if entry.label == 0:
        return NEGATIVE
    if entry.mask is None:
        if needed:
            raise InputError(f"'{entry.image}': expected a mask or the label 0, which the list needs; found neither")
        return None
    return str(_absolute(manifest, entry.mask))


def _absolute(manifest: Manifest, name: str) -> Path:
    return manifest.locate(name).resolve()


def _write(path: Path, rows: Iterable[Any]) -> int:
    found = list(rows)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in found)
    write_atomic(path, f"[\n{lines}\n]\n".encode())
    return len(found)
