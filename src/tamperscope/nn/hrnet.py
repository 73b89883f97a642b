"""HRNet (Sun et al., 2019): branches of several resolutions side by side, which exchange all they know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        widths: Channels of each branch, finest first; each has half the resolution of the one before it.
        modules: How often branches are run and exchanged.
        blocks: Residual blocks of a branch each time.
    """

    widths: tuple[int, ...]
    modules: int = 1
    blocks: int = 4


def stages(width: int, modules: Sequence[int] = (1, 4, 3), blocks: int = 4) -> tuple[Stage, ...]:
    """Return stages 2 to 4 of HRNet-W`width`; `small v2` has modules (1, 3, 2) of 2 blocks."""
    return tuple(Stage(tuple(width << i for i in range(n)), m, blocks) for n, m in zip((2, 3, 4), modules, strict=True))


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Return a convolution with batch norm, and ReLU where asked."""
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


class Residual(nn.Module):
    """Layers beside a short way, added and rectified: a `basic` block of two 3 x 3, or a `bottleneck` of four times.

    Args:
        inputs: Channels in.
        width: Of the 3 x 3 convolutions.
        bottleneck: Whether 1 x 1 convolutions stand around one 3 x 3; then 4 `width` come out, else `width`.
    """

    def __init__(self, inputs: int, width: int, bottleneck: bool = False) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            self.long = nn.Sequential(conv(inputs, width, 1), conv(width, width), conv(width, outputs, 1, relu=False))
        else:
            self.long = nn.Sequential(conv(inputs, width), conv(width, width, relu=False))
        self.short = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, h, w)."""
        return F.relu(self.long(x) + self.short(x))


class Exchange(nn.Module):
    """Run every branch, then add to each what all others know, brought to its width and resolution.

    Args:
        widths: Of the branches, finest first.
        blocks: Residual blocks of each.
    """

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(Residual(w, w) for _ in range(blocks))) for w in widths)
        self.ways = nn.ModuleList(
            nn.ModuleList(_way(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps, each at its own size."""
        found = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._gathered(target, found) for target in range(len(found))]

    def _gathered(self, target: int, found: Sequence[Tensor]) -> Tensor:
        total = found[target]
        ways: Any = self.ways[target]
        for source, way in enumerate(ways):
            if source != target:
                total = total + _fitted(way(found[source]), total)
        return F.relu(total)


def _way(widths: Sequence[int], source: int, target: int) -> nn.Module:
    if source == target:
        return nn.Identity()
    if source > target:
        return conv(widths[source], widths[target], 1, relu=False)
    halvings = target - source
    kept = [conv(widths[source], widths[source], stride=2) for _ in range(halvings - 1)]
    return nn.Sequential(*kept, conv(widths[source], widths[target], stride=2, relu=False))


def _fitted(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class Branches(nn.Module):
    """Stages of branches: each begins with what the one before it gave, and with one branch more where it has more.

    Args:
        inputs: Channels of the maps that the first stage is given.
        made: The stages.

    Attributes:
        channels: Of the maps, finest first.
    """

    def __init__(self, inputs: Sequence[int], made: Sequence[Stage]) -> None:
        super().__init__()
        if not made or any(len(stage.widths) < len(inputs) for stage in made):
            raise InvalidValueError(f"Branches: expected stages of at least {len(inputs)} branches, found {made}")
        self.turns, self.stages = nn.ModuleList(), nn.ModuleList()
        before = tuple(inputs)
        for stage in made:
            self.turns.append(nn.ModuleList(_turn(before, stage.widths, i) for i in range(len(stage.widths))))
            self.stages.append(nn.ModuleList(Exchange(stage.widths, stage.blocks) for _ in range(stage.modules)))
            before = stage.widths
        self.channels = before

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return one map a branch of the last stage."""
        found = list(maps)
        turns: Any
        stage: Any
        for turns, stage in zip(self.turns, self.stages, strict=True):
            found = [turn(found[min(i, len(found) - 1)]) for i, turn in enumerate(turns)]
            for module in stage:
                found = module(found)
        return found


def _turn(before: Sequence[int], widths: Sequence[int], branch: int) -> nn.Module:
    """Return what brings the maps of a stage to the branch of the next."""
    if branch < len(before):
        return nn.Identity() if before[branch] == widths[branch] else conv(before[branch], widths[branch])
    halvings = branch - len(before) + 1
    kept = [conv(before[-1], before[-1], stride=2) for _ in range(halvings - 1)]
    return nn.Sequential(*kept, conv(before[-1], widths[branch], stride=2))


class HrNet(nn.Module):
    """A picture to maps at a quarter, an eighth, a sixteenth and a thirty-second of its resolution.

    Args:
        inputs: Channels of the picture.
        made: Stages after the first, such as `stages(48)`.
        first: Bottlenecks of the first stage.
        width: Of the stem, and of the 3 x 3 convolutions of the first stage.

    Attributes:
        channels: Of the maps, finest first.
    """

    def __init__(self, inputs: int = 3, made: Sequence[Stage] = stages(48), first: int = 4, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(inputs, width, stride=2), conv(width, width, stride=2))
        blocks = (Residual(width if i == 0 else 4 * width, width, bottleneck=True) for i in range(first))
        self.first = nn.Sequential(*blocks)
        self.rest = Branches((4 * width,), made)
        self.channels = self.rest.channels

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the maps of (B, inputs, H, W), finest first."""
        found: list[Tensor] = self.rest([self.first(self.stem(image))])
        return found
