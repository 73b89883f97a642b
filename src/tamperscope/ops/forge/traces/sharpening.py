"""Trace `sharpening`: the region was sharpened."""

from __future__ import annotations

from dataclasses import dataclass

from tamperscope.ops import tones
from tamperscope.ops.forge.traces.base import Trace
from tamperscope.ops.params import Setting


@dataclass(frozen=True, kw_only=True)
class Sharpening(Trace):
    """Sharpen a region by an unsharp mask."""

    name = "trace_sharpening"
    traces = ("sharpening",)
    pipeline = staticmethod(tones.sharpen)
    amount: Setting = (0.4, 0.9)
    sigma: Setting = (0.7, 1.2)
