"""A pre-activation residual network with group norm (ResNetV2-D): no picture of a batch knows of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError


class PreactBlock(nn.Module):
    """Bottleneck whose norms and ReLUs stand before its convolutions (He et al., 2016, Identity mappings).

    Args:
        inputs: Channels in.
        outputs: Channels out, four times those of the 3 x 3 convolution.
        stride: Of the 3 x 3 convolution; beside it pixels are averaged, then 1 x 1 (ResNet-D).
        shortcut: Whether there is a convolution beside.
        groups: Of each norm.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, shortcut: bool = False, groups: int = 32) -> None:
        super().__init__()
        inner = outputs // 4
        self.norm = nn.GroupNorm(groups, inputs)
        self.long = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False),
            *_normed(groups, inner),
            nn.Conv2d(inner, inner, 3, stride, 1, bias=False),
            *_normed(groups, inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
        )
        pool: list[nn.Module] = [] if stride == 1 else [nn.AvgPool2d(stride)]
        self.short = nn.Sequential(*pool, nn.Conv2d(inputs, outputs, 1, bias=False)) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, h, w)."""
        seen = self.norm(x).relu()
        kept: Tensor = x if self.short is None else self.short(seen)
        return kept + self.long(seen)


class PreactResNet(nn.Module):
    """A stem of three convolutions, a pooling, and stages of bottlenecks; what it gives is not normed.

    Args:
        depths: Blocks of each stage.
        widths: Channels of each stage.
        stem: Channels of the stem; its first two convolutions have half of them.
        strides: Of the stem's third convolution, and of each stage; the stem's first and the pooling halve.
        groups: Of each norm.
        inputs: Channels of the picture.

    Attributes:
        channels: Of the stem's map, then of each stage's.
        strides: Pixels of the picture to a step of each map.

    Raises:
        InvalidValueError: Sizes do not fit each other.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (256, 512, 1024, 2048),
        stem: int = 64,
        strides: Sequence[int] = (1, 1, 2, 2, 2),
        groups: int = 32,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        _check(depths, widths, stem, strides, groups)
        half = stem // 2
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, half, 3, 2, 1, bias=False),
            *_normed(groups, half),
            nn.Conv2d(half, half, 3, 1, 1, bias=False),
            *_normed(groups, half),
            nn.Conv2d(half, stem, 3, strides[0], 1, bias=False),
        )
        before = (stem, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(PreactBlock(a if i == 0 else b, b, stride if i == 0 else 1, i == 0, groups) for i in range(depth))
            )
            for a, b, stride, depth in zip(before, widths, strides[1:], depths, strict=True)
        )
        self.channels = (stem, *widths)
        reached = [2 * strides[0]]
        for stride in (2 * strides[1], *strides[2:]):
            reached.append(reached[-1] * stride)
        self.strides = tuple(reached)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the stem's map and each stage's, finest first, of (B, inputs, H, W)."""
        x = self.stem(image)
        maps = [x]
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _normed(groups: int, channels: int) -> list[nn.Module]:
    return [nn.GroupNorm(groups, channels), nn.ReLU()]


def _check(depths: Sequence[int], widths: Sequence[int], stem: int, strides: Sequence[int], groups: int) -> None:
    if not depths or len(depths) != len(widths) or len(strides) != 1 + len(depths) or min(*depths, *strides) < 1:
        expected = "a depth, a width and a stride of each stage, and the stem's stride before these, from 1"
        raise InvalidValueError(f"PreactResNet: expected {expected}, found {depths}, {widths} and {strides}")
    if groups < 1 or stem < 2 or stem % (2 * groups) or any(w < 1 or w % (4 * groups) for w in widths):
        expected = f"half of the stem and a fourth of each width to be shared by {groups} groups"
        raise InvalidValueError(f"PreactResNet: expected {expected}, found {stem} and {widths}")
