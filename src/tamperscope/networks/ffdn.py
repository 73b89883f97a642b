"""FFDN: what the frequencies of a JPEG tell is added to what is seen, and fine bands are kept through the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.coefficients import CELL
from tamperscope.nn.fph import FrequencyHead, Fuse
from tamperscope.nn.heads import resized
from tamperscope.nn.hrnet import conv
from tamperscope.nn.stagewise import ConvNextStages
from tamperscope.nn.wavelets import WaveletPyramid

ABOUT = About(
    title="FFDN",
    source="Chen et al., ECCV 2024 (Enhancing tampered text detection through frequency feature fusion and "
    "decomposition); github.com/Rapisurazurite/FFDN; also in ForensicHub",
    departures=(
        "The backbone is ConvNeXt-S, as in ForensicHub's copy; the authors' own is ConvNeXt V2-B. No count of "
        "parameters is published for either.",
        "Coefficients are found from the pixels and the file's table, not read from the file, so that windows of any "
        "picture have them; in files whose steps begin at 3, 98 to 100 % of those that are not 0 equal the file's.",
        "Steps of a table above 63 are told as 63, as in the authors' code.",
        "The offset of the layer that begins at 0 begins at 0 too; in both codes only its weights do, and the network "
        "does not begin as the plain one.",
        "Maps pass ConvNeXt's layer norms on their way to the decoder, as in ForensicHub's copy, but go on through the "
        "backbone without them, as in the authors' code.",
        "The guided filter's lines are the least squares of the weights within each box; published ones divide by a "
        "sum over the whole batch, so that pictures know of each other. Weights have a floor, and its maps may be "
        "smaller than its boxes.",
        "Maps are enlarged bilinearly with their corners not aligned.",
        "The two logits of the published head are one, their difference, with the same cross-entropy of hard pixels "
        "and the Lovász loss; its mean is over the hard pixels, not over all. The auxiliary head on the third map is "
        "left out, as in ForensicHub's copy, whose loss is cross-entropy alone.",
        "Blocks that reach beyond the picture have no coefficients, where a file has them, and its pixels are 0.",
        "`tiny` has five blocks of ConvNeXt, and a decoder of 24 channels.",
    ),
)
PLACE = 1
"""Stage whose map the frequencies are added to: its stride is that of the blocks of a JPEG."""


class Head(nn.Module):
    """Semantic FPN's head (Kirillov et al., 2019): each scale is doubled until it is as fine as the first; their sum.

    Args:
        channels: Of every scale.
        width: Of the sum.
        scales: Number of them.
        dropout: Of whole channels before the last layer.
    """

    def __init__(self, channels: int, width: int, scales: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(*(conv(channels if i == 0 else width, width) for i in range(max(1, place))))
            for place in range(scales)
        )
        self.last = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, 1, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, 1, h, w) at the size of the finest map, of maps told finest first."""
        summed = []
        for place, (layers, x) in enumerate(zip(self.scales, maps, strict=True)):
            for step, layer in enumerate(cast(nn.Sequential, layers), 1):
                x = resized(layer(x), maps[max(0, place - step)].shape[-2:])
            summed.append(x)
        found: Tensor = self.last(torch.stack(summed).sum(0))
        return found


class Ffdn(Network):
    """ConvNeXt, to whose second map the frequency head adds, at first nothing; a pyramid on wavelets; a sum of scales.

    Sides are multiples of 128, so that the low band of the coarsest map has more than one place to be normed over. It
    differs from the published system as `ABOUT.departures` tells.

    Args:
        backbone: Size of ConvNeXt: `tiny`, `t`, `s`, `b`, `l`.
        frequencies: Size of the frequency head: `tiny` or `full`; None leaves it out, which is the plain network.
        width: Of the decoder, a multiple of 4.
        head: Width of the head.
        dropout: Of the head.
        easy: Probability of the true class from which a pixel is easy, and is not learned from.
        hard: Pixels a picture that are learned from at least, the hardest ones.
        lovasz: Weight of the Lovász loss; 0 leaves it out.
        weights: Folder of weights for ConvNeXt, see `nn.backbones.build`; None draws them.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """

    multiple = 128
    any_size = True
    grid: ClassVar[int] = CELL
    needs: ClassVar[tuple[str, ...]] = ("qtables", "valid")

    def __init__(
        self,
        backbone: str = "s",
        frequencies: Size | None = "full",
        width: int = 256,
        head: int = 512,
        dropout: float = 0.1,
        easy: float = 0.9,
        hard: int = 100_000,
        lovasz: float = 1.0,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if width < 4 or width % 4 or not 0 <= dropout < 1:
            expected = "a width that is a multiple of 4 and dropout in [0, 1)"
            raise InvalidValueError(f"ffdn: expected {expected}, found {width}, {dropout}")
        if not 0 < easy <= 1 or hard < 1 or lovasz < 0:
            expected = "easy in (0, 1], hard from 1 and lovasz from 0"
            raise InvalidValueError(f"ffdn: expected {expected}, found {easy}, {hard}, {lovasz}")
        self.easy, self.hard, self.lovasz = easy, hard, lovasz
        self.colours = ConvNextStages(backbone, weights=weights)
        channels = self.colours.channels[PLACE]
        self.frequencies = self.enhance = None
        if frequencies is not None:
            self.frequencies = FrequencyHead(frequencies)
            nothing = nn.Conv2d(channels, channels, 1)
            for numbers in nothing.parameters():
                nn.init.zeros_(numbers)
            self.enhance = nn.Sequential(*Fuse(channels + self.frequencies.channels, channels), nothing)
        self.decoder = WaveletPyramid(self.colours.channels, width)
        self.head = Head(width, head, dropout=dropout)

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1], whose 8 x 8 blocks begin at the corner.
            needs: `qtables` (B, 2, 8, 8), `valid` (B, 1, H, W).
        """
        valid = needs["valid"].to(image.dtype)

        def enhanced(place: int, x: Tensor) -> Tensor:
            if place != PLACE or self.frequencies is None or self.enhance is None:
                return x
            found: Tensor = self.enhance(torch.cat([x, self.frequencies(image, needs["qtables"], valid)], 1))
            return x + found

        maps = self.colours(self.normalized(image) * valid, enhanced)
        return {"mask": resized(self.head(self.decoder(maps)), image.shape[-2:])}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`, cross-entropy of the hard pixels, and `lovasz`, weighted."""
        mask, truth, valid = outputs["mask"], batch["mask"], batch.get("valid")
        known = torch.ones_like(truth, dtype=torch.bool) if valid is None else valid
        logits, classes = mask.float()[known], truth.float()[known]
        each = F.binary_cross_entropy_with_logits(logits, classes, reduction="none")
        count = self.hard * len(mask)
        hardest = losses.hardest(each, logits, classes, self.easy, count) if each.numel() else each.sum()
        terms = {"mask": hardest}
        if self.lovasz:
            terms["lovasz"] = self.lovasz * losses.lovasz(mask, truth, valid)
        return terms


def build(size: Size = "tiny", **settings: Any) -> Ffdn:
    """Return FFDN: ConvNeXt-S in full, our smallest in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Ffdn`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"backbone": "tiny", "frequencies": "tiny", "width": 24, "head": 32},
    }
    return Ffdn(**(sizes[size] | settings))
