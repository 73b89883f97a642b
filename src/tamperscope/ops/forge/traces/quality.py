"""Trace `quality`: the region was compressed once more than the rest of the picture, on the same JPEG grid."""

from __future__ import annotations

from dataclasses import dataclass

from tamperscope.ops.forge.traces.base import Trace
from tamperscope.ops.forge.traces.grid import compressed
from tamperscope.ops.params import Setting


@dataclass(frozen=True, kw_only=True)
class Quality(Trace):
    """Compress a region at a quality of its own, on the grid of the picture's origin."""

    name = "trace_quality"
    traces = ("jpeg_history",)
    pipeline = staticmethod(compressed)
    quality: Setting = (60, 85)
    subsampling: Setting = "4:4:4"
