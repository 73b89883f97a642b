"""TopNet learns what the place and the size of an object depend on: the background, the object, and nothing else."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.networks import topnet  # noqa: E402

SIDE, CELLS = 64, 16
KINDS = {0: ((200, 40, 40), 0.5), 1: ((40, 60, 210), 1.2)}  # colour of an object, and its size per height below horizon


def scene(rng: np.random.Generator) -> dict[str, object]:
    """A plain and a sky; an object stands on the plain, the larger the farther it stands below the horizon."""
    horizon = rng.uniform(0.1, 0.5)
    kind = int(rng.integers(2))
    colour, slope = KINDS[kind]
    row = rng.uniform(horizon + 0.1 / slope, min(0.95, horizon + 0.7 / slope))
    rgb = np.full((SIDE, SIDE, 3), (120, 160, 230), np.float64)
    rgb[round(horizon * SIDE) :] = (90, 130, 60)
    rgb = np.clip(rgb + rng.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8)
    mask = np.ones((24, 12 if kind else 20), bool)
    cell = topnet.cell(row, rng.uniform(0.1, 0.9), slope * (row - horizon), CELLS)
    return {
        "background": topnet.background_input(rgb, SIDE),
        "foreground": topnet.foreground_input(np.full((*mask.shape, 3), colour, np.uint8), mask),
        "target": torch.tensor(cell, dtype=torch.float32),
        "horizon": torch.tensor(horizon),
        "slope": torch.tensor(slope),
    }


def batch(count: int, seed: int, without: str = "") -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scenes = [scene(rng) for _ in range(count)]
    stacked = {key: torch.stack([s[key] for s in scenes]) for key in scenes[0]}  # type: ignore[misc]
    return stacked | ({without: torch.zeros_like(stacked[without])} if without else {})


def trained(without: str = "", steps: int = 90) -> topnet.TopNet:
    torch.manual_seed(0)
    net = topnet.TopNet(SIDE, dim=32, layers=2)
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        examples = batch(24, step, without)
        optimizer.zero_grad()
        topnet.loss(net(examples["background"], examples["foreground"]), examples)["total"].backward()
        optimizer.step()
        plan.step()
    return net.eval()


def sizes_by_row(net: topnet.TopNet, without: str = "") -> tuple[np.ndarray, np.ndarray]:
    """True and expected size at every row where an object of the scene could stand, any column."""
    examples = batch(60, 10**6, without)
    with torch.inference_mode():
        heat = net(examples["background"], examples["foreground"])["heatmap"]
    expected = torch.einsum("bsy,s->by", heat.logsumexp(3).softmax(1), torch.from_numpy(np.log(topnet.SIZES)).float())
    rows = (torch.arange(CELLS) + 0.5) / CELLS
    true = examples["slope"][:, None] * (rows - examples["horizon"][:, None])
    there = (true > 0.14) & (true < 0.55) & (rows < 0.9)
    return true[there].numpy(), expected.exp()[there].numpy()


def r_squared(true: np.ndarray, found: np.ndarray) -> float:
    return float(1 - ((found - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())


@pytest.mark.slow
def test_the_size_follows_the_row_and_needs_both_object_and_background() -> None:
    true, found = sizes_by_row(trained())
    assert r_squared(true, found) > 0.9
    assert np.polyfit(true, found, 1)[0] == pytest.approx(1, abs=0.2)
    for without in ("background", "foreground"):
        deprived = sizes_by_row(trained(without), without)
        assert r_squared(*deprived) < 0.75, without


@pytest.fixture
def net() -> topnet.TopNet:
    torch.manual_seed(3)
    return topnet.TopNet(SIDE, dim=32, layers=2).eval()


def test_one_pass_scores_every_cell_as_one_cell_at_a_time_does(net: topnet.TopNet) -> None:
    examples = batch(2, 5)
    with torch.inference_mode():
        heat = net(examples["background"], examples["foreground"])["heatmap"]
        places, queries, offsets = net.encode(examples["background"], examples["foreground"])
    assert heat.shape == (2, topnet.SCALES, CELLS, CELLS)
    for b, s, y, x in np.ndindex(*heat.shape):
        alone = float(places[b, :, y, x] @ queries[b, s] + offsets[b, s])
        assert float(heat[b, s, y, x]) == pytest.approx(alone, abs=1e-4)


def test_a_score_depends_on_the_object_on_the_background_and_on_nothing_else_in_the_batch(net: topnet.TopNet) -> None:
    examples = batch(3, 6)
    with torch.inference_mode():
        together = net(examples["background"], examples["foreground"])["heatmap"]
        again = net(examples["background"], examples["foreground"])["heatmap"]
        alone = net(examples["background"][1:2], examples["foreground"][1:2])["heatmap"]
        other_object = net(examples["background"][1:2], -examples["foreground"][1:2])["heatmap"]
        other_place = net(examples["background"][:1], examples["foreground"][1:2])["heatmap"]
    assert torch.equal(together, again)
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=1e-4)
    assert (alone - other_object).abs().max() > 1e-2
    assert (alone - other_place).abs().max() > 1e-2


def test_the_loss_is_the_cross_entropy_of_a_gaussian_and_of_the_given_cells() -> None:
    rng = np.random.default_rng(0)
    heat, target = rng.normal(0, 2, (1, 8, 6, 6)), (2.3, 4.0, 1.6)
    cells = np.indices(heat.shape[1:])
    weights = np.exp(-sum((c - t) ** 2 for c, t in zip(cells, target, strict=True)) / 2)
    log = heat[0] - np.log(np.exp(heat[0]).sum())
    others = [(0, 0, 0), (7, 5, 2)]
    scores = np.array([heat[0][2, 4, 2], *(heat[0][c] for c in others)])
    given = {
        "target": torch.tensor([target]),
        "others": torch.tensor([[*others, (-1, -1, -1)]]),
    }
    found = topnet.loss({"heatmap": torch.from_numpy(heat)}, given)
    assert found["all"].item() == pytest.approx(-(weights / weights.sum() * log).sum(), rel=1e-5)
    assert found["others"].item() == pytest.approx(np.log(np.exp(scores).sum()) - scores[0], rel=1e-5)
    assert found["total"].item() == pytest.approx(found["all"].item() + found["others"].item())


def test_where_there_are_no_other_holes_the_loss_is_that_of_all_cells_alone() -> None:
    heat = {"heatmap": torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(1))}
    target = torch.tensor([[1.0, 2.0, 3.0]] * 2)
    none = {"target": target, "others": torch.full((2, 3, 3), -1)}
    assert topnet.loss(heat, none)["others"].item() == 0
    assert topnet.loss(heat, none)["total"] == topnet.loss(heat, {"target": target})["total"]


@pytest.mark.parametrize("layer", range(topnet.SCALES))
def test_the_size_of_a_layer_is_in_that_layer(layer: int) -> None:
    assert topnet.cell(0.5 / 32, 31.5 / 32, float(topnet.SIZES[layer])) == pytest.approx((layer, 0, 31), abs=1e-9)


def test_how_large_an_object_was_does_not_show(rng: np.random.Generator) -> None:
    small = rng.integers(0, 256, (32, 20, 3), dtype=np.uint8)
    mask = rng.random((32, 20)) < 0.8
    large = [np.kron(a, np.ones((4, 4, *[1] * (a.ndim - 2)), a.dtype)) for a in (small, mask)]
    torch.testing.assert_close(
        topnet.foreground_input(small, mask), topnet.foreground_input(*large), atol=1e-5, rtol=1e-5
    )
    alpha = topnet.foreground_input(small, np.ones_like(mask))[3].numpy()
    assert alpha.sum() == pytest.approx(4 * 32 * 20, rel=0.03), "the shape of the box is kept"


def test_shapes_that_do_not_fit_are_refused(net: topnet.TopNet) -> None:
    with pytest.raises(InvalidValueError, match="background: expected"):
        net(torch.zeros(1, 3, 32, 32), torch.zeros(1, 4, 64, 64))
    with pytest.raises(InvalidValueError, match="foreground: expected"):
        net(torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, 3, 64, 64))
    with pytest.raises(InvalidValueError, match="multiple of 8"):
        topnet.TopNet(63)


# What is shipped.


def test_the_shipped_network_is_that_of_its_card_and_changed_weights_are_refused() -> None:
    folder = resources.files("tamperscope.weights")
    weights, card = (folder.joinpath(f"topnet.{ending}").read_bytes() for ending in ("safetensors", "json"))
    stated = json.loads(card)
    assert {"what", "sha256", "preprocessing", "training", "held_out", "limits"} <= stated.keys()
    assert all({"source", "licence", "pictures"} <= source.keys() for source in stated["training"]["sources"])
    assert sum(p.numel() for p in topnet.from_files(weights, card).parameters()) < 1e6
    changed = bytearray(weights)
    changed[-1] ^= 1
    with pytest.raises(InvalidValueError, match="expected sha256"):
        topnet.from_files(bytes(changed), card)


def test_the_shipped_network_gives_probabilities_that_follow_object_and_background(photo) -> None:  # type: ignore[no-untyped-def]
    coffee, cat = photo("coffee"), photo("chelsea")
    mask = np.ones((120, 60), bool)
    net = topnet.shipped()
    heat = topnet.heatmap(net, coffee, cat[50:170, 100:160], mask)
    assert heat.shape == (8, 32, 32)
    assert np.exp(heat).sum() == pytest.approx(1)
    np.testing.assert_array_equal(heat, topnet.heatmap(net, coffee, cat[50:170, 100:160], mask))
    for rgb, part in ((cat, cat[50:170, 100:160]), (coffee, coffee[50:170, 100:160])):
        assert np.abs(topnet.heatmap(net, rgb, part, mask) - heat).max() > 0.05
