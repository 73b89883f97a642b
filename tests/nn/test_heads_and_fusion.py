"""Heads and fusion: shapes at any size, gradients to every parameter, and what each part is for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tamperscope.nn import fusion, heads

CHANNELS, SIZES = (8, 12, 16), ((12, 16), (6, 8), (3, 4))


def pyramid(channels: tuple[int, ...] = CHANNELS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, c, *size, generator=generator) for c, size in zip(channels, SIZES, strict=True)]


def plane() -> torch.Tensor:
    return torch.randn(2, 16, 6, 8, generator=torch.Generator().manual_seed(2))


HEADS: dict[str, tuple[Callable[[], nn.Module], Callable[[], object], tuple[int, ...]]] = {
    "all_mlp": (lambda: heads.AllMlp(CHANNELS, 8, 2), pyramid, (2, 2, 12, 16)),
    "predict_batch": (lambda: heads.PredictPyramid(8, 3, 8), lambda: pyramid((8, 8, 8)), (2, 1, 12, 16)),
    "predict_layer": (lambda: heads.PredictPyramid(8, 3, 8, "layer"), lambda: pyramid((8, 8, 8)), (2, 1, 12, 16)),
    "predict_instance": (lambda: heads.PredictPyramid(8, 3, 8, "instance"), lambda: pyramid((8, 8, 8)), (2, 1, 12, 16)),
    "aspp": (lambda: heads.Aspp(16, 6), plane, (2, 6, 6, 8)),
    "gated": (lambda: heads.GatedQueries(16, 8, 3, 2, 2), plane, (2, 1, 6, 8)),
}


@pytest.mark.parametrize("name", HEADS)
def test_shapes_gradients_and_that_pictures_of_a_batch_do_not_mix(name: str) -> None:
    torch.manual_seed(3)
    make, given, shape = HEADS[name]
    head, x = make(), given()
    out = head(x)
    assert out.shape == shape
    out.square().sum().backward()
    assert all(p.grad is not None for p in head.parameters())
    head.eval()
    single = [part[1:] for part in x] if isinstance(x, list) else x[1:]
    assert torch.allclose(head(x)[1:], head(single), atol=1e-5)


def test_the_feature_pyramid_passes_the_coarse_to_the_fine() -> None:
    torch.manual_seed(4)
    layer = heads.Fpn(CHANNELS, 8)
    maps = pyramid()
    out = layer(maps)
    assert [tuple(x.shape) for x in out] == [(2, 8, *size) for size in SIZES]
    changed = layer([maps[0], maps[1], maps[2] + 1])
    assert not torch.allclose(out[0], changed[0])
    unchanged = layer([maps[0] + 1, maps[1], maps[2]])
    assert torch.equal(out[2], unchanged[2])


def test_the_simple_pyramid_has_five_scales_of_one_map() -> None:
    layer = heads.SimplePyramid(16, 8)
    out = layer(torch.randn(1, 16, 8, 12))
    assert [tuple(x.shape[1:]) for x in out] == [(8, 32, 48), (8, 16, 24), (8, 8, 12), (8, 4, 6), (8, 2, 3)]
    assert torch.equal(out[4], out[3][..., ::2, ::2])


def test_aspp_sees_far_and_the_whole_picture() -> None:
    torch.manual_seed(5)
    layer = heads.Aspp(2, 4).eval()
    x = torch.randn(1, 2, 32, 32)
    other = x.clone()
    other[..., 20, 31] += 5
    changed = (layer(x) != layer(other)).any(1)[0]
    assert changed.all()
    near = heads.Aspp(2, 4, (1,)).eval()
    nn.init.zeros_(near.whole[1].weight)
    assert (near(x) != near(other)).any(1)[0].sum() == 1


def test_gated_queries_add_their_masks_by_their_gates() -> None:
    torch.manual_seed(6)
    head = heads.GatedQueries(16, 8, 3, 1, 2).eval()
    x = plane()
    nn.init.constant_(head.gate.bias, -60.0)
    assert head(x).abs().max() < 1e-6
    nn.init.constant_(head.gate.bias, 60.0)
    open_gates = head(x)
    assert open_gates.abs().max() > 1e-3


def test_rectify_takes_of_the_other_branch_alone() -> None:
    torch.manual_seed(7)
    one, other = torch.randn(2, 2, 6, 5, 4).unbind(0)
    layer = fusion.Rectify(6)
    a, b = layer(one, other)
    assert not torch.allclose(a, one)
    assert not torch.allclose(b, other)
    still = fusion.Rectify(6, share=0.0)
    assert torch.equal(still(one, other)[0], one)
    silent = layer(one, torch.zeros_like(other))
    assert torch.equal(silent[0], one)
    # With both gates fully open, half and half is all of the other.
    for gate in (layer.channel[2], layer.place[2]):
        nn.init.zeros_(gate.weight)
        nn.init.constant_(gate.bias, 60.0)
    assert torch.allclose(layer(one, other)[0], one + other, atol=1e-5)


def test_the_exchange_is_linear_attention_by_hand() -> None:
    torch.manual_seed(8)
    layer = fusion.Exchange(4, 2)
    one, other = torch.randn(2, 3, 5, 4).unbind(0)
    found = layer(one, other)[0]
    keys, values = layer.keys[1](other).chunk(2, 2)
    for head in range(2):
        part = slice(2 * head, 2 * head + 2)
        context = (keys[..., part].transpose(1, 2) @ values[..., part] * 2**-0.5).softmax(1)
        assert torch.allclose(found[..., part], one[..., part] @ context, atol=1e-5)


def test_the_join_needs_both_branches() -> None:
    torch.manual_seed(9)
    layer = fusion.Join(8, 2)
    one, other = torch.randn(2, 2, 8, 5, 6).unbind(0)
    out = layer(one, other)
    assert out.shape == one.shape
    out.square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    layer.eval()
    assert not torch.allclose(layer(one, other), layer(one, other.flip(0)), atol=1e-3)
    assert not torch.allclose(layer(one, other), layer(one.flip(0), other), atol=1e-3)
