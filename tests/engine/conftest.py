"""One thread, so that runs can be compared bit for bit; a set of pictures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import make_set


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("judged"), 8, "val", seed=1)
