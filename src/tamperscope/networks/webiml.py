"""Web-IML: a blind localizer that looks again at what it found; the student of labels made by `data annotate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.heads import Aspp, Fpn, resized
from tamperscope.nn.plain import Score
from tamperscope.nn.stems import Stem

ABOUT = About(
    title="Web-IML (APSC-Net)",
    source="Qu et al., CVPR 2024 (MIML) and arXiv 2508.20987 (Web-IML); github.com/qcf-568/MIML, APSC-Net",
    departures=(
        "The code of Web-IML is not public: this is APSC-Net, whose two ideas it names again, perception at several "
        "scales and self-rectification.",
        "No line of APSC-Net's code was taken: the means of all scales weigh all their channels, and the fed-back "
        "probabilities pass one large kernel a channel.",
        "Every step has layers of its own and is taught; the weight of earlier steps is ours, 0.4 for all of them "
        "together, that of the coarse map in the same authors' annotator.",
        "Hard pixels are at least a share of the valid ones, 100,000 of a window of 512 x 512, so that other windows "
        "keep as many.",
        "Beside the map it gives a score, made of the map's statistics.",
        "What stands before the first layer is a setting.",
        "`tiny` has our smallest ConvNeXt, two steps, kernels of 15 x 15, dilations of 1, 3, 6 and 9, and sees SRM "
        "residuals beside the colours.",
    ),
)
EARLIER = 0.4
"""Weight of all steps but the last one, together."""


class WebIml(Network):
    """ConvNeXt, a pyramid whose scales are weighed, and a map that is found anew in several steps.

    The first step is atrous pooling of the features. Each later one weighs the features by what the step before found,
    seen through a large learned kernel, so that what is far from every suspicion counts less, and pools them anew.

    Args:
        backbone: Size of ConvNeXt: `tiny`, `t`, `s`, `b`, `l`.
        width: Of the pyramid and of all that follows.
        steps: Maps, at least 1; each but the first one is told the one before.
        kernel: Side of the attention's kernel, odd.
        dilations: Of the atrous pooling.
        easy: Probability of the true class from which a pixel is easy.
        kept: Least share of the valid pixels that teach, however easy they are.
        stem: Maps that it sees, see `nn.stems.Stem`.
        score: Weight of the score's cross-entropy; None leaves the score out.
        weights: Folder of weights of the backbone, see `nn.backbones.build`.
        extra: How the first layer begins where such weights do not know a channel.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """

    def __init__(
        self,
        backbone: str = "b",
        width: int = 256,
        steps: int = 3,
        kernel: int = 31,
        dilations: Sequence[int] = (1, 12, 24, 36),
        easy: float = 0.7,
        kept: float = 100_000 / 512**2,
        stem: Sequence[str] = ("rgb",),
        score: float | None = 0.2,
        weights: str | Path | None = None,
        extra: backbones.Extra = "kaiming",
    ) -> None:
        super().__init__()
        if steps < 1 or kernel < 1 or kernel % 2 == 0 or not (0 < easy <= 1 and 0 < kept <= 1):
            expected = "steps from 1, an odd kernel, easy and kept in (0, 1]"
            raise InvalidValueError(f"webiml: expected {expected}, found {steps}, {kernel}, {easy}, {kept}")
        self.easy, self.kept, self.weight = easy, kept, score or 0.0
        self.stem = Stem(stem)
        self.backbone = backbones.build("convnext", backbone, self.stem.channels, weights, extra)
        self.pyramid = Fpn(self.backbone.channels, width)
        self.scales = WeighedScales(len(self.backbone.channels), width)
        self.attention = nn.ModuleList(MapAttention(width, kernel) for _ in range(steps - 1))
        self.pools = nn.ModuleList(Aspp(width, width, dilations) for _ in range(steps))
        self.last = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in range(steps))
        self.score = None if score is None else Score()

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return logits of pictures (B, 3, H, W) in [0, 1].

        Returns:
            `mask` (B, 1, H, W) of the last step, `score` (B,), and `step_1`, `step_2` … (B, 1, h, w), the maps before.
        """
        features = self.scales(self.pyramid(self.backbone(self.stem(image))))
        found = [self.last[0](self.pools[0](features))]
        for attention, pool, last in zip(self.attention, self.pools[1:], self.last[1:], strict=True):
            found.append(last(pool(features * attention(found[-1].sigmoid()))))
        outputs = {"mask": resized(found[-1], image.shape[-2:])}
        outputs |= {f"step_{number}": logits for number, logits in enumerate(found[:-1], 1)}
        return outputs if self.score is None else outputs | {"score": self.score(found[-1])}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the weighted terms `ohem`, `earlier` where there are several steps, and `score`."""
        truth, valid = batch["mask"], batch.get("valid")
        terms = {"ohem": self._hard(outputs["mask"], truth, valid)}
        earlier = [logits for name, logits in outputs.items() if name.startswith("step_")]
        if earlier:
            each = [self._hard(resized(logits, truth.shape[-2:]), truth, valid) for logits in earlier]
            terms["earlier"] = EARLIER * torch.stack(each).mean()
        if "score" in outputs:
            label = batch["label"]
            terms["score"] = self.weight * losses.bce(outputs["score"], label.clamp(min=0), label >= 0)
        return terms

    def _hard(self, logits: Tensor, truth: Tensor, valid: Tensor | None) -> Tensor:
        if valid is not None:
            logits, truth = logits[valid.bool()], truth[valid.bool()]
        logits, truth = logits.float(), truth.float()
        each = nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return losses.hardest(each, logits, truth, self.easy, max(1, round(self.kept * truth.numel())))


class WeighedScales(nn.Module):
    """All scales at the finest size, each channel weighed by what the whole picture shows in all scales, then joined.

    Squeeze and excitation (Hu et al., 2018) across scales: which scale counts is the picture's own.

    Args:
        scales: Number of maps.
        width: Of each of them, and of the result.
        squeeze: By how much fewer channels the hidden layer has.
    """

    def __init__(self, scales: int, width: int, squeeze: int = 16) -> None:
        super().__init__()
        channels = scales * width
        self.weigh = nn.Sequential(
            nn.Linear(channels, max(8, channels // squeeze)),
            nn.ReLU(),
            nn.Linear(max(8, channels // squeeze), channels),
            nn.Sigmoid(),
        )
        self.join = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, width, h, w) at the size of the finest map."""
        together = torch.cat([resized(x, maps[0].shape[-2:]) for x in maps], 1)
        weights = self.weigh(torch.cat([x.mean((2, 3)) for x in maps], 1))
        return self.join(together * weights[..., None, None])


class MapAttention(nn.Module):
    """From probabilities to how much each place of each channel counts, 0 to 2; 1 is no opinion.

    Args:
        width: Channels that are weighed.
        kernel: Side of the learned kernel, odd.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(1, width, kernel, padding=kernel // 2)

    def forward(self, probabilities: Tensor) -> Tensor:
        """Return (B, width, h, w) of (B, 1, h, w)."""
        return 2 * self.kernel(probabilities).sigmoid()


def build(size: Size = "tiny", **settings: Any) -> WebIml:
    """Return the network: ConvNeXt-B, three steps and kernels of 31 in full; our smallest, two and 15 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `WebIml`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    small = {"width": 48, "steps": 2, "kernel": 15, "dilations": (1, 3, 6, 9), "stem": ("rgb", "srm")}
    sizes: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"backbone": "tiny", **small}}
    return WebIml(**(sizes[size] | settings))
