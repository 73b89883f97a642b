"""NPR: pictures of generators, known by how the pixels of each 2 x 2 cell relate to its first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.bottlenecks import stage, through
from tamperscope.nn.filters import Npr
from tamperscope.nn.hrnet import conv

ABOUT = About(
    title="NPR",
    source="Tan et al., CVPR 2024 (arXiv 2312.10461); github.com/chuangchuangtan/NPR-DeepfakeDetection",
    parameters=1.44e6,
    departures=(
        "Small pictures are not repeated up to 224 pixels: what is not the picture's is neither seen nor averaged.",
        "Colours are brought to ImageNet's deviations: how they are in the published system is not known to us. Any "
        "mean would cancel out.",
        "Convolutions begin as He et al. (2015) draw them, by their fan-out: how they do there is not known to us.",
        "Windows and tiles begin at any pixel, odd ones too, for relations depend on where the grid of cells lies.",
        "`tiny` has half of the width.",
    ),
)
STRIDE = 8
"""Pixels of the picture to a step of the last map."""


class NprNet(Network):
    """Neighbouring pixel relations, the first half of a ResNet-50, a mean, and one logit a picture.

    A generator's last up-sampling makes neighbours of one value, or of values that follow from each other. Content is
    mostly gone before anything learns. Resizing and compression take the trace away, and the pictures of a training
    must not tell their class by their file format.

    Only whole cells of the picture are seen: an odd last row or column is trimmed, and what fills a canvas up changes
    nothing. It differs from the published system as `ABOUT.departures` tells.

    Args:
        width: Channels of the first convolution; stages have 4 and 8 times as many.
        depths: Number of bottlenecks of both stages.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    multiple = STRIDE
    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    any_size = True

    def __init__(self, width: int = 64, depths: Sequence[int] = (3, 4)) -> None:
        super().__init__()
        if width < 1 or len(depths) != 2 or min(depths) < 1:
            raise InvalidValueError(f"npr: expected width from 1 and two depths from 1, found {width}, {depths}")
        self.relations = Npr()
        self.stem = conv(3, width, stride=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.ModuleList([*stage(width, width, 1, depths[0]), *stage(4 * width, 2 * width, 2, depths[1])])
        self.last = nn.Linear(8 * width, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logit `score` (B,).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        cells = whole_cells(image, valid)
        x = self.pool(self.stem(self.seen(image, cells)) * cells)
        x, inside = through(self.blocks, x, cells[..., ::2, ::2])
        mean = (x.float() * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)
        return {"score": self.last(mean)[:, 0]}

    def seen(self, image: Tensor, cells: Tensor) -> Tensor:
        """Return what is learned from (B, 3, H, W): the relations within whole cells, 0 elsewhere.

        Args:
            image: (B, 3, H, W) in [0, 1].
            cells: (B, 1, H / 2, W / 2), 0 or 1, see `whole_cells`.
        """
        with torch.autocast(image.device.type, enabled=False):
            # Half a grey level is what traces are made of; bfloat16 does not keep it.
            found = self.relations(self.normalized(image.float()))
        return found * cells.repeat_interleave(2, -2).repeat_interleave(2, -1)

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `label`: the cross-entropy of the score; no truth but `label` is read, of which -1 teaches nothing."""
        return {"label": losses.label_bce(outputs["score"], batch["label"])}


def whole_cells(image: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return which 2 x 2 cells of a picture (B, 3, H, W) are its own in all four pixels, (B, 1, H / 2, W / 2), 0 or 1.

    Args:
        image: With even sides.
        valid: (B, 1, H, W) bool; None = all.
    """
    if valid is None:
        return torch.ones_like(image[:, :1, ::2, ::2])
    return 1 - F.max_pool2d((~valid).to(image.dtype), 2)


def build(size: Size = "tiny", **settings: Any) -> NprNet:
    """Return NPR: 64 channels to begin with in full, 32 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `NprNet`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
    """
    return NprNet(**({"width": 64 if size == "full" else 32} | settings))
