"""What quality a quantization table stands for, of a batch of tables."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tamperscope.media.quantization import ijg_table


def luma_quality(tables: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IJG quality, 1 to 100, whose luma table is nearest (L1) to given ones, and where one is known.

    As `media.quantization.nearest_quality` does for one file. A table of ones says that nothing was quantized, or that
    nobody knows how: then the quality is not known.

    Args:
        tables: (B, 8, 8) or more before the last two, luma tables in natural order.

    Returns:
        Qualities, float32, and bool, both of the shape before the last two.
    """
    known = (tables != 1).flatten(-2).any(-1)
    distance = (tables.float()[..., None, :, :] - _published().to(tables.device)).abs().sum((-2, -1))
    return distance.argmin(-1).float() + 1, known


@lru_cache(maxsize=1)
def _published() -> Tensor:
    """Return the luma tables (100, 8, 8) of all qualities."""
    return torch.from_numpy(np.stack([ijg_table(quality) for quality in range(1, 101)]).astype(np.float32))
