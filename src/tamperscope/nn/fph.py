"""The frequency perception head of DTD and FFDN on pixels and a table, and how its features join those of colours."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.nn.coefficients import CELL, Coefficients
from tamperscope.nn.stems import QuantizedDct


class FrequencyHead(nn.Module):
    """Pixels and the file's table to features of every block of 8 x 8 (see `stems.QuantizedDct`).

    Args:
        size: `full` as published, or `tiny`.

    Attributes:
        channels: Of the features; their stride is 8.
    """

    def __init__(self, size: Literal["tiny", "full"] = "full") -> None:
        super().__init__()
        self.coefficients, self.features = Coefficients(), QuantizedDct(size)
        self.channels = self.features.channels

    def forward(self, image: Tensor, tables: Tensor, valid: Tensor) -> Tensor:
        """Return features (B, channels, H / 8, W / 8).

        Args:
            image: (B, 3, H, W) in [0, 1], whose blocks begin at its corner; sides are multiples of 8.
            tables: (B, 2, 8, 8), of luma and chroma; ones where nothing was quantized.
            valid: (B, 1, H, W), 0 or 1, which pixels are the picture's: blocks that reach beyond it are told as 0.

        Raises:
            InvalidValueError: Shapes are others.
        """
        whole = -F.max_pool2d(-valid, CELL)
        with torch.autocast(image.device.type, enabled=False):
            plane = F.pixel_shuffle(self.coefficients(image, tables) * whole, CELL)
            found: Tensor = self.features(plane, tables[:, 0])
        return found


class Scse(nn.Module):
    """Squeeze and excitation of channels, and of places, added (Roy et al., 2018).

    Args:
        channels: In and out.
        reduce: By how much narrower the squeeze of the channels is.
    """

    def __init__(self, channels: int, reduce: int = 16) -> None:
        super().__init__()
        narrow = max(1, channels // reduce)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, narrow, 1),
            nn.ReLU(),
            nn.Conv2d(narrow, channels, 1),
            nn.Sigmoid(),
        )
        self.place = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w)."""
        return x * self.channel(x) + x * self.place(x)


class Fuse(nn.Sequential):
    """Features of colours and frequencies, joined, weighed by channel and place, and brought to one width.

    Args:
        inputs: Channels of both together.
        outputs: Channels of the result.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(Scse(inputs), nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
