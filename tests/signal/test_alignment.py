"""Alignment of faces: points to their places, the same crop whatever the picture's turn and scale, and back."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.signal import alignment

SIDE = 128


@given(st.floats(0.3, 40), st.floats(-3, 3), st.floats(-200, 200), st.floats(-200, 200))
def test_points_of_the_mean_face_go_to_their_places(scale: float, angle: float, x: float, y: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = alignment.MEAN @ turn.T + (x, y)
    warp = alignment.warp_of(points, SIDE)
    placed = points @ warp[:, :2].T + warp[:, 2]
    np.testing.assert_allclose(placed[1] - placed[0], [SIDE / alignment.WIDE, 0], atol=1e-6)
    assert ((placed > 0.2 * SIDE) & (placed < 0.8 * SIDE)).all()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.4, 1.6), st.floats(-0.6, 0.6))
def test_a_turned_and_scaled_picture_gives_the_same_crop(scale: float, angle: float) -> None:
    rng = np.random.default_rng(0)
    soft = cv2.resize(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8), (560, 560), interpolation=cv2.INTER_CUBIC)
    points = alignment.MEAN * 60 + (280, 270)
    warp = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    move = np.hstack([warp, (np.array([280.0, 280.0]) - warp @ [280.0, 280.0])[:, None]])
    turned = np.asarray(cv2.warpAffine(soft, move, (560, 560), flags=cv2.INTER_CUBIC), np.uint8)
    one = alignment.crop(soft, alignment.warp_of(points, SIDE), SIDE)
    moved = points @ move[:, :2].T + move[:, 2]
    other = alignment.crop(turned, alignment.warp_of(moved, SIDE), SIDE)
    inside = slice(20, -20)
    assert np.abs(one[inside, inside].astype(int) - other[inside, inside]).mean() < 3


def test_what_is_made_much_smaller_does_not_alias() -> None:
    stripes = np.zeros((900, 900), np.uint8)
    stripes[:, ::2] = 255
    found = alignment.crop(stripes, alignment.warp_of(alignment.MEAN * 190 + (450, 430), SIDE), SIDE)
    assert found.std() < 8
    assert abs(found.mean() - 127.5) < 3


def test_a_map_goes_back_to_where_the_face_is() -> None:
    points = alignment.MEAN * 40 + (150, 120)
    warp = alignment.warp_of(points, SIDE)
    whole = alignment.back(np.ones((SIDE, SIDE), np.float32), warp, (300, 400))
    assert whole.shape == (300, 400)
    for x, y in points:
        assert whole[round(y), round(x)] == 1
    assert whole[-5:, -60:].max() == 0
    half = 40 * alignment.WIDE / 2
    assert abs(whole.sum() - (2 * half) ** 2) < 0.02 * (2 * half) ** 2
