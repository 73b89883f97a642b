"""Bottlenecks look at nothing outside of the picture, and halve what is inside as they halve maps."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tamperscope.nn.bottlenecks import Bottleneck, stage, through  # noqa: E402


def inside(height: int, width: int, size: int = 16) -> Any:
    cells = torch.zeros(1, 1, size, size)
    cells[..., :height, :width] = 1
    return cells


def test_a_stage_widens_four_times_and_strides_once() -> None:
    blocks = stage(8, 4, 2, 3).eval()
    assert [block.stride for block in blocks] == [2, 1, 1]
    x, left = through(blocks, torch.rand(2, 8, 15, 16), torch.ones(2, 1, 15, 16))
    assert x.shape == (2, 16, 8, 8)
    assert left.shape == (2, 1, 8, 8)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (9, 12), (1, 5)])
def test_places_beyond_the_picture_change_nothing_inside(height: int, width: int) -> None:
    torch.manual_seed(0)
    blocks = stage(6, 4, 2, 2).eval()
    cells = inside(height, width)
    image, other = torch.randn(1, 6, 16, 16), torch.randn(1, 6, 16, 16)
    first, left = through(blocks, image, cells)
    second, _ = through(blocks, torch.where(cells > 0, image, other), cells)
    assert left.sum() == -(-height // 2) * -(-width // 2)
    torch.testing.assert_close(first * left, second * left)
    if left.sum() < left.numel():
        assert not torch.allclose(first, second)


def test_the_short_way_is_plain_only_where_shapes_allow_it() -> None:
    assert isinstance(Bottleneck(16, 4).short, torch.nn.Identity)
    for block in (Bottleneck(16, 4, 2), Bottleneck(8, 4)):
        assert not isinstance(block.short, torch.nn.Identity)
