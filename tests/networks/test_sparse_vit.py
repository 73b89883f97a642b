"""SparseViT: sparse groups, six maps that are weighed, padding that is not seen, and what attention carries afar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import noise_worlds  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from tamperscope.errors import InputError, InvalidValueError  # noqa: E402
from tamperscope.networks import sparse_vit  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.sparse_vit import Fusion, SparseVit  # noqa: E402

SMALL = {"widths": (8, 8, 16, 16), "depths": (1, 1, 4, 2), "head": 8, "width": 16}
DENSE = ((1, 1, 1, 1), (1, 1))


def small(seed: int = 1, **settings: object) -> SparseVit:
    torch.manual_seed(seed)
    return sparse_vit.build("tiny", **{**SMALL, **settings}).eval()


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = sparse_vit.build("full")
    assert [[block.sparsity for block in stage] for stage in full.backbone.wide] == [
        [8] * 5 + [4] * 5 + [2] * 5 + [1] * 5,
        [2] * 4 + [1] * 3,
    ]
    assert [len(stage) for stage in full.backbone.local] == [5, 8]
    assert full.backbone.channels == (320, 320, 320, 320, 512, 512)
    assert full.fusion.scales.shape == (6, 512)
    assert parameters(full.fusion) == 4 * (320 * 512 + 512) + 6 * 512 + 2 * 512 + 513
    assert full.backbone.wide[1][-1].drop.rate == pytest.approx(0.1)
    tiny = sparse_vit.build("tiny")
    assert tiny.fusion.scales.unique().tolist() == pytest.approx([1e-6])
    assert [[block.sparsity for block in stage] for stage in tiny.backbone.wide] == [[8, 4, 2, 1], [2, 1]]


def test_the_fusion_is_a_weighed_sum() -> None:
    torch.manual_seed(0)
    fusion = Fusion((4, 4, 6), 6, scale=1.0).eval()
    maps = [torch.randn(2, 4, 8, 12), torch.randn(2, 4, 8, 12), torch.randn(2, 6, 4, 6)]
    with torch.no_grad():
        fusion.scales.copy_(torch.randn(3, 6))
        lines = [fusion.lines[0](maps[0]), fusion.lines[1](maps[1]), F.interpolate(maps[2], (8, 12), mode="bilinear")]
        expected = sum(fusion.scales[i][None, :, None, None] * x for i, x in enumerate(lines))
        torch.testing.assert_close(fusion.added(maps), expected)
        assert fusion(maps).shape == (2, 1, 8, 12)
        for place in range(3):
            kept = fusion.scales[place].clone()
            fusion.scales[place] = 0
            other = [torch.randn_like(x) if i == place else x for i, x in enumerate(maps)]
            assert torch.equal(fusion(maps), fusion(other)), "a map without weight is not seen"
            fusion.scales[place] = kept
            assert not torch.allclose(fusion(maps), fusion(other), atol=1e-3)


def test_factors_that_begin_small_grow_at_once() -> None:
    net = small()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    mask = (image[:, :1, :1, :1] > 0).float().expand(-1, -1, 64, 64).clone()
    mask[1] = 0
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    pulls = []
    for _ in range(4):
        optimizer.zero_grad()
        net.loss(net(image), {"mask": mask}, 0.0)["mask"].backward()
        pulls.append(float(net.backbone.embeds[0].proj.weight.grad.abs().max()))
        optimizer.step()
    assert float(net.fusion.scales.detach().abs().median()) > 1e-4
    assert pulls[-1] > 100 * pulls[0] > 0


def test_padding_is_not_seen() -> None:
    torch.manual_seed(3)
    image = torch.rand(2, 3, 128, 128)
    valid = torch.zeros(2, 1, 128, 128, dtype=torch.bool)
    valid[0, :, :90, :70], valid[1] = True, True
    other = torch.where(valid, image, torch.rand_like(image))
    net = small(fusion_scale=1.0)
    with torch.no_grad():
        assert torch.equal(net(image, valid)["mask"], net(other, valid)["mask"])
        assert not torch.allclose(net(image)["mask"][:1], net(other)["mask"][:1], atol=1e-3)
        # Not only its colour: tokens of the padding answer nobody, however they were embedded.
        seen = F.max_pool2d(valid.float(), 16)[:, 0] > 0
        tokens = torch.randn(2, 8, 8, 16)
        drawn = torch.where(seen[..., None], tokens, torch.randn_like(tokens))
        for block in net.backbone.wide[0]:
            assert torch.allclose(block.attended(tokens, seen)[seen], block.attended(drawn, seen)[seen], atol=1e-5)
        last = net.backbone.wide[0][-1]
        assert not torch.allclose(last.attended(tokens)[seen], last.attended(drawn)[seen], atol=1e-3)


def test_pictures_of_any_size() -> None:
    net = small()
    with torch.no_grad():
        for size in ((32, 32), (64, 96), (160, 128), (288, 32)):
            assert net(torch.rand(1, 3, *size))["mask"].shape == (1, 1, *size)


def test_sparsity_changes_who_hears_and_no_weight() -> None:
    net, dense = small(fusion_scale=1.0), small(fusion_scale=1.0, sparsities=DENSE)
    assert net.state_dict().keys() == dense.state_dict().keys()
    dense.load_state_dict(net.state_dict())
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(4))
    other = image.clone()
    other[..., :16, :16] = 1 - other[..., :16, :16]
    heard = {}
    with torch.no_grad():
        for name, each in (("sparse", net), ("dense", dense)):
            change = [(a - b).abs().amax(1)[0] for a, b in zip(each.backbone(image), each.backbone(other), strict=True)]
            heard[name] = change[0] > 1e-6
    assert heard["dense"].all()
    # By convolutions the change comes to the 5 tokens next to it; from there to every eighth.
    near = torch.arange(16) % 8 < 5
    assert heard["sparse"][0, 8]
    assert heard["sparse"][8, 8]
    assert not heard["sparse"][~(near[:, None] & near)].any()


def test_weights_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="safetensors"):
        small(weights=tmp_path / "none")


def test_a_picture_costs_the_same_beside_any_other() -> None:
    net = small()
    logits, mask = torch.randn(3, 1, 32, 32), (torch.rand(3, 1, 32, 32) > 0.5).float()
    valid = torch.ones(3, 1, 32, 32, dtype=torch.bool)
    valid[1, ..., 8:], valid[2, ..., 30:] = False, False
    batch = {"mask": mask, "valid": valid}
    together = net.loss({"mask": logits}, batch, 0.5)["mask"]
    alone = [
        net.loss({"mask": x}, {"mask": m, "valid": v}, 0.5)["mask"]
        for x, m, v in zip(logits.split(1), mask.split(1), valid.split(1), strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_wrong_asks() -> None:
    for settings in ({"width": 0}, {"scale": 0.0}, {"fusion_scale": -1.0}, {"sparsities": ((1,) * 5, (1,))}):
        with pytest.raises(InvalidValueError, match=next(iter(settings)).removeprefix("fusion_")):
            small(**settings)


SIDE, FAR = 192, 64
COLOURS = ((220, 60, 60), (60, 60, 220))


def shown(rng: np.random.Generator, pairs: int = 3) -> tuple[noise_worlds.World, torch.Tensor, torch.Tensor]:
    """Pictures in which a region, large or all but large, has three times the noise, and a small object lies anywhere.

    Two at a time are the same but for the colour of the object, which is its class.

    Returns:
        The pictures, the class of each (B,), and the centre of its object (B, 2).
    """
    pictures, masks, places = [], [], []
    for _ in range(pairs):
        grey = np.repeat(noise_worlds.content(rng, SIDE)[..., :1], 3, 2)
        row, column = rng.integers(16, SIDE - 16, 2)
        height, width = rng.integers(SIDE // 4, SIDE // 2, 2)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[:height, :width] = True
        mask = np.roll(mask, tuple(rng.integers(0, SIDE, 2)), (0, 1)) ^ (rng.random() < 0.5)
        sigma = 0.5 + noise_worlds.strength(rng) / 2
        noise = noise_worlds.noisy(rng, np.full((SIDE, SIDE, 3), 128.0), mask.astype(np.float64), sigma, 3.0) - 128
        for colour in COLOURS:
            picture = grey.copy()
            picture[row - 10 : row + 10, column - 10 : column + 10] = colour
            pictures.append((picture + noise).clip(0, 255))
            masks.append(mask)
            places.append((row, column))
    made = noise_worlds.world(pictures, masks, [1.0] * len(pictures))
    return made, torch.tensor([0, 1] * pairs), torch.tensor(np.array(places))


def taught_both(sparsities: object, seed: int = 0, steps: int = 420) -> SparseVit:
    """A network that learned at every place whether it is forged, and which object its picture shows."""
    torch.manual_seed(seed)
    shape = {"widths": (12, 16, 32, 32), "depths": (1, 1, 2, 1), "head": 16, "width": 32, "drop_path": 0.0}
    net = sparse_vit.build("tiny", **shape, sparsities=sparsities, fusion_scale=1.0).train()
    names = torch.nn.Conv2d(32, 1, 1)
    rng, learned = np.random.default_rng(seed), [*net.parameters(), *names.parameters()]
    optimizer = torch.optim.AdamW(learned, 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        world, classes, _ = shown(rng)
        found = net.fusion.norm(net.fusion.added(net.backbone(net.normalized(world.image))))
        mask, named = F.interpolate(net.fusion.last(found), SIDE, mode="bilinear"), names(found)
        loss = net.loss({"mask": mask}, world.batch, 0.0)["mask"]
        loss = loss + F.binary_cross_entropy_with_logits(named, classes[:, None, None, None].float().expand_as(named))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def probed(net: SparseVit, pairs: int = 50) -> list[dict[str, float]]:
    """AUC of linear probes of each map, then of the weighed sum: fitted on pictures, and asked of others.

    `far`: the class of an object that lies far from the place; `here`: of one that lies there; `trace`: forged or not.
    """
    rng, found = np.random.default_rng(77), []
    for _ in range(2):
        (world, classes, places), maps = shown(rng, pairs), []
        with torch.no_grad():
            for part in world.image.split(20):
                each = net.backbone(net.normalized(part))
                maps.append([*each, net.fusion.added(each)])
        found.append([asked(torch.cat(x), world.mask, classes, places) for x in zip(*maps, strict=True)])
    return [{name: linear(one[name], other[name]) for name in one} for one, other in zip(*found, strict=True)]


Asked = tuple[torch.Tensor, torch.Tensor]


def asked(features: torch.Tensor, mask: torch.Tensor, classes: torch.Tensor, places: torch.Tensor) -> dict[str, Asked]:
    """Features (N, C) and truth (N,) of the three questions, from a map (B, C, h, w)."""
    cell = SIDE // features.shape[2]
    centres = cell * (torch.arange(features.shape[2]) + 0.5)
    rows, columns = ((centres - places[:, i, None]).abs() for i in range(2))
    distance = torch.maximum(rows[:, :, None], columns[:, None])
    share = F.avg_pool2d(mask, cell)[:, 0]
    alike = ((share > 0.95) | (share < 0.05)) & (distance > cell + 16)
    shows, tokens = classes[:, None, None].expand_as(distance), features.permute(0, 2, 3, 1)
    questions = {
        "far": (distance > FAR, shows),
        "here": (distance < 0.75 * cell, shows),
        "trace": (alike, share > 0.5),
    }
    return {name: (tokens[where], truth[where]) for name, (where, truth) in questions.items()}


def linear(known: Asked, other: Asked) -> float:
    """AUC of a ridge regression on features of other pictures."""
    mean, deviation = known[0].mean(0), known[0].std(0) + 1e-6
    fitted, tried = (F.pad((x[0] - mean) / deviation, (0, 1), value=1.0).double() for x in (known, other))
    ridge = 1e-3 * len(fitted) * torch.eye(fitted.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(fitted.T @ fitted + ridge, fitted.T @ (2 * known[1].double() - 1))
    return noise_worlds.auc((tried @ weights).numpy()[:, None], other[1].numpy() > 0)


@pytest.mark.slow
def test_sparse_attention_keeps_traces_and_loses_what_a_picture_shows() -> None:
    """Both are taught: noise is everywhere, in every group, but an object is in few of them."""
    found = {
        name: probed(taught_both(sparsities))
        for name, sparsities in (("dense", ((1,), (1,))), ("sparse", ((6,), (3,))), ("dense at last", ((6, 1), (1,))))
    }
    dense, sparse = found["dense"][-1], found["sparse"][-1]
    assert dense["far"] > 0.9, found
    assert sparse["far"] < 0.7, found
    assert sparse["trace"] > 0.85, found
    assert sparse["trace"] > dense["trace"] - 0.03, found
    # What an object is can be told where it lies: it is the way to other places that is missing.
    assert min(dense["here"], sparse["here"]) > 0.85, found
    # A dense run after a sparse one, as the published schedule has, lets it through.
    assert found["dense at last"][0]["far"] < 0.7, found
    assert found["dense at last"][-1]["far"] > 0.9, found
