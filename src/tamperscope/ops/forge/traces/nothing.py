"""The control of trace-only forgeries: the authentic twin, decoded and delivered alike, with no trace laid in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamperscope.ops.forge import shapes
from tamperscope.types import Sample


@dataclass(frozen=True)
class Nothing:
    """Leave every pixel as it is; what an edit loses is lost here too: the file's coefficients and its preview."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample as authentic; nothing is drawn."""
        mask = np.zeros(sample.size, np.bool_)
        words = {"noun": "nothing", "attributes": [], "place": "", "relation": "left as it was"}
        return shapes.forged(sample, sample.rgb.copy(), mask, "nothing", trace=[], words=words)
