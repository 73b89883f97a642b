"""Metrics of ordered answers: sequences of manipulations, and ranked retrievals."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from tamperscope.errors import InvalidValueError

Steps = Sequence[Hashable]


def fixed_accuracy(called: Steps, truth: Steps, slots: int = 5) -> float:
    """Return the share of `slots` places at which both sequences agree; both are padded with "nothing".

    Source: Shao et al., ECCV 2022 (Seq-DeepFake, Fixed-Acc): that padding agrees with padding counts.

    Raises:
        InvalidValueError: A sequence is longer than `slots`.
    """
    if max(len(called), len(truth)) > slots:
        raise InvalidValueError(f"expected at most {slots} steps, found {len(called)} and {len(truth)}")
    return _agreeing(called, truth, slots) / slots


def adaptive_accuracy(called: Steps, truth: Steps) -> float:
    """Return the share of agreeing places over the longer sequence; nan when both are empty (Adaptive-Acc, ibid.)."""
    slots = max(len(called), len(truth))
    return _agreeing(called, truth, slots) / slots if slots else math.nan


def _agreeing(called: Steps, truth: Steps, slots: int) -> int:
    pairs = zip(_padded(called, slots), _padded(truth, slots), strict=True)
    return sum(a == b for a, b in pairs)


def _padded(steps: Steps, slots: int) -> list[Hashable]:
    return [*steps, *[None] * (slots - len(steps))]


def recall_at(ranked: Steps, relevant: Steps, k: int) -> float:
    """Return the share of the relevant items among the first k; nan when nothing is relevant."""
    wanted = set(relevant)
    return len(wanted & set(ranked[:k])) / len(wanted) if wanted else math.nan


def hit_at(ranked: Steps, relevant: Steps, k: int) -> float:
    """Return 1 when a relevant item is among the first k, else 0: the recall@k of instance retrieval; nan likewise."""
    return float(bool(set(relevant) & set(ranked[:k]))) if relevant else math.nan


def average_precision(ranked: Steps, relevant: Steps) -> float:
    """Return the mean precision at the places of the relevant items, those not found counting 0; nan likewise."""
    wanted = set(relevant)
    if not wanted:
        return math.nan
    hits, total = 0, 0.0
    for place, item in enumerate(ranked, 1):
        if item in wanted:
            wanted.remove(item)
            hits += 1
            total += hits / place
    return total / (hits + len(wanted))
