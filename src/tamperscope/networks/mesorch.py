"""Mesorch: a convolutional branch of high frequencies and a transformer of low ones, weighed pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.bands import Bands, filled, stretched
from tamperscope.nn.heads import LayerNorm2d, resized

ABOUT = About(
    title="Mesorch",
    source="Zhu et al., AAAI 2025, arXiv 2412.13753 (Mesoscopic Insights: Orchestrating Multi-scale & Hybrid "
    "Architecture for Image Manipulation Localization); github.com/scu-zjz/Mesorch",
    departures=(
        "The map has the picture's size, whatever that is, bilinearly enlarged; the released code gives one size only.",
        "The bands are those of the picture in [0, 1], of all its colours stretched together; of what values and over "
        "which of them the published ones are is not known to us.",
        "A row or column of coefficients that is only begun counts as one of the first; how the published share is "
        "rounded is not known to us.",
        "A band whose range is below a fourth of a grey level is not stretched to the whole range: that of a flat "
        "picture is made of rounding.",
        "Padding is given the mean colour of the picture, and no range is made of it; published pictures had none.",
        "Channels between the transposed convolutions are not known to us: here those of the next finer stage; nothing "
        "stands between them.",
        "Channels 4 to 6 of the first layers begin as He et al.'s when the colours' weights come from a file: how the "
        "published ones begin is not known to us.",
        "Which maps the pruned form keeps is not known to us: here, with `pruned`, those of stages 1 and 3 of the high "
        "branch and of 2, 3 and 4 of the low one, for no other two and three make the 62.2 M parameters that are told "
        "of it; stages after the last kept map are dropped, too.",
        "The loss of a picture is the mean over its own valid pixels, and pictures count alike.",
        "`tiny` has two maps of each branch, of our smallest ConvNeXt and MiT, and a gate of 32 channels.",
    ),
)
VIEWS = 9
"""Channels that the gate sees: colours, high band, low band."""


class Branch(nn.Module):
    """A backbone, and from each chosen stage one map of logits at the resolution of the first stage.

    Coarser features are enlarged by transposed convolutions of 4 x 4, two times each, until they have the width of the
    first stage.

    Args:
        backbone: Of four stages; it is cut after the last chosen one.
        stages: Which give a map, 1 to 4, rising.
    """

    def __init__(self, backbone: backbones.Backbone, stages: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.stages = shortened(backbone, stages), tuple(stages)
        widths = self.backbone.channels
        self.enlarge = nn.ModuleDict(
            {
                str(stage): nn.Sequential(
                    *(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in pairwise(widths[:stage][::-1]))
                )
                for stage in stages
            }
        )
        self.heads = nn.ModuleDict({str(stage): nn.Conv2d(widths[0], 1, 1) for stage in stages})

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, stages, H / 4, W / 4) of (B, 6, H, W), sides multiples of 32."""
        features = self.backbone(x)
        return torch.cat([self.heads[s](self.enlarge[s](features[int(s) - 1])) for s in self.heads], 1)


