"""Drawn quantization tables are sound, repeatable, as coarse as asked, and lie where those of other software lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.media.quantization import ijg_table, nearest_quality
from tamperscope.ops.forge.camera_tables import CAMERAS
from tamperscope.ops.tables import drawn


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 2**31 - 1), st.integers(1, 100))
def test_tables_are_those_of_a_baseline_jpeg_and_repeat(seed: int, quality: int) -> None:
    first, again = drawn(seed, quality), drawn(seed, quality)
    for table, same in zip(first, again, strict=True):
        assert table.shape == (8, 8)
        assert table.dtype == np.uint16
        assert table.min() >= 1
        assert table.max() <= 255
        assert np.array_equal(table, same)


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_they_are_about_as_coarse_as_the_ijg_s(quality: int) -> None:
    low = np.add.outer(np.arange(8), np.arange(8)) < 7
    found = np.array([np.log(drawn(seed, quality)[0][low]).mean() for seed in range(1, 301)])
    wanted = np.log(ijg_table(quality)[low].astype(float)).mean()
    assert abs(np.median(found) - wanted) < 0.1
    assert np.abs(found - wanted).max() < 0.6


def test_they_are_others_than_the_ijg_s_and_each_other_s() -> None:
    found = [drawn(seed, 80) for seed in range(1, 201)]
    assert not any(nearest_quality(tables).exact for tables in found)
    assert len({tables[0].tobytes() for tables in found}) == 200


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_camera_s_tables_are_nearer_to_drawn_ones_than_to_the_ijg_s(camera: str) -> None:
    wanted = np.log(CAMERAS[camera].arrays[0].astype(float))
    qualities = np.random.default_rng(1).integers(75, 100, 4000)
    others = np.stack([drawn(seed + 1, int(quality))[0] for seed, quality in enumerate(qualities)])
    standard = np.stack([ijg_table(quality) for quality in range(50, 101)])
    near, far = (np.square(np.log(tables) - wanted).mean((1, 2)).min() for tables in (others, standard))
    assert near <= far


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_off_the_scale_is_told(quality: int) -> None:
    with pytest.raises(InvalidValueError, match="quality"):
        drawn(1, quality)
