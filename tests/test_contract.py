"""What every registered detector keeps, checked over the whole registry: real crops, odd sizes, odd pictures."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tamperscope import registry
from tamperscope.detectors.base import Detector
from tamperscope.media import open as open_media
from tamperscope.types import Prediction, Sample

DATA = Path(__file__).parent / "data"
FAMILIES = {
    "content",
    "jpeg_grid",
    "jpeg_history",
    "noise",
    "duplication",
    "container",
    "network",
    "upsampling",
    "text",
}


def _jpeg(rgb: np.ndarray, quality: int = 85, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "PNG") if mode else Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _pictures() -> dict[str, bytes | np.ndarray]:
    rng = np.random.default_rng(5)
    names = ("chelsea", "coffee", "astronaut")
    cat, coffee, astronaut = (np.asarray(Image.open(DATA / f"{n}.png").convert("RGB")) for n in names)
    ramp = np.linspace(0, 65535, 200 * 300).reshape(200, 300).astype(np.uint16)
    return {
        "1x1": cat[:1, :1],
        "1x4000": np.repeat(cat[:1], 9, axis=1)[:, :4000],
        "4000x1": np.repeat(cat[:, :1], 14, axis=0)[:4000],
        "7x5": cat[:7, :5],
        "64x65": cat[:64, :65],
        "png crop": _png(coffee[11:251, 13:353]),
        "jpeg crop": _jpeg(astronaut[5:325, 9:409], 80),
        "jpeg odd": _jpeg(coffee[:203, :301], 95),
        "grey": _jpeg(cat, 75, "L"),
        "cmyk": _jpeg(cat, 90, "CMYK"),
        "alpha": _png(np.dstack([cat, rng.integers(0, 256, cat.shape[:2], dtype=np.uint8)])),
        "16 bit": _png(ramp),
        "constant": np.full((180, 220, 3), 128, np.uint8),
        "black jpeg": _jpeg(np.zeros((160, 160, 3), np.uint8)),
        "white": np.full((90, 130, 3), 255, np.uint8),
        "noise": rng.integers(0, 256, (200, 260, 3), dtype=np.uint8),
        "checkers": np.repeat((np.indices((192, 256)).sum(0) // 16 % 2 * 255).astype(np.uint8)[..., None], 3, 2),
    }


PICTURES = _pictures()


@pytest.fixture(scope="module")
def samples() -> dict[str, Sample]:
    return {name: open_media(source).sample for name, source in PICTURES.items()}


@pytest.fixture(scope="module", params=registry.names())
def detector(request: pytest.FixtureRequest) -> Detector:
    return registry.load(request.param)


def _check(prediction: Prediction, detector: Detector, sample: Sample) -> None:
    assert prediction.detector == detector.name
    assert prediction.size == sample.size
    assert prediction.status in ("ok", "not_applicable")
    if prediction.status == "not_applicable":
        assert prediction.cause
        assert math.isnan(prediction.score)
        return
    assert (prediction.heatmap is not None) is detector.localizes
    if prediction.heatmap is not None:
        assert prediction.heatmap.shape == sample.size
        assert prediction.heatmap.dtype == np.float32
    assert math.isfinite(prediction.score)
    for region in prediction.regions:
        assert region.box[2] <= sample.size[1]
        assert region.box[3] <= sample.size[0]
        assert region.area > 0


@pytest.mark.parametrize("name", PICTURES)
def test_answers_every_picture_the_same_way_twice(detector: Detector, samples: dict[str, Sample], name: str) -> None:
    sample = samples[name]
    before = sample.rgb.copy()
    first, second = detector.predict(sample), detector.predict(sample)
    _check(first, detector, sample)
    assert first.status == second.status
    assert first.score == second.score or math.isnan(first.score)
    if first.heatmap is not None:
        np.testing.assert_array_equal(first.heatmap, second.heatmap)
    np.testing.assert_array_equal(sample.rgb, before, "a detector changed the picture")


def test_abstains_below_its_smallest_side(detector: Detector, samples: dict[str, Sample]) -> None:
    assert detector.predict(samples["1x1"]).status == "not_applicable"
    assert detector.predict(samples["7x5"]).status == "not_applicable"


def test_abstains_without_what_it_needs(detector: Detector, samples: dict[str, Sample]) -> None:
    if detector.needs:
        assert detector.predict(samples["noise"]).status == "not_applicable"


def test_declares_family_and_guide(detector: Detector) -> None:
    assert detector.family in FAMILIES
    for text in (detector.guide.looks_at, detector.guide.how_to_read, detector.guide.when_it_lies):
        assert 20 < len(text) < 500


def test_every_detector_says_what_it_is_in_one_line() -> None:
    for entry in registry.entries():
        assert 10 < len(entry.summary) < 160, entry.name
