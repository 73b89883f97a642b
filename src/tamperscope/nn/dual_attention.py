"""Dual attention (Fu et al., 2019): places that look alike, and channels that fire alike, strengthen each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.hrnet import conv


class PositionAttention(nn.Module):
    """Add to every place the values of all places, by how well its query fits their keys; begins by adding nothing.

    Args:
        channels: In and out.
        reduce: By how much narrower queries and keys are.
    """

    def __init__(self, channels: int, reduce: int = 8) -> None:
        super().__init__()
        if channels < reduce or reduce < 1:
            raise InvalidValueError(f"PositionAttention: expected at least {max(reduce, 1)} channels, found {channels}")
        self.query, self.key = (nn.Conv2d(channels, channels // reduce, 1) for _ in range(2))
        self.value = nn.Conv2d(channels, channels, 1)
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w)."""
        query, key, value = (
            layer(x).flatten(2).transpose(1, 2)[:, None] for layer in (self.query, self.key, self.value)
        )
        # Products are not over the root of the width, as published.
        got = F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0]
        return self.share * got.transpose(1, 2).unflatten(2, x.shape[-2:]) + x


class ChannelAttention(nn.Module):
    """Add to every channel all channels, by how alike their maps are; begins by adding nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w)."""
        with torch.autocast(x.device.type, enabled=False):
            # Products are sums over all places: bfloat16 does not part the large ones.
            maps = x.float().flatten(2)
            got = (maps @ maps.transpose(1, 2)).softmax(2) @ maps
        return self.share * got.unflatten(2, x.shape[-2:]).to(x.dtype) + x


class DualAttention(nn.Module):
    """A head of both, side by side: each between two convolutions, added, and one map a class.

    Args:
        inputs: Channels in.
        width: Of the maps that attend.
        classes: Maps of logits.
        dropout: Of whole channels before the last layer.
    """

    def __init__(self, inputs: int, width: int, classes: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.position = nn.Sequential(conv(inputs, width), PositionAttention(width), conv(width, width))
        self.channel = nn.Sequential(conv(inputs, width), ChannelAttention(), conv(width, width))
        self.last = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, classes, h, w) of (B, inputs, h, w)."""
        return self.last(self.position(x) + self.channel(x))
