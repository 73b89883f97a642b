"""TruFor: noise residuals beside the picture; where it was forged, how far that can be trusted, and whether."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, extractors, losses, pooling
from tamperscope.nn.fusion import Crossed
from tamperscope.nn.heads import AllMlp, resized

ABOUT = About(
    title="TruFor",
    source="Guillaro et al., CVPR 2023 (TruFor: Leveraging all-round clues for trustworthy image forgery detection and "
    "localization); github.com/grip-unina/TruFor",
    parameters=68.7e6,
    departures=(
        "Residuals are those of this package's own extractor of 7 layers of 32 channels, trained on camera pipelines, "
        "or of one that is given: Noiseprint++ is not free, and its training is not published. The published number of "
        "parameters is that with its 17 layers of 64 channels.",
        "Cross-entropy, Dice and the confidence's error are those of each picture, then the mean, so that what a "
        "picture teaches does not depend on the others.",
        "Padding counts nowhere, and its border is no outline: how published training pads is not known to us.",
        "What the weights of the detection's cross-entropy are divided by is not known to us: here by nothing, so that "
        "each picture has its own weight.",
        "A picture whose label is told as unknown teaches the score nothing, whatever its mask holds.",
        "Whether the detection's loss trains the confidence as well is not known to us: here it does.",
        "In the second phase what is frozen stays in eval mode, so that the mask keeps its answers: not verified.",
        "Statistics of maps are taken at the picture's size: not verified.",
        "Phase `both`, with which nothing need be trained twice, trains both phases' heads at once, the second ones on "
        "features that they cannot change.",
        "`tiny` has encoders of 16, 32, 64 and 96 channels, one block a stage, and heads of 64.",
    ),
)
PHASES = ("both", "anomaly", "confidence")
CLASS_WEIGHTS = (0.5, 2.5)
CROSS_ENTROPY, DICE, DETECTION = 0.3, 0.7, 0.5
BORDER = (15, 11)
"""Sides of the windows that erode and dilate the forged part, in pixels; the confidence learns nothing between."""
LABEL_WEIGHTS = (0.5 / 0.3, 0.5 / 0.7)
"""Of authentic and of forged pictures, as if seven of ten were forged."""
FEWEST = 4
"""Pixels that make a picture a forged one."""


class TruFor(Network):
    """Two encoders, of the picture and of its noise residual, that rectify each other and are joined at every stage.

    Of what they join one all-MLP head makes the map of anomalies and another its confidence; eight statistics of both
    maps, those of the anomalies weighed by the confidence, make the score. It differs from the published system as
    `ABOUT.departures` tells.

    Args:
        make: Returns a backbone of stages, for either encoder.
        width: Of the heads.
        residual: Makes three like maps of a picture in [0, 1]; it is frozen.
        phase: `anomaly` learns where; `confidence` how sure and whether, with the rest frozen; `both` at once.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self, make: Callable[[], backbones.Stages], width: int, residual: extractors.Frozen, phase: str = "both"
    ) -> None:
        super().__init__()
        self.residual = residual
        self.branches = Crossed(make, 1, shared=False)
        self.head = AllMlp(self.branches.channels, width, 2)
        self.confidence = AllMlp(self.branches.channels, width, 1)
        self.detection = nn.Sequential(
            nn.Linear(2 * pooling.STATISTICS, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 1)
        )
        self.phase = phase
        for name, module in self.named_children():
            second = name in ("confidence", "detection")
            if phase == ("anomaly" if second else "confidence"):
                module.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> TruFor:
        """Set the mode; in the second phase what is frozen stays in eval mode, so that the mask keeps its answers."""
        super().train(mode)
        if self.phase == "confidence":
            for name, module in self.named_children():
                module.train(mode and name in ("confidence", "detection"))
        return self

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return logits.

        Args:
            image: (B, 3, H, W) in [0, 1], sides multiples of 32.
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. The score is of these alone.
            needs: Not looked at.

        Returns:
            `mask` (B, 1, H, W), and but for the first phase `confidence` (B, 1, H, W) and `score` (B,).
        """
        # The picture's encoder sees it normalized; the extractor was trained on pictures in [0, 1].
        joined = self.branches(self.normalized(image), [self.residual(image)])
        maps, size = [stage[0] for stage in joined], image.shape[-2:]
        logits = resized(self.head(maps).float(), size)
        mask = logits[:, 1:] - logits[:, :1]
        if self.phase == "anomaly":
            return {"mask": mask}
        confidence = resized(self.confidence([x.detach() for x in maps]).float(), size)
        with torch.autocast(image.device.type, enabled=False):
            score = self.detection(statistics(mask.detach(), confidence, valid))[:, 0]
        return {"mask": mask, "confidence": confidence, "score": score}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the weighted terms: means over pictures, which know nothing of each other.

        The first phase has `cross_entropy` and `dice`, the second `confidence` (squared error away from outlines) and
        `detection`.
        """
        mask, truth = outputs["mask"], batch["mask"]
        valid = batch.get("valid", torch.ones_like(truth, dtype=torch.bool))
        terms: dict[str, Tensor] = {}
        if self.phase != "confidence":
            classes = torch.cat([torch.zeros_like(mask), mask], 1)
            pictures = zip(classes.split(1), truth[:, 0].split(1), valid[:, 0].split(1), strict=True)
            each = [losses.cross_entropy(x, y, counted, CLASS_WEIGHTS) for x, y, counted in pictures]
            terms["cross_entropy"] = CROSS_ENTROPY * torch.stack(each).mean()
            terms["dice"] = DICE * losses.dice(mask, truth, valid, squared=True)
        if self.phase != "anomaly":
            told = (mask, outputs["confidence"], truth, valid & clear(truth, valid))
            each = [losses.confidence(*part) for part in zip(*(x.split(1) for x in told), strict=True)]
            terms["confidence"] = torch.stack(each).mean()
            label, known = labels(truth, valid, batch.get("label"))
            weight = torch.where(label, LABEL_WEIGHTS[1], LABEL_WEIGHTS[0]) * known
            terms["detection"] = DETECTION * losses.bce(outputs["score"], label, weight=weight)
        return terms


