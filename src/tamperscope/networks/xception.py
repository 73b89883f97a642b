"""Xception: separable convolutions all through; what detectors of deepfakes are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.inside import highest, mean, told, unpadded

ABOUT = About(
    title="Xception",
    source="Chollet, CVPR 2017 (arXiv 1610.02357); as the baseline of FaceForensics++ (Roessler et al., ICCV 2019) and "
    "of DeepfakeBench",
    parameters=20.81e6,
    departures=(
        "There is one logit for two.",
        "Weights are drawn, by their fan-out (He et al., 2015), where both benchmarks begin from ImageNet's; how it "
        "learns without is not published.",
        "What is not the picture's is neither seen nor averaged.",
        "`tiny` has a fourth of the channels and two middle blocks for eight.",
    ),
    whole=("Whole pictures or windows of them are judged, not crops of faces brought to 299 or 256 pixels.",),
)
CHANNELS = (32, 64, 128, 256, 728, 1024, 1536, 2048)
"""Of the two plain convolutions, the three entry blocks, the exit block, and the two last separable convolutions."""


class Xception(Network):
    """Entry, middle and exit flow, a mean, and one logit a picture.

    Entry: two plain convolutions without padding, the first of stride 2, then three blocks that halve. Middle: blocks
    of three separable convolutions. Exit: a block that halves, and two separable convolutions. What fills a canvas up
    changes nothing.

    Args:
        channels: See `CHANNELS`.
        middle: Middle blocks.
        dropout: Before the last layer.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    multiple = 32
    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    any_size = True

    def __init__(self, channels: Sequence[int] = CHANNELS, middle: int = 8, dropout: float = 0.0) -> None:
        super().__init__((0.5,) * 3, (0.5,) * 3)
        if len(channels) != len(CHANNELS) or min(channels) < 1 or middle < 0 or not 0 <= dropout < 1:
            expected = f"{len(CHANNELS)} numbers of channels, middle from 0 and dropout in [0, 1)"
            raise InvalidValueError(f"xception: expected {expected}, found {channels}, {middle}, {dropout}")
        first, second, *entry, last_block, third, fourth = channels
        self.plain = nn.ModuleList([_plain(3, first, 2), _plain(first, second, 1)])
        ways = [(second, entry[0]), (entry[0], entry[1]), (entry[1], entry[2])]
        blocks = [Block((i, o, o), halving=True, rectified=place > 0) for place, (i, o) in enumerate(ways)]
        blocks += [Block((entry[2],) * 4) for _ in range(middle)]
        blocks.append(Block((entry[2], entry[2], last_block), halving=True))
        self.blocks = nn.ModuleList(blocks)
        self.exit = nn.ModuleList([Separable(last_block, third), Separable(third, fourth)])
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(fourth, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logit `score` (B,).

        Args:
            image: (B, 3, H, W) in [0, 1], from 32 pixels a side.
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        inside = told(valid, image)
        x = self.normalized(image) * inside
        for layer, stride in zip(self.plain, (2, 1), strict=True):
            x, inside = layer(x), unpadded(inside, 3, stride)
        for block in self.blocks:
            x, inside = block(x, inside)
        for layer in self.exit:
            x = F.relu(layer(x, inside))
        return {"score": self.last(self.dropout(mean(x, inside)))[:, 0]}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `label`: the cross-entropy of the score; no truth but `label` is read, of which -1 teaches nothing."""
        return {"label": losses.label_bce(outputs["score"], batch["label"])}


class Separable(nn.Module):
    """A 3 x 3 convolution of each channel for itself, a 1 x 1 one of all, and batch norm; nothing stands between.

    Args:
        inputs: Channels in.
        outputs: Channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Return (B, outputs, h, w); what of `x` lies outside is not looked at."""
        return self.norm(self.pointwise(self.depthwise(x * inside)))


class Block(nn.Module):
    """Separable convolutions, each after a ReLU, beside what came in; or beside a 1 x 1 convolution, and both halve.

    Args:
        channels: Before, between and after the convolutions.
        halving: Whether a maximum over 3 x 3 of stride 2 follows them; then the 1 x 1 convolution has that stride.
        rectified: Whether the first convolution has a ReLU before it.
    """

    def __init__(self, channels: Sequence[int], halving: bool = False, rectified: bool = True) -> None:
        super().__init__()
        self.rectified = rectified
        self.layers = nn.ModuleList(Separable(i, o) for i, o in pairwise(channels))
        self.short = None
        if halving:
            self.short = nn.Sequential(
                nn.Conv2d(channels[0], channels[-1], 1, 2, bias=False), nn.BatchNorm2d(channels[-1])
            )

    def forward(self, x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map (B, C, h, w), or of half of the size, rounded up, and where the picture is in it.

        Args:
            x: (B, C, h, w).
            inside: (B, 1, h, w), see `nn.inside`.
        """
        found = x
        for place, layer in enumerate(self.layers):
            found = layer(F.relu(found) if place or self.rectified else found, inside)
        if self.short is None:
            return x + found, inside
        return self.short(x) + highest(found, inside), inside[..., ::2, ::2]


def _plain(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def build(size: Size = "tiny", **settings: Any) -> Xception:
    """Return Xception as published in full, with a fourth of its channels and two middle blocks in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Xception`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
    """
    tiny: dict[str, Any] = {"channels": tuple(c // 4 for c in CHANNELS), "middle": 2}
    return Xception(**(({} if size == "full" else tiny) | settings))
