"""CAFTB-Net: convolutions look at the letters, a transformer at the noise under them, and each weighs what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.bands import filled
from tamperscope.nn.cut_residuals import CutResiduals
from tamperscope.nn.heads import resized
from tamperscope.nn.hrnet import conv
from tamperscope.nn.resnet_preact import PreactResNet

ABOUT = About(
    title="CAFTB-Net",
    source="Cross-Attention Based Two-Branch Networks for Document Image Forgery Localization in the Metaverse, ACM "
    "TOMM (doi 10.1145/3686158), by its abstract; sizes and layers as in ForensicHub's copy",
    departures=(
        "No code of the authors and no count of parameters is public: all sizes are those of ForensicHub's copy, a "
        "ResNetV2-50-D with group norm and a MiT-B5.",
        "The transformer sees SRM residuals, as the paper's abstract tells of one of the branches; that this is the "
        "transformer's follows from its words, local features of space and global ones of noise. In ForensicHub's copy "
        "both branches see colours: `noise=rgb`.",
        "Which SRM kernels, at what scale, and where they are cut is not known to us: here the three of RGB-N and "
        "ManTra-Net over all colours, in grey levels, cut at 20 and divided by that.",
        "The two logits of the copy are one, their difference.",
        "The cross-entropy and the Dice are those of each picture, then the mean; the copy's are over the whole batch, "
        "so that what a picture teaches depends on the others.",
        "Channels are weighed by their mean over the picture alone, and what fills a canvas up has the picture's mean "
        "colour and no residuals: how the copy fills up is not known to us.",
        "`tiny` has one block of 32 to 128 channels a stage beside our smallest MiT.",
    ),
)
CROSS_ENTROPY, DICE = 0.3, 0.7


class Crossing(nn.Module):
    """The cross-attention fusion module: one branch weighed by channel and the other by place, added, and 1 x 1.

    Args:
        channels: Of each branch and of the result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = nn.Conv2d(channels, channels, 1)
        self.place = nn.Conv2d(1, 1, 7, padding=3)
        self.join = conv(channels, channels, 1)

    def forward(self, local: Tensor, spread: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return (B, C, h, w), not negative.

        Args:
            local: (B, C, h, w), weighed by channel.
            spread: (B, C, h, w), weighed by place.
            counted: (B, 1, h, w), how much each place counts in the means of channels; None = all alike.
        """
        joined: Tensor = self.join(local * self.of_channels(local, counted) + spread * self.of_places(spread))
        return joined

    def of_channels(self, local: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return the weight of each channel, (B, C, 1, 1), 0 to 1, by all channels' means."""
        if counted is None:
            means = local.mean((2, 3), keepdim=True)
        else:
            total = counted.sum((2, 3), keepdim=True).clamp(min=1e-6)
            means = (local.float() * counted).sum((2, 3), keepdim=True) / total
        return self.channel(means).sigmoid()

    def of_places(self, spread: Tensor) -> Tensor:
        """Return the weight of each place, (B, 1, h, w), 0 to 1, by the mean and the maximum around it, added."""
        return self.place(spread.mean(1, keepdim=True) + spread.amax(1, keepdim=True)).sigmoid()


class Caftb(Network):
    """A residual network sees colours and a MiT noise residuals; at four scales they are weighed and joined.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        mit: Size of the transformer: `tiny`, `b0` to `b5`.
        depths: Blocks of each stage of the residual network.
        widths: Channels of each such stage.
        stem: Channels of its stem, whose map is the finest one.
        joined: Channels of each joined map; the first three are those of the residual network's maps.
        groups: Of its norms.
        width: Of the decoder.
        noise: What the transformer sees: `srm` residuals, or the colours as `rgb`.
        limit: Residuals are cut at so many grey levels on both sides.
        weights: Folder of weights of the transformer to begin with, see `nn.backbones.build`; None draws them.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self,
        mit: str = "b5",
        depths: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (256, 512, 1024, 2048),
        stem: int = 64,
        joined: int = 1024,
        groups: int = 32,
        width: int = 64,
        noise: Literal["srm", "rgb"] = "srm",
        limit: float = 20.0,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if noise not in ("srm", "rgb"):
            raise unknown_name("noise", noise, ["srm", "rgb"])
        if len(widths) != 4 or min(joined, width) < 1:
            expected = "four widths, joined and width from 1"
            raise InvalidValueError(f"caftb: expected {expected}, found {widths}, {joined}, {width}")
        self.residuals = CutResiduals(limit) if noise == "srm" else None
        # The stem and the last stage have strides of 2 and 1, not 1 and 2, so that maps have those of the transformer.
        self.local = PreactResNet(depths, widths, stem, (2, 1, 2, 2, 1), groups)
        self.spread = backbones.build("mit", mit, 3, weights)
        channels = (*self.local.channels[:3], joined)
        self.last = nn.Sequential(nn.Conv2d(widths[-1], joined, 1), nn.ReLU())
        self.same = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 1), nn.ReLU())
            for a, b in zip(self.spread.channels[1:], channels[1:], strict=True)
        )
        if self.spread.channels[0] != stem:
            raise InvalidValueError(f"caftb: expected a stem of {self.spread.channels[0]} channels, found {stem}")
        self.cross = nn.ModuleList(Crossing(c) for c in channels)
        self.decoder = nn.Sequential(nn.Conv2d(sum(channels), width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. What the others hold changes nothing.
            needs: Not looked at.
        """
        local, spread = self.features(image, valid)
        return {"mask": resized(self.located(local, spread, valid), image.shape[-2:])}

    def features(self, image: Tensor, valid: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Return four maps of either branch, finest first; see `forward`."""
        image = filled(image, valid)
        colours = self.normalized(image)
        maps = self.local(colours)
        first, *others = self.spread(colours if self.residuals is None else self.residuals(image, valid))
        same = [layer(x) for layer, x in zip(self.same, others, strict=True)]
        return [*maps[:3], self.last(maps[4])], [first, *same]

    def located(self, local: Sequence[Tensor], spread: Sequence[Tensor], valid: Tensor | None = None) -> Tensor:
        """Return the logits (B, 1, H / 4, W / 4) of the maps of both branches; see `features`."""
        found, size = [], local[0].shape[-2:]
        for cross, one, other, stride in zip(self.cross, local, spread, self.spread.strides, strict=True):
            counted = None if valid is None else F.avg_pool2d(valid.float(), stride)
            found.append(resized(cross(one, other, counted), size))
        located: Tensor = self.decoder(torch.cat(found, 1))
        return located

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`, the cross-entropy, and `dice`, weighted; both picture by picture."""
        overlap = losses.dice(outputs["mask"], batch["mask"], batch.get("valid"), smooth=1.0)
        return {"mask": CROSS_ENTROPY * losses.map_bce(outputs, batch), "dice": DICE * overlap}


def build(size: Size = "tiny", **settings: Any) -> Caftb:
    """Return CAFTB-Net: ResNetV2-50-D and MiT-B5 in full, our smallest of both in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Caftb`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {
            "mit": "tiny",
            "depths": (1, 1, 1, 1),
            "widths": (32, 64, 96, 128),
            "stem": 16,
            "joined": 96,
            "groups": 4,
            "width": 32,
        },
    }
    return Caftb(**(sizes[size] | settings))
