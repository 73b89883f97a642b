"""Several traces in one region: a pipeline of several steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.traces.base import Trace, chosen, inside, union, words
from tamperscope.types import BoolArray, Sample


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Send one region through the pipelines of several traces, one after another.

    Attributes:
        steps: In the order of a camera or an editor; at least one. Their own regions and shares are not used.
        share: Range of the region's area as a share of the picture, where no region is given.
        region: (H, W) bool, the region to change, or None for a random shape.

    Raises:
        InvalidValueError: There is no step.
    """

    steps: tuple[Trace, ...]
    share: shapes.Span = (0.05, 0.2)
    region: BoolArray | None = None

    def __post_init__(self) -> None:
        if not self.steps:
            raise InvalidValueError("trace_mixed.steps: expected at least one trace, found none; give (Noise(), Cfa())")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample; `mask` marks the region, `steps` in the record has the values of each step.

        Raises:
            InvalidValueError: The given region does not fit the picture, or the share is out of range.
        """
        mask = chosen(self.region, self.share, sample.size, rng)
        new, done = sample, []
        for step in self.steps:
            values = step.draw(rng)
            new = new.with_pixels(step.passed(new, values))
            done.append({"op": step.name, **values})
        rgb = inside(mask, new.rgb, sample.rgb)
        return shapes.forged(sample, rgb, mask, "trace_mixed", trace=union(self.steps), words=words(mask), steps=done)
