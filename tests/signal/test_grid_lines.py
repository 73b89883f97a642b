"""The compiled line filter of `blk` against SciPy, and its response to planted lines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tamperscope.signal import grid_lines


def reference(luma: np.ndarray) -> np.ndarray:
    """The same filter from SciPy's parts; mirrored borders, nearest line of the same phase where one is missing."""
    plane = luma.astype(int)
    second = np.zeros_like(plane)
    second[1:-1] = np.abs(2 * plane[1:-1] - plane[:-2] - plane[2:])
    second[second > 50] = 0
    summed = ndimage.correlate1d(second, np.ones(33, int), axis=1, mode="mirror")
    lifted = summed - ndimage.median_filter(summed, size=(33, 1), mode="mirror")
    rows = np.arange(len(plane))
    lines = []
    for lag in (-16, -8, 0, 8, 16):
        at = rows + lag
        while (at < 0).any() or (at >= len(plane)).any():
            at = np.where(at < 0, at + 8, np.where(at >= len(plane), at - 8, at))
        lines.append(lifted[at])
    return np.median(lines, axis=0).astype(int)


@pytest.mark.parametrize(("height", "width"), [(70, 45), (41, 300), (33, 33), (20, 600)])
def test_equals_scipy_on_odd_sizes(rng: np.random.Generator, height: int, width: int) -> None:
    luma = rng.integers(0, 60, (height, width)).astype(np.uint8)
    np.testing.assert_array_equal(grid_lines.grid_lines(luma), reference(luma))


@pytest.mark.parametrize("radius", [1, 4, 16])
def test_median_equals_scipy_over_its_whole_range(rng: np.random.Generator, radius: int) -> None:
    plane = rng.integers(0, 2048, (60, 40)).astype(np.int16)
    plane[10:30] //= 500  # many ties
    expected = ndimage.median_filter(plane, size=(2 * radius + 1, 1), mode="mirror")
    np.testing.assert_array_equal(grid_lines.running_median(plane, radius), expected)


@pytest.mark.parametrize("phase", range(8))
def test_only_what_recurs_every_eight_rows_is_kept(rng: np.random.Generator, phase: int) -> None:
    luma = rng.integers(100, 104, (160, 120)).astype(np.uint8)
    luma += ((np.arange(160) - phase) // 8 % 2 * 12).astype(np.uint8)[:, None]  # a step at every block border
    profile = grid_lines.grid_lines(luma).reshape(20, 8, 120).mean(axis=(0, 2))
    assert {int(i) for i in np.argsort(profile)[-2:]} == {phase, (phase - 1) % 8}
    alone = rng.integers(100, 104, (160, 120)).astype(np.uint8)
    alone[80:] += 12  # one step, as of an object
    assert np.abs(grid_lines.grid_lines(alone)).max() < profile.max()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 5)])
def test_tiny_planes(size: tuple[int, int]) -> None:
    assert grid_lines.grid_lines(np.full(size, 9, np.uint8)).shape == size
