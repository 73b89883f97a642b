"""Layers that are told where the picture ends, so that what fills a canvas up changes nothing.

`inside` is (B, 1, h, w), 1 where the picture is and 0 elsewhere, of the type of the maps. A layer's input is 0 outside,
as a convolution's own padding is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def told(valid: Tensor | None, image: Tensor) -> Tensor:
    """Return where a picture (B, C, H, W) is, as its type: where `valid` (B, 1, H, W) says so; None = everywhere."""
    return torch.ones_like(image[:, :1]) if valid is None else valid.to(image.dtype)


def eroded(inside: Tensor, reach: int) -> Tensor:
    """Return where all within `reach` pixels is inside; beyond the canvas nothing is."""
    if not reach:
        return inside
    outside = F.pad(1 - inside, (reach,) * 4, value=1.0)
    return 1 - F.max_pool2d(outside, 2 * reach + 1, 1)


def unpadded(inside: Tensor, size: int, stride: int = 1) -> Tensor:
    """Return where a convolution without padding sees nothing but the picture.

    Args:
        inside: (B, 1, h, w).
        size: Of its kernel.
        stride: Of it.
    """
    return 1 - F.max_pool2d(1 - inside, size, stride)


def highest(x: Tensor, inside: Tensor, size: int = 3, stride: int = 2) -> Tensor:
    """Return the maximum over windows around every `stride`-th place, of what is inside; 0 around places outside.

    Args:
        x: (B, C, h, w).
        inside: (B, 1, h, w); that of the result is `inside[..., ::stride, ::stride]`.
        size: Of a window, odd.
        stride: Between windows.
    """
    seen = x.masked_fill(inside == 0, -torch.inf)
    found = F.max_pool2d(seen, size, stride, size // 2)
    return torch.where(inside[..., ::stride, ::stride] > 0, found, torch.zeros_like(found))


def mean(x: Tensor, inside: Tensor) -> Tensor:
    """Return the mean (B, C), float32, of a map (B, C, h, w) inside of the picture; 0 where there is none."""
    held = inside.float()
    return (x.float() * held).sum((2, 3)) / held.sum((2, 3)).clamp(min=1)
