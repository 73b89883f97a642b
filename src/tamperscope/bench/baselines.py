"""The bar: subjects that look at nothing, or at the quantization table alone. A result must be clear of them."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tamperscope.metrics.suites.base import Row
from tamperscope.types import FloatArray, Prediction, Sample

RANDOM, CENTRE_BLOB, TABLE_LOOKUP = "random", "centre_blob", "table_lookup"
MAPS = (RANDOM, CENTRE_BLOB)
_SPREAD = 0.25  # of each side
_FOLDS = 5


def centre_blob(size: tuple[int, int]) -> FloatArray:
    """Return a Gaussian at the middle, a quarter of each side wide: (H, W) in [0, 1]; it looks at nothing."""
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5 for n in size)
    return np.asarray(np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * _SPREAD**2)), np.float32)


def predict(name: str, sample: Sample) -> Prediction:
    """Return what a baseline says: noise that the picture's id seeds, or the centre blob; both score at random."""
    rng = np.random.default_rng(zlib.crc32(sample.id.encode()))
    heat = rng.random(sample.size, dtype=np.float32) if name == RANDOM else centre_blob(sample.size)
    return Prediction(name, sample.size, float(rng.random()), heat)


def table_lookup(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with the share of forged pictures among those with the same quantization table as their score.

    The share is learnt on the other four fifths of the sources. A set on which this separates well says how its files
    were saved, not what was done to the pictures.

    Args:
        rows: Of any subject; `fields["table"]` names the table, or the absence of one.
    """

    def fold(row: Row) -> int:
        return zlib.crc32(row.group.encode()) % _FOLDS

    seen: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        if row.label is not None:
            for other in range(_FOLDS):
                if other != fold(row):
                    seen[(str(row.fields.get("table")), other)][row.label] += 1
    found = []
    for row in rows:
        pristine, forged = seen[(str(row.fields.get("table")), fold(row))]
        share = (forged + 0.5) / (pristine + forged + 1.0)
        found.append(replace(row, score=share, probability=share, values={}))
    return found
