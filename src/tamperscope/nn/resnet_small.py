"""A residual network of eight layers for tests and small machines (He et al., 2016, as for CIFAR)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ResNet8(nn.Module):
    """A stem at the picture's size and one residual block a scale, every one of which halves it.

    Args:
        inputs: Channels of the picture.
        widths: Channels of the stem and of the first block, then of each other block.
    """

    def __init__(self, inputs: int = 3, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        before = (widths[0], *widths[:-1])
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in zip(before, widths, strict=True))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps at 1/2, 1/4, 1/8 ... of (B, inputs, H, W), finest first."""
        x, maps = self.stem(x), []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 one, at half of the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.long = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.long(x) + self.short(x))
