"""PatchCraft: whether a picture is generated, by what its poor and its rich textures do not have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.filters import Srm
from tamperscope.nn.smash import Smash

LIMIT = 5.0
"""To which features are limited before they are compared."""
BRANCHES = ("contrast", "poor", "rich")
ABOUT = About(
    title="PatchCraft",
    source="Zhong et al., 2023 (arXiv 2311.12397, 'Rich and Poor Texture Contrast', later 'PatchCraft'); inference in "
    "github.com/mever-team/sidbench, its training is not published",
    departures=(
        "Patches lie where a low-discrepancy sequence puts them, not at random: a picture has one score. What training "
        "draws are the windows of pictures.",
        "Texture is measured in whole grey levels, so that its order is the same on every machine.",
        "How mosaics are filled is not known to us but for the order: here row by row.",
        "A picture with a side below 32 pixels is mirrored along it, not resized, which would take its traces away. Of "
        "one with no side above 32 all patches are the same, and the score tells nothing.",
        "No patch holds padding.",
        "Both mosaics go through batch norm at once: with statistics of their own they would lose what they differ by, "
        "and in training only. What the original does is not known to us.",
        "After the contrast come ten convolutions, as they are named one by one; the facts at hand count eleven.",
        "Convolutions have no bias, for batch norm follows, Kaiming's initialization is the normal one, and poolings "
        "are padded by one pixel: the facts at hand do not say.",
        "Optimizer, rates and data of the paper's training are not known to us: see the recipe.",
        "`tiny` has mosaics of 4 x 4 patches, of 64 draws, and 16 channels.",
    ),
)


class PatchCraft(Network):
    """Two mosaics of a picture's poorest and richest patches, SRM residuals of both, and a network on their difference.

    A generator makes flat places well and textures less so; in a photograph both have the same noise. It judges whole
    pictures. It differs from the published system as `ABOUT.departures` tells.

    Args:
        side: Patches of 32 x 32 pixels along each side of a mosaic.
        draws: Patches that are ordered by their texture.
        width: Channels of all convolutions.
        depths: Convolutions before, between and after the poolings.
        branch: `contrast`, or what one mosaic gives alone: `poor`, `rich`.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    any_size = True

    def __init__(
        self,
        side: int = 8,
        draws: int = 192,
        width: int = 32,
        depths: Sequence[int] = (4, 2, 2, 2),
        branch: str = "contrast",
    ) -> None:
        super().__init__()
        if width < 1 or not depths or min(depths) < 1:
            raise InvalidValueError(f"patchcraft: expected width and depths from 1, found {width}, {list(depths)}")
        if branch not in BRANCHES:
            raise InvalidValueError(f"patchcraft.branch: expected one of {', '.join(BRANCHES)}, found '{branch}'")
        self.branch = branch
        self.smash = Smash(side, draws)
        self.bank = Srm("bank30", clip=None)
        self.features = nn.Sequential(*_convolution(self.bank.channels, width), nn.Hardtanh(-LIMIT, LIMIT))
        layers: list[nn.Module] = []
        for place, depth in enumerate(depths):
            layers += [nn.AvgPool2d(3, 2, 1)] if place else []
            for _ in range(depth):
                layers += [*_convolution(width, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(width, 1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logit `score` (B,): the picture is generated.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's, a rectangle; None = all. Patches are of these.
            needs: Not looked at.
        """
        return {"score": self.judged(*self.smash(image, valid))}

    def judged(self, poor: Tensor, rich: Tensor) -> Tensor:
        """Return the logit (B,) of the poor and the rich mosaic, (B, 3, h, w) each, in [0, 1]."""
        return self.last(self.layers(self.contrast(poor, rich)).mean((2, 3)))[:, 0]

    def contrast(self, poor: Tensor, rich: Tensor) -> Tensor:
        """Return the features (B, width, h, w) of one mosaic less those of the other, or of one alone; see `branch`."""
        seen = {"contrast": (poor, rich), "poor": (poor,), "rich": (rich,)}[self.branch]
        with torch.autocast(poor.device.type, enabled=False):
            # Half a grey level is what traces are made of; bfloat16 does not keep it.
            residuals = self.bank(torch.cat(seen).float())
        # Both at once: batch norm of each by itself would take away what they differ by, but only in training.
        found = self.features(residuals).chunk(len(seen))
        return found[0] - found[1] if len(seen) > 1 else found[0]

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `score`, the cross-entropy: a mean over all pictures, of which those of unknown label (-1) cost 0."""
        return {"score": losses.label_bce(outputs["score"], batch["label"])}


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(outputs)


def build(size: Size = "tiny", **settings: Any) -> PatchCraft:
    """Return PatchCraft: mosaics of 8 x 8 patches and 32 channels in full, of 4 x 4 and 16 channels in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `PatchCraft`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
    """
    sizes: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"side": 4, "draws": 64, "width": 16}}
    return PatchCraft(**(sizes[size] | settings))
