"""Braid: its frequencies are the file's, wherever a window lies; it compares with the whole picture; streams go out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope import media  # noqa: E402
from tamperscope.engine import predict  # noqa: E402
from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.inference.needs import needs_of  # noqa: E402
from tamperscope.inference.predictor import View  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import braid  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.types import Sample  # noqa: E402


def told(sample: Sample, top: int = 0, left: int = 0, side: int = 64) -> tuple[Any, dict[str, Any]]:
    """A window of a picture, and what goes with it."""
    window = sample.rgb[top : top + side, left : left + side]
    image = torch.from_numpy(np.ascontiguousarray(window.transpose(2, 0, 1)))[None].float() / 255
    needs = {k: torch.from_numpy(v)[None] for k, v in needs_of(sample, ("qtables", "mosaic")).items()}
    return image, needs | {"valid": torch.ones_like(image[:, :1], dtype=torch.bool)}


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}])
@pytest.mark.parametrize("quality", [60, 80, 92])
def test_frequencies_are_those_of_the_file(
    photo: Callable[[str], np.ndarray], encode: Any, quality: int, options: Any
) -> None:
    sample = media.open(encode(photo("coffee"), "JPEG", quality=quality, **options)).sample
    assert sample.jpeg is not None
    image, needs = told(sample, 16, 40, 128)
    found = braid.build().frequencies.quantized(image, needs["qtables"])[0]
    wanted = sample.jpeg.coefficients[0][2:18, 5:21].reshape(16, 16, 64).transpose(2, 0, 1)
    same = found.numpy() == wanted
    assert same.mean() > 0.99
    assert same[wanted != 0].mean() > 0.97


def test_off_the_grid_they_are_others(photo: Callable[[str], np.ndarray], encode: Any) -> None:
    """The check above can fail."""
    sample = media.open(encode(photo("coffee"), "JPEG", quality=60)).sample
    assert sample.jpeg is not None
    image, needs = told(sample, 19, 40, 128)
    found = braid.build().frequencies.quantized(image, needs["qtables"])[0].numpy()
    wanted = sample.jpeg.coefficients[0][2:18, 5:21].reshape(16, 16, 64).transpose(2, 0, 1)
    assert (found == wanted)[wanted != 0].mean() < 0.5


def test_tiles_see_the_blocks_where_they_are(photo: Callable[[str], np.ndarray], encode: Any) -> None:
    sample = media.open(encode(photo("coffee")[:301, :333], "JPEG", quality=70)).sample
    net = braid.build(streams=("dct",)).eval()
    seen: list[Any] = []
    net.frequencies.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    predict.asked(net, "braid", View("tile", 96, 16), 2, torch.device("cpu"))(sample)
    assert sample.jpeg is not None
    known = {tuple(block.ravel()) for block in sample.jpeg.coefficients[0].reshape(-1, 8, 8)}
    tiles = [tile for batch in seen for tile in batch if tile.shape[-1] == 96]
    assert len(tiles) > 12
    tables = torch.from_numpy(needs_of(sample, ("qtables",))["qtables"])[None]
    inner = torch.cat([net.frequencies.quantized(tile[None, :, :64, :64], tables) for tile in tiles])
    blocks = inner.permute(0, 2, 3, 1).reshape(-1, 64).numpy().astype(int)
    assert np.mean([tuple(block) in known for block in blocks]) > 0.8


def test_the_whole_picture_is_looked_at_or_not(photo: Callable[[str], np.ndarray]) -> None:
    image, needs = told(Sample(photo("coffee")))
    other = needs | {"mosaic": needs["mosaic"].flip(1) * 0.5}
    for relay in (True, False):
        torch.manual_seed(0)
        net = braid.build(relay=relay).eval()
        with torch.inference_mode():
            same = torch.equal(net(image, **needs)["mask"], net(image, **other)["mask"])
        assert same is not relay


@pytest.mark.parametrize("streams", [("rgb",), ("srm",), ("dct",), ("rgb", "dct"), ("lite0",), braid.KNOWN])
def test_any_streams_make_a_network(photo: Callable[[str], np.ndarray], streams: tuple[str, ...]) -> None:
    image, needs = told(Sample(photo("coffee")))
    with torch.inference_mode():
        found = braid.build(streams=streams).eval()(image, **needs)
    assert found["mask"].shape == found["confidence"].shape == (1, 1, 64, 64)


def test_it_is_as_small_as_it_must_be_to_be_shipped() -> None:
    assert 4 * parameters(braid.build("full")) < 16 * 2**20


def test_nonsense_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="stream"):
        braid.build(streams=("dtc",))
    for wrong in ({"width": 30}, {"widths": (8,)}, {"blocks": 0}, {"streams": ()}):
        with pytest.raises(InvalidValueError, match="braid"):
            braid.build(**wrong)


def twice_compressed(rng: np.random.Generator, encode: Any, on: bool, side: int = 128) -> tuple[Sample, np.ndarray]:
    """Noise of all frequencies; compressed once in a rectangle and twice around it, or with `on` false everywhere."""
    coarse = rng.normal(128, 30, (side // 8, side // 8)).repeat(8, 0).repeat(8, 1)
    rgb = (coarse + rng.normal(0, 14, (side, side)))[..., None].repeat(3, 2).clip(0, 255).astype(np.uint8)
    before = media.open(encode(rgb, "JPEG", quality=int(rng.integers(55, 70)))).sample.rgb
    mask = np.zeros((side, side), bool)
    top, left = rng.integers(0, side // 2, 2)
    mask[top : top + side // 2, left : left + side // 2] = True
    joined = np.where(mask[..., None] & on, rgb, before)
    return media.open(encode(joined, "JPEG", quality=int(rng.integers(80, 92)))).sample, mask


@pytest.mark.slow
def test_frequencies_find_what_was_compressed_once(encode: Any) -> None:
    """And find nothing where the trace is off, or where the table is withheld."""
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    net = braid.build(streams=("dct",))
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    steps = 150
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        made = [twice_compressed(rng, encode, on=True) for _ in range(4)]
        parts = [told(sample, side=128) for sample, _ in made]
        image = torch.cat([image for image, _ in parts])
        needs = {key: torch.cat([needs[key] for _, needs in parts]) for key in parts[0][1]}
        truth = {"mask": torch.from_numpy(np.stack([m for _, m in made]))[:, None].float(), "label": torch.ones(4)}
        loss = sum(net.loss(net(image, **needs), truth | {"valid": needs["valid"]}, 0.5).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
    net.eval()

    def aucs(on: bool, tables: bool = True) -> float:
        found, fresh = [], np.random.default_rng(2)
        for _ in range(12):
            sample, mask = twice_compressed(fresh, encode, on)
            image, needs = told(sample, side=128)
            if not tables:
                needs["qtables"] = torch.ones_like(needs["qtables"])
            with torch.inference_mode():
                heat = net(image, **needs)["mask"][0, 0].numpy()
            found.append(ranking.auc(heat.ravel(), mask.ravel()))
        return float(np.mean(found))

    assert aucs(on=True) > 0.85
    assert abs(aucs(on=False) - 0.5) < 0.1
    assert aucs(on=True, tables=False) < aucs(on=True) - 0.15
