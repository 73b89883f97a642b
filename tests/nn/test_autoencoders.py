"""Auto-encoders are of the described shape, load only what fits, and give one result however they are run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save, save_file  # noqa: E402
from torch.nn import functional  # noqa: E402

from tamperscope.errors import InputError, InvalidValueError  # noqa: E402
from tamperscope.nn import autoencoders  # noqa: E402
from tamperscope.nn.autoencoders import Taef2, Tiny, shipped  # noqa: E402

Weights = dict[str, "torch.Tensor"]
ENCODER = ["conv", "block", "down", *["block"] * 3, "down", *["block"] * 3, "down", *["pool"] * 3, "last"]
DECODER = [
    "clamp",
    "first",
    "relu",
    *["pool"] * 3,
    *["up", "even", *["block"] * 3] * 2,
    "up",
    "even",
    "block",
    "pixels",
]
CONVOLUTIONS = {
    "conv": (3, 64, True), "down": (64, 64, False), "last": (64, 32, True), "first": (32, 64, True),
    "even": (64, 64, False), "pixels": (64, 3, True),
}  # fmt: skip


def described(parts: list[str], rng: np.random.Generator) -> Weights:
    """Random weights of the described names and shapes."""
    out: Weights = {}

    def add(name: str, *shape: int) -> None:
        scale = 1 / math.sqrt(max(1, math.prod(shape[1:])))
        out[name] = torch.from_numpy(rng.normal(0, scale, shape)).half()

    for i, part in enumerate(parts):
        if part in CONVOLUTIONS:
            inputs, outputs, bias = CONVOLUTIONS[part]
            add(f"{i}.weight", outputs, inputs, 3, 3)
            if bias:
                add(f"{i}.bias", outputs)
        if part in ("block", "pool"):
            for j in (0, 2, 4):
                add(f"{i}.conv.{j}.weight", 64, 64, 3, 3)
                add(f"{i}.conv.{j}.bias", 64)
        if part == "pool":
            add(f"{i}.pool.0.weight", 256, 64, 1, 1)
            add(f"{i}.pool.1.weight", 256)
            add(f"{i}.pool.1.bias", 256)
            add(f"{i}.pool.3.weight", 64, 256, 1, 1)
    return out


def computed(x: torch.Tensor, parts: list[str], weights: Weights) -> torch.Tensor:
    """The network as it is described, written out in float64."""
    w = {name: value.double() for name, value in weights.items()}
    for i, part in enumerate(parts):
        if part == "clamp":
            x = 3 * torch.tanh(x / 3)
        elif part == "relu":
            x = x.clamp(min=0)
        elif part == "up":
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        elif part in CONVOLUTIONS:
            x = functional.conv2d(x, w[f"{i}.weight"], w.get(f"{i}.bias"), 2 if part == "down" else 1, 1)
        else:
            if part == "pool":
                y = functional.conv2d(x, w[f"{i}.pool.0.weight"])
                groups = y.reshape(len(y), 4, -1)
                mean, spread = groups.mean(2, keepdim=True), groups.var(2, unbiased=False, keepdim=True)
                y = ((groups - mean) / (spread + 1e-5).sqrt()).reshape(y.shape)
                y = y * w[f"{i}.pool.1.weight"][:, None, None] + w[f"{i}.pool.1.bias"][:, None, None]
                x = x + functional.conv2d(y.clamp(min=0), w[f"{i}.pool.3.weight"])
            y = x
            for j in (0, 2, 4):
                y = functional.conv2d(
                    y.clamp(min=0) if j else y, w[f"{i}.conv.{j}.weight"], w[f"{i}.conv.{j}.bias"], 1, 1
                )
            x = (x + y).clamp(min=0)
    return x


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / max(1e-9, float(np.mean((a.astype(float) - b) ** 2))))


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    for name, parts in zip(autoencoders.TAEF2_FILES, (ENCODER, DECODER), strict=True):
        save_file(described(parts, rng), tmp_path / name)
    return tmp_path


def test_taef2_computes_what_is_described(folder: Path, rng: np.random.Generator) -> None:
    # The fixture drew the encoder first, from a generator of this seed.
    weights = described(ENCODER, np.random.default_rng(20261125))
    net = Taef2.from_folder(folder)
    pixels = torch.from_numpy(rng.random((1, 3, 32, 48)))
    with torch.inference_mode():
        latents, wanted = net.encode(pixels.float()), computed(pixels, ENCODER, weights)
        assert latents.shape == wanted.shape == (1, 32, 4, 6)
        torch.testing.assert_close(latents.double(), wanted, rtol=1e-3, atol=1e-3)
        # Far latents try the clamp.
        far = torch.from_numpy(rng.normal(0, 4, (1, 32, 3, 2)))
        decoder = {k: v.half() for k, v in net.decoder.state_dict().items()}
        out, wanted = net.decode(far.float()), computed(far, DECODER, decoder)
    assert out.shape == (1, 3, 24, 16)
    torch.testing.assert_close(out.double(), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("6.weight"), "expected 79 weights, found 78; what is missing begins with 6.weight"),
        (lambda w: w.update({"6.bias": torch.zeros(64)}), "what is unknown begins with 6.bias"),
        (lambda w: w.update({"14.bias": torch.zeros(16)}), r"14.bias: expected \(32,\), found \(16,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, change: Callable[[Weights], object], words: str) -> None:
    weights = described(ENCODER, np.random.default_rng(0))
    change(weights)
    save_file(weights, folder / autoencoders.TAEF2_FILES[0])
    with pytest.raises(InvalidValueError, match=words):
        Taef2.from_folder(folder)


def test_files_that_are_none_are_refused(folder: Path) -> None:
    (folder / autoencoders.TAEF2_FILES[1]).write_bytes(b"\x80\x04 no tensors here, none at all")
    with pytest.raises(InputError, match=r"decoder.safetensors': expected a safetensors file, found 31 other bytes"):
        Taef2.from_folder(folder)
    (folder / autoencoders.TAEF2_FILES[1]).unlink()
    with pytest.raises(InputError, match="expected the weights of TAEF2"):
        Taef2.from_folder(folder)


@pytest.mark.skipif("TAMPERSCOPE_TAEF2" not in os.environ, reason="TAMPERSCOPE_TAEF2 names no folder")
def test_the_real_taef2_gives_photographs_back(photo: Callable[[str], np.ndarray]) -> None:
    net = Taef2.from_folder(os.environ["TAMPERSCOPE_TAEF2"])
    found = [psnr(net.passed(rgb), rgb) for rgb in (photo(n)[:256, :256] for n in ("astronaut", "chelsea"))]
    assert all(30 < value < 37 for value in found), found


def test_the_shipped_network_gives_photographs_back(photo: Callable[[str], np.ndarray]) -> None:
    pictures = [np.ascontiguousarray(photo(name)[:296, :400]) for name in ("astronaut", "coffee", "chelsea")]
    found = [psnr(shipped().passed(rgb), rgb) for rgb in pictures]
    assert np.mean(found) > 28, found
    assert min(found) > 27, found
    moved = [psnr(shipped().passed(rgb), np.roll(rgb, (0, 1), (0, 1))) for rgb in pictures]
    assert all(a > b + 3 for a, b in zip(found, moved, strict=True)), "content keeps its place"


def test_the_card_states_what_is_shipped() -> None:
    weights, card = (
        resources.files("tamperscope.weights").joinpath(f"autoencoder.{e}").read_bytes()
        for e in ("safetensors", "json")
    )
    stated = json.loads(card)
    assert len(weights) < 1.2e6
    assert stated["parameters"] == sum(p.numel() for p in shipped().parameters()) < 600_000
    assert shipped().digest == stated["sha256"]
    broken = bytearray(weights)
    broken[-1] ^= 1
    with pytest.raises(InvalidValueError, match=f"expected sha256 {stated['sha256']}"):
        Tiny.from_bytes(bytes(broken), card)
    other = save({"a": torch.zeros(1)})
    with pytest.raises(InvalidValueError, match="expected sha256"):
        Tiny.from_bytes(other, card)


def test_tiles_join_where_the_margin_covers_what_a_pixel_depends_on(photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("astronaut")[:300, :340]
    whole, tiled = shipped().passed(rgb), shipped().passed(rgb, tile=64)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert (whole != tiled).mean() < 1e-3
    # Gradients tell how far a pixel sees.
    net, at = Tiny(), 160
    for parameter in net.parameters():
        torch.nn.init.uniform_(parameter, 0.001, 0.002)
    pixels = torch.rand(1, 3, 320, 320, requires_grad=True)
    net(pixels)[0, :, at : at + 4, at : at + 4].sum().backward()  # type: ignore[no-untyped-call]
    seen = torch.nonzero(pixels.grad.abs().sum((0, 1)).sum(0))  # type: ignore[union-attr]
    reach = max(at - int(seen.min()), int(seen.max()) - at - 3)
    assert 16 < reach <= net.margin
    net.margin = 8
    net.load_state_dict(shipped().state_dict())
    assert (net.passed(rgb, tile=64) != whole).mean() > 10 * (whole != tiled).mean(), "a small margin is seen"


def test_noise_in_tiles_is_that_of_the_whole(photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("chelsea")[:200, :220]
    whole, tiled = (shipped().passed(rgb, 0.2, 7, tile) for tile in (512, 64))
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_more_noise_takes_more_away_and_a_seed_gives_one_result(photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("chelsea")[:160, :160]
    found = [psnr(shipped().passed(rgb, noise, 3), rgb) for noise in (0.0, 0.1, 0.3)]
    assert found[0] > found[1] + 0.5 > found[2] + 1
    first, again, other = (shipped().passed(rgb, 0.1, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


def test_the_result_does_not_depend_on_threads_and_settings_are_put_back(photo: Callable[[str], np.ndarray]) -> None:
    rgb, found = photo("coffee")[:203, :150], []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found.append(shipped().passed(rgb, 0.1, 1))
        assert torch.get_num_threads() == threads
        assert not torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@given(size=st.tuples(st.integers(1, 21), st.integers(1, 21)), noise=st.sampled_from([0.0, 0.1]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_size_is_kept(size: tuple[int, int], noise: float) -> None:
    rgb = np.full((*size, 3), 130, np.uint8)
    out = shipped().passed(rgb, noise)
    assert out.shape == rgb.shape
    assert out.dtype == np.uint8


def test_a_padded_picture_is_that_of_its_mirror(photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("coffee")[:61, :83]
    mirrored = np.pad(rgb, ((0, 3), (0, 1), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(shipped().passed(rgb), shipped().passed(mirrored)[:61, :83])


@pytest.mark.parametrize("values", [{"tile": 30}, {"tile": 0}, {"noise": -0.1}])
def test_values_that_do_not_fit_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InvalidValueError, match="expected a tile of whole 4s"):
        shipped().passed(np.zeros((8, 8, 3), np.uint8), **values)  # type: ignore[arg-type]
