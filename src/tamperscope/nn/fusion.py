"""Fusion of two feature pyramids, as in CMX and MMFusion: each rectifies the other, then they are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tamperscope.nn import backbones


class Rectify(nn.Module):
    """Feature rectification (FRM): each branch takes half of the other, weighed by channel and by place.

    Args:
        channels: Of each branch.
        share: Of the channel-weighed part; the place-weighed one has it too.
    """

    def __init__(self, channels: int, share: float = 0.5) -> None:
        super().__init__()
        self.share = share
        self.channel = nn.Sequential(
            nn.Linear(4 * channels, 4 * channels), nn.ReLU(), nn.Linear(4 * channels, 2 * channels), nn.Sigmoid()
        )
        self.place = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, 2, 1), nn.Sigmoid()
        )

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return both (B, C, H, W), rectified."""
        both = torch.cat([one, other], 1)
        pooled = torch.cat([both.mean((2, 3)), both.amax((2, 3))], 1)
        by_channel = self.channel(pooled)[..., None, None].chunk(2, 1)
        by_place = self.place(both).chunk(2, 1)
        weights = [self.share * (c + p) for c, p in zip(by_channel, by_place, strict=True)]
        return one + weights[0] * other, other + weights[1] * one


class Exchange(nn.Module):
    """Linear cross-attention between two sequences: each asks of the context that the other's keys and values make.

    Args:
        channels: Of a token.
        heads: Number of attention heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (channels // heads) ** -0.5
        self.keys = nn.ModuleList(nn.Linear(channels, 2 * channels, bias=False) for _ in range(2))

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each of (B, N, C) gets of the other."""
        contexts = [self._context(layer(x)) for layer, x in zip(self.keys, (one, other), strict=True)]
        return self._asked(one, contexts[1]), self._asked(other, contexts[0])

    def _parted(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _context(self, keys_values: Tensor) -> Tensor:
        keys, values = (self._parted(part) for part in keys_values.chunk(2, 2))
        context: Tensor = (keys.transpose(-2, -1) @ values * self.scale).softmax(-2)
        return context

    def _asked(self, queries: Tensor, context: Tensor) -> Tensor:
        return (self._parted(queries) @ context).transpose(1, 2).flatten(2)


class Join(nn.Module):
    """Feature fusion (FFM): both branches exchange by cross-attention, and a small convolution makes one of them.

    Args:
        channels: Of each branch and of the result.
        heads: Of the attention.
    """

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(2))
        self.exchange = Exchange(channels, heads)
        self.outer = nn.ModuleList(nn.Linear(2 * channels, channels) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.residual = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.mix = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the joined (B, C, H, W)."""
        size = one.shape[-2:]
        tokens = [x.flatten(2).transpose(1, 2) for x in (one, other)]
        kept, asking = zip(
            *(layer(t).relu().chunk(2, 2) for layer, t in zip(self.inner, tokens, strict=True)), strict=True
        )
        got = self.exchange(*asking)
        joined = [
            norm(t + outer(torch.cat([k, g], 2)))
            for norm, outer, t, k, g in zip(self.norms, self.outer, tokens, kept, got, strict=True)
        ]
        both = torch.cat(joined, 2).transpose(1, 2).unflatten(2, size)
        return self.norm(self.residual(both) + self.mix(both))


class Crossed(nn.Module):
    """A picture and maps beside it through four stages; after each they rectify each other (FRM) and are joined (FFM).

    Args:
        make: Returns a backbone of stages.
        maps: Number of maps beside the picture.
        shared: Whether they go through the picture's own backbone; else they have one.
    """

    def __init__(self, make: Callable[[], backbones.Stages], maps: int, shared: bool) -> None:
        super().__init__()
        self.own = make()
        self.other = None if shared else make()
        self.channels, count = self.own.channels, self.own.body.config.num_attention_heads
        self.rectify = nn.ModuleList(nn.ModuleList(Rectify(c) for c in self.channels) for _ in range(maps))
        self.join = nn.ModuleList(
            nn.ModuleList(Join(c, h) for c, h in zip(self.channels, count, strict=True)) for _ in range(maps)
        )

    def forward(self, picture: Tensor, beside: Sequence[Tensor]) -> list[list[Tensor]]:
        """Return of every stage what was joined with each map, (B, C, h, w).

        Args:
            picture: (B, 3, H, W), sides multiples of 32.
            beside: As many such as `maps`.
        """
        own, other = self.own.stages(), (self.other or self.own).stages()
        found = []
        for place, (stage, beside_stage) in enumerate(zip(own, other, strict=True)):
            picture, beside = stage(picture), [beside_stage(x) for x in beside]
            pairs = [layer(picture, x) for layer, x in zip(self._of(self.rectify, place), beside, strict=True)]
            found.append([layer(*pair) for layer, pair in zip(self._of(self.join, place), pairs, strict=True)])
            picture, beside = torch.stack([pair[0] for pair in pairs]).mean(0), [pair[1] for pair in pairs]
        return found

    @staticmethod
    def _of(layers: nn.ModuleList, place: int) -> list[nn.Module]:
        """Return the layers of one stage, one a map."""
        return [cast(nn.ModuleList, several)[place] for several in layers]
