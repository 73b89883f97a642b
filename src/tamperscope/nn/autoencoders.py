"""Auto-encoders as diffusion editors have them: TAEF2 from weights that the user gives, and a small one of our own.

A picture is encoded into few numbers and decoded again; what the decoder's up-sampling leaves behind is what every
picture of such an editor bears. Everything runs in 32-bit floats on one thread, so that the result of a picture depends
on neither the number of threads nor that of processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tamperscope import weights
from tamperscope.errors import InputError, InvalidValueError
from tamperscope.nn.restoring import restore
from tamperscope.types import FloatArray, UInt8Array

TILE = 512
"""Side of a tile without its margin, pixels; a multiple of every factor."""
_FILE = "autoencoder.safetensors"
TAEF2_FILES = ("taef2_encoder.safetensors", "taef2_decoder.safetensors")


class AutoEncoder(nn.Module):
    """An encoder and a decoder.

    Attributes:
        factor: By so much a picture is reduced.
        channels: Of the latent space.
        margin: Pixels around a tile that are encoded with it and thrown away; a multiple of `factor`.
        spread: Standard deviation of the latents of photographs, the unit of noise.
        digest: SHA-256 of the weights, or "" where they are random.
    """

    factor: int
    channels: int
    margin: int
    spread: float = 1.0
    digest: str = ""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latents (B, C, H / factor, W / factor) of pixels (B, 3, H, W) in [0, 1]."""
        latents: Tensor = self.encoder(pixels)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pixels (B, 3, H, W), about [0, 1], of latents (B, C, H / factor, W / factor)."""
        pixels: Tensor = self.decoder(latents)
        return pixels

    def forward(self, pixels: Tensor) -> Tensor:
        """Return pixels encoded and decoded; both sides must be multiples of `factor`."""
        return self.decode(self.encode(pixels))

    def passed(self, rgb: UInt8Array, noise: float = 0.0, seed: int = 0, tile: int = TILE) -> UInt8Array:
        """Return a picture encoded and decoded, (H, W, 3) uint8; any size, the content keeps its place.

        Sides that are no multiple of the factor are reflected beyond the edge and cut again. Large pictures go by
        tiles with `margin` pixels around, so that memory stays bounded.

        Args:
            rgb: (H, W, 3) uint8.
            noise: Standard deviation of Gaussian noise in latent space, in units of the spread of latents.
            seed: Of the noise.
            tile: Side of a tile, pixels.

        Raises:
            InvalidValueError: The tile is no multiple of the factor, or the noise is negative.
        """
        if tile < 1 or tile % self.factor or noise < 0:
            raise InvalidValueError(f"expected a tile of whole {self.factor}s and noise from 0, found {tile}, {noise}")
        height, width = rgb.shape[:2]
        padded = np.pad(rgb, [*((0, -n % self.factor) for n in (height, width)), (0, 0)], mode="reflect")
        shape = (self.channels, *(n // self.factor for n in padded.shape[:2]))
        shift: FloatArray | None = None
        if noise:
            shift = np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(noise * self.spread)
        out = np.empty_like(padded)
        with _one_thread(), torch.inference_mode():
            for top in range(0, padded.shape[0], tile):
                for left in range(0, padded.shape[1], tile):
                    _tile(self, padded, shift, out, (top, left), tile)
        return np.ascontiguousarray(out[:height, :width])


class Taef2(AutoEncoder):
    """TAEF2, the tiny auto-encoder for the latent space of FLUX.2 (madebyollin/taesd, MIT): 8 x down, 32 channels.

    Its group norms look at all of a tile, so that a tile is never quite what it would be in the whole picture.
    """

    factor, channels, margin = 8, 32, 64

    def __init__(self) -> None:
        encoder = nn.Sequential(
            _conv(3, 64), _Block(),
            _conv(64, 64, 2, False), _Block(), _Block(), _Block(),
            _conv(64, 64, 2, False), _Block(), _Block(), _Block(),
            _conv(64, 64, 2, False), _Block(True), _Block(True), _Block(True),
            _conv(64, 32),
        )  # fmt: skip
        decoder = nn.Sequential(
            _Clamp(), _conv(32, 64), nn.ReLU(), _Block(True), _Block(True), _Block(True),
            nn.Upsample(scale_factor=2), _conv(64, 64, 1, False), _Block(), _Block(), _Block(),
            nn.Upsample(scale_factor=2), _conv(64, 64, 1, False), _Block(), _Block(), _Block(),
            nn.Upsample(scale_factor=2), _conv(64, 64, 1, False), _Block(),
            _conv(64, 3),
        )  # fmt: skip
        super().__init__(encoder, decoder)

    @classmethod
    def from_folder(cls, folder: str | Path) -> Taef2:
        """Return TAEF2 with the weights of a folder that holds `taef2_encoder` and `taef2_decoder` `.safetensors`.

        Raises:
            InputError: A file is missing or is no safetensors file.
            InvalidValueError: A weight is missing, unknown or has another shape.
        """
        net, state = cls(), hashlib.sha256()
        for part, name in zip((net.encoder, net.decoder), TAEF2_FILES, strict=True):
            path = Path(folder) / name
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InputError(f"'{path}': expected the weights of TAEF2, found no readable file") from error
            restore(part, data, name)
            state.update(data)
        net.digest = state.hexdigest()
        return net.eval()


class Tiny(AutoEncoder):
    """A small auto-encoder of our own: 4 x down, 16 channels, no norms, up-sampling by repetition and convolution."""

    factor, channels, margin = 4, 16, 64

    def __init__(self) -> None:
        encoder = nn.Sequential(
            nn.PixelUnshuffle(2), _conv(12, 32), _Residual(32),
            _conv(32, 64, 2), _Residual(64), _Residual(64),
            _conv(64, 16),
        )  # fmt: skip
        decoder = nn.Sequential(
            _Clamp(), _conv(16, 64), _Residual(64), _Residual(64),
            nn.Upsample(scale_factor=2), _conv(64, 32), _Residual(32),
            nn.Upsample(scale_factor=2), _conv(32, 16), _Residual(16),
            _conv(16, 3),
        )  # fmt: skip
        super().__init__(encoder, decoder)

    @classmethod
    def from_bytes(cls, data: bytes, card: bytes) -> Tiny:
        """Return the network of a safetensors file and its card.

        Raises:
            InputError: The weights are no safetensors file.
            InvalidValueError: The weights are not those of the card, or not of this network.
        """
        stated = weights.checked(data, card, _FILE)
        net = cls()
        net.spread, net.digest = float(stated["spread"]), stated["sha256"]
        restore(net, data, _FILE)
        return net.eval()


@lru_cache(maxsize=1)
def shipped() -> Tiny:
    """Return the network inside the package, checked against its card.

    Raises:
        InvalidValueError: The weights are not those of the card.
    """
    return Tiny.from_bytes(*weights.shipped(_FILE))


@lru_cache(maxsize=2)
def taef2(folder: str) -> Taef2:
    """Return `Taef2.from_folder`, read once."""
    return Taef2.from_folder(folder)


def _tile(
    net: AutoEncoder, rgb: UInt8Array, shift: FloatArray | None, out: UInt8Array, corner: tuple[int, int], side: int
) -> None:
    """Write one tile of `out`."""
    low = [max(0, c - net.margin) for c in corner]
    high = [min(n, c + side + net.margin) for c, n in zip(corner, rgb.shape, strict=False)]
    part = rgb[low[0] : high[0], low[1] : high[1]]
    latents = net.encode(torch.from_numpy(part.transpose(2, 0, 1)[None].astype(np.float32) / 255))
    if shift is not None:
        rows, columns = (slice(a // net.factor, b // net.factor) for a, b in zip(low, high, strict=True))
        latents = latents + torch.from_numpy(np.ascontiguousarray(shift[:, rows, columns]))
    pixels = net.decode(latents)[0].clamp(0, 1).numpy().transpose(1, 2, 0)
    # Inside of the part, what belongs to the tile itself.
    inner = tuple(slice(c - a, min(c + side, b) - a) for c, a, b in zip(corner, low, high, strict=True))
    to = tuple(slice(c, min(c + side, b)) for c, b in zip(corner, high, strict=True))
    out[to] = np.rint(255 * pixels[inner])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread and by deterministic ways; sums depend on how many threads share them."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def _conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)


class _Clamp(nn.Module):
    """Keep latents within -3 and 3, softly."""

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / 3) * 3


class _Block(nn.Module):
    """TAEF2's block: three convolutions beside the identity, after a step that looks at all of a tile where `pool`."""

    def __init__(self, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(64, 64), nn.ReLU(), _conv(64, 64), nn.ReLU(), _conv(64, 64))
        self.pool: nn.Module | None = None
        if pool:
            wide = nn.GroupNorm(4, 256)
            self.pool = nn.Sequential(
                nn.Conv2d(64, 256, 1, bias=False), wide, nn.ReLU(), nn.Conv2d(256, 64, 1, bias=False)
            )

    def forward(self, values: Tensor) -> Tensor:
        if self.pool is not None:
            values = values + self.pool(values)
        return torch.relu(values + self.conv(values))


class _Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = _conv(channels, channels)
        self.conv = nn.Sequential(nn.ReLU(), _conv(channels, channels), nn.ReLU(), last)
        nn.init.zeros_(last.weight)

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = values + self.conv(values)
        return out