class Gate(nn.Module):
    """How much each map counts at each place: two convolutions of 7 x 7 and stride 2, and a residual block between.

    Args:
        width: Of the block; it is four times as wide inside.
        maps: Number of maps.
    """

    def __init__(self, width: int, maps: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(VIEWS, width, 7, 2, 3)
        self.block = nn.Sequential(
            LayerNorm2d(width, 1e-6),
            nn.Conv2d(width, width, 3, padding=1),
            nn.Conv2d(width, 4 * width, 1),
            nn.Conv2d(4 * width, width, 1),
            nn.GELU(),
        )
        self.last = nn.Conv2d(width, maps, 7, 2, 3)

    def forward(self, views: Tensor) -> Tensor:
        """Return shares (B, maps, H / 4, W / 4) that add to 1, of (B, 9, H, W)."""
        x = self.first(views)
        return self.last(x + self.block(x)).float().softmax(1)


class Mesorch(Network):
    """A ConvNeXt sees colours and the high band, a MiT colours and the low one; a gate weighs the maps of their stages.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        convnext: Size of the high branch: `tiny`, `t`, `s`, `b`, `l`.
        mit: Size of the low branch: `tiny`, `b0` to `b5`.
        high: Stages of the high branch that give a map, 1 to 4, rising; none leaves the branch out.
        low: Those of the low branch.
        gated: Whether a gate weighs the maps; else they are added.
        width: Of the gate.
        share: Of the rows and columns of coefficients that bound the bands, see `nn.bands.Bands`.
        convnext_weights: Folder of weights of the high branch to begin with, see `nn.backbones.build`; None draws them.
        mit_weights: That of the low branch.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: There is no such size.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self,
        convnext: str = "t",
        mit: str = "b3",
        high: Sequence[int] = (1, 2, 3, 4),
        low: Sequence[int] = (1, 2, 3, 4),
        gated: bool = True,
        width: int = 192,
        share: float = 0.05,
        convnext_weights: str | Path | None = None,
        mit_weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        _check(high, low, width)
        self.made: dict[str, Any] = {"convnext": convnext, "mit": mit, "width": width, "share": share}
        self.places = tuple([("high", stage) for stage in high] + [("low", stage) for stage in low])
        self.bands = Bands(share)
        asked = (("convnext", convnext, high, convnext_weights), ("mit", mit, low, mit_weights))
        self.high, self.low = (
            Branch(backbones.build(family, size, 6, weights), stages) if stages else None
            for family, size, stages, weights in asked
        )
        self.gate = Gate(width, len(self.places)) if gated else None

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. The others change nothing.
            needs: Not looked at.
        """
        views = self.views(image, valid)
        maps = self.maps(views)
        weighed = maps if self.gate is None else maps * self.gate(views)
        return {"mask": resized(weighed.sum(1, keepdim=True), image.shape[-2:])}

    def views(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return colours, high band and low band (B, 9, H, W) of a picture; the bands are 0 to 1."""
        image = filled(image, valid)
        return torch.cat([self.normalized(image), *(stretched(band, valid) for band in self.bands(image))], 1)

    def maps(self, views: Tensor) -> Tensor:
        """Return the maps of logits (B, maps, H / 4, W / 4), those of the high branch first, see `places`."""
        colours, high, low = views.split(3, 1)
        seen = ((self.high, high), (self.low, low))
        return torch.cat([branch(torch.cat([colours, band], 1)) for branch, band in seen if branch is not None], 1)

    def shares(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return what part each map has in the whole picture, (B, maps), by the gate: they add to 1.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.

        Raises:
            InvalidValueError: There is no gate.
        """
        if self.gate is None:
            raise InvalidValueError("mesorch.shares: expected a network with a gate, found none")
        shares = self.gate(self.views(image, valid))
        counted = torch.ones_like(image[:, :1]) if valid is None else valid.to(shares)
        counted = resized(counted, shares.shape[-2:])
        return (shares * counted).sum((2, 3)) / counted.sum((2, 3)).clamp(min=1e-6)

    def pruned(self, places: Sequence[int], gated: bool = True) -> Mesorch:
        """Return a network of some of the maps, with the weights that these have here.

        Args:
            places: Of the maps to keep, see `places`, rising.
            gated: Whether a gate weighs what is left; without one the maps are added, which is to be trained on.

        Raises:
            InvalidValueError: There is no such map, or no gate to keep.
        """
        if not places or list(places) != sorted(set(places)) or not 0 <= places[0] <= places[-1] < len(self.places):
            expected = f"places from 0 to {len(self.places) - 1}, rising"
            raise InvalidValueError(f"mesorch.pruned: expected {expected}, found {list(places)}")
        if gated and self.gate is None:
            raise InvalidValueError("mesorch.pruned: expected a network with a gate, found none")
        kept = [self.places[place] for place in places]
        high, low = ([stage for name, stage in kept if name == side] for side in ("high", "low"))
        other = Mesorch(**self.made, high=high, low=low, gated=gated)
        weights = self.state_dict()
        for key in ("gate.last.weight", "gate.last.bias") if gated else ():
            weights[key] = weights[key][list(places)]
        other.load_state_dict({key: weights[key] for key in other.state_dict()})
        return other.to(self.mean.device).train(self.training)

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`: the cross-entropy of logits, picture by picture."""
        return {"mask": losses.map_bce(outputs, batch)}


def shortened(backbone: backbones.Backbone, stages: Sequence[int]) -> backbones.Backbone:
    """Return a ConvNeXt or MiT without the stages after the last chosen one, and without norms of maps not chosen.

    Args:
        backbone: Of `backbones.build`, of four stages.
        stages: Chosen ones, 1 to 4, rising.
    """
    last = stages[-1]
    body = backbone.body
    holder = body if isinstance(backbone, backbones.Stages) else body.encoder
    holder.stages = holder.stages[:last]
    if holder is not body:
        for name in list(body.hidden_states_norms):
            stage = int(name.removeprefix("stage"))
            if stage > last:
                del body.hidden_states_norms[name]
            elif stage not in stages:
                body.hidden_states_norms[name] = nn.Identity()
    backbone.channels, backbone.strides = backbone.channels[:last], backbone.strides[:last]
    return backbone


def _check(high: Sequence[int], low: Sequence[int], width: int) -> None:
    for name, stages in (("high", high), ("low", low)):
        if list(stages) != sorted(set(stages) & {1, 2, 3, 4}):
            raise InvalidValueError(f"mesorch.{name}: expected stages from 1 to 4, rising, found {list(stages)}")
    if not (high or low):
        raise InvalidValueError("mesorch: expected a stage of high or of low, found none")
    if width < 1:
        raise InvalidValueError(f"mesorch.width: expected at least 1, found {width}")


def build(size: Size = "tiny", pruned: bool = False, **settings: Any) -> Mesorch:
    """Return Mesorch: ConvNeXt-T, MiT-B3 and eight maps in full, our smallest ones and four maps in tiny.

    Args:
        size: `full` or `tiny`.
        pruned: Mesorch-P: no gate, and fewer maps; five in full, three in tiny.
        settings: Of `Mesorch`; they replace those of the size and of the pruned form.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: There is no such size of a backbone.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"convnext": "tiny", "mit": "tiny", "high": (1, 3), "low": (1, 3), "width": 32},
    }
    fewer: dict[str, dict[str, Any]] = {
        "full": {"high": (1, 3), "low": (2, 3, 4), "gated": False},
        "tiny": {"high": (1,), "low": (1, 3), "gated": False},
    }
    return Mesorch(**(sizes[size] | (fewer[size] if pruned else {}) | settings))
