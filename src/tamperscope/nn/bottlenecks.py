"""ResNet's bottlenecks that look at nothing outside of the picture, one stage after another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.nn.hrnet import conv


class Bottleneck(nn.Module):
    """ResNet's block of 1 x 1, 3 x 3 and 1 x 1 convolutions, to which places outside of the picture are zeros.

    Args:
        inputs: Channels in; 4 `width` come out.
        width: Of the 3 x 3 convolution.
        stride: Of the same.
    """

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.narrow, self.middle = conv(inputs, width, 1), conv(width, width, 3, stride)
        self.wide = conv(width, 4 * width, 1, relu=False)
        same = inputs == 4 * width and stride == 1
        self.short = nn.Identity() if same else conv(inputs, 4 * width, 1, stride, relu=False)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Return (B, 4 width, ceil(h / stride), ceil(w / stride)).

        Args:
            x: (B, inputs, h, w).
            inside: (B, 1, h, w), 0 or 1; where it is 0 nothing is looked at.
        """
        return F.relu(self.wide(self.middle(self.narrow(x) * inside)) + self.short(x))


def stage(inputs: int, width: int, stride: int, depth: int) -> nn.ModuleList:
    """Return blocks one after another, the first of which has the stride.

    Args:
        inputs: Channels in; 4 `width` come out.
        width: Of the 3 x 3 convolutions.
        stride: Of the stage.
        depth: Number of blocks.
    """
    return nn.ModuleList([Bottleneck(inputs, width, stride), *(Bottleneck(4 * width, width) for _ in range(depth - 1))])


def through(blocks: Iterable[nn.Module], x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps after blocks, and which of their places are the picture's.

    Every place of a map lies on one of the map before, so what is inside follows by the same steps.

    Args:
        blocks: `Bottleneck`s.
        x: (B, C, h, w).
        inside: (B, 1, h, w), 0 or 1; where it is 0 nothing is looked at.
    """
    for block in blocks:
        x = block(x, inside)
        step: Any = block.stride
        inside = inside[..., ::step, ::step]
    return x, inside
