"""Haar wavelets of feature maps, and FFDN's decoder on them: high and low bands are carried past the pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.nn.guided import box_sum
from tamperscope.nn.heads import Fpn, resized


def haar(maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the bands LL, LH, HL, HH of (B, C, H, W), each (B, C, H / 2, W / 2), so that squares add up to the same.

    LH is the difference of rows and HL that of columns; sides are even.
    """
    quarters = F.pixel_unshuffle(maps, 2).unflatten(1, (maps.shape[1], 4)) / 2
    first, right, below, last = quarters.unbind(2)
    return (
        first + right + below + last,
        below + last - first - right,
        right + last - first - below,
        first + last - right - below,
    )


def weighted_fit(guide: Tensor, source: Tensor, weight: Tensor, radius: int = 2, eps: float = 1e-2) -> Tensor:
    """Return the guided filter's line of every place, slope and offset (B, 2, C, h, w), each channel for itself.

    In every box the source is slope times guide plus offset, with the least sum of squares that the weights allow and
    a slope that `eps` keeps small; the lines of all boxes that hold a place are averaged. In double precision, for
    variances are small differences.

    Args:
        guide: (B, C, h, w).
        source: (B, C, h, w).
        weight: (B, C, h, w), from 0.
        radius: Boxes reach so many places to each side, and end with the map.
        eps: Added to the variance of the guide.
    """
    guide, source, weight = guide.double(), source.double(), weight.double()
    total = box_sum(weight, radius)
    mean_guide, mean_source = (box_sum(weight * x, radius) / total for x in (guide, source))
    common = box_sum(weight * guide * source, radius) / total - mean_guide * mean_source
    variance = box_sum(weight * guide.square(), radius) / total - mean_guide.square()
    slope = common / (variance.clamp(min=0) + eps)
    lines = torch.stack([slope, mean_source - slope * mean_guide], 1)
    return (box_sum(lines.flatten(1, 2), radius) / box_sum(torch.ones_like(guide[:1, :1]), radius)).unflatten(
        1, (2, -1)
    )


class Crosses(nn.Module):
    """Each place seen alone, and through lines of 3, 5 and 7 places, then as far apart (FFDN's texture enhancement).

    Args:
        inputs: Channels in.
        width: Channels out.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_conv(inputs, width, 1)])
        for size in (3, 5, 7):
            lines = [_conv(width, width, (1, size)), _conv(width, width, (size, 1)), _conv(width, width, 3, size)]
            self.branches.append(nn.Sequential(_conv(inputs, width, 1), *lines))
        self.join, self.short = _conv(4 * width, width, 3), _conv(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, h, w)."""
        # Of maps whose channels come last, torch 2.13 finds no gradient of a dilated convolution in 16 bits on a CPU.
        x = x.contiguous()
        return (self.join(torch.cat([branch(x) for branch in self.branches], 1)) + self.short(x)).relu()


class Attention(nn.Module):
    """How much each value of a band counts: a residual block, gated by channel and by place.

    Low bands lose mean and deviation over their channels first, and get them back, changed, at the end.

    Args:
        channels: In and out.
        low: Whether the band is a low one.
    """

    def __init__(self, channels: int, low: bool) -> None:
        super().__init__()
        self.low = low
        self.residual = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.InstanceNorm2d(channels) if low else nn.BatchNorm2d(channels)
        self.channel = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        narrow = max(1, channels // 4)
        self.place = nn.Sequential(
            nn.Conv2d(channels, narrow, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(narrow, 1, 3, padding=1),
            nn.Sigmoid(),
        )
        self.moments = nn.ModuleList(_smoothed() for _ in range(2 if low else 0))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w)."""
        if not self.low:
            return self._gated(x)
        mean, std = x.mean(1, keepdim=True), (x.var(1, keepdim=True) + 1e-5).sqrt()
        shift, scale = (layer(plane) for layer, plane in zip(self.moments, (mean, std), strict=True))
        found: Tensor = self._gated((x - mean) / std) * scale + shift
        return found

    def _gated(self, x: Tensor) -> Tensor:
        x = x + self.norm(self.residual(x)).relu()
        pooled = x.mean((2, 3)) if self.low else x.amax((2, 3))
        x = x * self.channel(pooled[:, None])[:, 0, :, None, None].sigmoid()
        found: Tensor = x * self.place(x)
        return found


class Carried(nn.Module):
    """One band of four scales, from the coarsest on: each is fitted to the next finer one, where it counts.

    Args:
        channels: Of the bands.
        low: Whether they are low ones.
    """

    def __init__(self, channels: int, low: bool) -> None:
        super().__init__()
        self.attention = nn.ModuleList(Attention(channels, low) for _ in range(3))

    def forward(self, bands: Sequence[Tensor]) -> Tensor:
        """Return (B, C, h, w) at the size of the finest; bands are told finest first, each half of the one before."""
        found = bands[-1]
        for attention, finer in zip(self.attention, bands[-2::-1], strict=True):
            weight = attention(found)
            with torch.autocast(found.device.type, enabled=False):
                guide = resized(finer.float(), found.shape[-2:])
                # Where nothing counts all count alike, and gradients stay small.
                line = weighted_fit(guide, found, weight.double().square() + 1e-4).float()
                slope, offset = resized(line.flatten(1, 2), finer.shape[-2:]).unflatten(1, (2, -1)).unbind(1)
                found = (slope * finer + offset).to(finer.dtype)
        return found


class WaveletPyramid(nn.Module):
    """FFDN's decoder: the high bands of all scales join the finest map, the low ones the coarsest; then a pyramid.

    Args:
        channels: Of four maps, finest first.
        width: Of all results; a multiple of 4.
    """

    def __init__(self, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.crosses = nn.ModuleList(Crosses(c, width) for c in channels)
        self.low, self.high = Carried(width, True), Carried(width, False)
        self.down = nn.Sequential(_conv(width, width, 3, stride=2), _conv(width, width, 3, stride=2))
        self.coarsest = nn.Conv2d(2 * width, width, 1)
        self.finest = nn.Conv2d(width + width // 4, width, 1)
        self.pyramid = Fpn([width] * len(channels), width)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return one map a scale, (B, width, h, w), finest first; sides of the coarsest are even, and at least 4."""
        maps = [layer(x) for layer, x in zip(self.crosses, maps, strict=True)]
        bands = [haar(x) for x in maps]
        low, high = self.low([b[0] for b in bands]), self.high([b[3] for b in bands])
        finest = self.finest(torch.cat([F.pixel_shuffle(high, 2), maps[0]], 1))
        coarsest = self.coarsest(torch.cat([self.down(low), maps[-1]], 1))
        return list(self.pyramid([finest, *maps[1:-1], coarsest]))


def _conv(inputs: int, outputs: int, size: int | tuple[int, int], dilation: int = 1, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size but for its stride, with batch norm and ReLU."""
    sizes = (size, size) if isinstance(size, int) else size
    reach = (dilation * (sizes[0] // 2), dilation * (sizes[1] // 2))
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, sizes, stride, reach, dilation, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _smoothed() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 1), nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), nn.Conv2d(16, 1, 1)
    )
