"""A-contrario tests: the number of false alarms (NFA) of a count under a binomial background model.

Source: Desolneux, Moisan, Morel, "From Gestalt Theory to Image Analysis", 2008, chapters 3 and 5.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

_LN10 = math.log(10.0)


def log10_binomial_tail(n: int, k: int, p: float) -> float:
    """Return log10 P[Bin(n, p) >= k], exact in double precision and finite far below 1e-308.

    Args:
        n: Number of trials, >= 0.
        k: Successes, clipped to [0, n + 1].
        p: Probability of a success, in (0, 1).
    """
    if k <= 0:
        return 0.0
    if k > n:
        return -math.inf
    tail = float(special.betainc(k, n - k + 1, p))
    if tail > 1e-280:
        return math.log10(tail)
    # Below the range of doubles: the first term times a series whose ratio falls with every step.
    choose = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    first = float(choose) + k * math.log(p) + (n - k) * math.log1p(-p)
    steps = np.arange(k, min(n, k + 4096))
    ratios = (n - steps) / (steps + 1.0) * (p / (1.0 - p))
    series = 1.0 + float(np.cumprod(ratios).sum())
    return (first + math.log(series)) / _LN10


def log10_nfa(log10_tests: float, n: int, k: int, p: float) -> float:
    """Return log10 of the number of false alarms: tests times binomial tail; below 0 is a detection.

    An event with NFA = e is expected e times by chance in one picture under the background model.
    """
    return log10_tests + log10_binomial_tail(n, k, p)
