"""Trace `median`: the region was median filtered."""

from __future__ import annotations

from dataclasses import dataclass

from tamperscope.ops import tones
from tamperscope.ops.forge.traces.base import Trace
from tamperscope.ops.params import Setting


@dataclass(frozen=True, kw_only=True)
class Median(Trace):
    """Take the median of a region, channel by channel."""

    name = "trace_median"
    traces = ("median",)
    pipeline = staticmethod(tones.median)
    kernel: Setting = 3
