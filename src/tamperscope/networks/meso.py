"""MesoNet: two networks of less than 30,000 numbers that look at faces between noise and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn.inside import told
from tamperscope.nn.tiles import Grid

ABOUT = About(
    title="MesoNet",
    source="Afchar et al., WIFS 2018 (MesoNet: a compact facial video forgery detection network; arXiv 1809.00888); "
    "github.com/DariusAf/MesoNet: Meso4 with 27,977 numbers, MesoInception4 with 28,615",
    departures=(
        "A canvas is judged by windows of 256 pixels, the side that the flattened map is made for: its score is the "
        "mean of their logits, each as often as it holds the picture's pixels. The published one resizes crops of "
        "faces to one window.",
        "What fills a window up is black.",
        "`tiny` has windows of 64 pixels, and so fewer numbers after the flattened map.",
    ),
)
KINDS = ("meso4", "inception")
SHRUNK = 32
"""Pixels of the picture to a step of the last map."""
_WIDTHS = ((1, 4, 4, 2), (2, 4, 4, 2))


class Meso(Network):
    """Four convolutions that each shrink the map, what is left laid flat, 16 numbers of it, and one logit.

    Where things lie in a window matters, for the map is flattened and not averaged. It differs from the published
    system as `ABOUT.departures` tells.

    Args:
        kind: `meso4`, or `inception`, whose first two layers look at four scales at once.
        side: Of a window, a multiple of 32.
        error: `squared` of the probability as in the published code, or `entropy`.
        dropout: Before both of the last layers.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such kind or error.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"

    def __init__(
        self,
        kind: Literal["meso4", "inception"] = "meso4",
        side: int = 256,
        error: Literal["squared", "entropy"] = "squared",
        dropout: float = 0.5,
    ) -> None:
        super().__init__((0.0,) * 3, (1.0,) * 3)
        if kind not in KINDS:
            raise unknown_name("kind of MesoNet", kind, KINDS)
        if error not in ("squared", "entropy"):
            raise unknown_name("error", error, ["squared", "entropy"])
        if side < SHRUNK or side % SHRUNK or not 0 <= dropout < 1:
            expected = f"a side that is a multiple of {SHRUNK} and dropout in [0, 1)"
            raise InvalidValueError(f"meso: expected {expected}, found {side}, {dropout}")
        self.multiple = self.side = side
        self.error = error
        if kind == "meso4":
            first: list[nn.Module] = [_layer(nn.Conv2d(3, 8, 3, padding=1), 8), _layer(_wide(8, 8), 8)]
            channels = 8
        else:
            first = [_layer(Scales(3, _WIDTHS[0]), sum(_WIDTHS[0]))]
            first.append(_layer(Scales(sum(_WIDTHS[0]), _WIDTHS[1]), sum(_WIDTHS[1])))
            channels = sum(_WIDTHS[1])
        self.body = nn.Sequential(*first, _layer(_wide(channels, 16), 16), _layer(_wide(16, 16), 16, 4))
        self.drop = nn.Dropout(dropout)
        self.hidden, self.last = nn.Linear(16 * (side // SHRUNK) ** 2, 16), nn.Linear(16, 1)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logit `score` (B,).

        Args:
            image: (B, 3, H, W) in [0, 1], with sides that are multiples of `side`.
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        inside = told(valid, image)
        grid = Grid(image.shape[-2], image.shape[-1], self.side, self.side)
        windows = grid.split(image * inside)
        count, each = windows.shape[:2]
        flat = self.body(windows.flatten(0, 1)).flatten(1)
        logits = self.last(self.drop(F.leaky_relu(self.hidden(self.drop(flat)), 0.1))).view(count, each)
        share = grid.split(inside).sum((2, 3, 4))
        return {"score": (logits.float() * share).sum(1) / share.sum(1).clamp(min=1)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `label`: the error of the score; no truth but `label` is read, of which -1 teaches nothing."""
        score, label = outputs["score"].float(), batch["label"]
        known = (label >= 0).float()
        truth = label.clamp(min=0).float()
        if self.error == "squared":
            errors = (score.sigmoid() - truth).square()
        else:
            errors = F.binary_cross_entropy_with_logits(score, truth, reduction="none")
        # A mean over all pictures, not the known ones: these would count more beside unknown ones.
        return {"label": (errors * known).mean()}


class Scales(nn.Module):
    """Four ways beside each other: 1 x 1, and 3 x 3 of dilations 1, 2 and 3 after a 1 x 1; a ReLU after each.

    Args:
        inputs: Channels in.
        widths: Channels of each way.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.points = nn.ModuleList(nn.Conv2d(inputs, width, 1) for width in widths)
        self.wide = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            for dilation, width in enumerate(widths[1:], 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, sum of the widths, h, w)."""
        first, *others = [F.relu(point(x)) for point in self.points]
        return torch.cat([first, *(F.relu(layer(y)) for layer, y in zip(self.wide, others, strict=True))], 1)


def _wide(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 5, padding=2)


def _layer(convolution: nn.Module, channels: int, shrink: int = 2) -> nn.Sequential:
    """Return a convolution, its ReLU, batch norm as in Keras, and a maximum of each `shrink` x `shrink`."""
    return nn.Sequential(convolution, nn.ReLU(), nn.BatchNorm2d(channels, 1e-3, 0.01), nn.MaxPool2d(shrink))


def build(size: Size = "tiny", **settings: Any) -> Meso:
    """Return MesoNet: windows of 256 pixels in full, of 64 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Meso`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such kind or error.
    """
    return Meso(**({"side": 256 if size == "full" else 64} | settings))
