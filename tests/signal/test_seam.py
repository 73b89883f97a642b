"""The paste has the larger step at its outline; roles swap with the paste, and vanish with the seam."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tamperscope.signal import seam


def pasted(rgb: np.ndarray, start: tuple[int, int], end: tuple[int, int], radius: int = 30):  # type: ignore[no-untyped-def]
    """Return the picture with a disk copied from `start` to `end`, and the two (box, mask)."""
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = np.hypot(yy, xx) <= radius
    boxes = [(x - radius, y - radius, x + radius + 1, y + radius + 1) for x, y in (start, end)]
    out = rgb.copy()
    (a, b, c, d), (e, f, g, h) = boxes
    out[f:h, e:g][disk] = rgb[b:d, a:c][disk]
    found = cv2.erode(disk.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return out, [(box, found) for box in boxes]


@pytest.mark.parametrize(("start", "end"), [((171, 391), (340, 120)), ((340, 120), (171, 391)), ((90, 90), (400, 300))])
def test_the_copy_is_told_from_its_source(photo, start, end) -> None:  # type: ignore[no-untyped-def]
    rgb, (source, copy) = pasted(photo("astronaut"), start, end)
    steps = [seam.step(rgb, *region) for region in (source, copy)]
    assert seam.chance_pasted(steps[1], steps[0]) > 0.8


def test_equal_steps_tell_nothing_and_roles_swap() -> None:
    assert seam.chance_pasted(9.0, 9.0) == pytest.approx(0.5)
    assert seam.chance_pasted(20.0, 5.0) == pytest.approx(1 - seam.chance_pasted(5.0, 20.0))
    assert seam.chance_pasted(20.0, 5.0) > 0.95


def test_step_is_that_of_the_outline() -> None:
    rgb = np.full((90, 110, 3), 40, np.uint8)
    rgb[30:60, 20:70] += 50
    step = seam.step(rgb, (20, 30, 70, 60), np.ones((30, 50), bool))
    assert 10 < step < 50 * 3**0.5
    assert seam.step(rgb, (75, 5, 100, 25), np.ones((20, 25), bool)) < 1
    assert seam.step(rgb, (0, 0, 110, 90), np.ones((90, 110), bool)) == 0
