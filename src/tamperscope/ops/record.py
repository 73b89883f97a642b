"""What an operation on a sample is, and how it leaves its mark in `meta["ops"]`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from tamperscope.types import Sample

Op: TypeAlias = Callable[[Sample, np.random.Generator], Sample]


def record(before: Sample, after: Sample, op: str, **values: Any) -> Sample:
    """Return `after` with one more entry in `meta["ops"]`: the operation's name and the values that it used.

    What only the old file had, its preview, its format and its quality, is dropped.

    Args:
        before: The sample that the operation was given.
        after: The same with the operation's pixels, mask, label, coefficients and other facts.
        op: Name of the operation.
        values: What was drawn or set, JSON-ready.
    """
    kept = {key: value for key, value in after.meta.items() if key not in ("format", "quality_by_tables")}
    return replace(after, thumbnail=None, meta={**kept, "ops": [*before.meta.get("ops", ()), {"op": op, **values}]})
