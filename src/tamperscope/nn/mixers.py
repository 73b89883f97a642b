"""Small convolutions that make one picture-like map of several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class EarlyConv(nn.Sequential):
    """MMFusion's EarlyConv: 3 x 3 convolutions with batch norm and ReLU at full size, then 1 x 1 (3-24-48-96-3).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        widths: Channels between, one 3 x 3 convolution each.
    """

    def __init__(self, inputs: int = 3, outputs: int = 3, widths: Sequence[int] = (24, 48, 96)) -> None:
        sizes = [inputs, *widths]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(sizes[-1], outputs, 1))
