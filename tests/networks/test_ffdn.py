"""FFDN: frequencies that begin by adding nothing, hard pixels, and parts that have another history."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np  # noqa: E402
from tampered_documents import forged, taught, told_apart  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import ffdn  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.ffdn import Ffdn, Head  # noqa: E402


def small(seed: int = 1, **settings: Any) -> Ffdn:
    torch.manual_seed(seed)
    return ffdn.build("tiny", **settings)


def told(count: int = 1, side: int = 128, step: float = 5.0) -> dict[str, Any]:
    tables = torch.full((count, 2, 8, 8), step)
    return {"qtables": tables, "valid": torch.ones(count, 1, side, side, dtype=torch.bool)}


def restless(net: Ffdn) -> Ffdn:
    """The network when its frequencies add something."""
    assert net.enhance is not None
    torch.nn.init.normal_(net.enhance[-1].weight, std=0.3)
    return net


def test_the_sizes_are_those_of_the_parts_that_are_published() -> None:
    with torch.device("meta"):
        full = ffdn.build("full")
    assert full.colours.channels == (96, 192, 384, 768)
    assert [len(stage.layers) for stage in full.colours.stages] == [3, 3, 27, 3]
    assert full.frequencies.channels == 256
    assert full.enhance[0].channel[1].weight.shape == (28, 448, 1, 1)
    assert full.enhance[1].weight.shape == (192, 448, 3, 3)
    assert full.enhance[-1].weight.shape == (192, 192, 1, 1)
    assert [layer.short[0].weight.shape[:2] for layer in full.decoder.crosses] == [
        (256, c) for c in full.colours.channels
    ]
    assert full.decoder.finest.weight.shape == (256, 320, 1, 1)
    assert full.decoder.coarsest.weight.shape == (256, 512, 1, 1)
    assert [len(layers) for layers in full.head.scales] == [1, 1, 2, 3]
    assert full.head.last[1].weight.shape == (1, 512, 1, 1)
    assert 99e6 < parameters(full) < 102e6
    assert parameters(ffdn.build("tiny")) <= 1_500_000


def test_at_the_start_it_is_the_plain_network_and_after_a_step_it_is_not() -> None:
    net, plain = small(), small(seed=2, frequencies=None)
    shared = {key: value for key, value in net.state_dict().items() if key in plain.state_dict()}
    plain.load_state_dict(shared)
    image, needs = torch.rand(2, 3, 128, 128), told(2)
    with torch.inference_mode():
        wanted = plain.eval()(image, **needs)["mask"]
        assert torch.equal(net.eval()(image, **needs)["mask"], wanted)
        assert torch.equal(net(image, **told(2, step=9.0))["mask"], wanted)
    optimizer = torch.optim.SGD(net.enhance.parameters(), 0.5)
    truth = (torch.rand(2, 1, 128, 128) < 0.3).float()
    sum(net.loss(net(image, **needs), {"mask": truth, "valid": needs["valid"]}, 0.0).values()).backward()
    first = net.frequencies.features.frequencies[0][0].weight.grad
    assert first is None or not first.any(), "what adds nothing teaches nothing before it"
    optimizer.step()
    with torch.inference_mode():
        found = net(image, **needs)["mask"]
        assert not torch.equal(found, wanted)
        assert not torch.equal(net(image, **told(2, step=9.0))["mask"], found)


def test_frequencies_join_the_second_map_and_those_after_it() -> None:
    net = restless(small()).eval()
    seen: list[Any] = []
    net.decoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    image = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        net(image, **told())
        net(image, **told(step=9.0))
    assert [torch.equal(x, y) for x, y in zip(*seen, strict=True)] == [True, False, False, False]


def test_what_lies_beyond_the_picture_is_not_seen() -> None:
    image, needs = torch.rand(1, 3, 128, 128), told()
    needs["valid"][..., 92:] = False
    other = image.clone()
    other[..., 92:] = torch.rand(1, 3, 128, 36)
    net = restless(small()).eval()
    with torch.inference_mode():
        assert torch.equal(net(image, **needs)["mask"], net(other, **needs)["mask"])
        needs["valid"][:] = True
        assert not torch.equal(net(image, **needs)["mask"], net(other, **needs)["mask"])


def test_the_head_hears_every_scale() -> None:
    torch.manual_seed(3)
    head = Head(4, 6).eval()
    maps = [torch.randn(1, 4, 16 >> i, 16 >> i) for i in range(4)]
    with torch.inference_mode():
        found = head(maps)
        assert found.shape == (1, 1, 16, 16)
        for place in range(4):
            other = list(maps)
            other[place] = torch.randn_like(maps[place])
            assert not torch.equal(head(other), found)


def test_only_hard_pixels_teach_but_never_too_few() -> None:
    torch.manual_seed(4)
    truth = (torch.rand(2, 1, 16, 16) < 0.2).float()
    logits = 3 * torch.randn(2, 1, 16, 16)
    valid = torch.rand(2, 1, 16, 16) < 0.8
    batch = {"mask": truth, "valid": valid}
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = torch.where(truth > 0, logits.sigmoid(), 1 - logits.sigmoid())
    few = small(hard=1).loss({"mask": logits}, batch, 0.0)
    assert few["mask"].item() == pytest.approx(each[valid & (right <= 0.9)].mean().item(), rel=1e-5)
    least = 2 * 190
    assert (valid & (right <= 0.9)).sum() < least < valid.sum()
    most = small(hard=190).loss({"mask": logits}, batch, 0.0)
    assert most["mask"].item() == pytest.approx(each[valid].topk(least).values.mean().item(), rel=1e-5)
    every = small().loss({"mask": logits}, batch, 0.0)
    assert every["mask"].item() == pytest.approx(each[valid].mean().item(), rel=1e-5)
    assert every["lovasz"].item() > 0
    assert set(small(lovasz=0.0).loss({"mask": logits}, batch, 0.0)) == {"mask"}
    nothing = small().loss({"mask": logits}, {"mask": truth, "valid": torch.zeros_like(valid)}, 0.0)
    assert all(term.item() == 0 for term in nothing.values())


def test_wrong_asks() -> None:
    for settings in ({"width": 10}, {"dropout": 1.0}, {"easy": 0.0}, {"hard": 0}, {"lovasz": -1.0}):
        with pytest.raises(InvalidValueError, match="ffdn"):
            small(**settings)
    with pytest.raises(UnknownNameError, match="size of convnext"):
        small(backbone="xl")


# What it is made for: page and part were compressed alike, only where the part's first grid lay differs.


@cache
def learned() -> Ffdn:
    return taught(small(0), 150, 3e-3)


@pytest.mark.slow
def test_without_frequencies_nothing_of_it_is_learned() -> None:
    plain = taught(small(0, frequencies=None), 150, 3e-3)
    found = [told_apart(plain, forged(np.random.default_rng(9), 16, shifts)) for shifts in ((0, 4), (4, 0))]
    assert abs(found[0][0] - found[1][0]) < 0.1, "which is which is not known"
    assert max(abs(apart) for _, apart in found) < 0.05


@pytest.mark.slow
def test_a_part_with_another_history_is_found_and_roles_can_be_swapped() -> None:
    ranks, apart = told_apart(learned(), forged(np.random.default_rng(9), 16))
    assert ranks > 0.95
    assert apart > 0.4
    ranks, apart = told_apart(learned(), forged(np.random.default_rng(9), 16, (4, 0)))
    assert ranks < 0.05
    assert apart < -0.4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "table"),
    [({"shifts": (0, 0)}, 0), ({"shifts": (4, 4)}, 0), ({}, 1), ({"moved": 3}, 0), ({"last": 60}, 0)],
    ids=["one history", "one history elsewhere", "no table", "off the first grids", "saved coarsely"],
)
def test_without_its_trace_nothing_of_a_part_is_left(changes: dict[str, Any], table: float) -> None:
    apart = told_apart(learned(), forged(np.random.default_rng(9), 16, **changes), table)[1]
    assert abs(apart) < 0.2
