"""Attacks with any settings, for hypothesis to draw."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tamperscope.ops import attack
from tamperscope.ops.params import Parameter


def settings_of(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Every form that a setting of this parameter may take."""
    if parameter.range is None:
        one: st.SearchStrategy[Any] = st.sampled_from(parameter.options)
        return one | st.lists(one, min_size=2, max_size=3)
    low, high = parameter.range.low, parameter.range.high
    if parameter.kind is float:
        one = st.floats(max(low, -250), min(high, 3))
    else:
        one = st.integers(int(low), int(min(high, 2**32 - 1)))
        if parameter.range.odd:
            one = st.integers(0, 5).map(lambda k: 2 * k + 1)
    ranges = st.tuples(one, one).map(lambda pair: tuple(sorted(pair)))
    return one | ranges | st.lists(one, min_size=2, max_size=3)


def attacks(names: list[str]) -> st.SearchStrategy[attack.Attack]:
    def build(name: str) -> st.SearchStrategy[attack.Attack]:
        optional = {key: settings_of(p) for key, p in attack.parameters(name).items()}
        return st.fixed_dictionaries({}, optional=optional).map(lambda found: attack.Attack(name, found))

    return st.sampled_from(names).flatmap(build)
