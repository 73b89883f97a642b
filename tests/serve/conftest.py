"""A service in this process, with one worker that is shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tamperscope.media.recompress import encode_jpeg
from tamperscope.serve.app import create
from tamperscope.serve.settings import Key, Settings, hashed

QUICK = {"detectors": "ela"}
ALICE, BOB = "alice's key", "bob's key"
KEYS = (Key(name="alice", sha256=hashed(ALICE)), Key(name="bob", sha256=hashed(BOB)))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def picture(seed: int = 0, side: int = 64) -> bytes:
    """Return a JPEG of noise that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return encode_jpeg(noise, 80)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data=str(tmp_path_factory.mktemp("data")), workers=1, per_minute=6000, hosts=("testserver",))


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create(settings)) as found:
        yield found


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[TestClient]:
    """A service that needs keys."""
    with TestClient(create(Settings(data=str(tmp_path), workers=1, keys=KEYS, hosts=("testserver",)))) as found:
        yield found
