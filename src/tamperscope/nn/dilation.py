"""Dilated stages: a ResNet whose last maps are finer, with the weights that it has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn import backbones


def dilated(backbone: backbones.Backbone, dilations: Sequence[Sequence[int]]) -> backbones.Backbone:
    """Return a ResNet whose last stages have dilations for their strides; no weight changes.

    Args:
        backbone: Of `backbones.build("resnet", ...)`.
        dilations: Of the 3 x 3 convolutions of each block, one list for each of the last stages, at most three.

    Raises:
        InvalidValueError: There are other stages or blocks.
    """
    stages = backbone.body.encoder.stages
    chosen = list(stages)[len(stages) - len(dilations) :]
    wanted = [len(stage.layers) for stage in chosen]
    if (
        len(dilations) >= len(stages)
        or [len(d) for d in dilations] != wanted
        or any(n < 1 for d in dilations for n in d)
    ):
        expected = f"of at most three last stages, dilations from 1 for {wanted} blocks"
        raise InvalidValueError(f"dilations: expected {expected}, found {dilations}")
    for stage, each in zip(chosen, dilations, strict=True):
        for block, dilation in zip(stage.layers, each, strict=True):
            for layer in block.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.stride = (1, 1)
                    reach = dilation * (layer.kernel_size[0] // 2)
                    layer.dilation, layer.padding = (dilation, dilation), (reach, reach)
    finest = len(stages) - len(dilations)
    least = backbone.strides[finest - 1]
    backbone.strides = (*backbone.strides[:finest], *(least for _ in dilations))
    backbone.multiple = least
    return backbone
