"""What has no texture is told from what has little."""

from __future__ import annotations

import numpy as np

from tamperscope.signal.texture import bare


def test_flat_pictures_and_smooth_ramps_are_bare() -> None:
    ramp = np.repeat(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], 3, axis=2)
    assert bare(np.full((70, 90, 3), 255, np.uint8))
    assert bare(np.repeat(ramp, 80, axis=0))
    assert bare(np.repeat(ramp, 80, axis=0).transpose(1, 0, 2).copy())
    assert bare(np.zeros((1, 1, 3), np.uint8))


def test_one_pixel_of_one_channel_is_texture(rng) -> None:  # type: ignore[no-untyped-def]
    for place in ((33, 40, 1), (69, 0, 2), (0, 89, 0)):
        rgb = np.full((70, 90, 3), 200, np.uint8)
        rgb[place] += 3
        assert not bare(rgb)
    assert not bare(rng.integers(98, 103, (70, 90, 3), dtype=np.uint8))
    lines = np.full((64, 64, 3), 10, np.uint8)
    lines[17::32] = 20
    assert not bare(lines), "lines along the rows differ from the row below alone"
