"""A thumbnail is laid over its picture to a fraction of its pixels, whatever it shows of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tamperscope.signal import preview


def small(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def error(found: preview.Registration, truth: np.ndarray, size: tuple[int, int]) -> float:
    """Return the largest distance of a corner from its true place, in thumbnail pixels."""
    ends = np.array([[0, 0, 1], [size[0] - 1, 0, 1], [0, size[1] - 1, 1], [size[0] - 1, size[1] - 1, 1]], float)
    gap = np.linalg.norm(ends @ (found.transform - truth).T, axis=1).max()
    return float(gap / np.sqrt(abs(np.linalg.det(truth[:, :2]))))


def test_the_whole_picture(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")
    found = preview.register(rgb, small(rgb, (160, 107)))
    truth = preview.between((0, 0, 160, 107), (0, 0, 600, 400))
    assert found.turn == 0
    assert error(found, truth, (160, 107)) < 0.3
    assert found.correlation > 0.99


def test_black_bars(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")
    thumb = np.zeros((120, 160, 3), np.uint8)
    thumb[7:113] = small(rgb, (160, 106))
    found = preview.register(rgb, thumb)
    assert error(found, preview.between((0, 7, 160, 113), (0, 0, 600, 400)), (160, 120)) < 0.8
    box = preview.picture_box(found.transform, rgb.shape[:2])
    np.testing.assert_allclose(box, (0, 7, 160, 113), atol=0.8)


def test_the_middle_only(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")
    found = preview.register(rgb, small(np.ascontiguousarray(rgb[:, 100:500]), (120, 120)))
    assert error(found, preview.between((0, 0, 120, 120), (100, 0, 500, 400)), (120, 120)) < 0.5


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_quarter_turns(photo, turn: int) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("chelsea")
    thumb = small(rgb, (150, 100))
    found = preview.register(np.ascontiguousarray(np.rot90(rgb, turn)), thumb)
    assert found.turn == turn
    assert found.correlation > 0.98


def test_a_picture_that_was_cropped_is_found_in_its_thumbnail(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("astronaut")
    crop = np.ascontiguousarray(rgb[40:360, 100:460])
    found = preview.register(crop, small(rgb, (160, 160)))
    assert found.start == "part"
    scale = 160 / 512
    expected = np.array([100, 40, 460, 360]) * scale
    np.testing.assert_allclose(preview.picture_box(found.transform, crop.shape[:2]), expected, atol=1.0)


@pytest.mark.parametrize(("main", "thumb"), [("coffee", "astronaut"), ("astronaut", "chelsea"), ("chelsea", "coffee")])
def test_another_picture_does_not_fit(photo, main: str, thumb: str) -> None:  # type: ignore[no-untyped-def]
    assert preview.register(photo(main), small(photo(thumb), (160, 120))).correlation < 0.7


def test_maps_come_back_to_their_place(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")
    transform = preview.between((0, 0, 150, 100), (0, 0, 600, 400))
    plane = np.zeros((100, 150), np.float32)
    plane[30:50, 60:90] = 1.0
    out = preview.to_picture(plane, transform, rgb.shape[:2])
    rows, columns = np.nonzero(out > 0.5)
    np.testing.assert_allclose(
        [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1], [240, 360, 120, 200], atol=2
    )
