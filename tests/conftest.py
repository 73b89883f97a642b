"""Pictures and encoders that every test may use; nothing here touches the network."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def photo() -> Callable[[str], np.ndarray]:
    """(H, W, 3) uint8 pixels of a bundled photograph: `astronaut`, `coffee` or `chelsea`."""

    def _read(name: str) -> np.ndarray:
        with Image.open(DATA / f"{name}.png") as picture:
            return np.asarray(picture.convert("RGB"))

    return _read


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode pixels with Pillow: `encode(rgb, "JPEG", quality=90)`."""

    def _encode(rgb: np.ndarray, fmt: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, fmt, **options)
        return buffer.getvalue()

    return _encode


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: on few cores more cost more than they give, and runs are compared bit for bit."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261125)
