"""Can the label be told from the file format alone? A detector that learns this learns nothing of tampering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.data.doctor import classifier, formats
from tamperscope.data.doctor.records import Record
from tamperscope.data.doctor.schema import Leak, printable

MIN_GROUPS = 10
MAX_PICTURES = 20_000
_ROUNDS = 200
_TELLING = 3


def measure(records: Sequence[Record], seed: int = 0) -> list[Leak]:
    """Return how well all format families together, then each alone, tell forged from pristine.

    Pictures of unknown label take no part; of more than `MAX_PICTURES` a random part does. A family that only some
    files have, such as quantization tables, is judged on those.
    """
    known = [r for r in records if r.features is not None and r.entry.label in (0, 1)]
    if len(known) > MAX_PICTURES:
        drawn = np.random.default_rng(seed).choice(len(known), MAX_PICTURES, replace=False)
        known = [known[i] for i in np.sort(drawn)]
    everything = _judge("all", "everything together", known, list(formats.FAMILIES), seed)
    return [everything, *(_judge(name, title, known, [name], seed) for name, title in formats.FAMILIES.items())]


def _judge(family: str, title: str, known: Sequence[Record], families: list[str], seed: int) -> Leak:
    having = [r for r in known if r.features and any(name in r.features for name in families)]
    truth = np.array([r.entry.label == 1 for r in having], bool)
    groups = [r.entry.source_group for r in having]
    silent = Leak(family=family, title=title, pictures=len(having), forged=int(truth.sum()))
    sources = [len({g for g, t in zip(groups, truth, strict=True) if t == c}) for c in (False, True)]
    if min(sources) < MIN_GROUPS:
        return silent
    features, names = formats.matrix([r.features or {} for r in having], families)
    auc, low, high = _area(classifier.out_of_fold(features, truth, groups, seed), truth, groups, seed)
    told = {"auc": auc, "low": low, "high": high, "telling": _telling(features, names, truth)}
    return silent.model_copy(update=told)


def _area(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], groups: list[str], seed: int
) -> tuple[float | None, float | None, float | None]:
    """Return the ROC area of scores and its 95 % interval over draws of whole groups; None for what is undefined."""
    from tamperscope.metrics.intervals import bootstrap
    from tamperscope.metrics.ranking import auc

    def area(rows: NDArray[Any]) -> float:
        return auc(rows[:, 0], rows[:, 1] > 0.5)

    found = bootstrap(np.column_stack([scores, truth]), groups, area, seed, _ROUNDS)
    value, low, high = (None if np.isnan(v) else float(v) for v in (found.value, found.low, found.high))
    return value, low, high


def _telling(features: NDArray[np.float64], names: list[str], truth: NDArray[np.bool_]) -> list[str]:
    """Return in words the columns whose rates differ most between the classes."""
    if not names:
        return []
    forged, pristine = features[truth].mean(axis=0), features[~truth].mean(axis=0)
    gaps = np.abs(forged - pristine)
    order = np.lexsort((np.arange(len(names)), -np.round(gaps, 12)))[:_TELLING]
    return [
        f"{printable(names[k])}: {forged[k]:.0%} of forged, {pristine[k]:.0%} of pristine"
        for k in order
        if gaps[k] >= 0.1
    ]