def statistics(mask: Tensor, confidence: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return four statistics of the confidence, then four of the anomalies where they can be trusted, (B, 8).

    Args:
        mask: (B, 1, H, W), logits.
        confidence: (B, 1, H, W), logits; a pixel of the mask weighs as much as its sigmoid.
        valid: (B, 1, H, W) bool, which pixels count; None = all.
    """
    weights = torch.zeros_like(mask) if valid is None else torch.where(valid, 0.0, -1e4).to(mask)
    return torch.cat(
        [
            pooling.soft_statistics(confidence, weights),
            pooling.soft_statistics(mask, F.logsigmoid(confidence) + weights),
        ],
        1,
    )


def clear(mask: Tensor, valid: Tensor) -> Tensor:
    """Return which pixels lie clear of an outline: in the eroded forged part, or out of the dilated one.

    Args:
        mask: (B, 1, H, W), 0 or 1.
        valid: (B, 1, H, W) bool; the border of what is valid is no outline, nor is the picture's.

    Returns:
        (B, 1, H, W) bool.
    """
    erosion, dilation = BORDER
    forged, pristine = mask.float() * valid, (1 - mask.float()) * valid
    by_pristine = F.max_pool2d(pristine, erosion, 1, erosion // 2) > 0
    by_forged = F.max_pool2d(forged, dilation, 1, dilation // 2) > 0
    return ~(by_pristine & by_forged)


def labels(mask: Tensor, valid: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return which pictures are forged, by the forged pixels that they show, and of which that is known, both (B,)."""
    forged = (mask * valid).sum((1, 2, 3)) >= FEWEST
    return forged, torch.ones_like(forged) if label is None else label >= 0


def build(
    size: Size = "tiny",
    phase: Literal["both", "anomaly", "confidence"] = "both",
    extractor: str | Path | None = None,
    weights: str | Path | None = None,
) -> TruFor:
    """Return TruFor with random weights but for the extractor of residuals: MiT-B2 and heads of 512 in full.

    Args:
        size: `full` or `tiny`.
        phase: What learns; networks of all phases have the same weights, so that one continues another.
        extractor: Safetensors file of an own `nn.residuals.Residuals`, with a card beside it; None = the shipped.
        weights: Folder of a pretrained MiT, for both encoders.

    Raises:
        InputError: The extractor's file is no safetensors file.
        InvalidValueError: A file or folder does not fit.
        UnknownNameError: There is no such phase.
    """
    if phase not in PHASES:
        raise unknown_name("phase", phase, PHASES)
    full = size == "full"

    def make() -> backbones.Stages:
        return cast(backbones.Stages, backbones.build("mit", "b2" if full else "tiny", weights=weights))

    return TruFor(make, 512 if full else 64, extractors.extractor(extractor), phase)
