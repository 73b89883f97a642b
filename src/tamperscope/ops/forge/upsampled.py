"""Up-sampled: a region, or the whole picture with it, passes the up-sampler of a generator, but no generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops import tones
from tamperscope.ops.forge import blending, shapes, upsampling
from tamperscope.ops.forge.returns import Return, check_whole, choose
from tamperscope.ops.forge.traces.base import Trace, chosen
from tamperscope.ops.forge.traces.nothing import Nothing
from tamperscope.ops.params import Range, Setting, Value
from tamperscope.types import BoolArray, Sample, UInt8Array

_KINDS: list[Value] = [*get_args(upsampling.Kind)]
_FACTORS: list[Value] = [2, 4]


def remade(
    sample: Sample,
    kind: Literal["none", "nearest", "bilinear", "transposed", "pixel_shuffle"] = "transposed",
    factor: Annotated[int, Range(2, 8)] = 2,
    ripple: Annotated[float, Range(0, 0.2)] = 0.02,
    refine: Annotated[float, Range(-1, 1)] = 0.0,
    seed: tones.Seed = 0,
) -> Sample:
    """Reduce a picture and enlarge it with a generator's up-sampler; the content keeps its place.

    Args:
        sample: The picture.
        kind: Of the up-sampler; `none` leaves the picture as it is.
        factor: 2, 4 or 8; by so much the picture is reduced first.
        ripple: How unevenly a transposed convolution or pixel shuffle weighs its four pixels, standard deviation.
        refine: Amount of a 3 x 3 filter at the end: above 0 it sharpens, below 0 it smooths.
        seed: Of what is uneven.

    Raises:
        InvalidValueError: The factor is another one.
    """
    if kind == "none":
        return sample
    kernels = upsampling.filters(kind, ripple, seed)
    return sample.with_pixels(upsampling.upsampled(sample.rgb, kernels, factor, refine))


@dataclass(frozen=True, kw_only=True)
class Upsampled(Trace):
    """Send a region through a generator's up-sampler; `mask` marks it.

    The kind `none` is the control: the picture stays as it is and is recorded as `nothing`.

    Attributes:
        whole: Whether all of the picture passes, as when a generator returns a whole picture for an edit of a region;
            then the record says `reencoded`, and the mask still marks the region that was meant. Or a list to choose
            from.
        noun: What the region is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A setting does not fit its parameter.
    """

    name = "upsampled"
    traces = ("upsampling",)
    pipeline = staticmethod(remade)
    kind: Setting = field(default_factory=_KINDS.copy)
    factor: Setting = field(default_factory=_FACTORS.copy)
    ripple: Setting = (0.01, 0.03)
    refine: Setting = (-0.3, 0.0)
    whole: bool | Sequence[bool] = False
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self.name, self.whole)
        factors = self.factor if isinstance(self.factor, list) else [self.factor]
        if not set(factors) <= set(upsampling.FACTORS):
            expected = f"one of {upsampling.FACTORS} or a list of them"
            raise InvalidValueError(f"{self.name}.factor: expected {expected}, found {self.factor!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: The given region does not fit the picture, or the share is out of range.
        """
        mask = chosen(self.region, self.share, sample.size, rng)
        values = self.draw(rng)
        if values["kind"] == "none":
            return Nothing()(sample, rng)
        back = Return(choose(self.whole, rng), blending.Look())
        rgb = self.replay(sample, mask, {**values, "op": self.name, "reencoded": back.whole})
        relation = "remade by an up-sampler" + back.suffix
        return shapes.forged(
            sample,
            rgb,
            mask,
            self.name,
            **values,
            reencoded=back.whole,
            trace=list(self.traces),
            words=shapes.words(mask, self.noun or "a region", relation, self.attributes),
        )

    def draw(self, rng: np.random.Generator) -> dict[str, Value]:
        """Return one value of every parameter; `ripple` is 0 where all weigh alike."""
        values = super().draw(rng)
        return values if values["kind"] in ("transposed", "pixel_shuffle") else values | {"ripple": 0.0}

    @classmethod
    def replay(cls, sample: Sample, mask: BoolArray, entry: Mapping[str, Any]) -> UInt8Array:
        """Return the pixels of a recorded forgery: the up-sampled ones inside of the mask, or all where `reencoded`.

        The arguments and errors are those of `Trace.replay`.
        """
        return super().replay(sample, mask | bool(entry.get("reencoded")), entry)
