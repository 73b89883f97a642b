"""MVSS-Net: outlines and noise, seen by two streams, and supervision of pixels, outlines and whole pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.dilation import dilated
from tamperscope.nn.dual_attention import DualAttention
from tamperscope.nn.filters import Bayar, Sobel
from tamperscope.nn.heads import resized

ABOUT = About(
    title="MVSS-Net",
    source="Chen et al., ICCV 2021 (Image manipulation detection by multi-view multi-scale supervision); "
    "github.com/dong03/MVSS-Net",
    departures=(
        "Dice is that of each picture, authentic ones included, then the mean; of a flattened batch, as released, what "
        "a picture teaches depends on the others.",
        "A picture of unknown label has the weight of the image's term in its Dice, each picture for itself.",
        "The image's score is the maximum of the logits over all valid pixels, and a logit itself; the port pools a "
        "square and takes the sigmoid twice.",
        "Grey is .299 red, .587 green and .114 blue of pictures in grey levels 0 to 255; the port takes red for blue, "
        "and what scale the published residuals have is not known to us.",
        "Beyond the picture's border its edge is repeated for the Sobel and Bayar filters: zeros would make the border "
        "an outline.",
        "Edges are taught at the resolution of their map, a quarter of the picture's, as in the original, not in the "
        "port; the truth is each of its cells that an outline crosses or touches, for how thick it was is not known to "
        "us.",
        "The width of edge residual blocks is not known to us: here 16 channels up to the last one, which makes one; a "
        "single channel would die under its ReLU.",
        "How maps are enlarged is not known to us but for the factor: here bilinearly, with their corners not aligned.",
        "Dual attention is that of the paper (Fu et al., 2019), whose released code lets channels attend to the least "
        "alike ones instead.",
        "Gates and products of channels are computed in single precision whatever the rest is: they are made of large "
        "sums whose differences count.",
        "`tiny` has two ResNet-10 whose maps are at 1/4, 1/8, 1/8 and 1/8, the last two stages being dilated.",
    ),
)
GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey."""


class MvssNet(Network):
    """Two residual encoders, of colours and of constrained residuals of grey; one dual attention over both.

    The gradients of every stage of the colours' encoder gate its features, from which, shallow to deep, a map of edges
    is made that is supervised; it teaches the encoder, and the map of forged pixels does not see it. The score is the
    highest logit of the map.

    Args:
        backbone: Size of both ResNets: `tiny`, `18`, `34`, `50`, `101`, `152`.
        dilations: Of the blocks of each of the last stages, which have no stride for it.
        edge_width: Channels of the edge residual blocks.
        gated: Whether features of the edges' stream are gated by their gradients.
        dropout: Of the head.
        seg: Weight of the map's Dice loss.
        clf: Weight of the score's cross-entropy.
        edge: Weight of the edges' Dice loss.
        weights: Folder of weights for both encoders to begin with, see `nn.backbones.build`; None draws them.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: There is no such backbone.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self,
        backbone: str = "50",
        dilations: Sequence[Sequence[int]] = ((1, 2, 4),),
        edge_width: int = 16,
        gated: bool = True,
        dropout: float = 0.1,
        seg: float = 0.16,
        clf: float = 0.04,
        edge: float = 0.80,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if min(seg, clf, edge) < 0 or seg == 0:
            raise InvalidValueError(f"mvss_net: expected seg above 0, clf and edge from 0, found {seg}, {clf}, {edge}")
        if edge_width < 1 or not 0 <= dropout < 1:
            expected = "edge_width from 1 and dropout in [0, 1)"
            raise InvalidValueError(f"mvss_net: expected {expected}, found {edge_width}, {dropout}")
        self.seg, self.clf, self.edge = seg, clf, edge
        self.colours, self.noise = (
            dilated(backbones.build("resnet", backbone, weights=weights), dilations) for _ in range(2)
        )
        self.multiple = self.colours.multiple
        self.bayar = Bayar(1, 3)
        self.edges = EdgeStream(self.colours.channels, edge_width, gated)
        deep = self.colours.channels[-1] + self.noise.channels[-1]
        self.head = DualAttention(deep, deep // 4, dropout=dropout)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return logits.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. The score is of these alone.
            needs: Not looked at.

        Returns:
            `mask` (B, 1, H, W), `score` (B,), and `edge` (B, 1, h, w) at the resolution of the first stage.
        """
        maps = self.colours(self.normalized(image))
        noise = self.noise(self.residuals(image))
        mask = resized(self.head(torch.cat([maps[-1], noise[-1]], 1)), image.shape[-2:])
        return {"mask": mask, "score": highest(mask, valid), "edge": self.edges(maps)}

    def residuals(self, image: Tensor) -> Tensor:
        """Return the constrained residuals (B, 3, H, W) of a picture (B, 3, H, W) in [0, 1], in grey levels."""
        reach = self.bayar.kernel_size[0] // 2
        with torch.autocast(image.device.type, enabled=False):
            # Half a grey level is what traces are made of; bfloat16 does not keep it.
            plane = F.pad(grey(image.float()), (reach,) * 4, mode="replicate")
            return self.bayar(plane)[..., reach:-reach, reach:-reach]

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the weighted terms `seg`, `clf` and `edge`: means over pictures, which know nothing of each other."""
        mask, truth, valid = outputs["mask"], batch["mask"], batch.get("valid")
        label = batch.get("label", torch.full(mask.shape[:1], -1, device=mask.device))
        known = label >= 0
        terms = {"seg": self.seg * _dice(mask, truth, valid)}
        if not known.all():
            part = None if valid is None else valid[~known]
            terms["seg"] = terms["seg"] + self.clf * (~known).float().mean() * _dice(mask[~known], truth[~known], part)
        terms["clf"] = self.clf * losses.label_bce(outputs["score"], label)
        cells, counted = outlines(truth, outputs["edge"].shape[-2:], valid)
        terms["edge"] = self.edge * _dice(outputs["edge"], cells, counted)
        return terms


class SobelGate(Sobel):
    """Features times the sigmoid of their gradient: flat places pass half, steep ones nearly whole.

    The gradient is that of the sum of all channels; across and down it is normalized before its magnitude is taken.
    """

    def __init__(self) -> None:
        super().__init__(summed=True)
        self.norm = nn.BatchNorm2d(2)

    def gate(self, features: Tensor) -> Tensor:
        """Return what each place is multiplied by, (B, 1, h, w), one half to 1."""
        with torch.autocast(features.device.type, enabled=False):
            plane = F.pad(features.float().sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
            gradient = self.norm(F.conv2d(plane, self.kernels))
            # The root has no gradient at 0.
            return gradient.square().sum(1, keepdim=True).add(1e-12).sqrt().sigmoid()

    def forward(self, image: Tensor) -> Tensor:
        """Return the gated features (B, C, h, w)."""
        return image * self.gate(image).to(image.dtype)


class EdgeBlock(nn.Module):
    """Edge residual block: 1 x 1 to a width, and two 3 x 3 beside it, added.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        rectified: Whether a ReLU follows; logits have none.
    """

    def __init__(self, inputs: int, outputs: int, rectified: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.rest = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.rectified = rectified

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, h, w)."""
        x = self.first(x)
        x = x + self.rest(x)
        return x.relu() if self.rectified else x


