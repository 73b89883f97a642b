"""Trace `blur`: the region was blurred."""

from __future__ import annotations

from dataclasses import dataclass

from tamperscope.ops import tones
from tamperscope.ops.forge.traces.base import Trace
from tamperscope.ops.params import Setting


@dataclass(frozen=True, kw_only=True)
class Blur(Trace):
    """Blur a region lightly with a Gaussian."""

    name = "trace_blur"
    traces = ("blur",)
    pipeline = staticmethod(tones.gaussian_blur)
    sigma: Setting = (0.5, 0.9)
