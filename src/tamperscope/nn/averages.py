"""Averages over what is the picture's: padding counts nowhere, and every picture is a mean of its own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def valid_mean(planes: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the mean (B, C) of planes (B, C, h, w); 0 where no place is valid.

    Args:
        planes: Whose sides are those of `valid`, or a whole fraction of them.
        valid: (B, 1, H, W) bool; each place weighs as much as valid pixels lie in it. None = all alike.
    """
    if valid is None:
        return planes.mean((2, 3))
    share = F.avg_pool2d(valid.to(planes), valid.shape[-1] // planes.shape[-1])
    return (planes * share).sum((2, 3)) / share.sum((2, 3)).clamp(min=1e-6)
