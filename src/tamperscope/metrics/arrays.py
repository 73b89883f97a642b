"""What every metric does first: check its scores and truth, and lay them out flat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.types import BoolArray


def as_numpy(values: Any) -> NDArray[Any]:
    """Return `values` as an array; a torch tensor is detached and brought to the CPU, half precision made single."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float().numpy() if values.is_floating_point() else values.numpy()
    return np.asarray(values)


def as_scores(values: Any, probabilities: bool = False) -> NDArray[Any]:
    """Return finite scores, float32 or float64.

    Args:
        values: Numbers of any shape; integers become float64.
        probabilities: Whether they must lie in [0, 1]; logits are never guessed.

    Raises:
        InvalidValueError: A nan, an infinity where probabilities are wanted, or a value outside [0, 1].
    """
    scores = as_numpy(values)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    if scores.size:
        low, high = float(scores.min()), float(scores.max())
        if low != low or high != high:
            raise InvalidValueError("scores hold nan; leave those samples out and count them")
        if probabilities and not (low >= 0.0 and high <= 1.0):
            raise InvalidValueError(
                f"expected scores in [0, 1], found [{low:.4g}, {high:.4g}]; apply a sigmoid to logits before"
            )
    return scores


def as_truth(values: Any) -> BoolArray:
    """Return truth as bool.

    Raises:
        InvalidValueError: It is neither bool nor integers of 0 and 1.
    """
    truth = as_numpy(values)
    if truth.dtype == np.bool_:
        return truth
    if truth.dtype.kind in "iu" and truth.size and int(truth.min()) >= 0 and int(truth.max()) <= 1:
        return truth.astype(np.bool_)
    raise InvalidValueError(
        f"truth must be bool (or integers 0 and 1), found {truth.dtype}; compare it with a threshold"
    )


def flat(scores: Any, truth: Any, valid: Any = None, probabilities: bool = False) -> tuple[NDArray[Any], BoolArray]:
    """Return scores and truth of one shape as two flat arrays, without what is not `valid`.

    Raises:
        InvalidValueError: The shapes differ (nothing is broadcast), or a value is not allowed.
    """
    s, t = as_scores(scores, probabilities), as_truth(truth)
    if s.shape != t.shape:
        raise InvalidValueError(f"scores and truth must have one shape, found {s.shape} and {t.shape}")
    if valid is None:
        return s.ravel(), t.ravel()
    v = as_truth(valid)
    if v.shape != s.shape:
        raise InvalidValueError(f"the valid area must have the shape of the scores {s.shape}, found {v.shape}")
    return s[v], t[v]
