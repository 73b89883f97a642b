"""Tiles that cover each picture of a batch from edge to edge, thumbnails, and maps of what was found in the tiles.

A picture is what is valid of its canvas, a rectangle. Unlike those of `tiles.Grid`, tiles are spread evenly and hold
nothing but the picture: a side shorter than a tile is mirrored until it is long enough. Which pixels a tile holds
follows from tensors alone, so that a traced graph serves pictures of any size.

Extents are (B, 2, 2): of rows and of columns, the first that is the picture's and how many are. Places are (B, N, 2):
row and column, from the picture's first, where a tile begins; -1 where there is no tile.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tamperscope.errors import InvalidValueError

LOBES = 3
"""Of Lanczos' kernel, on each side."""


def extents(valid: Tensor) -> Tensor:
    """Return the extents of pictures.

    Args:
        valid: (B, 1, H, W) bool, a rectangle of each canvas; where there is none, the extent has length 0.
    """
    lines = [valid[:, 0].any(2), valid[:, 0].any(1)]
    return torch.stack([torch.stack([line.int().argmax(1), line.sum(1)], 1) for line in lines], 1)


def evenly(length: Tensor, side: int, slots: int) -> Tensor:
    """Return where the fewest tiles begin that cover a side: spread evenly, the last one flush with the end.

    Args:
        length: (B,) pixels.
        side: Of a tile.
        slots: Tiles that there is room for, at least one for every `side` pixels begun.

    Returns:
        (B, slots) int; -1 beyond the last tile. There is one even of nothing.
    """
    count = ((length + side - 1) // side).clamp(min=1)[:, None]
    steps, reach = (count - 1).clamp(min=1), (length - side).clamp(min=0)[:, None]
    number = torch.arange(slots, device=length.device)
    start = (2 * number * reach + steps) // (2 * steps)
    return torch.where(number < count, start, -1)


def every(extent: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Return the places of tiles that cover pictures, row by row: as many as a whole canvas needs.

    Args:
        extent: Of the pictures.
        side: Of a tile.
        size: (H, W) of the canvas.
    """
    rows, columns = (evenly(extent[:, i, 1], side, (size[i] + side - 1) // side) for i in (0, 1))
    count = rows.shape[1], columns.shape[1]
    rows, columns = rows[:, :, None].expand(-1, *count), columns[:, None].expand(-1, *count)
    both = torch.stack([rows, columns], -1).flatten(1, 2)
    return torch.where((both < 0).any(2, keepdim=True), -1, both)


def drawn(extent: Tensor, side: int, shares: Tensor) -> Tensor:
    """Return the places of tiles (B, K, 2) at shares of the room that each picture leaves.

    Pictures of one size have the same places, so that a real one and what was made of it are compared at the same ones.

    Args:
        extent: Of the pictures.
        side: Of a tile.
        shares: (K, 2) in [0, 1), of the room down and across.
    """
    room = (extent[:, :, 1] - side).clamp(min=0)[:, None]
    return torch.minimum((shares * (room + 1)).long(), room)


def lines(extent: Tensor, places: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the rows and the columns of the canvas that each tile holds, (B, N, side) each; of none, the first's."""
    found = []
    for axis in (0, 1):
        first, length = extent[:, axis, 0, None, None], extent[:, axis, 1, None, None].clamp(min=1)
        line = places[..., axis, None].clamp(min=0) + torch.arange(side, device=places.device)
        line = line % (2 * length)
        found.append(first + torch.minimum(line, 2 * length - 1 - line))
    return found[0], found[1]


def cut(planes: Tensor, extent: Tensor, places: Tensor, side: int) -> Tensor:
    """Return tiles (B, N, C, side, side) of planes (B, C, H, W)."""
    rows, columns = lines(extent, places, side)
    where = (rows[..., None] * planes.shape[-1] + columns[:, :, None]).flatten(1)
    found = planes.flatten(2).gather(2, where[:, None].expand(-1, planes.shape[1], -1))
    return found.unflatten(2, (places.shape[1], side, side)).transpose(1, 2)


def merged(values: Tensor, extent: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Return maps (B, 1, H, W) of what tiles say: each of their values over its pixels, the mean where tiles overlap.

    Args:
        values: (B, N, g, g) of the tiles of `every`; g is a divisor of `side`.
        extent: Of the pictures.
        side: Of a tile.
        size: (H, W) of the canvas.

    Returns:
        float32; 0 beyond the picture. Of mirrored tiles, what they say of a pixel and of its mirror image counts alike.

    Raises:
        InvalidValueError: There is another number of tiles, or a value does not stand for whole pixels.
    """
    rows, columns = ((n + side - 1) // side for n in size)
    grid = values.shape[-1]
    if values.shape[1] != rows * columns or side % grid:
        expected = f"{rows * columns} tiles of (g, g) values, g a divisor of {side}"
        raise InvalidValueError(f"merged: expected {expected}, found {tuple(values.shape[1:])}")
    plane = values.float().unflatten(1, (rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    with torch.autocast(values.device.type, enabled=False):
        # Tiles stand in rows and columns, so the share that a value has in a pixel is a product of two.
        down, across = (_shares(extent[:, i], side, (rows, columns)[i], grid, size[i]) for i in (0, 1))
        return (down @ plane @ across.transpose(1, 2))[:, None]


def thumbnails(image: Tensor, extent: Tensor, side: int) -> Tensor:
    """Return pictures at one size, (B, C, side, side): each whole, its shape lost, by Lanczos' kernel.

    As Pillow's it is as wide as a pixel of the thumbnail, so that what is finer vanishes.

    Args:
        image: (B, C, H, W) in [0, 1].
        extent: Of the pictures.
        side: Of a thumbnail.
    """
    with torch.autocast(image.device.type, enabled=False):
        down, across = (_lanczos(extent[:, i], side, image.shape[2 + i])[:, None] for i in (0, 1))
        return (down @ image.float() @ across.transpose(2, 3)).clamp(0, 1)


def _shares(extent: Tensor, side: int, slots: int, grid: int, length: int) -> Tensor:
    """Return the share of each value along an axis in each line, (B, length, slots x grid): they add to 1."""
    starts = evenly(extent[:, 1], side, slots)
    line = lines(extent[:, None].expand(-1, 2, -1), starts[..., None].expand(-1, -1, 2), side)[0].flatten(1)
    number = torch.arange(slots * side, device=extent.device) // (side // grid)
    there = (starts >= 0).repeat_interleave(side, 1).float()
    found = there.new_zeros((len(extent), length * slots * grid))
    found = found.scatter_add(1, line * (slots * grid) + number, there).unflatten(1, (length, slots * grid))
    known = torch.arange(length, device=extent.device) - extent[:, :1]
    found = found * ((known >= 0) & (known < extent[:, 1:]))[..., None]
    return found / found.sum(2, keepdim=True).clamp(min=1)


def _lanczos(extent: Tensor, side: int, length: int) -> Tensor:
    """Return the share of each line of the canvas in each line of the thumbnail, (B, side, length)."""
    line = torch.arange(length, device=extent.device)
    first, count = extent[:, :1], extent[:, 1:]
    step = (count.float() / side)[..., None]
    centre = (torch.arange(side, device=extent.device) + 0.5)[:, None] * step
    known = (line >= first) & (line < first + count)
    place = ((line - first)[:, None] + 0.5 - centre) / step.clamp(min=1)
    share = torch.sinc(place) * torch.sinc(place / LOBES) * ((place.abs() < LOBES) & known[:, None])
    return share / share.sum(2, keepdim=True).clamp(min=1e-6)
