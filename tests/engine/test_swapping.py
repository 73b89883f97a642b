"""Random patch swap: cells of the one picture, the rest of the other, and the truth says which is which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.engine import swapping
from tamperscope.engine.canvas import Canvas


def pair(seed: int = 0, size: tuple[int, int] = (64, 80), changed: Any = None) -> tuple[Canvas, Canvas]:
    """A dark twin and a forgery that is bright where it was changed, everywhere if not said."""
    rng = np.random.default_rng(seed)
    dark = rng.integers(0, 100, (*size, 3), dtype=np.uint8)
    where = np.ones(size, np.bool_) if changed is None else changed
    forged = np.where(where[..., None], dark + 120, dark).astype(np.uint8)
    needs = {"qtables": np.full((2, 8, 8), 9.0, np.float32), "valid": np.ones(size, np.float32)}
    twin = Canvas(dark, np.zeros(size, np.bool_), np.ones(size, np.bool_), 0, "twin", needs)
    return replace(twin, image=forged, mask=np.zeros(size, np.bool_), label=1, id="forged"), twin


@given(st.integers(0, 2**31), st.sampled_from([(64, 80), (50, 33), (16, 16), (7, 100)]))
@settings(max_examples=40, deadline=None)
def test_the_truth_is_1_where_the_forged_picture_is_seen(seed: int, size: tuple[int, int]) -> None:
    """The published code has it the other way round."""
    forged, twin = pair(seed, size)
    found = swapping.swapped(forged, twin, 1.0, np.random.default_rng(seed))
    assert found.mask is not None
    np.testing.assert_array_equal(found.image, np.where(found.mask[..., None], forged.image, twin.image))
    assert found.label == int(found.mask.any())
    assert (found.needs["qtables"] == 1).all(), "a composite has no table"
    assert (found.needs["valid"] == 1).all()


def test_what_is_not_swapped_keeps_its_picture_and_table_and_is_true_where_it_differs() -> None:
    changed = np.zeros((64, 80), np.bool_)
    changed[20, 37] = True
    forged, twin = pair(changed=changed)
    found = swapping.swapped(forged, twin, 0.0, np.random.default_rng(0))
    expected = np.zeros((64, 80), np.bool_)
    expected[16:32, 32:48] = True
    np.testing.assert_array_equal(found.mask, expected)
    np.testing.assert_array_equal(found.image, forged.image)
    assert found.needs is forged.needs
    same = swapping.swapped(replace(twin, label=1), twin, 0.0, np.random.default_rng(0))
    assert same.label == 0


def test_pixels_that_are_not_the_pictures_are_no_truth() -> None:
    forged, twin = pair()
    valid = np.ones((64, 80), np.bool_)
    valid[:, 70:] = False
    found = swapping.swapped(replace(forged, valid=valid), twin, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(found.mask, valid)


def test_whole_cells_are_drawn_in_the_share_that_is_asked_for() -> None:
    for share in np.linspace(0, 1, 21):
        found = swapping.cells((64, 80), share, np.random.default_rng(1))
        assert found.mean() == pytest.approx(round(20 * share) / 20)
        blocks = found.reshape(4, 16, 5, 16)
        np.testing.assert_array_equal(blocks.all((1, 3)), blocks.any((1, 3)))
    places = np.mean([swapping.cells((64, 80), 0.4, np.random.default_rng(i)) for i in range(400)], axis=0)
    assert 0.25 < places.min() <= places.max() < 0.55, "every cell comes as often"


def test_only_some_change_and_shares_go_from_a_fifth_to_nearly_all() -> None:
    forged, twin = pair()
    rng = np.random.default_rng(3)
    shares = np.array([swapping.swapped(forged, twin, 0.1, rng).mask.mean() for _ in range(600)])  # type: ignore[union-attr]
    swapped = shares[shares < 1]
    assert 30 <= len(swapped) <= 95
    assert swapped.min() >= 0.2
    assert swapped.max() <= 1.0
    assert abs(swapped.mean() - 0.59) < 0.1
