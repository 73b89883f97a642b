"""Pictures and encoders that every test may use; nothing here touches the network."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
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


def _upscaler(
    folder: Path,
    name: str = "nearest",
    factor: int = 2,
    padded: bool = True,
    blur: float = 0.0,
    channels: int = 3,
) -> Path:
    """Write an upscaler for ncnn that repeats each pixel, less a share `blur` of it for its right neighbour's."""
    maps = channels * factor**2
    weights = np.zeros((maps, channels, 3, 3), np.float32)
    for out in range(maps):
        weights[out, out // factor**2, 1, 1:] = 1 - blur, blur
    param = folder / f"{name}.param"
    param.write_text(
        "7767517\n3 3\nInput data 0 1 data\n"
        f"Convolution c 1 1 data c 0={maps} 1=3 4={int(padded)} 5=1 6={weights.size}\n"
        f"PixelShuffle p 1 1 c out 0={factor}\n"
    )
    # A tag of 0 says that 32-bit floats follow.
    param.with_suffix(".bin").write_bytes(bytes(4) + weights.tobytes() + np.zeros(maps, np.float32).tobytes())
    return param


@pytest.fixture
def write_upscaler(tmp_path: Path) -> Callable[..., Path]:
    """Write a learned upscaler for ncnn: `write_upscaler(name=…, factor=…, padded=…, blur=…, channels=…)`."""
    folder = tmp_path / "upscalers"
    folder.mkdir()
    return partial(_upscaler, folder)


@pytest.fixture(scope="session")
def session_upscaler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one that repeats each pixel twice each way."""
    return _upscaler(tmp_path_factory.mktemp("upscaler"))
