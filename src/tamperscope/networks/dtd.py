"""DTD, the Document Tampering Detector: letters that fit their page but not its compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.coefficients import CELL
from tamperscope.nn.coordinates import coordinates
from tamperscope.nn.fph import FrequencyHead, Fuse
from tamperscope.nn.heads import LayerNorm2d, resized
from tamperscope.nn.hrnet import conv
from tamperscope.nn.plain import double
from tamperscope.nn.stagewise import ConvNextStages, SwinStages

ABOUT = About(
    title="DTD",
    source="Qu et al., CVPR 2023 (Towards robust tampered text detection in document image); "
    "github.com/qcf-568/DocTamper, and the authors' script of the training, of which a public copy is known; also in "
    "ForensicHub",
    departures=(
        "No count of parameters is published; the sizes are those of ConvNeXt-S (first two stages) and SwinV2-S (last "
        "three), as in ForensicHub's copy.",
        "Coefficients are found from the pixels and the file's table, not read from the file, so that windows of any "
        "picture have them; in files whose steps begin at 3, 98 to 100 % of those that are not 0 equal the file's.",
        "Pictures keep their colours; the published training makes them grey, and compresses each.",
        "Steps of a table above 63 are told as 63; published code fails at them, or takes the table of quality 75.",
        "The two logits of the published head are one, their difference, with the same cross-entropy, label smoothing "
        "of 0.1 and Lovász loss; ForensicHub's copy has the cross-entropy alone.",
        "The windows of SwinV2 that are shifted are masked by the map's own size; the released code makes its masks "
        "for one size of picture, whatever it is shown.",
        "The last block of the decoder takes the finest of the views, as the published one does in effect: it is "
        "given three, and looks at the first one's channels.",
        "Maps are enlarged bilinearly with their corners not aligned, where they are not doubled.",
        "Blocks that reach beyond the picture have no coefficients, where a file has them, and its pixels are 0.",
        "The curriculum, a lowest quality that falls from 100 to 75 over the first 600,000 pictures, is one of runs "
        "after each other; the recipe tells them.",
        "`tiny` has two stages of ConvNeXt of one block, five blocks of SwinV2 with windows of 4, and a narrow "
        "decoder.",
    ),
)


class Gather(nn.Module):
    """Bring what coarse views know to finer ones, one after another: each is added to the next, then smoothed.

    Args:
        channels: Of each view, finest first.
        mode: How a view is enlarged: `nearest` or `bilinear`.
    """

    def __init__(self, channels: Sequence[int], mode: Literal["nearest", "bilinear"] = "bilinear") -> None:
        super().__init__()
        self.mode = mode
        pairs = list(pairwise(channels))
        self.own = nn.ModuleList(conv(fine, fine, 1) for fine, _ in pairs)
        self.other = nn.ModuleList(conv(coarse, fine, 1) for fine, coarse in pairs)
        self.smooth = nn.ModuleList(conv(fine, fine) for fine, _ in pairs)

    def forward(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Return as many views of the same shapes; the coarsest one as it was."""
        found = list(views)
        for place in range(len(found) - 2, -1, -1):
            size = found[place].shape[-2:]
            coarse = self.other[place](found[place + 1])
            larger = F.interpolate(coarse, size) if self.mode == "nearest" else resized(coarse, size)
            found[place] = self.smooth[place](larger + self.own[place](found[place]))
        return found


