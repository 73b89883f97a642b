"""SparseViT: attention between tokens that lie far apart, which keeps it from seeing what a picture shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import uniformer
from tamperscope.nn.heads import LayerNorm2d, resized
from tamperscope.nn.losses import map_bce

ABOUT = About(
    title="SparseViT",
    source="Su et al., AAAI 2025, 'Can We Get Rid of Handcrafted Feature Extractors? SparseViT: Nonsemantics-Centered, "
    "Parameter-Efficient Image Manipulation Localization through Spare-Coding Transformer' (arXiv 2412.14598); "
    "github.com/scu-zjz/SparseViT; UniFormer: Li et al., 2022 (arXiv 2201.09450)",
    departures=(
        "How the seven blocks of the last stage are shared by two sparsities is not known to us: here four and three.",
        "What follows the weighed sum is not known to us: here layer norm and a 1 x 1 convolution; the layer scale is "
        "one factor of each channel, and maps that have the common width already are not projected.",
        "Any size that is a multiple of 32 is taken, not 512 alone: groups are filled up with tokens that nobody sees.",
        "Tokens of the padding are masked out of the attention, and its pixels are black; published pictures are "
        "resized and have none.",
        "`tiny` has 1, 2, 4 and 2 blocks of widths 16, 32, 64 and 96, heads of 16, and blocks whose channels' factors "
        "begin as 1, for it learns from scratch.",
    ),
)


class SparseVit(Network):
    """UniFormer with sparse attention, and the maps after each of its sparsities, weighed and added.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        widths: Of UniFormer's stages.
        depths: Blocks of its stages.
        sparsities: Of the runs of blocks of its third stage and of its fourth, see `nn.uniformer.UniFormer`.
        head: Length of a head.
        width: Of the maps that are added.
        drop_path: Rate of stochastic depth in the last block; the others have less, linearly.
        scale: What the factors of channels in its blocks begin as.
        fusion_scale: What the factors of channels of the maps begin as.
        weights: A safetensors file of UniFormer's weights, named as the released ones.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (5, 8, 20, 7),
        sparsities: Sequence[Sequence[int]] = ((8, 4, 2, 1), (2, 1)),
        head: int = 64,
        width: int = 512,
        drop_path: float = 0.1,
        scale: float = 1e-6,
        fusion_scale: float = 1e-6,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if width < 1:
            raise InvalidValueError(f"sparse_vit.width: expected at least 1, found {width}")
        if min(scale, fusion_scale) <= 0:
            raise InvalidValueError(f"sparse_vit.scale: expected numbers above 0, found {scale} and {fusion_scale}")
        self.backbone = uniformer.UniFormer(widths, depths, sparsities, head, drop_path, scale)
        self.fusion = Fusion(self.backbone.channels, width, fusion_scale)
        if weights is not None:
            uniformer.load(weights, self.backbone)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1]; sides are multiples of 32.
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        if valid is not None:
            image = image * valid
        return {"mask": resized(self.fusion(self.backbone(self.normalized(image), valid)), image.shape[-2:])}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`: the cross-entropy of logits, picture by picture."""
        return {"mask": map_bce(outputs, batch)}


class Fusion(nn.Module):
    """Learnable feature fusion: each map to one width and the finest size, times a factor of each channel, added.

    A map that has the width is not projected.

    Args:
        channels: Of the maps, the finest first.
        width: Of what is added.
        scale: What the factors begin as.
    """

    def __init__(self, channels: Sequence[int], width: int, scale: float = 1e-6) -> None:
        super().__init__()
        self.lines = nn.ModuleList(nn.Identity() if c == width else nn.Conv2d(c, width, 1) for c in channels)
        self.scales = nn.Parameter(torch.full((len(channels), width), scale))
        self.norm = LayerNorm2d(width, 1e-6)
        self.last = nn.Conv2d(width, 1, 1)

    def added(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the weighed sum (B, width, h, w) of maps."""
        size = maps[0].shape[-2:]
        lines = [resized(line(x), size) for line, x in zip(self.lines, maps, strict=True)]
        return torch.stack([scale[:, None, None] * x for scale, x in zip(self.scales, lines, strict=True)]).sum(0)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits (B, 1, h, w) at the size of the first map."""
        return self.last(self.norm(self.added(maps)))


def build(size: Size = "tiny", **settings: Any) -> SparseVit:
    """Return SparseViT: UniFormer-B in full, nine blocks of widths 16 to 96 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `SparseVit`; they replace those of the size.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {
            "widths": (16, 32, 64, 96),
            "depths": (1, 2, 4, 2),
            "head": 16,
            "width": 96,
            "drop_path": 0.05,
            "scale": 1.0,
        },
    }
    return SparseVit(**(sizes[size] | settings))
