"""Regions against SciPy's labelling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tamperscope.signal import regions


def test_components_equal_scipy(rng: np.random.Generator) -> None:
    mask = ndimage.binary_opening(rng.random((80, 120)) < 0.55)
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = sorted(ndimage.sum_labels(mask, labels, range(1, count + 1)).astype(int), reverse=True)
    found = regions.components(mask, limit=1000)
    assert [r.area for r in found] == sizes
    painted = np.zeros_like(mask)
    for region in found:
        x0, y0, x1, y1 = region.box
        painted[y0:y1, x0:x1] |= region.mask
    np.testing.assert_array_equal(painted, mask)


def test_small_ones_and_late_ones_are_left_out() -> None:
    mask = np.zeros((40, 40), bool)
    mask[2:12, 2:12] = mask[20:26, 20:26] = mask[35, 35] = True
    assert [r.area for r in regions.components(mask, min_area=2)] == [100, 36]
    assert [r.area for r in regions.components(mask, limit=1)] == [100]


def test_heat_is_cut_strictly_above_the_level_and_scored_by_its_mean() -> None:
    heat = np.full((60, 60), 0.5, np.float32)
    heat[10:30, 10:30] = 0.75
    heat[10:20, 10:30] = 1.0
    (found,) = regions.from_heatmap(heat, "zero")
    assert found.box == (10, 10, 30, 30)
    assert found.score == pytest.approx(0.875)
    assert found.origin == "zero"


def test_quiet_maps_have_no_regions() -> None:
    assert regions.from_heatmap(np.full((50, 50), 0.5, np.float32), "zero") == []


@pytest.mark.parametrize("size", [(81, 120), (80, 121), (60, 60)])
def test_large_pictures_join_what_is_close_and_keep_every_marked_pixel(
    size: tuple[int, int], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "LARGE", 1)
    mask = ndimage.binary_opening(rng.random(size) < 0.5)
    cells = np.pad(mask, [(0, n % 2) for n in size]).reshape((size[0] + 1) // 2, 2, -1, 2).any((1, 3))
    count = ndimage.label(cells, structure=np.ones((3, 3)))[1]
    found = regions.components(mask, limit=1000)
    assert len(found) == count
    painted = np.zeros(size, int)
    for region in found:
        x0, y0, x1, y1 = region.box
        assert region.mask is not None
        painted[y0:y1, x0:x1] += region.mask
    np.testing.assert_array_equal(painted, mask)
