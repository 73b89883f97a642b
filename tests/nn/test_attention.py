"""Attention against plain formulas: places, windows, what may be looked at."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.nn import attention
from tamperscope.nn.attention import Attention, Block, DropPath, RelativePlaces


def test_rotary_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(1)
    q, k = torch.randn(2, 8), torch.randn(2, 8)

    def product(at: tuple[int, int], other: tuple[int, int]) -> torch.Tensor:
        turn = attention.rotary(torch.tensor([at, other]), 8)
        pair = attention.turned(torch.stack([q, k], 1)[:, None], turn)
        return (pair[:, 0, 0] * pair[:, 0, 1]).sum(-1)

    assert torch.allclose(product((0, 0), (3, 1)), product((5, 2), (8, 3)), atol=1e-5)
    assert not torch.allclose(product((0, 0), (3, 1)), product((0, 0), (1, 3)), atol=1e-3)
    # Against complex numbers, the first axis' first pair.
    turn = attention.rotary(torch.tensor([[3, 0]]), 8)
    x = torch.randn(1, 1, 1, 8)
    pair = torch.view_as_complex(x.reshape(-1, 2))[0] * torch.exp(torch.tensor(3j))
    assert torch.allclose(torch.view_as_real(pair), attention.turned(x, turn)[0, 0, 0, :2], atol=1e-5)


def test_what_is_left_of_the_head_does_not_turn() -> None:
    turn = attention.rotary(torch.tensor([[4, 5, 6, 7]]), 64, axis_size=8)
    x = torch.randn(1, 2, 1, 64)
    out = attention.turned(x, turn)
    assert torch.equal(out[..., 32:], x[..., 32:])
    assert not torch.allclose(out[..., :32], x[..., :32], atol=1e-2)
    with pytest.raises(InvalidValueError, match="fit 16"):
        attention.rotary(torch.tensor([[1, 2, 3]]), 16, axis_size=8)


def test_attention_is_its_formula_and_hidden_tokens_are_not_seen() -> None:
    torch.manual_seed(2)
    layer, x = Attention(12, 3), torch.randn(2, 5, 12)
    q, k, v = (part.reshape(2, 5, 3, 4).transpose(1, 2) for part in layer.qkv(x).chunk(3, 2))
    weights = (q @ k.transpose(-2, -1) / math.sqrt(4)).softmax(-1)
    expected = layer.proj((weights @ v).transpose(1, 2).reshape(2, 5, 12))
    assert torch.allclose(layer(x), expected, atol=1e-5)
    valid = torch.tensor([[True, True, False, True, False]]).expand(2, -1)
    other = torch.where(valid[..., None], x, torch.randn_like(x))
    assert torch.allclose(layer(x, valid=valid)[:, valid[0]], layer(other, valid=valid)[:, valid[0]], atol=1e-5)
    assert torch.allclose(layer(x, valid=valid)[:, valid[0]], layer(x[:, valid[0]]), atol=1e-5)
    with pytest.raises(InvalidValueError, match="heads"):
        Attention(10, 3)


def test_relative_places_by_loops() -> None:
    torch.manual_seed(3)
    table = RelativePlaces(4, 2, 3)
    torch.nn.init.normal_(table.down)
    torch.nn.init.normal_(table.across)
    q = torch.randn(1, 2, 6, 4)
    found = table(q, 2, 3)
    for one in range(6):
        for two in range(6):
            dy, dx = one // 3 - two // 3, one % 3 - two % 3
            expected = (q[0, :, one] * (table.down[dy + 1] + table.across[dx + 2])).sum(-1)
            assert torch.allclose(found[0, :, one, two], expected, atol=1e-5)
    assert table(torch.randn(1, 2, 20, 4), 4, 5).shape == (1, 2, 20, 20)


@given(st.integers(1, 11), st.integers(1, 11), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_windows_put_together_are_the_plane(height: int, width: int, side: int) -> None:
    x = torch.rand(2, height, width, 3)
    assert torch.equal(attention.together(attention.windows(x, side), side, (height, width)), x)


def test_a_window_does_not_see_another_and_the_whole_plane_does() -> None:
    torch.manual_seed(4)
    x = torch.randn(1, 6, 6, 8)
    other = x.clone()
    other[0, 5, 5] += 3
    apart, whole = Block(8, 2, window=3, plane=(6, 6)), Block(8, 2, plane=(6, 6))
    assert torch.equal(apart(x)[:, :3, :3], apart(other)[:, :3, :3])
    assert (apart(x) != apart(other))[:, 3:, 3:].any()
    assert (whole(x) != whole(other))[:, 0, 0].any()


def test_padding_is_not_seen() -> None:
    torch.manual_seed(5)
    x = torch.randn(1, 6, 6, 8)
    valid = torch.zeros(1, 6, 6, dtype=torch.bool)
    valid[:, :4, :5] = True
    other = torch.where(valid[..., None], x, torch.randn_like(x))
    for block in (Block(8, 2, window=3), Block(8, 2)):
        assert torch.allclose(block(x, valid)[valid], block(other, valid)[valid], atol=1e-5)
        assert torch.isfinite(block(x, valid)).all()


def test_drop_path_keeps_the_mean_and_rests_in_evaluation() -> None:
    torch.manual_seed(6)
    layer = DropPath(0.25)
    x = torch.ones(4000, 2)
    out = layer(x)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(out[:, 0], out[:, 1])
    assert out.mean().item() == pytest.approx(1, abs=0.04)
    assert torch.equal(layer.eval()(x), x)
