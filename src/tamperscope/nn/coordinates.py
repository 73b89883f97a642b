"""Where on a map a place is, told to networks as planes."""

from __future__ import annotations

import torch
from torch import Tensor


def coordinates(like: Tensor) -> Tensor:
    """Return row and column of each place of (…, H, W), (2, H, W): -1 to 1 from edge to edge.

    They are counted, and not asked of `linspace`, which an exported graph would keep for the one size that it was
    written with.

    Args:
        like: Maps whose size, type and device they have.
    """
    height, width = like.shape[-2:]
    down, across = (_line(n, like) for n in (height, width))
    return torch.stack([down[:, None].expand(height, width), across.expand(height, width)])


def _line(count: int, like: Tensor) -> Tensor:
    last = max(count - 1, 1)
    # In double precision, so that every processor rounds alike.
    place = torch.arange(count, device=like.device, dtype=torch.float64)
    return ((2 * place - (count - 1)) / last).to(like.dtype)
