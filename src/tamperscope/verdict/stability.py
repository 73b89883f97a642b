"""Does the verdict survive delivery? A few cheap re-deliveries, and the detectors that matter run again on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope import media
from tamperscope.errors import TamperscopeError
from tamperscope.media import Limits
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


def deliveries(sample: Sample, limits: Limits | None = None) -> Iterator[tuple[str, Sample]]:
    """Yield (name, sample): half size as JPEG 90, JPEG 70, and a crop that shifts the 8 x 8 grid.

    Copies that cannot be made are left out, as a JPEG has no side over 65500 pixels.

    Args:
        sample: The picture.
        limits: What opening a copy may ask for.
    """
    height, width = sample.size
    limits = limits or Limits()
    if min(height, width) >= 32:
        half = cv2.resize(sample.rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        if (smaller := _delivered(np.asarray(half, np.uint8), 90, limits)) is not None:
            yield "half size, JPEG 90", smaller
    if (compressed := _delivered(sample.rgb, 70, limits)) is not None:
        yield "JPEG 70", compressed
    if min(height, width) > 16:
        cropped = window(sample, *CROP, height - CROP[0], width - CROP[1])
        yield f"crop of {CROP[1]} columns and {CROP[0]} rows", cropped


def _delivered(rgb: UInt8Array, quality: int, limits: Limits) -> Sample | None:
    try:
        return media.open(encode_jpeg(rgb, quality, "4:2:0"), limits).sample
    except TamperscopeError:  # a copy that cannot be made must not cost the report
        return None


def probe(
    sample: Sample,
    predictions: Sequence[Prediction],
    findings: Sequence[Finding],
    card: CalibrationCard,
    rerun: Sequence[str],
    predict: Callable[[str, Sample], Prediction],
    limits: Limits | None = None,
) -> list[Trial]:
    """Return the verdict after each re-delivery that can be made.

    Args:
        sample: The picture as delivered to us.
        predictions: What all detectors said of it.
        findings: What its container said (a re-delivery keeps none of it; it is held fixed).
        card: The calibration.
        rerun: Detectors that are run again; the others' predictions are held.
        predict: Runs one detector, never raises.
        limits: What opening a copy may ask for.
    """
    trials = []
    for delivery, changed in deliveries(sample, limits):
        again = [predict(p.detector, changed) if p.detector in rerun else p for p in predictions]
        verdict = decide(again, findings, card)
        trials.append(Trial(delivery, verdict.level, verdict.llr))
    return trials


def drivers(verdict: Verdict, card: CalibrationCard) -> list[str]:
    """Return the counting detectors whose evidence speaks for a forgery; what hardly moves the odds does not."""
    worth = verdict.calibrated.items()
    return [name for name, found in worth if card.detectors[name].counts and found.llr > NEGLIGIBLE]
