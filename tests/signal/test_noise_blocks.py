"""Block selection against full sorts, energies against SciPy's DCT."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dctn

from tamperscope.signal import noise_blocks as nb


def all_blocks(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rows * cols) sum, 36 x low, 36 x high, clipped; by the DCT."""
    tiles = sliding_window_view(plane, (3, 3)).reshape(-1, 3, 3).astype(float)
    energy = 36 * dctn(tiles, axes=(1, 2), norm="ortho") ** 2
    order = np.add.outer(np.arange(3), np.arange(3))
    low = energy[:, (order > 0) & (order < 3)].sum(axis=1)
    high = energy[:, order >= 3].sum(axis=1)
    clipped = (tiles.min(axis=(1, 2)) == 0) | (tiles.max(axis=(1, 2)) == 255)
    return tiles.sum(axis=(1, 2)).astype(int), np.rint(low).astype(int), np.rint(high).astype(int), clipped


@pytest.fixture
def noisy(rng: np.random.Generator) -> np.ndarray:
    """A ramp with noise, partly clipped."""
    ramp = np.linspace(-5, 262, 260)[None, :] + np.zeros((90, 1))
    return np.clip(ramp + rng.normal(0, 3, ramp.shape), 0, 255).round().astype(np.uint8)


def test_energies_equal_the_dct(noisy: np.ndarray) -> None:
    total, low, high, clipped = all_blocks(noisy)
    wide = noisy.shape[1] - 2
    for index in range(0, len(total), 37):
        found = nb.block_statistics(noisy, *divmod(index, wide))
        assert found == (total[index], low[index], high[index], clipped[index])


def test_energies_of_extreme_blocks_fit_their_buckets() -> None:
    checker = (np.indices((3, 3)).sum(axis=0) % 2 * 255).astype(np.uint8)
    edge = np.repeat([[0, 255, 255]], 3, axis=0).astype(np.uint8)
    stripe = np.repeat([[0, 255, 0]], 3, axis=0).astype(np.uint8)
    for block in (checker, edge, edge.T, stripe, stripe.T):
        total, low, high, _ = all_blocks(block)
        assert nb.block_statistics(block, 0, 0)[:3] == (total[0], low[0], high[0])
        assert max(low[0], high[0]) < 2**31


def test_bins_hold_whole_sums_and_enough_blocks(rng: np.random.Generator) -> None:
    counts = rng.integers(0, 400, nb.SUMS)
    bin_of_sum, bins = nb.brightness_bins(counts, 5000)
    held = np.bincount(bin_of_sum, weights=counts, minlength=bins)
    assert len(held) == bins
    assert held.min() >= 5000
    assert (np.diff(bin_of_sum) >= 0).all()
    assert nb.brightness_bins(counts, int(counts.sum()) + 1)[1] == 0


def test_selection_equals_full_sorts(noisy: np.ndarray) -> None:
    total, low, high, clipped = all_blocks(noisy)
    hashes = nb.position_hash(np.arange(len(total)), 7)
    free = np.flatnonzero(~clipped)
    bin_of_sum, bins = nb.brightness_bins(np.bincount(total[free], minlength=nb.SUMS), 2000)
    kept, red = set(), set()
    for index in range(bins):
        members = free[bin_of_sum[total[free]] == index]
        smooth = members[np.lexsort((hashes[members], low[members]))][: len(members) // 10]
        ranked = smooth[np.lexsort((hashes[smooth], high[smooth]))]
        kept |= set(ranked.tolist())
        red |= set(ranked[: round(len(ranked) / 2)].tolist())
    found = nb.smoothest_blocks(noisy, 2000, salt=7)
    position = found.rows * (noisy.shape[1] - 2) + found.cols
    assert found.bins == found.valid_bins == bins > 5
    assert len(position) == len(kept)
    assert set(position.tolist()) == kept
    assert set(position[found.red].tolist()) == red


def test_a_bin_of_constant_blocks_takes_no_part(noisy: np.ndarray) -> None:
    flat = np.full((120, 120), 77, np.uint8)
    assert nb.smoothest_blocks(flat, 2000).valid_bins == 0
    both = np.concatenate([np.full((90, 260), 77, np.uint8), noisy])
    found = nb.smoothest_blocks(both, 2000)
    assert found.valid_bins == found.bins - 1
    assert (both[found.rows, found.cols] != 77).mean() > 0.99


def test_clipped_blocks_are_never_selected(noisy: np.ndarray) -> None:
    found = nb.smoothest_blocks(noisy, 2000)
    for dy in range(3):
        for dx in range(3):
            pixels = noisy[found.rows + dy, found.cols + dx]
            assert pixels.min() > 0
            assert pixels.max() < 255


def test_ties_favour_no_part_of_the_picture(rng: np.random.Generator) -> None:
    # Two grey levels: nearly every energy is shared by thousands of blocks.
    plane = np.where(rng.random((400, 400)) < 0.3, 101, 100).astype(np.uint8)
    found = nb.smoothest_blocks(plane, 5000)
    for half in (found.rows < 200, found.cols < 200):
        assert abs(half.mean() - 0.5) < 0.05
        assert abs(found.red[half].mean() - found.red[~half].mean()) < 0.05


def test_tiny_planes_have_no_bins() -> None:
    for shape in ((3, 3), (3, 50), (50, 3)):
        assert nb.smoothest_blocks(np.full(shape, 9, np.uint8)).bins == 0
