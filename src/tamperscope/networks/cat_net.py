"""CAT-Net: colours beside quantized coefficients, which tell where a picture was compressed twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.coefficients import CELL, CLIP, Coefficients, planes
from tamperscope.nn.heads import resized
from tamperscope.nn.hrnet import Branches, HrNet, Residual, Stage, conv, stages

ABOUT = About(
    title="CAT-Net",
    source="Kwon et al., WACV 2021 and IJCV 2022 (arXiv 2108.12947); github.com/mjkwon2021/CAT-Net",
    parameters=114.3e6,
    departures=(
        "Coefficients are found from the pixels and the file's table, not read from the file, so that windows of any "
        "picture have them; in files whose steps begin at 3, 98 to 100 % of those that are not 0 equal the file's.",
        "Pictures without a table have one of ones; the published training compresses them first, which the recipe "
        "does by its augmentation.",
        "The two logits of the published head are one, their difference, with the same weighted cross-entropy.",
        "The stream of coefficients may be trained alone (`streams: [dct]`), on masks; the published one begins with "
        "a training to tell once from twice compressed pictures.",
        "How often the stages are repeated (coefficients 3 and 2, joint 1, of 4 blocks) is ours where the facts at "
        "hand do not say.",
        "Blocks that reach beyond the picture have no coefficients, where a file has them.",
    ),
)
STREAMS = ("rgb", "dct")


class Twice(nn.Module):
    """Coefficients to features of every block: volumes of 0 and 1, regrouped by frequency, beside their own steps.

    Magnitudes to 20 as 21 planes; a 3 x 3 convolution of dilation 8, which sees the same frequency of neighbouring
    blocks; 1 x 1 to `few` maps. Those of a block's 64 places become 64 `few` maps at an eighth of the resolution, and
    as many beside them are the same times the table. After each convolution come batch norm and ReLU.

    Args:
        inner: Maps of the dilated convolution.
        few: Maps that are regrouped.
        width: Of the features.
        blocks: Residual blocks that follow.
    """

    def __init__(self, inner: int, few: int, width: int, blocks: int) -> None:
        super().__init__()
        self.planes = nn.Sequential(
            nn.Conv2d(CLIP + 1, inner, 3, padding=CELL, dilation=CELL, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            *conv(inner, few, 1),
        )
        widths = [2 * CELL**2 * few] + [width] * blocks
        self.blocks = nn.Sequential(*(Residual(a, b) for a, b in pairwise(widths)))

    def forward(self, coefficients: Tensor, table: Tensor) -> Tensor:
        """Return features (B, width, h, w).

        Args:
            coefficients: (B, 64, h, w), in steps.
            table: (B, 8, 8) steps.
        """
        maps = self.planes(planes(F.pixel_shuffle(coefficients, CELL)[:, 0]).to(table.dtype))
        cells = F.pixel_unshuffle(maps, CELL)
        steps = table.flatten(1).repeat(1, maps.shape[1])[..., None, None]
        found: Tensor = self.blocks(torch.cat([cells, cells * steps], 1))
        return found


class CatNet(Network):
    """HRNet over colours, branches over coefficients from an eighth of the resolution on, one more stage over both.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        rgb: Stages of the colours' HRNet.
        first: Bottlenecks of its first stage.
        stem: Channels of its stem.
        twice: Settings of `Twice`.
        dct: Stages of the coefficients' branches.
        joint: Channels of the last stage's branches, finest first.
        blocks: Residual blocks of the last stage.
        streams: `rgb`, `dct`, or both.
        weights: Of pristine and of forged pixels in the cross-entropy.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: A stream is not known.
    """

    multiple = 32
    grid: ClassVar[int] = CELL
    any_size = True
    needs: ClassVar[tuple[str, ...]] = ("qtables", "valid")

    def __init__(
        self,
        rgb: Sequence[Stage],
        first: int,
        stem: int,
        twice: Mapping[str, int],
        dct: Sequence[Stage],
        joint: Sequence[int],
        blocks: int = 4,
        streams: Sequence[str] = STREAMS,
        weights: tuple[float, float] = (0.5, 2.5),
    ) -> None:
        super().__init__((0.5,) * 3, (0.5,) * 3)
        for name in streams:
            if name not in STREAMS:
                raise unknown_name("stream", name, STREAMS)
        if not streams or len(weights) != 2 or min(weights) <= 0:
            expected = "one stream or two, and two weights above 0"
            raise InvalidValueError(f"cat_net: expected {expected}, found {streams} and {weights}")
        self.factors = (float(weights[0]), float(weights[1]))
        self.colours = HrNet(3, rgb, first, stem) if "rgb" in streams else None
        self.coefficients = self.twice = self.branches = None
        if "dct" in streams:
            self.coefficients, self.twice = Coefficients(), Twice(**twice)
            self.branches = Branches((twice["width"],), dct)
        channels = self._channels()
        widths = tuple(joint)[len(joint) - len(channels) :]
        self.joint = Branches(channels, (Stage(widths, 1, blocks),))
        self.head = nn.Sequential(*conv(sum(widths), sum(widths), 1), nn.Conv2d(sum(widths), 1, 1))

    def _channels(self) -> tuple[int, ...]:
        """Return how many channels both streams have together at each resolution, finest first."""
        each = [part.channels for part in (self.colours, self.branches) if part is not None]
        most = max(map(len, each))
        return tuple(sum(c[i - most] for c in each if len(c) >= most - i) for i in range(most))

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1], whose 8 x 8 blocks begin at the corner.
            needs: `qtables` (B, 2, 8, 8), `valid` (B, 1, H, W).
        """
        valid, found = needs["valid"].to(image.dtype), []
        if self.colours is not None:
            found.append(self.colours(self.normalized(image) * valid))
        if self.coefficients is not None and self.twice is not None and self.branches is not None:
            whole = -F.max_pool2d(-valid, CELL)
            known = self.coefficients(image, needs["qtables"]).to(image.dtype) * whole
            found.append(self.branches([self.twice(known, needs["qtables"][:, 0].to(image.dtype))]))
        most = max(map(len, found))
        both = [torch.cat([maps[i - most] for maps in found if len(maps) >= most - i], 1) for i in range(most)]
        maps = self.joint(both)
        coarse = self.head(torch.cat([resized(x, maps[0].shape[-2:]) for x in maps], 1))
        return {"mask": resized(coarse, image.shape[-2:])}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`: cross-entropy, in which a forged pixel weighs more, over the sum of the weights."""
        logits = torch.cat([torch.zeros_like(outputs["mask"]), outputs["mask"]], 1)
        valid = batch.get("valid")
        known = None if valid is None else valid[:, 0]
        return {"mask": losses.cross_entropy(logits, batch["mask"][:, 0], known, self.factors)}


def build(size: Size = "tiny", **settings: Any) -> CatNet:
    """Return CAT-Net: HRNet-W48 and branches from 96 on in full; a few thin branches in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `CatNet`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: A stream is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {
            "rgb": stages(48),
            "first": 4,
            "stem": 64,
            "twice": {"inner": 64, "few": 4, "width": 96, "blocks": 4},
            "dct": (Stage((96, 192), 3), Stage((96, 192, 384), 2)),
            "joint": (24, 48, 96, 192),
        },
        "tiny": {
            "rgb": stages(8, (1, 1, 1), 1),
            "first": 1,
            "stem": 16,
            "twice": {"inner": 16, "few": 4, "width": 24, "blocks": 2},
            "dct": (Stage((24, 48), 1, 1), Stage((24, 48, 64), 1, 1)),
            "joint": (8, 16, 32, 48),
            "blocks": 1,
        },
    }
    return CatNet(**(sizes[size] | settings))
