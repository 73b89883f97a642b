"""Block transforms and maps of blocks against SciPy and repetition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from tamperscope.signal import blocks


def test_block_dct_equals_scipy(rng: np.random.Generator) -> None:
    plane = (rng.random((35, 50)) * 255).astype(np.float32)
    found = blocks.block_dct(plane)
    assert found.shape == (4, 6, 8, 8)
    for row, col in np.ndindex(4, 6):
        part = plane[row * 8 : row * 8 + 8, col * 8 : col * 8 + 8]
        np.testing.assert_allclose(found[row, col], dctn(part, norm="ortho"), atol=2e-3)


def test_luma_is_bt601(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    np.testing.assert_allclose(blocks.luma(rgb), rgb @ [0.299, 0.587, 0.114], atol=1e-3)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(0, 7), st.integers(0, 7), st.data())
def test_spread_repeats_cells_in_their_place(
    rows: int, cols: int, step: int, top: int, left: int, data: st.DataObject
) -> None:
    values = np.arange(rows * cols, dtype=np.float32).reshape(rows, cols)
    below, right = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))
    size = (top + rows * step + below, left + cols * step + right)
    found = blocks.spread(values, size, step, (top, left))
    assert found.shape == size
    assert found.dtype == np.float32
    np.testing.assert_array_equal(
        found[top:, left:][: rows * step, : cols * step], np.kron(values, np.ones((step, step)))
    )
    assert found[0, 0] == values[0, 0]
    assert found[-1, -1] == values[-1, -1]


@pytest.mark.parametrize("step", [4, 8, 9])
def test_smooth_spread_is_linear_between_centres(step: int) -> None:
    ramp = np.tile(np.arange(6, dtype=np.float32), (5, 1))
    row = blocks.spread(ramp, (5 * step, 6 * step), step, smooth=True)[2]
    centre = (np.arange(6 * step) + 0.5) / step - 0.5
    np.testing.assert_allclose(row, np.clip(centre, 0, 5), atol=1e-5)


def test_spread_cuts_what_does_not_fit() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(
        blocks.spread(values, (20, 30), 8), np.kron(values, np.ones((8, 8)))[:20, :30].astype(np.float32)
    )
