"""Tiles of tensors: cut and put together they are the plane again, whatever its size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.nn.tiles import Grid


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_split_and_merge_is_the_identity(height: int, width: int, tile: int, shared: int) -> None:
    grid = Grid(height, width, tile, max(1, tile - shared))
    planes = torch.rand(2, 3, height, width)
    tiles = grid.split(planes)
    rows, columns = grid.shape
    assert tiles.shape == (2, rows * columns, 3, tile, tile)
    assert torch.allclose(grid.merge(tiles), planes, atol=1e-6)
    # No tile lies wholly beyond the plane.
    assert (rows - 1) * grid.stride < height
    assert (columns - 1) * grid.stride < width


def test_tiles_are_in_reading_order_and_overlaps_are_averaged() -> None:
    planes = torch.arange(24.0).reshape(1, 1, 4, 6)
    grid = Grid(4, 6, 4, 2)
    tiles = grid.split(planes)
    assert torch.equal(tiles[0, 1, 0], planes[0, 0, :, 2:])
    changed = tiles.clone()
    changed[0, 1] += 10
    merged = grid.merge(changed) - planes
    assert torch.equal(merged[0, 0, 0], torch.tensor([0.0, 0, 5, 5, 10, 10]))


def test_gradients_pass_and_wrong_planes_are_told() -> None:
    planes = torch.rand(1, 1, 9, 9, requires_grad=True)
    grid = Grid(9, 9, 4, 3)
    grid.merge(grid.split(planes) ** 2).sum().backward()
    assert planes.grad is not None
    assert torch.allclose(planes.grad, 2 * planes)
    with pytest.raises(InvalidValueError, match="expected"):
        grid.split(torch.rand(1, 1, 8, 9))
    with pytest.raises(InvalidValueError, match="stride"):
        Grid(9, 9, 4, 5)
