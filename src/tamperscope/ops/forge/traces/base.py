"""What trace-only forgeries share: a region of the picture passes a pipeline that leaves a trace and keeps the content.

With M the region, the forgery is (1 - M) x picture + M x pipeline(picture), as in the Trace data set (Bammey et al.,
WACV 2022). No pixel outside the region changes. A pipeline is a function `(sample, **values) -> Sample` that draws
nothing, like an attack; the fields of its `Trace` that bear the names of its parameters are the settings from which the
values are drawn. The record holds all of them, so that `replay` needs no generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import shapes
from tamperscope.ops.params import Setting, Value, default_setting, parameters
from tamperscope.types import BoolArray, Sample, UInt8Array


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Send a region through a pipeline; subclasses name the pipeline and hold its settings.

    Attributes:
        name: Of the operation, as recorded.
        traces: What is meant to be detectable.
        pipeline: `(sample, **values) -> Sample` of the same size.
        share: Range of the region's area as a share of the picture, where no region is given.
        region: (H, W) bool, the region to change, or None for a random shape.

    Raises:
        InvalidValueError: A setting does not fit its parameter.
    """

    name: ClassVar[str]
    traces: ClassVar[tuple[str, ...]]
    pipeline: ClassVar[Callable[..., Sample]]
    share: shapes.Span = (0.05, 0.2)
    region: BoolArray | None = None

    def __post_init__(self) -> None:
        for key, parameter in parameters(self.pipeline).items():
            if hasattr(self, key):
                object.__setattr__(self, key, parameter.setting(getattr(self, key)))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample; `mask` marks the region.

        Raises:
            InvalidValueError: The given region does not fit the picture, or the share is out of range.
        """
        mask = chosen(self.region, self.share, sample.size, rng)
        values = self.draw(rng)
        rgb = inside(mask, self.passed(sample, values), sample.rgb)
        return shapes.forged(sample, rgb, mask, self.name, trace=list(self.traces), words=words(mask), **values)

    def draw(self, rng: np.random.Generator) -> dict[str, Value]:
        """Return one value of every parameter of the pipeline, drawn in the order of its signature."""
        known = parameters(self.pipeline)
        return {key: p.draw(self._setting(key), rng) for key, p in known.items()}

    def _setting(self, key: str) -> Setting:
        setting: Setting = getattr(self, key, default_setting(parameters(self.pipeline)[key]))
        return setting

    @classmethod
    def passed(cls, sample: Sample, values: Mapping[str, Any]) -> UInt8Array:
        """Return the whole picture, (H, W, 3) uint8, after the pipeline: also the history of a host to forge.

        Args:
            sample: The picture.
            values: One of every parameter, as drawn or as recorded; what else a record holds is passed over.

        Raises:
            InvalidValueError: A value is lacking or out of range.
        """
        known = parameters(cls.pipeline)
        if lacking := sorted(known.keys() - values.keys()):
            raise InvalidValueError(f"{cls.name}: expected a value of {', '.join(lacking)}, found none")
        return cls.pipeline(sample, **{key: parameter.check(values[key]) for key, parameter in known.items()}).rgb

    @classmethod
    def replay(cls, sample: Sample, mask: BoolArray, entry: Mapping[str, Any]) -> UInt8Array:
        """Return the pixels of a recorded forgery.

        Args:
            sample: As it was before.
            mask: (H, W) bool, the region, as the forged sample's mask has it.
            entry: Of `meta["ops"]`.

        Raises:
            InvalidValueError: The entry is another operation's, or lacks a value.
        """
        if entry.get("op") != cls.name:
            raise InvalidValueError(f"expected a record of {cls.name}, found one of {entry.get('op')!r}")
        return inside(mask, cls.passed(sample, entry), sample.rgb)


def chosen(region: BoolArray | None, share: shapes.Span, size: tuple[int, int], rng: np.random.Generator) -> BoolArray:
    """Return the region to forge: the given one, or a random shape of a share drawn log-uniformly.

    Raises:
        InvalidValueError: The given region is empty or has not the picture's size, or the share is out of range.
    """
    if region is None:
        shapes.check_span("share", share, 1e-4, 0.5)
        return shapes.blob(size, shapes.area(share, rng), rng)
    if region.dtype != np.bool_ or region.shape != size or not region.any():
        found = f"{region.dtype} {region.shape} with {int(np.count_nonzero(region))} pixels"
        raise InvalidValueError(f"region: expected bool {size} with a pixel that is True, found {found}")
    return region.copy()


def inside(mask: BoolArray, new: UInt8Array, old: UInt8Array) -> UInt8Array:
    """Return `new` where `mask`, else `old`; bit for bit, without a soft edge."""
    return np.where(mask[..., None], new, old)


def words(mask: BoolArray, noun: str = "a region") -> dict[str, Any]:
    """Return what a sentence about an edit that keeps the content needs."""
    return shapes.words(mask, noun, "with unchanged content")


def union(traces: Iterable[Trace]) -> list[str]:
    """Return what several operations leave to be detected, each once, in their order."""
    return list(dict.fromkeys(name for trace in traces for name in trace.traces))