class Views(nn.Module):
    """The multi-view iterative decoder: a triangle of blocks as in U-Net++, whose views gather before each round.

    Args:
        encoder: Channels of the four maps, finest first.
        widths: Of the blocks of the coarsest column, and of the two after it, then of the last block.

    Attributes:
        channels: Of the result.

    Raises:
        InvalidValueError: There are no four of each.
    """

    def __init__(self, encoder: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        if len(encoder) != 4 or len(widths) != 4:
            raise InvalidValueError(f"Views: expected four maps and four widths, found {encoder} and {widths}")
        first, second, third, fourth = encoder
        self.first = Gather(encoder, "nearest")
        self.columns = nn.ModuleDict(
            {
                "00": double(fourth + third, widths[0]),
                "11": double(third + second, second),
                "22": double(second + first, first),
                "01": double(widths[0] + 2 * second, widths[1]),
                "12": double(second + 2 * first, first),
                "02": double(widths[1] + 3 * first, widths[2]),
                "03": double(widths[2], widths[3]),
            }
        )
        self.second = Gather((first, second, widths[0]))
        self.third = Gather((first, widths[1]))
        self.channels = widths[3]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, 2 h, 2 w), twice as large as the finest map.

        Args:
            maps: Finest first, each half as large as the one before it.
        """
        fine, middle, coarse, deep = self.first(maps)
        views = [self._block("22", middle, fine), self._block("11", coarse, middle), self._block("00", deep, coarse)]
        finest, view, low = self.second(views)
        views = [self._block("12", view, finest, fine), self._block("01", low, view, middle)]
        again, view = self.third(views)
        return self._block("03", self._block("02", view, again, finest, fine))

    def _block(self, name: str, coarse: Tensor, *beside: Tensor) -> Tensor:
        found: Tensor = self.columns[name](torch.cat([F.interpolate(coarse, scale_factor=2.0), *beside], 1))
        return found


class Dtd(Network):
    """ConvNeXt over colours and places, the frequency head beside it, SwinV2 over both, and a decoder of views.

    Its graph has one size, for which windows of SwinV2 are shifted and filled up follows from that. It differs from
    the published system as `ABOUT.departures` tells.

    Args:
        backbone: Size of ConvNeXt: `tiny`, `t`, `s`, `b`, `l`.
        encoder: Size of SwinV2, whose second stage is as wide as ConvNeXt's: `tiny`, `t`, `s`, `b`, `l`.
        frequencies: Size of the frequency head: `tiny` or `full`.
        decoder: Widths of the decoder, see `Views`.
        smoothing: Of the labels in the cross-entropy.
        lovasz: Weight of the Lovász loss; 0 leaves it out.
        weights: Folder of weights for ConvNeXt, see `nn.backbones.build`; None draws them.
        encoder_weights: Folder of weights for SwinV2.
        extra: How the three channels of places begin where such weights do not know them.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """

    multiple = 32
    grid: ClassVar[int] = CELL
    needs: ClassVar[tuple[str, ...]] = ("qtables", "valid")

    def __init__(
        self,
        backbone: str = "s",
        encoder: str = "s",
        frequencies: Size = "full",
        decoder: Sequence[int] = (384, 192, 96, 64),
        smoothing: float = 0.1,
        lovasz: float = 1.0,
        weights: str | Path | None = None,
        encoder_weights: str | Path | None = None,
        extra: backbones.Extra = "mean",
    ) -> None:
        super().__init__()
        if not 0 <= smoothing < 1 or lovasz < 0:
            expected = "smoothing in [0, 1) and lovasz from 0"
            raise InvalidValueError(f"dtd: expected {expected}, found {smoothing}, {lovasz}")
        self.smoothing, self.lovasz = smoothing, lovasz
        self.colours = ConvNextStages(backbone, 2, 6, weights, extra)
        self.frequencies = FrequencyHead(frequencies)
        self.encoder = SwinStages(encoder, encoder_weights)
        fine, wide = self.colours.channels
        if wide != self.encoder.inputs:
            expected = f"a SwinV2 whose second stage has {wide} channels"
            raise InvalidValueError(f"dtd: expected {expected}, found {self.encoder.inputs}")
        self.fuse = Fuse(wide + self.frequencies.channels, wide)
        coarse = (self.encoder.channels[0], self.encoder.channels[2])
        self.norms = nn.ModuleList(LayerNorm2d(c, 1e-6) for c in coarse)
        self.decoder = Views((fine, wide, *coarse), decoder)
        self.last = nn.Conv2d(self.decoder.channels, 1, 3, padding=1)

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1], whose 8 x 8 blocks begin at the corner.
            needs: `qtables` (B, 2, 8, 8), `valid` (B, 1, H, W).
        """
        valid = needs["valid"].to(image.dtype)
        seen = self.normalized(image) * valid
        fine, wide = self.colours(torch.cat([seen, places(seen)], 1))
        wide = self.fuse(torch.cat([wide, self.frequencies(image, needs["qtables"], valid)], 1))
        first, _, last = self.encoder(wide)
        maps = [fine, wide, *(norm(x) for norm, x in zip(self.norms, (first, last), strict=True))]
        return {"mask": resized(self.last(self.decoder(maps)), image.shape[-2:])}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`, cross-entropy with smoothed labels, and `lovasz`, weighted."""
        mask, truth, valid = outputs["mask"], batch["mask"], batch.get("valid")
        smooth = truth * (1 - self.smoothing) + self.smoothing / 2
        terms = {"mask": losses.bce(mask, smooth, valid)}
        if self.lovasz:
            terms["lovasz"] = self.lovasz * losses.lovasz(mask, truth, valid)
        return terms


def places(like: Tensor) -> Tensor:
    """Return row, column, both -1 to 1, and the distance to (0.5, 0.5) of each pixel of (B, C, H, W): (B, 3, H, W)."""
    y, x = coordinates(like)
    found = torch.stack([y, x, ((y - 0.5).square() + (x - 0.5).square()).sqrt()])
    return found.expand(len(like), -1, -1, -1)


def build(size: Size = "tiny", **settings: Any) -> Dtd:
    """Return DTD: ConvNeXt-S and SwinV2-S in full, our smallest of both in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Dtd`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"backbone": "tiny", "encoder": "tiny", "frequencies": "tiny", "decoder": (40, 32, 24, 16)},
    }
    return Dtd(**(sizes[size] | settings))
