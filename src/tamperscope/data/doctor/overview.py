"""What a manifest holds: class balance, mask areas, sizes and types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from tamperscope.data.doctor.records import Record
from tamperscope.data.doctor.schema import Balance, Bar, printable

_AREA_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
_MEGAPIXEL_EDGES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, np.inf)
_FREQUENT = 10


def balance(records: Iterable[Record]) -> list[Balance]:
    """Return the number of pictures of each label by split and domain, sorted."""
    counts = Counter((r.entry.split, r.entry.domain, r.entry.label) for r in records)
    rows = sorted({(split, domain) for split, domain, _ in counts})
    return [
        Balance(
            split=printable(split),
            domain=printable(domain),
            pristine=counts[split, domain, 0],
            forged=counts[split, domain, 1],
            unknown=sum(n for (s, d, label), n in counts.items() if (s, d) == (split, domain) and label not in (0, 1)),
        )
        for split, domain in rows
    ]


def mask_areas(records: Iterable[Record]) -> list[Bar]:
    """Return the histogram of the forged share of the masks of forged pictures."""
    values = [r.mask.forged for r in records if r.mask is not None and r.entry.label == 1]
    names = [f"{low:.0%}–{high:.0%}" for low, high in pairwise(_AREA_EDGES)]
    return _histogram(values, _AREA_EDGES, names)


def megapixels(records: Iterable[Record]) -> list[Bar]:
    """Return the histogram of the pictures' sizes."""
    values = [r.size[0] * r.size[1] / 1e6 for r in records if not r.fault]
    names = [f"{low:g}–{high:g}" for low, high in pairwise(_MEGAPIXEL_EDGES)]
    names[-1] = f"{_MEGAPIXEL_EDGES[-2]:g} and more"
    return _histogram(values, _MEGAPIXEL_EDGES, names)


def _histogram(values: Sequence[float], edges: Sequence[float], names: Sequence[str]) -> list[Bar]:
    """Return the bars between edges, lower ends included; the last bar has its upper end too. None without values."""
    if not values:
        return []
    counts, _ = np.histogram(values, edges)
    return [Bar(label=name, count=int(count)) for name, count in zip(names, counts, strict=True)]


def sizes(records: Iterable[Record]) -> list[Bar]:
    """Return the most frequent sizes, the most frequent first."""
    return _most(f"{r.size[1]} × {r.size[0]}" for r in records if not r.fault)


def file_types(records: Iterable[Record]) -> list[Bar]:
    """Return the types by content, the most frequent first."""
    return _most(r.file_type for r in records if not r.fault)


def _most(names: Iterable[str]) -> list[Bar]:
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return [Bar(label=name, count=count) for name, count in counts[:_FREQUENT]]
