"""`zero` finds shifted and missing grids, with its stated bound on false alarms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tamperscope import load, media
from tamperscope.media.recompress import encode_jpeg, recompress
from tamperscope.metrics.confusion import counts
from tamperscope.types import Prediction, Sample

SIDE = 96


def answer(rgb: np.ndarray) -> Prediction:
    return load("zero").predict(Sample(np.ascontiguousarray(rgb)))


def spliced(photo, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """Paste 96 px of a JPEG 75 into another JPEG 75, its grid shifted by (rows, columns)."""
    host = recompress(photo("astronaut"), 75)
    donor = recompress(np.ascontiguousarray(photo("chelsea")[40:240, 100:340]), 75)
    mask = np.zeros(host.shape[:2], bool)
    mask[264 : 264 + SIDE, 120 : 120 + SIDE] = True
    forged = host.copy()
    forged[mask] = donor[shift[0] :, shift[1] :][:SIDE, :SIDE].reshape(-1, 3)
    return forged, mask


def test_a_shifted_grid_is_found_and_placed(photo) -> None:  # type: ignore[no-untyped-def]
    forged, mask = spliced(photo, (3, 5))
    found = answer(forged)
    assert found.score > 5
    assert counts(found.heatmap, mask).f1 > 0.8
    assert any(r.values.get("grid") == [(-5 + 120) % 8, (-3 + 264) % 8] for r in found.regions)


def test_the_same_paste_on_the_grid_is_not(photo) -> None:  # type: ignore[no-untyped-def]
    found = answer(spliced(photo, (0, 0))[0])
    assert found.score == 0
    assert not found.regions


def test_saving_at_95_hides_it_as_documented(photo) -> None:  # type: ignore[no-untyped-def]
    forged, mask = spliced(photo, (3, 5))
    found = answer(recompress(forged, 95))
    assert found.status != "ok" or counts(found.heatmap, mask).tp == 0


@pytest.mark.parametrize("quality", [50, 70, 85, 95, 98])
@pytest.mark.parametrize(("dy", "dx"), [(3, 5), (0, 0)])
def test_the_grid_of_a_cropped_jpeg_is_recovered(photo, quality: int, dy: int, dx: int) -> None:  # type: ignore[no-untyped-def]
    found = answer(recompress(photo("coffee"), quality)[dy:, dx:])
    assert found.status == "ok"
    assert found.evidence["main_grid"] == [-dx % 8, -dy % 8]
    assert found.score == 0, "a crop is no forgery"


def test_no_false_alarm_on_noise() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        found = answer(rng.integers(0, 256, (128, 160, 3), dtype=np.uint8))
        alarms += found.status == "ok" and found.score > 0
    assert alarms == 0


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("scale", [0.6, 0.83, 1.0, 1.3])
def test_no_false_alarm_on_resized_and_resaved_pictures(photo, name: str, scale: float) -> None:  # type: ignore[no-untyped-def]
    rgb = photo(name)
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    resized = np.asarray(
        cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8
    )
    for source in (resized, encode_jpeg(resized, 80)):
        found = load("zero").predict(media.open(source).sample)
        assert found.status == "not_applicable" or found.score == 0


def test_a_part_that_never_was_jpeg_lacks_the_grid(photo) -> None:  # type: ignore[no-untyped-def]
    """The missing grid: the source is resized to have none, the host was JPEG, and the file is lossless."""
    rgb = np.asarray(cv2.resize(photo("chelsea"), (374, 249), interpolation=cv2.INTER_AREA), np.uint8)
    host = recompress(rgb, 70)
    mask = np.zeros(rgb.shape[:2], bool)
    mask[20:180, 20:200] = True
    forged = host.copy()
    forged[mask] = rgb[mask]
    found = answer(forged)
    assert found.score > 0
    assert [r.values["kind"] for r in found.regions] == ["missing"]
    assert counts(found.heatmap, mask).f1 > 0.5
    assert answer(host).score == 0
