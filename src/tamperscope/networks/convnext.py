"""ConvNeXt with a pyramid: the plain convolutional localizer of today."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import unknown_name
from tamperscope.networks.base import About, Size
from tamperscope.networks.plain import Plain
from tamperscope.nn import backbones
from tamperscope.nn.heads import Fpn, resized

ABOUT = About(
    title="ConvNeXt",
    source="Liu et al., CVPR 2022 (arXiv 2201.03545); as a localizer in ForensicHub (ConvNeXt-S)",
    departures=(
        "A feature pyramid, or UPerNet's with its pooled contexts, in place of ForensicHub's three convolutions on the "
        "coarsest map; so that no count of parameters is published. The backbone alone has 50.2 M with its classifier.",
        "Pooled contexts have no norm, so that single pictures can be trained on.",
        "Beside the map it gives a score, made of the map's statistics.",
        "What stands before the first layer is a setting.",
        "`tiny` has five blocks of 24, 48, 96 and 144 channels whose scales begin at 1, and sees SRM residuals beside "
        "the colours.",
    ),
)


class Convnext(Plain):
    """ConvNeXt, a pyramid of its maps, and one logit a pixel at a fourth of the picture's resolution, enlarged.

    It differs from the published network as `ABOUT.departures` tells.

    Args:
        backbone: Size of ConvNeXt: `tiny`, `t`, `s`, `b`, `l`.
        width: Of the pyramid.
        head: `fpn`, or `uper`, whose coarsest map also knows means of 1, 4, 9 and 36 parts of the picture.
        stem: Maps that it sees, see `nn.stems.Stem`.
        bce: Weight of the map's cross-entropy.
        dice: Weight of the map's Dice loss.
        score: Weight of the score's cross-entropy; None leaves the score out.
        weights: Folder of weights of the backbone, see `nn.backbones.build`.
        extra: How the first layer begins where such weights do not know a channel.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """

    def __init__(
        self,
        backbone: str = "s",
        width: int = 256,
        head: Literal["fpn", "uper"] = "fpn",
        stem: Sequence[str] = ("rgb",),
        bce: float = 1.0,
        dice: float = 1.0,
        score: float | None = 0.2,
        weights: str | Path | None = None,
        extra: backbones.Extra = "kaiming",
    ) -> None:
        super().__init__(stem, bce, dice, score)
        if head not in ("fpn", "uper"):
            raise unknown_name("head", head, ["fpn", "uper"])
        self.backbone = backbones.build("convnext", backbone, self.stem.channels, weights, extra)
        channels = self.backbone.channels
        self.contexts = Contexts(channels[-1]) if head == "uper" else nn.Identity()
        self.pyramid = Fpn(channels, width)
        self.fuse = nn.Sequential(
            nn.Conv2d(len(channels) * width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W) and `score` (B,) of pictures (B, 3, H, W) in [0, 1]."""
        maps = self.backbone(self.stem(image))
        maps = self.pyramid([*maps[:-1], self.contexts(maps[-1])])
        coarse = self.last(self.fuse(torch.cat([resized(x, maps[0].shape[-2:]) for x in maps], 1)))
        return self.answered(coarse, image)


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


def build(size: Size = "tiny", **settings: Any) -> Convnext:
    """Return a ConvNeXt: S with a pyramid of 256 in full, our smallest with one of 48 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Convnext`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"backbone": "tiny", "width": 48, "stem": ("rgb", "srm")},
    }
    return Convnext(**(sizes[size] | settings))
