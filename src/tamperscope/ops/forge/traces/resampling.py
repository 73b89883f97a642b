"""Trace `resampling`: the region was scaled or turned a little, and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops import warps
from tamperscope.ops.forge.traces.base import Trace
from tamperscope.ops.params import Range, Setting, Value
from tamperscope.types import Sample

# Lists leave out the values near no change at all, which leave no trace.
_FACTORS: list[Value] = [0.9, 0.95, 1.05, 1.1, 1.15, 1.2]
_ANGLES: list[Value] = [-5.0, -3.0, -2.0, 2.0, 3.0, 5.0]
_INTERPOLATIONS: list[Value] = ["bilinear", "bicubic"]


def resampled(
    sample: Sample,
    factor: Annotated[float, Range(0.5, 2)] = 1.1,
    angle: Annotated[float, Range(-45, 45)] = 0.0,
    interpolation: warps.Interpolation = "bicubic",
) -> Sample:
    """Resize by a factor and back, then turn by an angle and back; the content keeps its place.

    Args:
        sample: The picture.
        factor: 1 leaves the size alone.
        angle: In degrees, counter-clockwise; 0 does not turn. Turning is bicubic.
        interpolation: Of the resizing.
    """
    scaled = warps.resize_and_back(sample, factor, interpolation) if factor != 1 else sample
    return _turned(scaled, angle) if angle else scaled


def _turned(sample: Sample, angle: float) -> Sample:
    """Turn within a mirrored frame so wide that no corner is lost."""
    height, width = sample.size
    edge = 4 + int((height + width) * abs(np.sin(np.radians(angle))) / 2)
    framed = np.asarray(cv2.copyMakeBorder(sample.rgb, edge, edge, edge, edge, cv2.BORDER_REFLECT), np.uint8)
    back = warps.rotate(warps.rotate(Sample(framed), angle), -angle)
    return sample.with_pixels(warps.window(back, edge, edge, height, width).rgb)


@dataclass(frozen=True, kw_only=True)
class Resampling(Trace):
    """Scale a region a little and back, or turn it and back.

    Attributes:
        turned: Probability of turning; else it is scaled.

    Raises:
        InvalidValueError: A setting does not fit its parameter.
    """

    name = "trace_resampling"
    traces = ("resampling",)
    pipeline = staticmethod(resampled)
    turned: float = 0.5
    factor: Setting = field(default_factory=_FACTORS.copy)
    angle: Setting = field(default_factory=_ANGLES.copy)
    interpolation: Setting = field(default_factory=_INTERPOLATIONS.copy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.turned <= 1:
            raise InvalidValueError(f"{self.name}.turned: expected a probability from 0 to 1, found {self.turned}")

    def draw(self, rng: np.random.Generator) -> dict[str, Value]:
        """Return a factor or an angle, drawn, and the other one neutral."""
        values = super().draw(rng)
        return values | ({"factor": 1.0} if rng.random() < self.turned else {"angle": 0.0})
