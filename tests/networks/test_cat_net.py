"""CAT-Net: coefficients at their places, the comb of a first compression and nothing else, weights of the classes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.metrics import roc_auc_score  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.inference.needs import needs_of  # noqa: E402
from tamperscope.media import open as open_picture  # noqa: E402
from tamperscope.media.recompress import decode_jpeg, encode_jpeg  # noqa: E402
from tamperscope.networks import cat_net  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.cat_net import CatNet, Twice  # noqa: E402

SIDE = 128


def small(seed: int = 1, **settings: Any) -> CatNet:
    torch.manual_seed(seed)
    return cat_net.build("tiny", **settings)


def told(count: int = 1, side: int = 64) -> dict[str, Any]:
    return {"qtables": torch.full((count, 2, 8, 8), 5.0), "valid": torch.ones(count, 1, side, side, dtype=torch.bool)}


def test_the_sizes_have_the_stages_of_the_paper() -> None:
    with torch.device("meta"):
        full = cat_net.build("full")
    assert full.colours is not None
    assert full.colours.channels == (48, 96, 192, 384)
    assert full.twice.planes[0].weight.shape == (64, 21, 3, 3)
    assert full.twice.planes[0].dilation == (8, 8)
    assert full.twice.planes[3].weight.shape == (4, 64, 1, 1)
    assert full.twice.blocks[0].long[0][0].weight.shape == (96, 512, 3, 3)
    assert full.branches.channels == (96, 192, 384)
    assert full.joint.channels == (24, 48, 96, 192)
    assert parameters(full) > 100e6
    assert parameters(cat_net.build("tiny")) <= 1_500_000


def test_streams_can_be_alone() -> None:
    image = torch.rand(2, 3, 96, 64)
    needs = {"qtables": torch.full((2, 2, 8, 8), 5.0), "valid": torch.ones(2, 1, 96, 64, dtype=torch.bool)}
    for streams in (("rgb",), ("dct",), ("rgb", "dct")):
        net = small(streams=streams).eval()
        other = needs | {"qtables": torch.full((2, 2, 8, 8), 9.0)}
        with torch.inference_mode():
            found, changed = net(image, **needs)["mask"], net(image, **other)["mask"]
        assert found.shape == (2, 1, 96, 64)
        assert torch.equal(found, changed) is ("dct" not in streams)


def test_a_feature_is_made_of_one_frequency_of_neighbouring_blocks() -> None:
    torch.manual_seed(0)
    net = Twice(32, 8, 6, 1).eval()
    coefficients = torch.randint(-5, 6, (1, 64, 6, 6)).double()
    seen: list[Any] = []
    net.blocks.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    table = torch.arange(1.0, 65).reshape(1, 8, 8)
    net(coefficients, table)
    other = coefficients.clone()
    other[0, 19, 2, 3] += 7
    net(other, table)
    first, second = seen
    assert first.shape == (1, 2 * 64 * 8, 6, 6)
    changed = (first != second)[0].reshape(2, 8, 64, 6, 6)  # plain or times the table, map, frequency, place
    assert set(torch.nonzero(changed)[:, 2].tolist()) == {19}
    rows, columns = torch.nonzero(changed.any(2).any(0).any(0), as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 3, 2, 4)
    half = first.shape[1] // 2
    steps = table.flatten().repeat(8)[None, :, None, None]
    assert torch.equal(first[:, half:], first[:, :half] * steps)


def test_what_lies_beyond_the_picture_is_not_seen() -> None:
    image, needs = torch.rand(1, 3, 64, 64), told()
    needs["valid"][..., 44:] = False
    other = image.clone()
    other[..., 44:] = torch.rand(1, 3, 64, 20)
    net = small().eval()
    with torch.inference_mode():
        assert torch.equal(net(image, **needs)["mask"], net(other, **needs)["mask"])
        needs["valid"][:] = True
        assert not torch.equal(net(image, **needs)["mask"], net(other, **needs)["mask"])


def test_the_loss_is_that_of_two_weighted_classes() -> None:
    torch.manual_seed(3)
    net = small(streams=("dct",))
    logits, truth = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) < 0.2).float()
    valid = torch.rand(2, 1, 8, 8) < 0.8
    found = net.loss({"mask": logits}, {"mask": truth, "valid": valid}, 0.5)["mask"]
    two = torch.cat([-logits / 2, logits / 2], 1)
    classes = torch.where(valid[:, 0], truth[:, 0].long(), -1)
    wanted = torch.nn.functional.cross_entropy(two, classes, torch.tensor([0.5, 2.5]), ignore_index=-1)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_wrong_asks() -> None:
    with pytest.raises(UnknownNameError, match="unknown stream"):
        small(streams=("noise",))
    for settings in ({"streams": ()}, {"weights": (1.0,)}, {"weights": (0.0, 1.0)}):
        with pytest.raises(InvalidValueError, match="cat_net"):
            small(**settings)


# What it is made for: donor and background share their first quality; only where the donor's first grid lay differs.


def texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """A grey picture whose spectrum falls as those of photographs do."""
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    fall = 1 / np.maximum(np.hypot(rows, columns), 1 / side) ** rng.uniform(0.9, 1.3)
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * fall).real
    grey = 128 + rng.uniform(25, 50) * (field - field.mean()) / field.std()
    return np.asarray(np.repeat(np.clip(grey, 0, 255)[..., None], 3, 2), np.uint8)


def compressed(rgb: np.ndarray, quality: int, shift: int) -> np.ndarray:
    """The picture after a compression whose grid begins `shift` pixels before its corner."""
    wide = np.pad(rgb, ((shift, 0), (shift, 0), (0, 0)), "reflect")
    return np.asarray(decode_jpeg(encode_jpeg(wide, quality)))[shift:, shift:]


def drawn(rng: np.random.Generator, count: int, shifts: tuple[int, int] = (0, 4), same: bool = False) -> dict[str, Any]:
    """Pictures with a donor; `shifts` of the first grids of background and donor; `same`: both qualities are one."""
    images, masks, tables = [], [], []
    for _ in range(count):
        last = int(rng.integers(84, 92))
        first = last if same else int(rng.integers(45, 76))
        back, donor = (compressed(texture(rng, SIDE), first, shift) for shift in shifts)
        mask = np.zeros((SIDE, SIDE), bool)
        # Whole blocks: those that a seam goes through are quantized twice by nobody.
        top, left = 8 * rng.integers(1, 7, 2)
        height, width = 8 * rng.integers(5, 9, 2)
        mask[top : top + height, left : left + width] = True
        sample = open_picture(encode_jpeg(np.where(mask[..., None], donor, back), last)).sample
        images.append(sample.rgb.transpose(2, 0, 1))
        masks.append(mask)
        tables.append(needs_of(sample, ("qtables",))["qtables"])
    return {
        "image": torch.from_numpy(np.stack(images)).float() / 255,
        "mask": torch.from_numpy(np.stack(masks))[:, None].float(),
        "qtables": torch.from_numpy(np.stack(tables)),
        "valid": torch.ones(count, 1, SIDE, SIDE, dtype=torch.bool),
    }


@cache
def learned() -> CatNet:
    net = small(0, streams=("dct",)).train()
    rng, steps = np.random.default_rng(0), 140
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        # Else where a region lies would tell which of two it is.
        batch = drawn(rng, 4, (0, 4) if step % 2 else (4, 0))
        batch["mask"] = batch["mask"] if step % 2 else 1 - batch["mask"]
        loss = net.loss(net(batch["image"], qtables=batch["qtables"], valid=batch["valid"]), batch, step / steps)
        optimizer.zero_grad()
        loss["mask"].backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def auc(batch: dict[str, Any], table: float = 0) -> float:
    tables = torch.full_like(batch["qtables"], table) if table else batch["qtables"]
    net = learned()
    with torch.inference_mode():
        found = net(batch["image"], qtables=tables, valid=batch["valid"])["mask"]
    return float(roc_auc_score(batch["mask"].numpy().ravel() > 0, found.numpy().ravel()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shifts", "same", "table", "least", "most"),
    [
        ((0, 4), False, 0, 0.95, 1.0),
        ((4, 0), False, 0, 0.0, 0.05),
        ((0, 0), False, 0, 0.3, 0.6),
        ((0, 4), False, 1, 0.3, 0.75),
        ((0, 4), True, 0, 0.3, 0.75),
        ((4, 4), False, 0, 0.3, 0.75),
    ],
    ids=["displaced", "roles swapped", "both aligned", "no table", "one quality", "both displaced"],
)
def test_it_sees_the_comb_of_the_first_compression_and_nothing_else(
    shifts: tuple[int, int], same: bool, table: float, least: float, most: float
) -> None:
    found = auc(drawn(np.random.default_rng(9), 24, shifts, same), table)
    assert least <= found <= most
