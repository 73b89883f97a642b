"""FakeLocator: how much a generator changed each pixel, by what its up-samplers leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.heads import resized
from tamperscope.nn.inside import eroded, mean, told
from tamperscope.nn.stems import Stem

ABOUT = About(
    title="FakeLocator",
    source="Huang et al., TIFS 2022 (FakeLocator: robust localization of GAN-based face manipulations; arXiv "
    "2001.09598)",
    departures=(
        "No code of it is public; that the encoder is residual and dilated and the decoder returns to the picture's "
        "size is all that is known to us. Here each stage has one residual block, that of the last one is dilated, and "
        "the decoder takes every resolution of the way down along the way up.",
        "What grey differences are divided by is not known to us: here by `levels`, beyond which a pixel counts as "
        "wholly changed, so that a map's 0.5 is a change by half of it.",
        "Where no authentic twin is known the mask stands in for the difference: its pixels are wholly changed.",
        "The attention's parts come from no face parser: they are learned, or told by the caller as `regions`, which "
        "no training here does. That each part weighs alike, whatever its area, is ours; the published form of the "
        "product is not known to us.",
        "The weight of the label's cross-entropy is not known to us: here 1.",
        "Single-sample clustering is beside it, in `metrics.transductive`.",
        "`tiny` has 16 channels and three halvings for 64 and four, and sees SRM residuals beside the colours.",
    ),
    whole=("Whole pictures are looked at, not aligned crops of faces.",),
)
REACH = 2
"""Pixels that the filters of a stem reach."""


class FakeLocator(Network):
    """An encoder and a decoder whose map is the grey difference from the authentic picture, and a label.

    The truth is `change` where the batch has it, else the mask. Parts of a face weigh alike in the encoder's last
    features. What fills a canvas up changes nothing, for every layer is told where the picture ends; of stems, `fft`
    and `dct` look at all of the canvas.

    Args:
        width: Channels at the picture's resolution; each halving doubles them.
        halvings: How often the picture is halved, at least 1.
        parts: Learned parts of the attention; 0 = no attention.
        stem: Maps that it sees, see `nn.stems.Stem`.
        regression: Error of the map: `l1`, or `l2`.
        levels: Grey levels of a whole change, above 0 and at most 255.
        label: Weight of the score's cross-entropy.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such error, or map of a stem.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self,
        width: int = 64,
        halvings: int = 4,
        parts: int = 7,
        stem: Sequence[str] = ("rgb",),
        regression: Literal["l1", "l2"] = "l1",
        levels: float = 32.0,
        label: float = 1.0,
    ) -> None:
        super().__init__()
        if regression not in ("l1", "l2"):
            raise unknown_name("error of the map", regression, ["l1", "l2"])
        if width < 1 or halvings < 1 or parts < 0 or not 0 < levels <= 255 or label < 0:
            expected = "width and halvings from 1, parts and label from 0, levels in (0, 255]"
            raise InvalidValueError(f"fakelocator: expected {expected}, found {width, halvings, parts, label, levels}")
        self.multiple = 2**halvings
        self.regression, self.levels, self.label = regression, levels, label
        self.stem = Stem(stem)
        self.reach = 0 if tuple(stem) == ("rgb",) else REACH
        widths = [width * 2**i for i in range(halvings + 1)]
        self.down = nn.ModuleList(
            Residual(i, o, 2 if place == halvings else 1)
            for place, (i, o) in enumerate(zip([self.stem.channels, *widths], widths, strict=False))
        )
        self.attention = Parts(widths[-1], parts) if parts else None
        self.up = nn.ModuleList(Residual(3 * w, w) for w in widths[-2::-1])
        self.last = nn.Conv2d(width, 1, 1)
        self.judge = nn.Linear(widths[-1], 1)

    def forward(
        self, image: Tensor, valid: Tensor | None = None, regions: Tensor | None = None, **needs: Any
    ) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W), of a change by half of `levels`, and `score` (B,).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            regions: (B, K, h, w), shares of each pixel in the parts of a face, of any size; None = those learned.
            needs: Not looked at.
        """
        x, inside = self.features(image, valid, regions)
        logits = self.last(x[-1])
        return {"mask": logits, "score": self.judge(mean(x[0], inside[-1]))[:, 0]}

    def features(
        self, image: Tensor, valid: Tensor | None = None, regions: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return maps from the coarsest to the finest, those of the way up, and where the picture is, finest first."""
        inside = [told(valid, image)]
        seen = self.stem(image * inside[0]) * eroded(inside[0], self.reach)
        passed = [self.down[0](seen, inside[0])]
        for layer in self.down[1:]:
            inside.append(F.max_pool2d(inside[-1], 2))
            passed.append(layer(F.max_pool2d(passed[-1], 2), inside[-1]))
        x = passed[-1]
        if self.attention is not None:
            x = self.attention(x, inside[-1], regions)
        found = [x]
        for layer, beside, area in zip(self.up, passed[-2::-1], inside[-2::-1], strict=True):
            found.append(layer(torch.cat([beside, F.interpolate(found[-1], scale_factor=2.0)], 1), area))
        return found, inside

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `map`, the mean error of the valid pixels, and the weighted `label`, of which -1 teaches nothing."""
        apart = outputs["mask"].float().sigmoid() - self.truth(batch)
        error = apart.abs() if self.regression == "l1" else apart.square()
        valid = batch.get("valid")
        terms = {"map": error.mean() if valid is None else (error * valid).sum() / valid.sum().clamp(min=1)}
        terms["label"] = self.label * losses.label_bce(outputs["score"], batch["label"])
        return terms

    def truth(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return how much each pixel was changed, (B, 1, H, W) in [0, 1]: by grey levels, or as the mask says."""
        if "change" not in batch:
            return batch["mask"].float()
        return (batch["change"] / self.levels).clamp(max=1)


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 one, each with batch norm, to which all outside of the picture is 0.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        dilation: Of the 3 x 3 convolutions.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.short = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(3))

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Return (B, outputs, h, w).

        Args:
            x: (B, inputs, h, w), 0 outside.
            inside: (B, 1, h, w), 1 where the picture is.
        """
        middle = F.relu(self.norms[0](self.first(x))) * inside
        long = self.norms[1](self.second(middle))
        return F.relu(long + self.norms[2](self.short(x))) * inside


class Parts(nn.Module):
    """Attention that lets every part of a face weigh alike: features times the inverse of their part's area.

    Args:
        channels: Of the features.
        parts: Learned ones.
    """

    def __init__(self, channels: int, parts: int) -> None:
        super().__init__()
        self.parse = nn.Conv2d(channels, parts, 1)

    def weights(self, shares: Tensor, inside: Tensor) -> Tensor:
        """Return (B, 1, h, w): of each part the sum is the same, and the mean inside of the picture is 1.

        Args:
            shares: (B, K, h, w), of each pixel in the parts.
            inside: (B, 1, h, w), 1 where the picture is.
        """
        held = shares * inside
        total = inside.sum((2, 3), keepdim=True)
        area = held.sum((2, 3), keepdim=True)
        # A part that is not there weighs nothing.
        there = (area > 1e-3).to(held.dtype)
        even = total / (area.clamp(min=1e-3) * there.sum(1, keepdim=True).clamp(min=1))
        return (held * there * even).sum(1, keepdim=True)

    def forward(self, x: Tensor, inside: Tensor, regions: Tensor | None = None) -> Tensor:
        """Return the weighed features (B, C, h, w).

        Args:
            x: (B, C, h, w).
            inside: (B, 1, h, w), 1 where the picture is.
            regions: (B, K, H, W), known shares of the parts; None = those learned.
        """
        with torch.autocast(x.device.type, enabled=False):
            shares = self.parse(x.float()).softmax(1) if regions is None else resized(regions.float(), x.shape[-2:])
            return x * self.weights(shares, inside.float()).to(x.dtype)


def build(size: Size = "tiny", **settings: Any) -> FakeLocator:
    """Return FakeLocator: 64 channels and four halvings in full, 16 and three in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `FakeLocator`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such error, or map of a stem.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"width": 16, "halvings": 3, "stem": ("rgb", "srm")},
    }
    return FakeLocator(**(sizes[size] | settings))
