"""EfficientNet B0 to B7 (Tan & Le, ICML 2019): one net made wider and deeper at once."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.inside import mean

# Expansion, channels, blocks, stride of the first block, kernel.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM, _HEAD = 32, 1280
SCALES: dict[str, tuple[float, float]] = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}
"""Factors of width and depth of the published sizes."""


class EfficientNet(nn.Module):
    """A picture to one map at 1/32, by inverted bottlenecks with gates.

    Convolutions are padded alike on both sides, and gates take means of the picture alone, so that what fills a canvas
    up changes nothing; TensorFlow's padding, with which the weights were published, is one pixel off at strides.

    Args:
        width: Factor of the channels, which are multiples of 8.
        depth: Factor of the number of blocks.
        drop_path: Share of residual paths that are dropped in training, for the last block; less for earlier ones.

    Attributes:
        channels: Of the map.

    Raises:
        InvalidValueError: A factor is not above 0, or the share not in [0, 1).
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0, drop_path: float = 0.2) -> None:
        super().__init__()
        if width <= 0 or depth <= 0 or not 0 <= drop_path < 1:
            expected = "factors above 0 and a share in [0, 1)"
            raise InvalidValueError(f"EfficientNet: expected {expected}, found {width}, {depth}, {drop_path}")
        before = rounded(_STEM * width)
        self.stem = nn.Conv2d(3, before, 3, 2, 1, bias=False)
        self.stem_norm = _norm(before)
        self.blocks = nn.ModuleList()
        total = sum(math.ceil(depth * count) for _, _, count, _, _ in _STAGES)
        for expand, channels, count, stride, kernel in _STAGES:
            after = rounded(channels * width)
            for place in range(math.ceil(depth * count)):
                drop = drop_path * len(self.blocks) / total
                self.blocks.append(Gated(before, after, kernel, stride if place == 0 else 1, expand, drop))
                before = after
        self.channels = rounded(_HEAD * width)
        self.head, self.head_norm = nn.Conv2d(before, self.channels, 1, bias=False), _norm(self.channels)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def forward(self, x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map (B, channels, ceil(H / 32), ceil(W / 32)) and where the picture is in it.

        Args:
            x: (B, 3, H, W), 0 outside.
            inside: (B, 1, H, W), see `nn.inside`.
        """
        x, inside = F.silu(self.stem_norm(self.stem(x))), inside[..., ::2, ::2]
        for block in self.blocks:
            x = block(x, inside)
            step: Any = block.stride
            inside = inside[..., ::step, ::step]
        return F.silu(self.head_norm(self.head(x))), inside


class Gated(nn.Module):
    """Wide, depthwise, gated by its means, narrow; added to what came in where the shape allows.

    Args:
        inputs: Channels in; a fourth of them squeeze the gate.
        outputs: Channels out.
        kernel: Of the depthwise convolution, odd.
        stride: Of the same.
        expand: How many times wider the middle is.
        drop: Share of pictures whose way through is dropped in training.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int, drop: float = 0.0) -> None:
        super().__init__()
        wide, narrow = inputs * expand, max(1, inputs // 4)
        self.stride, self.added, self.drop = stride, stride == 1 and inputs == outputs, drop
        self.widen = nn.Conv2d(inputs, wide, 1, bias=False) if expand > 1 else None
        self.widen_norm = _norm(wide) if expand > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self.depthwise_norm = _norm(wide)
        self.squeeze, self.excite = nn.Linear(wide, narrow), nn.Linear(narrow, wide)
        self.narrow, self.narrow_norm = nn.Conv2d(wide, outputs, 1, bias=False), _norm(outputs)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Return (B, outputs, ceil(h / stride), ceil(w / stride)).

        Args:
            x: (B, inputs, h, w).
            inside: (B, 1, h, w); what lies outside is not looked at.
        """
        wide = x if self.widen is None or self.widen_norm is None else F.silu(self.widen_norm(self.widen(x)))
        wide = F.silu(self.depthwise_norm(self.depthwise(wide * inside)))
        gate = self.excite(F.silu(self.squeeze(mean(wide, inside[..., :: self.stride, :: self.stride])))).sigmoid()
        found = self.narrow_norm(self.narrow(wide * gate[..., None, None]))
        if not self.added:
            return found
        if self.training and self.drop:
            kept = found.new_empty(len(found), 1, 1, 1).bernoulli_(1 - self.drop)
            found = found * kept / (1 - self.drop)
        return x + found


def rounded(channels: float) -> int:
    """Return the multiple of 8 that is nearest to a number of channels, and never less than nine tenths of it."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
