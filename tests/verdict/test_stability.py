"""Re-deliveries are what they say, and only the detectors that matter run again."""

from __future__ import annotations

import numpy as np

from tamperscope.media import Limits
from tamperscope.media.quantization import nearest_quality
from tamperscope.types import Prediction, Sample
from tamperscope.verdict import stability
from tamperscope.verdict.card import CalibrationCard
from tamperscope.verdict.fusion import decide


def test_deliveries_change_size_quality_and_grid(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("chelsea")
    half, strong, cropped = (sample for _, sample in stability.deliveries(Sample(rgb)))
    assert half.size == (rgb.shape[0] // 2, rgb.shape[1] // 2)
    assert half.jpeg is not None
    assert nearest_quality(half.jpeg.qtables).quality == 90
    assert strong.size == rgb.shape[:2]
    assert strong.jpeg is not None
    assert nearest_quality(strong.jpeg.qtables).quality == 70
    assert cropped.jpeg is None
    np.testing.assert_array_equal(cropped.rgb, rgb[3:, 5:])
    assert all(n % 8 for n in stability.CROP)


def test_words_that_are_told_of_stay_on_their_words_or_are_not_told_of() -> None:
    told = Sample(np.zeros((80, 90, 3), np.uint8), meta={"words": [{"box": [20, 30, 40, 50], "text": "one"}]})
    words = [sample.meta.get("words") for _, sample in stability.deliveries(told)]
    assert words == [None, None, [{"box": [15, 27, 35, 47], "text": "one"}]]


def test_tiny_pictures_have_fewer_deliveries() -> None:
    names = [name for name, _ in stability.deliveries(Sample(np.zeros((8, 8, 3), np.uint8)))]
    assert names == ["JPEG 70"]


def test_copies_that_no_jpeg_can_hold_are_left_out(card: CalibrationCard) -> None:
    long = Sample(np.zeros((40, 70_000, 3), np.uint8))
    assert [name for name, _ in stability.deliveries(long)] == ["half size, JPEG 90", "crop of 5 columns and 3 rows"]
    trials = stability.probe(long, [], [], card, [], lambda name, sample: Prediction(name, sample.size))
    assert len(trials) == 2
    assert list(stability.deliveries(Sample(np.zeros((10, 70_000, 3), np.uint8)))) == []


def test_copies_are_opened_within_the_limits_of_the_scan() -> None:
    sample = Sample(np.zeros((300, 200, 3), np.uint8))
    few, many = Limits(max_pixels=20_000), Limits(max_pixels=60_000)
    assert [name[:4] for name, _ in stability.deliveries(sample, few)] == ["half", "crop"]
    assert len(list(stability.deliveries(sample, many))) == 3


def test_only_what_is_named_runs_again_and_trials_follow_it(photo, card: CalibrationCard) -> None:  # type: ignore[no-untyped-def]
    sample = Sample(photo("chelsea"))
    predictions = [Prediction("zero", sample.size, 5.0), Prediction("copy_move", sample.size, 5.0)]
    asked: list[str] = []

    def predict(name: str, changed: Sample) -> Prediction:
        asked.append(name)
        return Prediction(name, changed.size, 0.0 if changed.jpeg is not None else 5.0)

    trials = stability.probe(sample, predictions, [], card, ["zero"], predict)
    assert asked == ["zero"] * 3
    before = decide(predictions, [], card)
    assert before.level == "strong_evidence"
    # Without the grid's 4 nats only the copy's 0.5 x 4 - 1 are left; the lossless crop changes nothing.
    assert [t.level for t in trials] == ["inconclusive", "inconclusive", "strong_evidence"]


def test_drivers_are_the_counting_detectors_that_speak_for_a_forgery(card: CalibrationCard) -> None:
    predictions = [
        Prediction("zero", (8, 8), 5.0),
        Prediction("copy_move", (8, 8), 0.0),
        Prediction("ela", (8, 8), 9.0),
        Prediction("blk", (8, 8), 1.02),  # 0.02 nats: hardly more than nothing
    ]
    assert stability.drivers(decide(predictions, [], card), card) == ["zero"]
