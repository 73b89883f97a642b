"""`Fit` goes there and back for every size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.geometry import PIECE, PIECES, Fit, mosaic

SIZES = st.tuples(st.integers(1, 150), st.integers(1, 150))


@settings(deadline=None, max_examples=80)
@given(SIZES, st.tuples(st.integers(1, 64), st.integers(1, 64)), st.data())
def test_tiles_cover_and_merge_back_exactly(size: tuple[int, int], side: tuple[int, int], data: st.DataObject) -> None:
    plan = Fit("tile", side, data.draw(st.integers(0, min(side) - 1))).plan(size)
    picture = np.random.default_rng(0).random(size, dtype=np.float32)
    np.testing.assert_allclose(plan.invert(plan.apply(picture)), picture, atol=1e-5)
    covered = np.zeros(size, int)
    for (x0, y0, x1, y1), index in zip(plan.boxes, range(len(plan)), strict=True):
        covered[y0:y1, x0:x1] += 1
        assert plan.valid(index).sum() == (x1 - x0) * (y1 - y0)
        assert y1 - y0 <= side[0]
        assert x1 - x0 <= side[1]
    assert covered.min() >= 1


@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(8, 40), st.integers(1, 7))
def test_neighbouring_tiles_share_at_least_the_overlap(size: tuple[int, int], side: int, overlap: int) -> None:
    xs = sorted({box[0] for box in Fit("tile", side, overlap).plan(size).boxes})
    assert all(b - a <= side - overlap for a, b in itertools.pairwise(xs))


@settings(deadline=None, max_examples=60)
@given(SIZES, st.integers(24, 64), st.integers(0, 16))
def test_tiles_on_a_grid_cover_all_and_share_the_overlap(size: tuple[int, int], side: int, overlap: int) -> None:
    plan = Fit("tile", side, overlap, 8).plan(size)
    picture = np.random.default_rng(0).random(size, dtype=np.float32)
    np.testing.assert_allclose(plan.invert(plan.apply(picture)), picture, atol=1e-5)
    assert all(start % 8 == 0 for box in plan.boxes for start in box[:2])
    for axis in (0, 1):
        starts = sorted({box[axis] for box in plan.boxes})
        assert all(b - a <= side - overlap for a, b in itertools.pairwise(starts))


@settings(deadline=None, max_examples=40)
@given(SIZES)
def test_a_mosaic_has_pieces_of_the_picture_on_its_grid_in_order(size: tuple[int, int]) -> None:
    places = np.arange(size[0] * size[1], dtype=np.int64).reshape(*size, 1)
    found = mosaic(places)
    assert found.shape == (PIECES * PIECE, PIECES * PIECE, 1)
    if min(size) < PIECE:
        return
    corners = found[::PIECE, ::PIECE, 0]
    rows, columns = np.unravel_index(corners, size)
    assert (rows % 8 == 0).all()
    assert (columns % 8 == 0).all()
    assert (np.diff(rows, axis=0) >= 0).all()
    assert rows[-1, 0] > size[0] - PIECE - 8
    assert columns[0, -1] > size[1] - PIECE - 8
    inside = np.arange(PIECE)[:, None] * size[1] + np.arange(PIECE)
    for (i, j), corner in np.ndenumerate(corners):
        piece = found[i * PIECE : (i + 1) * PIECE, j * PIECE : (j + 1) * PIECE, 0]
        np.testing.assert_array_equal(piece, corner + inside)


@given(SIZES)
def test_pad_is_exact_and_marks_what_is_picture(size: tuple[int, int]) -> None:
    plan = Fit("pad", 150).plan(size)
    mask = np.random.default_rng(1).random(size) > 0.5
    canvas = plan.cut(mask, 0)
    assert canvas.dtype == bool
    assert canvas.sum() == mask.sum()
    assert not canvas[~plan.valid(0)].any()
    assert (plan.invert(canvas[None]) == mask).all()


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.integers(8, 90), st.integers(8, 90)))
def test_resize_keeps_linear_ramps_and_does_not_shift(size: tuple[int, int]) -> None:
    """A ramp is reproduced by linear interpolation at any scale unless the geometry is off by half a pixel."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = (x / width + y / height) / 2
    plan = Fit("resize", 200).plan(size)
    inner = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(plan.invert(plan.apply(ramp))[inner], ramp[inner], atol=2e-3)


def test_what_becomes_smaller_by_area_is_the_mean_of_what_it_covers() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    found = Fit("area", (12, 10)).plan((60, 40)).cut(picture, 0)
    wanted = picture.reshape(12, 5, 10, 4, 3).mean((1, 3))
    assert np.abs(found - wanted).max() <= 0.5
    assert np.abs(Fit("resize", (12, 10)).plan((60, 40)).cut(picture, 0) - wanted).max() > 20, "a linear one skips most"
    larger = Fit("area", (120, 80)).plan((60, 40))
    assert (larger.cut(picture, 0) == Fit("resize", (120, 80)).plan((60, 40)).cut(picture, 0)).all()
    assert larger.valid(0).all()


def test_seams_are_blended_not_cut() -> None:
    plan = Fit("tile", 32, 8).plan((32, 56))
    maps = np.stack([np.zeros((32, 32)), np.ones((32, 32))]).astype(np.float32)
    row = plan.invert(maps)[16]
    assert row[:24].max() == 0
    assert row[32:].min() == 1
    assert (np.diff(row[24:32]) > 0).all()


def test_labels_are_never_interpolated() -> None:
    labels = np.random.default_rng(2).integers(0, 5, (37, 21)).astype(np.int32)
    assert set(np.unique(Fit("resize", 64).plan((37, 21)).cut(labels, 0))) <= set(range(5))


@pytest.mark.parametrize(("how", "side", "overlap"), [("crop", 8, 0), ("tile", 8, 8), ("pad", 0, 0)])
def test_nonsense_is_refused(how: str, side: int, overlap: int) -> None:
    with pytest.raises(InvalidValueError):
        Fit(how, side, overlap)  # type: ignore[arg-type]


def test_pad_refuses_what_it_cannot_hold_and_says_what_to_use() -> None:
    with pytest.raises(InvalidValueError, match="tile"):
        Fit("pad", 64).plan((65, 10))


def test_wrong_picture_or_map_count_is_refused() -> None:
    plan = Fit("tile", 16, 4).plan((40, 40))
    with pytest.raises(InvalidValueError, match="planned for"):
        plan.cut(np.zeros((41, 40)), 0)
    with pytest.raises(InvalidValueError, match="maps"):
        plan.invert(np.zeros((1, 16, 16)))
