"""U-Net: the plain reference; everything a small convolutional network can say without any prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Size
from tamperscope.networks.plain import Plain
from tamperscope.nn.plain import double

ABOUT = About(
    title="U-Net",
    source="Ronneberger et al., MICCAI 2015 (arXiv 1505.04597)",
    parameters=31.0e6,
    departures=(
        "Convolutions are padded, and batch norm follows each.",
        "Beside the map it gives a score, made of the map's statistics.",
        "What stands before the first convolution is a setting.",
        "`tiny` has 16 channels and three halvings for 64 and four, and sees SRM residuals beside the colours.",
    ),
)


class Unet(Plain):
    """Contract, expand, and take every resolution of the way down along the way up.

    It differs from the published network as `ABOUT.departures` tells.

    Args:
        width: Channels at the picture's resolution; each halving doubles them.
        halvings: How often the picture is halved, at least 1.
        stem: Maps that it sees, see `nn.stems.Stem`.
        bce: Weight of the map's cross-entropy.
        dice: Weight of the map's Dice loss.
        score: Weight of the score's cross-entropy; None leaves the score out.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: A map of the stem is not known.
    """

    def __init__(
        self,
        width: int = 64,
        halvings: int = 4,
        stem: Sequence[str] = ("rgb",),
        bce: float = 1.0,
        dice: float = 1.0,
        score: float | None = 0.2,
    ) -> None:
        super().__init__(stem, bce, dice, score)
        if width < 1 or halvings < 1:
            raise InvalidValueError(f"unet: expected a width and halvings of at least 1, found {width}, {halvings}")
        self.multiple = 2**halvings
        widths = [width * 2**i for i in range(halvings + 1)]
        self.down = nn.ModuleList(double(i, o) for i, o in zip([self.stem.channels, *widths], widths, strict=False))
        self.halve = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[-2::-1])
        self.up = nn.ModuleList(double(2 * w, w) for w in widths[-2::-1])
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W) and `score` (B,) of pictures (B, 3, H, W) in [0, 1]."""
        x = self.down[0](self.stem(image))
        passed = [x]
        for layer in self.down[1:]:
            x = layer(self.halve(x))
            passed.append(x)
        for grow, layer, beside in zip(self.grow, self.up, passed[-2::-1], strict=True):
            x = layer(torch.cat([beside, grow(x)], 1))
        return self.answered(self.last(x), image)


def build(size: Size = "tiny", **settings: Any) -> Unet:
    """Return a U-Net: 64 channels and four halvings in full, 16 and three in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Unet`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: A map of the stem is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"width": 16, "halvings": 3, "stem": ("rgb", "srm")},
    }
    return Unet(**(sizes[size] | settings))