class EdgeStream(nn.Module):
    """From the maps of all stages to one of edges: each is gated, and added to what the shallower ones gave.

    Args:
        channels: Of each stage, finest first.
        width: Of the blocks between.
        gated: Whether gradients gate.
    """

    def __init__(self, channels: Sequence[int], width: int, gated: bool = True) -> None:
        super().__init__()
        self.gates = nn.ModuleList(SobelGate() if gated else nn.Identity() for _ in channels)
        self.blocks = nn.ModuleList(EdgeBlock(c, width) for c in channels)
        later = len(channels) - 1
        self.turns = nn.ModuleList(
            EdgeBlock(width, width if i < later - 1 else 1, rectified=i < later - 1) for i in range(later)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits (B, 1, h, w) at the size of the finest map."""
        found = [block(gate(x)) for gate, block, x in zip(self.gates, self.blocks, maps, strict=True)]
        total = found[0]
        for turn, deeper in zip(self.turns, found[1:], strict=True):
            total = turn(total + resized(deeper, total.shape[-2:]))
        return total


def grey(image: Tensor) -> Tensor:
    """Return the grey levels (B, 1, H, W), 0 to 255, of red, green and blue in [0, 1]."""
    shares = torch.tensor(GREY, device=image.device, dtype=image.dtype)[:, None, None]
    return 255 * (image * shares).sum(1, keepdim=True)


def highest(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the highest valid logit (B,) of each map (B, 1, H, W); of a map without a valid one, its lowest."""
    if valid is not None:
        logits = torch.where(valid, logits, logits.amin((1, 2, 3), keepdim=True))
    return logits.amax((1, 2, 3))


def outlines(mask: Tensor, size: Sequence[int], valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return which cells of a coarser grid an outline crosses or touches, and which hold valid pixels.

    Args:
        mask: (B, 1, H, W), 0 or 1.
        size: Of the grid, which divides that of the mask.
        valid: (B, 1, H, W) bool; the border of what is valid is no outline.

    Returns:
        (B, 1, h, w), 0 or 1, and (B, 1, h, w) bool.
    """
    counted = torch.ones_like(mask, dtype=torch.bool) if valid is None else valid
    cell = (mask.shape[-2] // size[0], mask.shape[-1] // size[1])
    band = losses.edge_band(mask.float(), 3, counted)
    return F.max_pool2d(band, cell), F.max_pool2d(counted.float(), cell) > 0


def _dice(logits: Tensor, truth: Tensor, valid: Tensor | None) -> Tensor:
    return losses.dice(logits, truth, valid, smooth=1.0, squared=True)


def build(size: Size = "tiny", **settings: Any) -> MvssNet:
    """Return MVSS-Net: two ResNet-50 and maps at 1/16 in full, two ResNet-10 and maps at 1/8 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `MvssNet`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: There is no such backbone.
    """
    sizes: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"backbone": "tiny", "dilations": ((2,), (4,))}}
    return MvssNet(**(sizes[size] | settings))
