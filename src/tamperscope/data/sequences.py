"""Sequences of edits: what a picture's record says was done to it, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InputError
from tamperscope.ops.forge.faces.part import LENGTH, Part


def edits(fields: Mapping[str, Any], label: int | None) -> list[str] | None:
    """Return the names of the edits of a picture, first one first; None where they are not known.

    The field `sequence` lists them, as that of a prepared Seq-DeepFake; without it they are the parts of faces in
    `ops`, which `tamperscope forge` writes. A pristine picture has none.

    Args:
        fields: Of a manifest's entry, or `Sample.meta`.
        label: 0 pristine, 1 forged, None unknown.
    """
    if label == 0:
        return []
    listed = fields.get("sequence")
    if isinstance(listed, list):
        return [str(name) for name in listed]
    return [str(entry["part"]) for entry in fields.get("ops", ()) if entry.get("op") == Part.name] or None


def numbered(fields: Mapping[str, Any], label: int | None, names: Sequence[str], picture: str) -> NDArray[np.int64]:
    """Return the sequence of a picture as numbers, (5,): places in `names` from 1, then 0.

    Args:
        fields: See `edits`.
        label: See `edits`.
        names: Of the edits.
        picture: Its name, for errors.

    Raises:
        InputError: The edits are not known, are more than five, or one has no number.
    """
    found = edits(fields, label)
    if found is None:
        raise InputError(f"'{picture}': expected the edits in their order, `sequence` or parts in `ops`, found none")
    if len(found) > LENGTH or not set(found) <= set(names):
        raise InputError(
            f"'{picture}': expected up to {LENGTH} of the edits {', '.join(names)}, found {', '.join(found)}"
        )
    return np.array([names.index(name) + 1 for name in found] + [0] * (LENGTH - len(found)), np.int64)
