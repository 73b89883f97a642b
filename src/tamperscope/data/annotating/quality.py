"""How far a soft map can be trusted without knowing the truth."""

from __future__ import annotations

import numpy as np

from tamperscope.types import FloatArray

_SURE, _POSSIBLE = 15 / 16, 1 / 16


def qes(soft: FloatArray) -> float:
    """Return MIML's quality score: pixels above 15/16 as a share of those above 1/16; 0 where there are none.

    It rewards a decided map, also one that is decided and wrong: `agreement` is a second opinion.

    Args:
        soft: (H, W) in [0, 1].
    """
    return float(np.count_nonzero(soft > _SURE) / (np.count_nonzero(soft > _POSSIBLE) + 1e-8))


def agreement(first: FloatArray, second: FloatArray) -> float:
    """Return the overlap of two soft maps, sum of minima over sum of maxima; 1 where both are empty.

    Args:
        first: (H, W) in [0, 1].
        second: (H, W) in [0, 1].
    """
    most = float(np.maximum(first, second).sum())
    return float(np.minimum(first, second).sum()) / most if most > 0 else 1.0
