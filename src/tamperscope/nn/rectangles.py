"""The rectangle of a canvas that is the picture's: moved to the corner, mirrored beyond its edges, or resized alone.

For what looks at a picture as a whole, its spectrum, a grid of windows or a small copy, so that what fills a canvas up
changes nothing. Each picture of a batch may have its own size; sizes are tensors, so graphs of any size can be made.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cornered(image: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures whose first pixel is the canvas's first, mirrored beyond their edges, with heights and widths.

    Args:
        image: (B, C, H, W).
        valid: (B, 1, H, W) bool, which pixels are the picture's, a rectangle; None = all.

    Returns:
        (B, C, H, W), and (B,) whole numbers twice. Where no pixel is the picture's, sizes are 0.
    """
    known = torch.ones_like(image[:, :1], dtype=torch.bool) if valid is None else valid
    rows, columns = known[:, 0].any(2), known[:, 0].any(1)
    heights, widths = rows.sum(1), columns.sum(1)
    if valid is None:
        return image, heights, widths
    return picked(image, _mirrored(rows, heights), _mirrored(columns, widths)), heights, widths


def picked(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels (B, C, h, w) where chosen lines of pictures cross.

    Args:
        image: (B, C, H, W).
        rows: (B, h) numbers of lines.
        columns: (B, w) numbers of lines.
    """
    places = rows[:, :, None] * image.shape[-1] + columns[:, None]
    flat = places.flatten(1)[:, None].expand(-1, image.shape[1], -1)
    return image.flatten(2).gather(2, flat).unflatten(2, places.shape[1:])


def inside(heights: Tensor, widths: Tensor, like: Tensor) -> Tensor:
    """Return which places of maps are of pictures in the corner: (B, 1, h, w), 0 or 1, in the type of `like`.

    Args:
        heights: (B,) of the pictures on the maps.
        widths: (B,) of the same.
        like: (B, C, h, w) maps.
    """
    down, across = (torch.arange(n, device=like.device) for n in like.shape[-2:])
    within: Tensor = (down < heights[:, None])[:, None, :, None] & (across < widths[:, None])[:, None, None]
    return within.to(like.dtype)


def halved(sizes: Tensor, times: int = 1) -> Tensor:
    """Return sizes after steps of two pixels, what is begun counting."""
    for _ in range(times):
        sizes = (sizes + 1) // 2
    return sizes


def resized(image: Tensor, heights: Tensor, widths: Tensor, side: int) -> Tensor:
    """Return pictures in the corner, each resized by itself to `side` x `side`: (B, C, side, side), float32.

    Triangles as wide as a pixel of the larger one, as of PIL's bilinear: what is made smaller has no aliases.

    Args:
        image: (B, C, H, W).
        heights: (B,) of the pictures.
        widths: (B,) of the same.
        side: Of what is returned.
    """
    with torch.autocast(image.device.type, enabled=False):
        down, across = (_triangles(n, side, m) for n, m in zip((heights, widths), image.shape[-2:], strict=True))
        return down[:, None] @ image.float() @ across[:, None].transpose(-2, -1)


def _triangles(lengths: Tensor, side: int, count: int) -> Tensor:
    """Return the weights (B, side, count) of each old pixel in each new one; they add to 1."""
    step = (lengths / side)[:, None, None]
    centre = (torch.arange(side, device=lengths.device)[:, None] + 0.5) * step
    place = torch.arange(count, device=lengths.device)
    weight = (1 - (place + 0.5 - centre).abs() / step.clamp(min=1)).clamp(min=0) * (place < lengths[:, None, None])
    return weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)


def _mirrored(known: Tensor, lengths: Tensor) -> Tensor:
    """Return the lines (B, n) of pictures, then of their mirrors, over and over; `known` (B, n) are their own."""
    period = 2 * lengths.clamp(min=1)[:, None]
    line = torch.arange(known.shape[1], device=known.device) % period
    return known.int().argmax(1)[:, None] + torch.minimum(line, period - 1 - line)
