"""Stages of known backbones one by one, for what goes between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from tamperscope.nn import backbones


class ConvNextStages(nn.Module):
    """The first stages of a ConvNeXt; the maps that are returned pass a layer norm, what goes on does not.

    Args:
        size: Of the backbone, see `backbones.families`.
        count: Stages, 1 to 4.
        inputs: Channels of the picture.
        weights: Folder of weights to begin with.
        extra: How channels beyond three begin where such weights do not know them.

    Attributes:
        channels: Of each map; strides are 4, 8, 16, 32.

    Raises:
        InvalidValueError: The weights do not fit.
        UnknownNameError: There is no such size.
    """

    def __init__(
        self,
        size: str,
        count: int = 4,
        inputs: int = 3,
        weights: str | Path | None = None,
        extra: backbones.Extra = "kaiming",
    ) -> None:
        super().__init__()
        backbone = backbones.build("convnext", size, inputs, weights, extra)
        self.stem = backbone.body.embeddings
        self.stages = nn.ModuleList(list(backbone.body.encoder.stages)[:count])
        self.norms = nn.ModuleList(list(backbone.body.hidden_states_norms.values())[:count])
        self.channels = backbone.channels[:count]

    def forward(self, image: Tensor, between: Callable[[int, Tensor], Tensor] | None = None) -> list[Tensor]:
        """Return the maps of (B, inputs, H, W), whose sides are multiples of the last stride.

        Args:
            image: The picture.
            between: What each stage's map becomes, given the stage's place from 0, before it is normed and goes on.
        """
        x, found = self.stem(image), []
        for place, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            x = stage(x)
            if between is not None:
                x = between(place, x)
            found.append(norm(x))
        return found


class SwinStages(nn.Module):
    """The stages of a SwinV2 but the first: each looks through windows, then halves the resolution but for the last.

    Args:
        size: Of the backbone, see `backbones.families`.
        weights: Folder of weights to begin with.

    Attributes:
        inputs: Channels that it takes, at a stride of 8.
        channels: Of the map after each stage, halved: strides of 16, 32 and 32.

    Raises:
        InvalidValueError: The weights do not fit.
        UnknownNameError: There is no such size.
    """

    def __init__(self, size: str, weights: str | Path | None = None) -> None:
        super().__init__()
        backbone = backbones.build("swinv2", size, weights=weights, drop_path=0.0)
        self.stages = nn.ModuleList(list(backbone.body.encoder.layers)[1:])
        self.inputs = backbone.channels[1]
        self.channels = (*backbone.channels[2:], backbone.channels[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the map after each stage, of (B, inputs, h, w) whose sides are multiples of 4."""
        found = []
        for stage in self.stages:
            height, width = x.shape[-2:]
            tokens, _, sides = stage(x.flatten(2).transpose(1, 2).contiguous(), (height, width))
            x = tokens.transpose(1, 2).unflatten(2, sides[-2:])
            found.append(x)
        return found
