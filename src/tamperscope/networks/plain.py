"""What the plain localizers share: what they see, a map, a score made of it, and one loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tamperscope.errors import unknown_name
from tamperscope.networks.base import Network
from tamperscope.nn import backbones
from tamperscope.nn.heads import Contexts, Fpn, resized
from tamperscope.nn.plain import Factors, Score
from tamperscope.nn.stems import Stem


class Plain(Network):
    """A localizer with one map.

    Args:
        stem: Maps that it sees, see `nn.stems.Stem`.
        bce: Weight of the map's cross-entropy.
        dice: Weight of the map's Dice loss.
        score: Weight of the score's cross-entropy; None leaves the score out.

    Raises:
        InvalidValueError: A weight is out of range.
        UnknownNameError: A map of the stem is not known.
    """

    any_size = True

    def __init__(self, stem: Sequence[str], bce: float, dice: float, score: float | None) -> None:
        super().__init__()
        self.factors = Factors(bce, dice, score or 0.0)
        self.stem = Stem(stem)
        self.score = None if score is None else Score()

    def answered(self, found: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Return a map of logits (B, 1, h, w) at the picture's size as `mask`, and its `score` (B,)."""
        outputs = {"mask": found if found.shape[-2:] == image.shape[-2:] else resized(found, image.shape[-2:])}
        return outputs if self.score is None else outputs | {"score": self.score(found)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the weighted terms `bce`, `dice` and `score`."""
        return self.factors.loss(outputs, batch)


class Pyramidal(Plain):
    """A backbone, a pyramid of its maps, and one logit a pixel at a fourth of the picture's resolution, enlarged.

    Args:
        family: Of the backbone, see `nn.backbones.build`.
        backbone: Size of it.
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
        family: str,
        backbone: str,
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
        self.backbone = backbones.build(family, backbone, self.stem.channels, weights, extra)
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
