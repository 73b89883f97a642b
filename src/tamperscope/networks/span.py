"""SPAN: each pixel's trace looks at eight neighbours near, then ever farther, and is told apart from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses, traces
from tamperscope.nn.heads import LayerNorm2d

STEPS = tuple(product((-1, 0, 1), repeat=2))
"""Neighbours in reading order, as (row, column); the fifth is the pixel itself."""

ABOUT = About(
    title="SPAN",
    source="Hu et al., ECCV 2020, SPAN: Spatial Pyramid Attention Network for Image Manipulation Localization",
    departures=(
        *traces.DEPARTURES,
        "Queries have one projection, and keys and values one for each of the nine places (the paper's position "
        "projection), with one head and logits over the root of the width: the facts at hand say local self-attention "
        "alone.",
        "Layer norm follows both residuals of a block, whose convolutions are 3 x 3 with GELU between: the facts "
        "at hand say no more than `residual + 3 conv`.",
        "Leaky ReLU of .1 stands between the convolutions of the head: of four channels none may die.",
        "Padding is no neighbour, as what lies beyond the picture is none.",
        "The loss is the cross-entropy of the map: the facts at hand name none.",
        "`tiny` has six convolutions of 32 channels in its front end, blocks of 16 channels with one convolution, and "
        "dilations to 27.",
    ),
)


class LocalAttention(nn.Module):
    """Self-attention of every pixel over nine: itself and eight neighbours at a distance.

    Args:
        channels: In and out.
        dilation: Distance of the neighbours, pixels.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.keys, self.values = (
            nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in STEPS) for _ in range(2)
        )

    def shares(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return how much each pixel looks at its nine (B, 9, H, W); those outside the picture get 0, the sum is 1."""
        query = self.query(x).float() / x.shape[1] ** 0.5
        logits = [(query * key(near)).sum(1) for key, near in zip(self.keys, self._near(x), strict=True)]
        inside = torch.ones_like(x[:, :1]) if valid is None else valid.to(x)
        seen = torch.cat(list(self._near(inside)), 1) > 0
        # A pixel of the padding has itself to look at.
        seen[:, len(STEPS) // 2] = True
        return torch.stack(logits, 1).masked_fill(~seen, -torch.inf).softmax(1)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, C, H, W).

        Args:
            x: (B, C, H, W) of any size.
            valid: (B, 1, H, W) bool, pixels that may be looked at; None = all.
        """
        shares = self.shares(x, valid).to(x)
        # One place after the other: nine maps of all channels at once would not fit large pictures.
        found = torch.zeros_like(x)
        for share, value, near in zip(shares.split(1, 1), self.values, self._near(x), strict=True):
            found = found + share * value(near)
        return found

    def _near(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the plane as each of the nine sees it; beyond it are zeros."""
        far, (height, width) = self.dilation, x.shape[-2:]
        wide = F.pad(x, (far,) * 4)
        for down, right in STEPS:
            top, left = far * (1 + down), far * (1 + right)
            yield wide[..., top : top + height, left : left + width]


class Block(nn.Module):
    """Local attention, then 3 x 3 convolutions, each added to what it was given.

    Args:
        channels: In and out.
        dilation: Of the attention.
        convolutions: Number of them.
    """

    def __init__(self, channels: int, dilation: int, convolutions: int) -> None:
        super().__init__()
        self.attention = LocalAttention(channels, dilation)
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GELU()]
        self.convolutions = nn.Sequential(*layers[:-1])
        self.norms = nn.ModuleList(LayerNorm2d(channels, 1e-6) for _ in range(2))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, C, H, W); see `LocalAttention.forward`."""
        x = self.norms[0](x + self.attention(x, valid))
        return self.norms[1](x + self.convolutions(x))


class Span(Network):
    """Traces to few channels, a pyramid of local attention one block after the other, a head of 5 x 5 convolutions.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        widths: Of the front end, see `nn.traces.Traces`.
        channels: Of the blocks.
        dilations: Of the attention, block by block.
        convolutions: 3 x 3 convolutions of a block.
        weights: A safetensors file of a pretrained front end.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """

    multiple = 8
    needs: ClassVar[tuple[str, ...]] = ("valid",)

    def __init__(
        self,
        widths: Sequence[int] = traces.WIDTHS["full"],
        channels: int = 32,
        dilations: Sequence[int] = (1, 3, 9, 27, 81),
        convolutions: int = 3,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        _check(channels, dilations, convolutions)
        self.traces = traces.Traces(widths, weights)
        self.adapt = nn.Conv2d(self.traces.channels, channels, 1)
        self.blocks = nn.ModuleList(Block(channels, dilation, convolutions) for dilation in dilations)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((channels, 16, 8, 4, 1)):
            layers += [nn.Conv2d(inputs, outputs, 5, padding=2), nn.LeakyReLU(0.1)]
        self.head = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        x = self.adapt(self.traces(image, valid))
        for block in self.blocks:
            x = block(x, valid)
        return {"mask": self.head(x)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`: the cross-entropy of logits, picture by picture."""
        return {"mask": losses.map_bce(outputs, batch)}


def _check(channels: int, dilations: Sequence[int], convolutions: int) -> None:
    if min(channels, convolutions) < 1:
        found = f"{channels} and {convolutions}"
        raise InvalidValueError(f"span: expected channels and convolutions of at least 1, found {found}")
    if not dilations or min(dilations) < 1:
        raise InvalidValueError(f"span.dilations: expected one or more numbers from 1, found {list(dilations)}")


def build(size: Size = "tiny", **settings: Any) -> Span:
    """Return SPAN: twelve convolutions to 256 and five blocks of 32 in full, six of 32 and four blocks of 16 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Span`; they replace those of the size.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"widths": traces.WIDTHS["tiny"], "channels": 16, "dilations": (1, 3, 9, 27), "convolutions": 1},
    }
    return Span(**(sizes[size] | settings))
