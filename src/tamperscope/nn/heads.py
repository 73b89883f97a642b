"""Heads: from feature maps of one or several scales to a map of logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.nn.attention import Attention, rotary


def resized(planes: Tensor, size: Sequence[int]) -> Tensor:
    """Return (B, C, H, W) at another size, bilinear."""
    return F.interpolate(planes, tuple(size), mode="bilinear", align_corners=False)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized maps."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class AllMlp(nn.Module):
    """SegFormer's head: every scale to one width and to the finest size, joined, and one logit a class.

    Args:
        channels: Of each scale, finest first.
        width: Of the joined maps.
        classes: Maps of logits.
        dropout: Of whole channels before the last layer.
    """

    def __init__(self, channels: Sequence[int], width: int = 256, classes: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.lines = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(len(channels) * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.drop = nn.Dropout2d(dropout)
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, classes, h, w) at the size of the finest map."""
        size = maps[0].shape[-2:]
        same = [resized(line(x), size) for line, x in zip(self.lines, maps, strict=True)]
        return self.last(self.drop(self.fuse(torch.cat(same[::-1], 1))))


class Fpn(nn.Module):
    """Feature pyramid (Lin et al., 2017): coarse maps are added to finer ones, then smoothed.

    Args:
        channels: Of each scale, finest first.
        width: Of all results.
    """

    def __init__(self, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return one map a scale, (B, width, h, w), finest first."""
        added = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for place in range(len(added) - 2, -1, -1):
            added[place] = added[place] + F.interpolate(added[place + 1], added[place].shape[-2:])
        return [smooth(x) for smooth, x in zip(self.smooth, added, strict=True)]


class SimplePyramid(nn.Module):
    """Simple feature pyramid (ViTDet): five scales of a plain transformer's last map, each made of it alone.

    For patches of 16 pixels these are 1/4, 1/8, 1/16, 1/32 and 1/64 of the picture.

    Args:
        channels: Of the map.
        width: Of the results.
    """

    def __init__(self, channels: int, width: int = 256) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.scales = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(channels, half, 2, 2),
                    LayerNorm2d(half, 1e-6),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, 2),
                    *_lateral(quarter, width),
                ),
                nn.Sequential(nn.ConvTranspose2d(channels, half, 2, 2), *_lateral(half, width)),
                nn.Sequential(*_lateral(channels, width)),
                nn.Sequential(nn.MaxPool2d(2), *_lateral(channels, width)),
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return five maps (B, width, h, w), finest first; the sides of `x` are even."""
        maps = [scale(x) for scale in self.scales]
        return [*maps, maps[-1][..., ::2, ::2]]


def _lateral(channels: int, width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, 1, bias=False),
        LayerNorm2d(width, 1e-6),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        LayerNorm2d(width, 1e-6),
    ]


class PredictPyramid(nn.Module):
    """IML-ViT's head: all scales at the finest size, joined to `width` channels, normed, one logit.

    Args:
        channels: Of every scale.
        scales: Number of them.
        width: Of the joined map.
        norm: `batch` as published, `layer`, or `instance`, which stand small batches.
    """

    def __init__(self, channels: int, scales: int = 5, width: int = 256, norm: str = "batch") -> None:
        super().__init__()
        norms = {
            "batch": lambda: nn.BatchNorm2d(width),
            "layer": lambda: LayerNorm2d(width, 1e-6),
            "instance": lambda: nn.InstanceNorm2d(width, affine=True, track_running_stats=True),
        }
        self.fuse = nn.Conv2d(scales * channels, width, 1)
        self.norm = norms[norm]()
        self.drop = nn.Dropout(0.5)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, 1, h, w) at the size of the finest map."""
        size = maps[0].shape[-2:]
        joined = self.fuse(torch.cat([resized(x, size) for x in maps], 1))
        return self.last(self.drop(self.norm(joined)))


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling (DeepLab v3): one place seen at several distances, and the whole picture.

    Args:
        channels: In.
        width: Out, and of each branch.
        dilations: Of the 3 x 3 branches; 1 is a 1 x 1 convolution.
    """

    def __init__(self, channels: int, width: int = 256, dilations: Sequence[int] = (1, 12, 24, 36)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _normed(nn.Conv2d(channels, width, 1 if d == 1 else 3, padding=0 if d == 1 else d, dilation=d, bias=False))
            for d in dilations
        )
        # Its map has one place: batch norm could not train on a single picture.
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, width, 1), nn.ReLU())
        self.join = _normed(nn.Conv2d((len(dilations) + 1) * width, width, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, h, w)."""
        whole = self.whole(x).expand(-1, -1, *x.shape[-2:])
        return self.join(torch.cat([*(branch(x) for branch in self.branches), whole], 1))


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


class GatedQueries(nn.Module):
    """RelayFormer's decoder: learned queries look at the map, each gives a mask, and a gate tells how much it counts.

    Args:
        channels: Of the map.
        width: Of queries and pixels.
        queries: Number of queries.
        layers: Rounds of cross-attention, self-attention and feed-forward.
        heads: Of the attention.
        dropout: Of the cross-attention.
    """

    def __init__(
        self, channels: int, width: int = 256, queries: int = 8, layers: int = 3, heads: int = 8, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.pixels = nn.Conv2d(channels, width, 3, padding=1)
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.layers = nn.ModuleList(_QueryLayer(width, heads, dropout) for _ in range(layers))
        self.gate = nn.Linear(width, 1)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, 1, h, w).

        Args:
            x: (B, C, h, w).
            valid: (B, h, w) bool, places that the queries may look at.
        """
        pixels = self.pixels(x)
        tokens = pixels.flatten(2).transpose(1, 2)
        hidden = None if valid is None else ~valid.flatten(1)
        queries = self.queries.expand(len(x), -1, -1)
        for layer in self.layers:
            queries = layer(queries, tokens, hidden)
        # Over the root of the width, as in attention: or logits begin so large that the first steps only shrink them.
        masks = torch.einsum("bqc,bchw->bqhw", queries, pixels) / pixels.shape[1] ** 0.5
        gates = self.gate(queries).sigmoid()[..., None]
        return (gates * masks).sum(1, keepdim=True)


class _QueryLayer(nn.Module):
    """One round; the self-attention knows the queries by rotary places, theta 10."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.own = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, queries: Tensor, tokens: Tensor, hidden: Tensor | None) -> Tensor:
        looked = self.cross(queries, tokens, tokens, key_padding_mask=hidden, need_weights=False)[0]
        queries = self.norms[0](queries + looked)
        places = torch.arange(queries.shape[1], device=queries.device)[:, None]
        turn = rotary(places, self.own.size, theta=10.0)
        queries = self.norms[1](queries + self.own(queries, turn=turn))
        return self.norms[2](queries + self.feed(queries))


class Contexts(nn.Module):
    """Pyramid pooling (Zhao et al., 2017): a map beside its means over 1, 4, 9 and 36 parts, joined into one.

    Args:
        channels: In and out; each context has a fourth of them.
        parts: Along each side.
    """

    def __init__(self, channels: int, parts: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.contexts = nn.ModuleList(nn.Conv2d(channels, channels // 4, 1) for _ in parts)
        self.join = nn.Conv2d(channels + channels // 4 * len(self.parts), channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, h, w)."""
        pooled = [layer(F.adaptive_avg_pool2d(x, n)).relu() for n, layer in zip(self.parts, self.contexts, strict=True)]
        return self.join(torch.cat([x, *(resized(context, x.shape[-2:]) for context in pooled)], 1))
