"""DTD: coefficients at their places, views that gather, smoothed labels, and parts that have another history."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np  # noqa: E402
from tampered_documents import forged, taught, told_apart  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import dtd  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.dtd import Dtd, Gather, Views, places  # noqa: E402


def small(seed: int = 1, **settings: Any) -> Dtd:
    torch.manual_seed(seed)
    return dtd.build("tiny", **settings)


def told(count: int = 1, side: int = 64, step: float = 5.0) -> dict[str, Any]:
    tables = torch.full((count, 2, 8, 8), step)
    return {"qtables": tables, "valid": torch.ones(count, 1, side, side, dtype=torch.bool)}


def test_the_sizes_are_those_of_the_parts_that_are_published() -> None:
    with torch.device("meta"):
        full = dtd.build("full")
    assert full.colours.stem.patch_embeddings.weight.shape == (96, 6, 4, 4)
    assert [len(stage.layers) for stage in full.colours.stages] == [3, 3]
    assert full.colours.channels == (96, 192)
    assert [len(stage.blocks) for stage in full.encoder.stages] == [2, 18, 2]
    assert (full.encoder.inputs, full.encoder.channels) == (192, (384, 768, 768))
    assert full.frequencies.channels == 256
    assert full.fuse[0].channel[1].weight.shape == (28, 448, 1, 1)
    assert full.fuse[1].weight.shape == (192, 448, 3, 3)
    assert full.last.weight.shape == (1, 64, 3, 3)
    widths = {name: (block[0].in_channels, block[0].out_channels) for name, block in full.decoder.columns.items()}
    assert widths == {
        "00": (1152, 384),
        "11": (576, 192),
        "22": (288, 96),
        "01": (768, 192),
        "12": (384, 96),
        "02": (480, 96),
        "03": (96, 64),
    }
    assert 66e6 < parameters(full) < 68e6
    assert parameters(dtd.build("tiny")) <= 1_500_000


def test_it_looks_at_the_table_of_the_luma_and_at_the_grid() -> None:
    net, image = small().eval(), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        found = net(image, **told())["mask"]
        assert not torch.equal(net(image, **told(step=9.0))["mask"], found)
        chroma = told()
        chroma["qtables"][:, 1] = 9
        assert torch.equal(net(image, **chroma)["mask"], found)


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


def test_places_are_told_beside_the_colours() -> None:
    found = places(torch.zeros(2, 3, 5, 9))
    assert found.shape == (2, 3, 5, 9)
    assert torch.equal(found[1, 0, :, 4], torch.tensor([-1, -0.5, 0, 0.5, 1]))
    assert torch.equal(found[0, 1, 2], torch.linspace(-1, 1, 9))
    assert found[0, 2, 2, 4].item() == pytest.approx(0.5**0.5)
    assert found[0, 2, 0, 0].item() == pytest.approx(1.5 * 2**0.5)


def test_finer_views_learn_of_coarser_ones_and_not_the_other_way_round() -> None:
    torch.manual_seed(2)
    layer = Gather((4, 6, 8)).eval()
    views = [torch.randn(1, c, 16 >> i, 16 >> i) for i, c in enumerate((4, 6, 8))]
    with torch.inference_mode():
        found = layer(views)
        assert torch.equal(found[2], views[2])
        for place in range(3):
            other = list(views)
            other[place] = torch.randn_like(views[place])
            changed = [not torch.equal(x, y) for x, y in zip(layer(other), found, strict=True)]
            assert changed == [i <= place for i in range(3)]


def test_every_map_reaches_the_last_view_and_blocks_stand_in_a_triangle() -> None:
    torch.manual_seed(3)
    net = Views((4, 6, 8, 10), (8, 6, 4, 3)).eval()
    maps = [torch.randn(1, c, 16 >> i, 16 >> i) for i, c in enumerate((4, 6, 8, 10))]
    order: list[tuple[str, int]] = []
    for name, block in net.columns.items():
        block.register_forward_hook(lambda module, given, out, name=name: order.append((name, out.shape[-1])))
    with torch.inference_mode():
        found = net(maps)
        assert found.shape == (1, 3, 32, 32)
        assert dict(order) == {"00": 4, "11": 8, "22": 16, "01": 8, "12": 16, "02": 16, "03": 32}
        for place in range(4):
            other = list(maps)
            other[place] = torch.randn_like(maps[place])
            assert not torch.equal(net(other), found)
    with pytest.raises(InvalidValueError, match="four maps"):
        Views((4, 6, 8), (8, 6, 4, 3))


def test_the_loss_is_that_of_two_classes_with_smoothed_labels_and_lovasz() -> None:
    torch.manual_seed(4)
    net = small()
    logits, truth = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) < 0.2).float()
    valid = torch.rand(2, 1, 8, 8) < 0.8
    found = net.loss({"mask": logits}, {"mask": truth, "valid": valid}, 0.5)
    two = torch.cat([-logits / 2, logits / 2], 1)
    classes = torch.where(valid[:, 0], truth[:, 0].long(), -1)
    wanted = torch.nn.functional.cross_entropy(two, classes, ignore_index=-1, label_smoothing=0.1)
    assert found["mask"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert found["lovasz"].item() > 0
    assert set(small(lovasz=0.0).loss({"mask": logits}, {"mask": truth, "valid": valid}, 0.5)) == {"mask"}


def test_wrong_asks() -> None:
    for settings in ({"smoothing": 1.0}, {"lovasz": -1.0}, {"backbone": "b"}):
        with pytest.raises(InvalidValueError, match="dtd"):
            small(**settings)
    with pytest.raises(UnknownNameError, match="size of swinv2"):
        small(encoder="xl")


# What it is made for: page and part were compressed alike, only where the part's first grid lay differs.


@cache
def learned() -> Dtd:
    return taught(small(0), 220, 3e-3)


@pytest.mark.slow
def test_a_part_with_another_history_is_found_and_what_changes_roles_is_told_the_other_way_round() -> None:
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
def test_without_its_trace_a_part_is_as_its_page(changes: dict[str, Any], table: float) -> None:
    apart = told_apart(learned(), forged(np.random.default_rng(9), 16, **changes), table)[1]
    assert abs(apart) < 0.2
