"""SegFormer: a hierarchical transformer and a head of linear layers, the plainest of strong localizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tamperscope.networks.base import About, Size
from tamperscope.networks.plain import Plain
from tamperscope.nn import backbones
from tamperscope.nn.heads import AllMlp

ABOUT = About(
    title="SegFormer",
    source="Xie et al., NeurIPS 2021 (arXiv 2105.15203); as a localizer in IMDL-BenCo and ForensicHub (MiT-B3)",
    parameters=47.3e6,
    departures=(
        "One logit a pixel, forged or not, in place of classes.",
        "Beside the map it gives a score, made of the map's statistics.",
        "What stands before the first layer is a setting.",
        "`tiny` has one block a stage of 16, 32, 64 and 96 channels, and sees SRM residuals beside the colours.",
    ),
)


class Segformer(Plain):
    """MiT and the all-MLP head; the map has a fourth of the picture's resolution, and is enlarged.

    It differs from the published network as `ABOUT.departures` tells.

    Args:
        backbone: Size of MiT: `tiny`, `b0` to `b5`.
        width: Of the head.
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
        backbone: str = "b3",
        width: int = 768,
        stem: Sequence[str] = ("rgb",),
        bce: float = 1.0,
        dice: float = 1.0,
        score: float | None = 0.2,
        weights: str | Path | None = None,
        extra: backbones.Extra = "kaiming",
    ) -> None:
        super().__init__(stem, bce, dice, score)
        self.backbone = backbones.build("mit", backbone, self.stem.channels, weights, extra)
        self.head = AllMlp(self.backbone.channels, width)

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W) and `score` (B,) of pictures (B, 3, H, W) in [0, 1]."""
        coarse = self.head(self.backbone(self.stem(image)))
        return self.answered(coarse, image)


def build(size: Size = "tiny", **settings: Any) -> Segformer:
    """Return a SegFormer: B3 with a head of 768 in full, our smallest MiT with a head of 64 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Segformer`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"backbone": "tiny", "width": 64, "stem": ("rgb", "srm")},
    }
    return Segformer(**(sizes[size] | settings))
