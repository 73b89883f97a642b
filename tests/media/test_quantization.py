"""Tables and qualities against what libjpeg writes, and the distance against its definition."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tamperscope.errors import InvalidValueError
from tamperscope.media.quantization import ZIGZAG, ijg_table, nearest_quality

GREY = np.full((8, 8, 3), 128, np.uint8)


def written_tables(data: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(data)) as picture:
        return [np.array(picture.quantization[k]).reshape(8, 8) for k in sorted(picture.quantization)]


@pytest.mark.parametrize("writer", ["pillow", "simplejpeg"])
def test_tables_and_quality_are_exact_at_all_qualities(encode, writer) -> None:
    for quality in range(1, 101):
        data = encode(GREY, "JPEG", quality=quality) if writer == "pillow" else simplejpeg.encode_jpeg(GREY, quality)
        luma, chroma = written_tables(data)
        np.testing.assert_array_equal(ijg_table(quality), luma)
        np.testing.assert_array_equal(ijg_table(quality, chroma=True), chroma)
        assert ijg_table(quality).dtype == np.uint16
        for tables in ([luma, chroma], [luma, chroma, chroma], [luma]):
            match = nearest_quality(tables)
            assert (match.quality, match.distance, match.exact) == (quality, 0.0, True)


def test_distance_is_the_stated_one_by_brute_force(rng) -> None:
    luma, cb, cr = (rng.integers(1, 60, (8, 8)) for _ in range(3))
    for tables in ([luma], [luma, cb], [luma, cb, cr]):
        best = (np.inf, 0)
        for quality in range(1, 101):
            first = np.abs(ijg_table(quality).astype(int) - luma).sum()
            others = [np.abs(ijg_table(quality, True).astype(int) - t).sum() for t in tables[1:]]
            distance = (first + 2 * np.mean(others)) / 3 if others else first
            best = min(best, (distance, quality))
        match = nearest_quality(tables)
        assert match.quality == best[1]
        assert match.distance == pytest.approx(best[0])
        assert not match.exact


def test_one_changed_entry_is_not_exact_but_near() -> None:
    luma, chroma = ijg_table(83), ijg_table(83, chroma=True)
    luma[3, 4] += 1
    assert nearest_quality([luma, chroma]).quality == 83
    assert nearest_quality([luma, chroma]).distance == pytest.approx(1 / 3)
    assert not nearest_quality([luma, chroma]).exact
    # Swapped roles are another encoder.
    assert not nearest_quality([ijg_table(83, chroma=True), ijg_table(83)]).exact


def test_zigzag_is_the_order_of_jpeg() -> None:
    """Each step of T.81, figure A.6, goes along an anti-diagonal or to the next one."""
    places = [(k // 8, k % 8) for k in ZIGZAG]
    assert sorted(places) == [(r, c) for r in range(8) for c in range(8)]
    assert places[:6] == [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2)]
    assert [r + c for r, c in places] == sorted(r + c for r, c in places)


def test_wrong_arguments_are_named() -> None:
    for quality in (0, 101):
        with pytest.raises(InvalidValueError, match="1 to 100"):
            ijg_table(quality)
    for tables in ([], [np.ones(64, int)], [ijg_table(50)] * 4):
        with pytest.raises(InvalidValueError, match="tables"):
            nearest_quality(tables)
