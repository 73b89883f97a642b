"""Rates and counts by key."""

from __future__ import annotations

import pytest

from tamperscope.serve.keys import ANYONE, Limiter, asks
from tamperscope.serve.problems import Problem
from tamperscope.serve.settings import Key, Settings, hashed


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_tokens_come_back_with_time() -> None:
    clock = Clock()
    limiter = Limiter(Settings(per_minute=3, at_once=100), clock)
    for _ in range(3):
        limiter.enter(ANYONE)
    with pytest.raises(Problem) as refused:
        limiter.enter(ANYONE)
    assert refused.value.status == 429
    assert refused.value.retry == 20
    clock.now += 19.9
    with pytest.raises(Problem):
        limiter.enter(ANYONE)
    clock.now += 0.2
    limiter.enter(ANYONE)
    clock.now += 1e6
    for _ in range(3):
        limiter.enter(ANYONE)
    with pytest.raises(Problem, match="3 scans a minute"):
        limiter.enter(ANYONE)


def test_unfinished_scans_are_counted_by_key() -> None:
    small = Key(name="small", sha256=hashed("s"), at_once=1)
    limiter = Limiter(Settings(per_minute=6000, at_once=2))
    limiter.enter(small)
    with pytest.raises(Problem, match="at most 1 unfinished"):
        limiter.enter(small)
    limiter.enter(ANYONE)
    limiter.enter(ANYONE)
    with pytest.raises(Problem, match="at most 2 unfinished"):
        limiter.enter(ANYONE)
    limiter.leave("small")
    limiter.enter(small)


@pytest.mark.parametrize("given", [("Bearer right", ""), ("bearer  right ", ""), ("", "right"), ("Basic x", "right")])
def test_a_known_key_is_known(given: tuple[str, str]) -> None:
    known = Key(name="a", sha256=hashed("right"))
    settings = Settings(keys=(Key(name="b", sha256=hashed("other")), known))
    assert asks(settings, *given) is known


@pytest.mark.parametrize(
    "given", [("", ""), ("Bearer", ""), ("Bearer wrong", ""), ("Bearer wrong", "right"), ("right", "")]
)
def test_others_are_not(given: tuple[str, str]) -> None:
    with pytest.raises(Problem, match="known key"):
        asks(Settings(keys=(Key(name="a", sha256=hashed("right")),)), *given)


def test_the_hash_of_nothing_opens_nothing() -> None:
    with pytest.raises(Problem):
        asks(Settings(keys=(Key(name="a", sha256=hashed("")),)), "", "")
