"""Strokes that hide parts of pictures: how much, how varied, and the same for a seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.nn.scribbles import scribbles  # noqa: E402


def test_they_hide_a_part_of_every_picture_and_never_the_same_one() -> None:
    torch.manual_seed(0)
    hidden = scribbles(200, (48, 64))
    assert hidden.shape == (200, 1, 48, 64)
    assert hidden.dtype == torch.bool
    share = hidden.float().mean((1, 2, 3))
    assert 0.15 < share.mean() < 0.45
    assert share.min() > 0
    assert share.max() < 0.9
    assert len({row.numpy().tobytes() for row in hidden}) == 200
    # Wherever one looks, something is hidden now and then.
    assert hidden.float().mean(0).min() > 0.05


def test_the_same_for_a_seed() -> None:
    torch.manual_seed(3)
    first = scribbles(4, (32, 32))
    second = scribbles(4, (32, 32))
    torch.manual_seed(3)
    assert torch.equal(scribbles(4, (32, 32)), first)
    assert not torch.equal(first, second)


def test_one_stroke_is_one_part_as_wide_as_its_brush() -> None:
    torch.manual_seed(1)
    for plane in scribbles(20, (80, 80), (1, 1), 5, (0.1, 0.1))[:, 0].numpy():
        if not plane.any():
            continue
        distance = cv2.distanceTransform(np.pad(plane, 9, constant_values=True).astype(np.uint8), cv2.DIST_L2, 5)
        inner = distance[9:-9, 9:-9]
        # Away from the edge of the picture, whatever is hidden lies within half of a brush of 8 pixels.
        assert np.percentile(inner[12:-12, 12:-12], 95) < 8
    straight = scribbles(40, (80, 80), (1, 1), 1, (0.1, 0.1))[:, 0].numpy()
    assert max(cv2.connectedComponents(plane.astype(np.uint8))[0] for plane in straight) == 2
    # At most half of the side long, and 8 pixels wide.
    assert straight.sum((1, 2)).max() <= 40 * 8 + np.pi * 16 + 40


def test_wrong_asks() -> None:
    for settings in ({"strokes": (0, 3)}, {"strokes": (4, 3)}, {"segments": 0}, {"width": (0.0, 0.1)}):
        with pytest.raises(InvalidValueError, match="scribbles: expected"):
            scribbles(1, (8, 8), **settings)
