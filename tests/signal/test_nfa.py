"""The binomial tail against SciPy and exact fractions, also far below the range of doubles."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tamperscope.signal.nfa import log10_binomial_tail, log10_nfa


def exact(n: int, k: int, p: Fraction) -> float:
    tail = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    return float(math.log10(tail.numerator) - math.log10(tail.denominator))


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([1 / 64, 0.1, 0.5, 0.9]))
def test_equals_scipy_where_scipy_has_digits(n: int, k: int, p: float) -> None:
    reference = stats.binom.sf(k - 1, n, p)
    if reference > 1e-200:
        assert log10_binomial_tail(n, k, p) == pytest.approx(math.log10(reference), abs=1e-8)


@pytest.mark.parametrize(("n", "k"), [(300, 290), (500, 400), (700, 700), (1000, 640)])
def test_is_exact_far_below_doubles(n: int, k: int) -> None:
    assert log10_binomial_tail(n, k, 1 / 64) == pytest.approx(exact(n, k, Fraction(1, 64)), rel=1e-9)


@given(st.integers(1, 3000))
def test_falls_with_k_and_has_its_ends(n: int) -> None:
    values = [log10_binomial_tail(n, k, 1 / 64) for k in range(0, n + 2, max(1, n // 20))]
    assert values[0] == 0.0
    assert all(np.diff(values) <= 1e-12)
    assert log10_binomial_tail(n, n + 1, 1 / 64) == -math.inf


def test_nfa_adds_the_tests() -> None:
    assert log10_nfa(3.0, 100, 20, 0.1) == pytest.approx(3.0 + log10_binomial_tail(100, 20, 0.1))
