"""Intervals of means by picture or by group, of shares, and of paired differences between two detectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError

Statistic = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic with its bootstrap interval.

    Attributes:
        value: On all samples.
        low: Lower end.
        high: Upper end.
        n: Samples behind it.
        undefined: Samples left out because their value is nan.
    """

    value: float
    low: float
    high: float
    n: int
    undefined: int = 0

    def __str__(self) -> str:
        """Return the value with its interval, or a dash."""
        return "–" if self.n == 0 else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean(rows: NDArray[np.float64]) -> float:
    """Return the mean."""
    return float(rows.mean())


def share(count: int, total: int) -> Interval:
    """Return the share of `count` in `total` with its 95 % interval.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (158), 1927.
    """
    if total == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    z = 1.959964
    found, scale = count / total, 1 + z * z / total
    centre = (found + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(found * (1 - found) / total + z * z / (4 * total * total))
    # At 0 and 1 an end is the share itself, but for rounding.
    return Interval(found, min(found, max(0.0, centre - half)), max(found, min(1.0, centre + half)), total)


def bootstrap(
    values: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    statistic: Statistic = mean,
    seed: int = 0,
    rounds: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Return a statistic of `values` with a percentile bootstrap interval.

    Args:
        values: One value or row a sample; nan values are left out and counted.
        groups: One name a sample; whole groups are drawn, so that samples of one source stay together.
        statistic: Maps the drawn rows to a number.
        seed: Of the draws.
        rounds: Number of draws.
        level: Coverage.
    """
    rows = np.asarray(values, dtype=np.float64)
    kept, names = _defined(rows, groups)
    undefined = len(rows) - len(kept)
    if len(kept) == 0:
        return Interval(math.nan, math.nan, math.nan, 0, undefined)
    draws = _means(kept, names, seed, rounds) if statistic is mean else _draws(kept, names, statistic, seed, rounds)
    low, high = _ends(draws, level)
    return Interval(statistic(kept), low, high, len(kept), undefined)


def _defined(rows: NDArray[np.float64], groups: Sequence[str] | None) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the rows without nan, and the number of each one's group; numbers follow the order of the names."""
    if groups is not None and len(groups) != len(rows):
        raise InvalidValueError(f"expected one group a sample, found {len(groups)} for {len(rows)}")
    keep = ~np.isnan(rows) if rows.ndim == 1 else ~np.isnan(rows).any(axis=1)
    kept = rows[keep]
    if groups is None:
        return kept, np.arange(len(kept))
    return kept, np.unique(np.asarray(groups)[keep], return_inverse=True)[1]


def _draws(
    rows: NDArray[np.float64], member: NDArray[np.intp], statistic: Statistic, seed: int, rounds: int
) -> NDArray[np.float64]:
    pools = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    rng, count = np.random.default_rng(seed), len(pools)
    chosen = (rng.integers(0, count, count) for _ in range(rounds))
    return np.array([statistic(rows[np.concatenate([pools[i] for i in drawn])]) for drawn in chosen])


def _means(rows: NDArray[np.float64], member: NDArray[np.intp], seed: int, rounds: int) -> NDArray[np.float64]:
    """Return the mean of each draw, from the sums of the groups: the draws of `_draws`, faster."""
    totals, sizes = np.bincount(member, rows), np.bincount(member).astype(np.float64)
    rng, count = np.random.default_rng(seed), len(totals)
    chosen = (rng.integers(0, count, count) for _ in range(rounds))
    return np.array([totals[drawn].sum() / sizes[drawn].sum() for drawn in chosen])


def _ends(draws: NDArray[np.float64], level: float) -> tuple[float, float]:
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return math.nan, math.nan
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one detector is better than another on the same samples.

    Attributes:
        value: Statistic of the first minus that of the second.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided bootstrap p-value: twice the share of draws on the other side of 0, at least 1 / draws.
        n: Samples that both have.
    """

    value: float
    low: float
    high: float
    p: float
    n: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired(
    first: Sequence[float] | NDArray[np.float64],
    second: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    statistic: Statistic = mean,
    seed: int = 0,
    rounds: int = 1000,
    level: float = 0.95,
) -> Difference:
    """Return the difference of a statistic between two detectors, with an interval over draws of the same samples.

    Args:
        first: One value or row a sample.
        second: The same samples, in the same order; a sample that is nan in either is left out.
        groups: One name a sample; whole groups are drawn.
        statistic: Maps drawn rows to a number.
        seed: Of the draws.
        rounds: Number of draws.
        level: Coverage.

    Raises:
        InvalidValueError: They are not of one shape.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape:
        raise InvalidValueError(f"both detectors must have the same samples, found shapes {a.shape} and {b.shape}")
    rows, names = _defined(np.column_stack([a, b]), groups)
    if len(rows) == 0:
        return Difference(math.nan, math.nan, math.nan, math.nan, 0)

    def gain(both: NDArray[np.float64]) -> float:
        if a.ndim == 1:
            return statistic(both[:, 0]) - statistic(both[:, 1])
        return statistic(both[:, : a.shape[1]]) - statistic(both[:, a.shape[1] :])

    draws = _draws(rows, names, gain, seed, rounds)
    low, high = _ends(draws, level)
    seen = draws[~np.isnan(draws)]
    p = 2 * min(np.mean(seen <= 0), np.mean(seen >= 0)) if len(seen) else math.nan
    return Difference(gain(rows), low, high, float(np.clip(p, 1 / max(1, len(seen)), 1.0)), len(rows))
