"""DiffSeg: which editor made each pixel, as semantic segmentation (the task of DiffSeg30k)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.filters import Srm
from tamperscope.nn.heads import AllMlp, resized
from tamperscope.nn.plain import double
from tamperscope.nn.pooling import top_mean

ABOUT = About(
    title="DiffSeg",
    source="DiffSeg30k, 2025 (arXiv 2511.19111): data and the task; its segmenters are FCN-8s, DeepLab v3+, SegFormer",
    parameters=27.5e6,
    departures=(
        "No training code is public: `full` is the SegFormer baseline with the published recipe's class weights.",
        "Class frequencies are those of the batch unless `frequencies` are given.",
        "`tiny` is a U-Net with three SRM residuals beside the colours.",
    ),
)
EDITORS = 8
TOP = 0.005
"""Share of a map whose mean is the score."""


class DiffSeg(Network):
    """A segmenter whose class 0 is pristine and whose other classes are editors.

    `mask` is the logit of 1 - p0, and `score` that of its mean over the top 0.5 % of places: one head answers all three
    questions, so that they never contradict each other.

    Args:
        segmenter: From normalized pictures (B, 3, H, W) to logits (B, 1 + editors, h, w).
        editors: Number of editors, at least 1.
        multiple: Sides of pictures are multiples of it.
        frequencies: Shares of the classes' pixels in the training data, 1 + editors numbers; none = of each batch.
        background: Weight of class 0; an editor's weight is 1 / sqrt(its frequency among edited pixels), of mean 1.
    """

    def __init__(
        self,
        segmenter: nn.Module,
        editors: int,
        multiple: int,
        frequencies: Sequence[float] = (),
        background: float = 0.3,
    ) -> None:
        super().__init__()
        if editors < 1 or background < 0 or (frequencies and (len(frequencies) != editors + 1 or min(frequencies) < 0)):
            expected = "at least 1 editor, a frequency of each class, weights of at least 0"
            found = f"{editors} editors, {len(frequencies)} frequencies, background {background}"
            raise InvalidValueError(f"diffseg: expected {expected}, found {found}")
        self.segmenter, self.editors, self.multiple = segmenter, editors, multiple
        self.frequencies, self.background = tuple(frequencies), background

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return `classes` (B, 1 + editors, H, W), `mask` (B, 1, H, W) and `score` (B,) logits of (B, 3, H, W)."""
        classes = resized(self.segmenter(self.normalized(image)), image.shape[-2:])
        mask = classes[:, 1:].logsumexp(1, keepdim=True) - classes[:, :1]
        return {"classes": classes, "mask": mask, "score": torch.logit(top_mean(mask.float().sigmoid(), TOP), 1e-6)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `classes`: the weighted cross-entropy with `batch["classes"]` (B, H, W), 0 pristine, 1.. editors.

        Pixels of class -1, whose editor is not known, do not count.

        Raises:
            InvalidValueError: The batch has no classes, or one that the network does not have.
        """
        if "classes" not in batch:
            raise InvalidValueError("diffseg: expected batch['classes'], found none; set data.editors")
        truth, valid = batch["classes"], batch.get("valid")
        if int(truth.min()) < -1 or int(truth.max()) > self.editors:
            found = f"{int(truth.min())} to {int(truth.max())}"
            raise InvalidValueError(f"diffseg: expected classes from 0 to {self.editors}, found {found}")
        known = truth >= 0 if valid is None else valid[:, 0].bool() & (truth >= 0)
        truth = truth.clamp(min=0)
        weights = class_weights(self._shares(truth, known), self.background)
        return {"classes": losses.cross_entropy(outputs["classes"], truth, known, weights)}

    def _shares(self, truth: Tensor, known: Tensor) -> Sequence[float]:
        if self.frequencies:
            return self.frequencies
        counts = torch.bincount(truth[known].long(), minlength=self.editors + 1)
        shares: list[float] = (counts / counts.sum().clamp(min=1)).tolist()
        return shares


def class_weights(frequencies: Sequence[float], background: float = 0.3) -> tuple[float, ...]:
    """Return the weight of each class: `background`, then 1 / sqrt(frequency) of the editors, scaled to a mean of 1.

    Args:
        frequencies: Shares or counts of pixels, class 0 first; an editor without a pixel gets weight 1.
        background: Of class 0.
    """
    present = [f**-0.5 for f in frequencies[1:] if f > 0]
    scale = sum(present) / len(present) if present else 1.0
    return (background, *(f**-0.5 / scale if f > 0 else 1.0 for f in frequencies[1:]))


class Unet(nn.Module):
    """A U-Net (Ronneberger et al., 2015) that sees SRM residuals beside the colours; results have the picture's size.

    Args:
        classes: Maps of logits.
        widths: Channels of each scale, finest first; every scale has half of the size of the one before.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (24, 40, 64, 96)) -> None:
        super().__init__()
        self.srm = Srm("rgb9", clip=None)
        before = (3 + self.srm.channels, *widths[:-1])
        self.down = nn.ModuleList(double(a, b) for a, b in zip(before, widths, strict=True))
        self.up = nn.ModuleList(double(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes, H, W) of normalized pictures (B, 3, H, W)."""
        x, kept = torch.cat([x, 10 * self.srm(x)], 1), []
        for place, layer in enumerate(self.down):
            x = layer(x if place == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for layer, finer in zip(self.up, kept[-2::-1], strict=True):
            x = layer(torch.cat([finer, resized(x, finer.shape[-2:])], 1))
        return self.last(x)


class _SegFormer(nn.Module):
    """MiT with SegFormer's head."""

    def __init__(self, classes: int, size: str, weights: str | None, width: int = 768) -> None:
        super().__init__()
        self.encoder = backbones.build("mit", size, weights=weights)
        self.head = AllMlp(self.encoder.channels, width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes, H / 4, W / 4)."""
        return self.head(self.encoder(x))


def build(size: Size = "tiny", editors: int = EDITORS, weights: str | None = None, **settings: Any) -> DiffSeg:
    """Return the segmenter: SegFormer-B2 in full, a U-Net with SRM residuals in tiny.

    Args:
        size: `full` or `tiny`.
        editors: Number of editors.
        weights: Folder of a MiT-B2 to begin with, as `backbones.build` reads it; None draws them.
        settings: `frequencies`, `background` of `DiffSeg`.

    Raises:
        InvalidValueError: A setting is out of range, `tiny` is given a folder, or the folder holds another network.
    """
    if editors < 1:
        raise InvalidValueError(f"diffseg.editors: expected at least 1, found {editors}")
    if size == "full":
        return DiffSeg(_SegFormer(editors + 1, "b2", weights), editors, multiple=32, **settings)
    if weights is not None:
        raise InvalidValueError(f"diffseg.weights: expected none for tiny, found '{weights}'; use size full")
    return DiffSeg(Unet(editors + 1), editors, multiple=8, **settings)
