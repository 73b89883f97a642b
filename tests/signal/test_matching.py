"""Nearest neighbours are exact, keep their distance, and pass the generalized ratio test as it is written."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tamperscope.signal import matching


def points(n: int, rng: np.random.Generator) -> np.ndarray:
    xy = (rng.random((n, 2)) * 300).astype(np.float32)
    return xy[np.argsort(xy[:, 1], kind="stable")]


@pytest.mark.parametrize("n", [1, 2, 5, 400, 2500])
def test_neighbours_equal_scikit_learn(n: int, rng: np.random.Generator) -> None:
    """With no distance to keep but their own place, they are the brute-force neighbours but the point itself."""
    base = rng.integers(0, 128, (n, 32)).astype(np.float32)
    index, distance = matching.nearest(base, base, points(n, rng), 3, 1e-3)
    count = min(4, n)
    far, near = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(base).kneighbors(base)
    for k in range(1, count):
        np.testing.assert_allclose(distance[:, k - 1], far[:, k], rtol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(base[:, None] - base[index[:, : count - 1]], axis=2), far[:, 1:], rtol=1e-5
    )
    assert near.shape == (n, count)
    assert np.isinf(distance[:, count - 1 :]).all()


def test_points_too_near_are_no_neighbours(rng: np.random.Generator) -> None:
    xy = points(600, rng)
    base = rng.integers(0, 128, (600, 16)).astype(np.float32)
    index, distance = matching.nearest(base, base, xy, 3, 40.0)
    gap = np.linalg.norm(xy[:, None] - xy[index], axis=2)
    assert gap.min() >= 40.0
    allowed = np.linalg.norm(xy[:, None] - xy[None], axis=2) >= 40.0
    table = np.where(allowed, np.linalg.norm(base[:, None] - base[None], axis=2), np.inf)
    np.testing.assert_allclose(distance, np.sort(table, axis=1)[:, :3], rtol=1e-4)


def test_generalized_ratio_keeps_the_run_of_good_quotients() -> None:
    distances = np.array([[1.0, 3.0, 4.0], [1.0, 1.5, 4.0], [1.0, 3.0, 9.0], [1.0, np.inf, np.inf]], np.float32)
    kept = matching.generalized_ratio(distances, 0.5)
    np.testing.assert_array_equal(kept, [[True, False, False], [False] * 3, [True, True, False], [False] * 3])
