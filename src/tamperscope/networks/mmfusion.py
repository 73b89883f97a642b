"""MMFusion: what three noise filters see is fused with the picture stage by stage; where, how sure, and whether."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, extractors, filters, fusion, heads, losses, mixers, pooling

ABOUT = About(
    title="MMFusion",
    source="Triaridis & Mezaris, MMM 2024, arXiv 2312.01790 (v2 with Tsigos); IDT-ITI/MMFusion-IML",
    departures=(
        "residuals are those of this package's own small extractor, or of one that is given: Noiseprint++ is not free.",
        "the Bayar filter is learned from scratch: published weights are loaded and frozen.",
        "its constraint also holds where the sum of the free weights comes near 0, by which published code divides.",
        "pixels that are not the picture's are ignored: the published label for them never worked.",
        "in late fusion the picture's branch goes on with the mean of what each filter made of it: not verified.",
        "in late fusion each filter's maps go into a branch of their own without early convolutions: not verified.",
        "statistics of maps are taken at the picture's size: not verified.",
        "weighing filters anew (`decoder: weighed`) is ours: of v2's decoder only the name is known.",
        "phase `both` trains both phases' heads at once, the second ones on features that they cannot change.",
    ),
)
FILTERS = ("srm", "bayar", "residual")
PHASES = ("both", "anomaly", "confidence")
CLASS_WEIGHTS = (0.5, 2.5)
CROSS_ENTROPY, DICE, DETECTION = 0.3, 0.7, 0.5
DROPOUT = 0.33


class Weighing(nn.Module):
    """Weighs what was joined with each map, of one stage, picture by picture; the weights begin as 1 and add to `maps`.

    Args:
        channels: Of each.
        maps: Number of them.
    """

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.gate = nn.Linear(channels * maps, maps)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, joined: Sequence[Tensor]) -> list[Tensor]:
        """Return them (B, C, h, w), weighed."""
        weights = self.gate(torch.cat([x.mean((2, 3)) for x in joined], 1)).softmax(1) * len(joined)
        return [x * weights[:, place, None, None, None] for place, x in enumerate(joined)]


class MMFusion(Network):
    """Filters of the picture (SRM, Bayar, residuals) as one map (early) or several (late) beside it; an all-MLP head.

    A second such head tells the confidence, and eight statistics of both maps the score of the whole picture. For how
    this differs from the published network see `ABOUT`.

    Args:
        make: Returns a backbone of stages.
        width: Of the heads.
        widths: Of the convolutions of each filter and of their mixer, in early fusion.
        used: Which of `FILTERS`.
        mode: `early` or `late`.
        phase: `anomaly` learns where; `confidence` how sure and whether, with the rest frozen; `both` at once.
        weighed: Whether late fusion weighs the filters anew for every picture before the heads.
        extractor: Makes three like maps of a picture in [0, 1]; it is frozen.
    """

    needs = ("valid",)

    any_size = True

    def __init__(
        self,
        make: Callable[[], backbones.Stages],
        width: int,
        widths: Sequence[int],
        used: Sequence[str],
        mode: str,
        phase: str,
        weighed: bool,
        extractor: extractors.Frozen,
    ) -> None:
        super().__init__()
        known: dict[str, Callable[[], nn.Module]] = {
            "srm": filters.Srm,
            "bayar": filters.Bayar,
            "residual": lambda: extractor,
        }
        self.filters = nn.ModuleDict({name: known[name]() for name in FILTERS if name in used})
        count, early = len(self.filters), mode == "early"
        self.early = nn.ModuleList(mixers.EarlyConv(3, 3, widths) for _ in range(count if early else 0))
        self.mixer = mixers.EarlyConv(3 * count, 3, widths) if early else None
        self.drop = nn.Dropout(DROPOUT)
        self.branches = fusion.Crossed(make, 1 if early else count, shared=not early)
        self.weigh = nn.ModuleList(Weighing(c, count) for c in self.branches.channels if weighed)
        channels = [c * (1 if early else count) for c in self.branches.channels]
        self.head = heads.AllMlp(channels, width, 2)
        self.confidence = heads.AllMlp(channels, width, 1)
        self.detection = nn.Sequential(
            nn.Linear(2 * pooling.STATISTICS, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 1)
        )
        self.phase = phase
        second = [self.confidence, self.detection]
        if phase == "confidence":
            self.requires_grad_(False)
        for module in second:
            module.requires_grad_(phase != "anomaly")
        self.train()

    def train(self, mode: bool = True) -> MMFusion:
        """Set the mode; in the second phase what is frozen stays in eval mode, so that the mask keeps its answers."""
        super().train(mode)
        if self.phase == "confidence":
            for name, module in self.named_children():
                module.train(mode and name in ("confidence", "detection"))
        return self

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits of `mask`, and but for the first phase of `confidence` and `score`.

        Args:
            image: (B, 3, H, W) in [0, 1], sides multiples of 32.
            valid: (B, 1, H, W) bool, which pixels the statistics behind `score` are of; None = all.
            needs: Nothing.
        """
        maps = self._maps(image)
        size = image.shape[-2:]
        logits = heads.resized(self.head(maps), size)
        mask = logits[:, 1:] - logits[:, :1]
        if self.phase == "anomaly":
            return {"mask": mask}
        confidence = heads.resized(self.confidence([x.detach() for x in maps]), size)
        weights = torch.zeros_like(mask) if valid is None else torch.where(valid, 0.0, -1e4).to(mask)
        statistics = [
            pooling.soft_statistics(confidence, weights),
            pooling.soft_statistics(mask.detach(), F.logsigmoid(confidence) + weights),
        ]
        return {"mask": mask, "confidence": confidence, "score": self.detection(torch.cat(statistics, 1))[:, 0]}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return .3 weighted cross-entropy + .7 Dice (first phase), squared error of the confidence + .5 BCE (second).

        Args:
            outputs: Of `forward`.
            batch: With `mask`, `label` and, where pixels do not count, `valid`.
            progress: Changes nothing.
        """
        mask, truth, valid = outputs["mask"], batch["mask"], batch.get("valid")
        terms: dict[str, Tensor] = {}
        if self.phase != "confidence":
            classes = torch.cat([torch.zeros_like(mask), mask], 1)
            counted = None if valid is None else valid[:, 0]
            terms["cross_entropy"] = CROSS_ENTROPY * losses.cross_entropy(classes, truth[:, 0], counted, CLASS_WEIGHTS)
            terms["dice"] = DICE * losses.dice(mask, truth, valid)
        if self.phase != "anomaly":
            terms["confidence"] = losses.confidence(mask, outputs["confidence"], truth, valid)
            label = batch["label"].float()
            terms["detection"] = DETECTION * F.binary_cross_entropy_with_logits(outputs["score"].float(), label)
        return terms

    def _maps(self, image: Tensor) -> list[Tensor]:
        """Return one map of each stage: joined with the mixed filters, or with each of them, side by side."""
        # Filters and extractors were made for grey levels over 256.
        seen = [layer(image * (255 / 256)) for layer in self.filters.values()]
        if self.mixer is not None:
            shown = [layer(x) for layer, x in zip(self.early, seen, strict=True)]
            seen = [self.mixer(self.drop(torch.cat(shown, 1)))]
        joined = self.branches(self.normalized(image), seen)
        if self.mixer is not None:
            return [x[0] for x in joined]
        if self.weigh:
            joined = [layer(x) for layer, x in zip(self.weigh, joined, strict=True)]
        return [self.drop(torch.cat(x, 1)) for x in joined]


def build(
    size: Size = "tiny",
    fusion: Literal["early", "late"] = "early",
    phase: Literal["both", "anomaly", "confidence"] = "both",
    decoder: Literal["mlp", "weighed"] = "mlp",
    used: Sequence[str] = FILTERS,
    extractor: str | Path | None = None,
    weights: str | Path | None = None,
) -> MMFusion:
    """Return the network with random weights but for the extractor of residuals.

    Args:
        size: `full` has MiT-B2 and heads of 512; `tiny` small ones.
        fusion: `early` mixes the filters to one map, `late` gives each a branch.
        phase: What learns; networks of all phases have the same weights, so that one continues another.
        decoder: `mlp`, or `weighed` (late fusion only).
        used: Filters, of `FILTERS`.
        extractor: Safetensors file of an own `nn.residuals.Residuals`, with a card beside it; None = the shipped.
        weights: Folder of a pretrained MiT, for every branch.

    Raises:
        InvalidValueError: No filter is used, filters are weighed in early fusion, or a file does not fit.
        UnknownNameError: There is no such way, phase, decoder or filter.
    """
    choices = (
        ("fusion", fusion, ("early", "late")),
        ("phase", phase, PHASES),
        ("decoder", decoder, ("mlp", "weighed")),
    )
    for what, name, known in (*choices, *(("filter", name, FILTERS) for name in used)):
        if name not in known:
            raise unknown_name(what, name, known)
    if not used or (decoder == "weighed" and fusion == "early"):
        found = f"used {list(used)}, fusion {fusion}, decoder {decoder}"
        raise InvalidValueError(f"mmfusion: expected a filter, and late fusion where they are weighed, found {found}")
    full = size == "full"

    def make() -> backbones.Stages:
        return cast(backbones.Stages, backbones.build("mit", "b2" if full else "tiny", weights=weights))

    return MMFusion(
        make,
        512 if full else 64,
        (24, 48, 96) if full else (8, 16, 32),
        used,
        fusion,
        phase,
        decoder == "weighed",
        extractors.extractor(extractor),
    )
