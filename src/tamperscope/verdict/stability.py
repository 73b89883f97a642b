"""Does the verdict survive delivery? A few cheap re-deliveries, and the detectors that matter run again on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope import media
from tamperscope.media.recompress import encode_jpeg
from tamperscope.ops.warps import window
from tamperscope.types import Finding, Prediction, Sample, UInt8Array
from tamperscope.verdict.card import CalibrationCard, Level
from tamperscope.verdict.fusion import NEGLIGIBLE, Verdict, decide

CROP = (3, 5)


@dataclass(frozen=True, slots=True)
class Trial:
    """The verdict on one re-delivery."""

    delivery: str
    level: Level
    llr: float


def deliveries(sample: Sample) -> Iterator[tuple[str, Sample]]:
    """Yield (name, sample): half size as JPEG 90, JPEG 70, and a crop that shifts the 8 x 8 grid."""
    height, width = sample.size
    if min(height, width) >= 32:
        half = cv2.resize(sample.rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        yield "half size, JPEG 90", _delivered(np.asarray(half, np.uint8), 90)
    yield "JPEG 70", _delivered(sample.rgb, 70)
    if min(height, width) > 16:
        cropped = window(sample, *CROP, height - CROP[0], width - CROP[1])
        yield f"crop of {CROP[1]} columns and {CROP[0]} rows", cropped


def _delivered(rgb: UInt8Array, quality: int) -> Sample:
    return media.open(encode_jpeg(rgb, quality, "4:2:0")).sample


def probe(
    sample: Sample,
    predictions: Sequence[Prediction],
    findings: Sequence[Finding],
    card: CalibrationCard,
    rerun: Sequence[str],
    predict: Callable[[str, Sample], Prediction],
) -> list[Trial]:
    """Return the verdict after each re-delivery.

    Args:
        sample: The picture as delivered to us.
        predictions: What all detectors said of it.
        findings: What its container said (a re-delivery keeps none of it; it is held fixed).
        card: The calibration.
        rerun: Detectors that are run again; the others' predictions are held.
        predict: Runs one detector, never raises.
    """
    trials = []
    for delivery, changed in deliveries(sample):
        again = [predict(p.detector, changed) if p.detector in rerun else p for p in predictions]
        verdict = decide(again, findings, card)
        trials.append(Trial(delivery, verdict.level, verdict.llr))
    return trials


def drivers(verdict: Verdict, card: CalibrationCard) -> list[str]:
    """Return the counting detectors whose evidence speaks for a forgery; what hardly moves the odds does not."""
    worth = verdict.calibrated.items()
    return [name for name, found in worth if card.detectors[name].counts and found.llr > NEGLIGIBLE]
