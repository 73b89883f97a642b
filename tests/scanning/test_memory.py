"""Freed memory goes back to the system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tamperscope.scanning import memory


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_small_pictures_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "_trim", lambda: calls.append)
    memory.release(memory.LARGE - 1)
    assert calls == []
    memory.release(memory.LARGE)
    assert calls == [0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux is meant")
def test_what_small_arrays_held_is_given_back() -> None:
    if memory._trim() is None:
        pytest.skip("this C library has no malloc_trim")
    held = [np.ones(10_000, np.uint8) for _ in range(20_000)]
    last = np.ones(10_000, np.uint8)  # keeps the heap from shrinking by itself
    before = resident()
    del held
    memory.release(memory.LARGE)
    assert before - resident() > 100 * 2**20
    assert last.any()
