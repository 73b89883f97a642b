"""Pictures that a manifest holds twice: the same bytes, or the same view in other bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tamperscope.data.doctor import hashing
from tamperscope.data.doctor.records import Record
from tamperscope.data.doctor.schema import KEPT_EXAMPLES

MIN_CORRELATION = 0.97
MAX_PAIRS = 1_000_000
_BATCH = 4096
Kind = Literal["labels", "splits", "within"]


@dataclass(slots=True)
class Pairs:
    """Pairs of one kind: how many, and the first ones.

    Attributes:
        count: All that were found.
        kept: (first, second, correlation) of the first `KEPT_EXAMPLES`, by index of the record.
    """

    count: int = 0
    kept: list[tuple[int, int, float]] = field(default_factory=list)

    def add(self, first: int, second: int, correlation: float) -> None:
        """Count a pair and keep it while there is room."""
        self.count += 1
        if len(self.kept) < KEPT_EXAMPLES:
            self.kept.append((first, second, correlation))


def kinds_of(first: Record, second: Record) -> list[Kind]:
    """Return what is bad about a pair: its labels contradict, it lies across splits; else `within`."""
    kinds: list[Kind] = []
    if {first.entry.label, second.entry.label} == {0, 1}:
        kinds.append("labels")
    if first.entry.split != second.entry.split:
        kinds.append("splits")
    return kinds or ["within"]


def exact(records: Sequence[Record]) -> dict[Kind, Pairs]:
    """Return the pictures with the bytes of an earlier one, each paired with the worst match before it."""
    found: dict[Kind, Pairs] = defaultdict(Pairs)
    # One record for every split and label is enough to tell the worst that a copy does.
    seen: dict[str, dict[tuple[str, int | None], int]] = defaultdict(dict)
    for index, record in enumerate(records):
        if not record.sha256:
            continue
        earlier = seen[record.sha256]
        if earlier:
            matches = {k: other for other in reversed(earlier.values()) for k in kinds_of(records[other], record)}
            kind = min(matches, key=("labels", "splits", "within").index)
            found[kind].add(matches[kind], index, 1.0)
        earlier.setdefault((record.entry.split, record.entry.label), index)
    return dict(found)


def near(records: Sequence[Record]) -> tuple[dict[Kind, Pairs], bool]:
    """Return pairs of different files that show the same view, and whether the search was cut short.

    A pair of one group in one split is expected (a forgery and its original, frames of a video) and left out; of
    pictures with the same bytes only the first takes part.
    """
    chosen = _representatives(records)
    found: dict[Kind, Pairs] = defaultdict(Pairs)
    total = 0
    for i, j, values in _confirmed([records[k] for k in chosen]):
        for first, second, value in zip(i, j, values, strict=True):
            a, b = chosen[int(first)], chosen[int(second)]
            # A forgery beside its original is no contradiction: that it lies in another split is what counts.
            found[kinds_of(records[a], records[b])[-1]].add(a, b, float(value))
        total += len(i)
        if total > MAX_PAIRS:
            return dict(found), True
    return dict(found), False


def _representatives(records: Sequence[Record]) -> list[int]:
    first: dict[str, int] = {}
    for index, record in enumerate(records):
        if record.thumb is not None and not hashing.is_flat(record.thumb):
            first.setdefault(record.sha256, index)
    return list(first.values())


def _confirmed(records: list[Record]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]:
    """Yield the pairs near in hash, apart in group or split, and alike in their thumbnails; with the correlation."""
    if len(records) < 2:
        return
    hashes = np.array([r.hash for r in records], np.uint64)
    thumbs = np.stack([r.thumb for r in records if r.thumb is not None]).reshape(len(records), -1)
    groups = _codes([r.entry.source_group for r in records])
    splits = _codes([r.entry.split for r in records])
    for i, j in hashing.near(hashes):
        apart = (groups[i] != groups[j]) | (splits[i] != splits[j])
        i, j = i[apart], j[apart]
        for at in range(0, len(i), _BATCH):
            a, b = i[at : at + _BATCH], j[at : at + _BATCH]
            values = hashing.correlation(thumbs[a], thumbs[b])
            alike = values >= MIN_CORRELATION
            yield a[alike], b[alike], values[alike]


def _codes(names: list[str]) -> NDArray[np.intp]:
    return np.unique(np.asarray(names), return_inverse=True)[1]
