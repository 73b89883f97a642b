"""Overlapping tiles of a batch of pictures or feature maps, cut and put together without interpolation.

`geometry.Fit` does the same for one picture outside of a network; here all tiles stay tensors, with gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tamperscope.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles of one size that cover a plane; neighbours share a strip.

    Attributes:
        height: Of the plane.
        width: Of the plane.
        tile: Side of a tile.
        stride: Distance between tiles: their side less what neighbours share.
    """

    height: int
    width: int
    tile: int
    stride: int

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.tile or min(self.height, self.width) < 1:
            found = f"{self.height} x {self.width}, tile {self.tile}, stride {self.stride}"
            raise InvalidValueError(f"Grid: expected a plane and 0 < stride <= tile, found {found}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles: as few as cover the plane."""
        rows, columns = (1 + max(0, -(-(n - self.tile) // self.stride)) for n in (self.height, self.width))
        return rows, columns

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of what the tiles cover."""
        rows, columns = self.shape
        return (rows - 1) * self.stride + self.tile, (columns - 1) * self.stride + self.tile

    def split(self, planes: Tensor) -> Tensor:
        """Return the tiles (B, rows x columns, C, tile, tile) of (B, C, height, width); beyond the plane are zeros."""
        self._check(planes.shape[-2:], (self.height, self.width))
        height, width = self.padded
        whole = torch.nn.functional.pad(planes, (0, width - self.width, 0, height - self.height))
        tiles = whole.unfold(2, self.tile, self.stride).unfold(3, self.tile, self.stride)
        return tiles.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)

    def merge(self, tiles: Tensor) -> Tensor:
        """Return the plane (B, C, height, width) of tiles (B, N, C, tile, tile), the mean where they overlap."""
        rows, columns = self.shape
        self._check((tiles.shape[1], *tiles.shape[-2:]), (rows * columns, self.tile, self.tile))
        total = tiles.new_zeros((tiles.shape[0], tiles.shape[2], *self.padded))
        count = tiles.new_zeros(self.padded)
        for place in range(rows * columns):
            top, left = (n * self.stride for n in divmod(place, columns))
            area = (..., slice(top, top + self.tile), slice(left, left + self.tile))
            total[area] += tiles[:, place]
            count[area] += 1
        return (total / count)[..., : self.height, : self.width]

    def _check(self, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if tuple(found) != expected:
            raise InvalidValueError(f"Grid: expected {expected}, found {tuple(found)}")
