"""Single-sample clustering: a whole test set is parted in two, and one picture whose label is known names the parts.

This is no detector's accuracy. Every answer depends on all other pictures of the set, one label of which is known, and
on both classes being there in bulk: report it apart from what is measured picture by picture. A set of one class is
parted as well, so that about half of it is called wrongly; `separation` tells little of that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError

_ROUNDS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Clustered:
    """What came of a test set.

    Attributes:
        forged: (N,) bool, which pictures are called forged.
        separation: Share of the variance that the two means explain, 0 to 1; .64 along one line of one normal class.
        transductive: True: no other measure of a detector may be compared with it.
    """

    forged: NDArray[np.bool_]
    separation: float
    transductive: bool = True

    def accuracy(self, labels: NDArray[np.bool_], sample: int) -> float:
        """Return the share of right answers, that for the picture whose label was told left aside."""
        right = np.delete(self.forged == np.asarray(labels, bool), sample)
        return float(right.mean()) if len(right) else float("nan")


def single_sample(features: NDArray[np.floating], sample: int, forged: bool, components: int | None = 2) -> Clustered:
    """Part pictures in two by what a network says of each, and call the part of one known picture by its label.

    After FakeLocator (Huang et al., TIFS 2022), which lays features out by t-SNE before k-means; here they are brought
    to their leading principal components, which draws nothing at random and keeps distances.

    Args:
        features: (N, D), one row a picture, at least two of them.
        sample: Which picture's label is known.
        forged: That label.
        components: Leading ones that are looked at; None = all features, each over its deviation.

    Raises:
        InvalidValueError: Shapes do not fit, a number is not finite, or all rows are alike.
    """
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all() or not 0 <= sample < len(x):
        raise InvalidValueError(f"features: expected finite (N, D) with N from 2, and one of the N, found {x.shape}")
    if components is not None and components < 1:
        raise InvalidValueError(f"components: expected at least 1 or None, found {components}")
    spread = x.std(0)
    # What is the same up to rounding tells nothing.
    told = spread > 1e-9 * (1 + np.abs(x).max(0))
    if not told.any():
        raise InvalidValueError("features: expected rows that differ, found all alike")
    x = (x[:, told] - x[:, told].mean(0)) / spread[told]
    left, values, _ = np.linalg.svd(x, full_matrices=False)
    if components is not None:
        x = left[:, :components] * values[:components]
    parts = two_means(x, left[:, 0] > 0)
    means = np.array([x[parts == k].mean(0) for k in (False, True)])[parts.astype(int)]
    return Clustered((parts == parts[sample]) == forged, float(means.var(0).sum() / x.var(0).sum()))


def two_means(points: NDArray[np.float64], first: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (N,) bool, the parts of k-means with k = 2 (Lloyd); neither ever becomes empty.

    Args:
        points: (N, D).
        first: (N,) bool, the parts to begin with, both with a member.
    """
    parts = first
    for _ in range(_ROUNDS):
        far = [((points - points[parts == k].mean(0)) ** 2).sum(1) for k in (False, True)]
        new = far[1] < far[0]
        if (new == parts).all() or new.all() or not new.any():
            break
        parts = new
    return np.asarray(parts)
