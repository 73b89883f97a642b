"""What stands out from the rest of one video: robust outliers of each track, joined to intervals.

Nothing here is calibrated. A score is compared with the same measurement on other frames of the same video, and with
nothing else; what stands out is a place to look at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from tamperscope.report.timeline import Interval, TimelineFrame, Track, clock
from tamperscope.types import FloatArray, UInt8Array

FEWEST = 5
"""Frames with a score that a track needs before any can stand out."""

DEVIATIONS = 6.0
"""Robust standard deviations above the median at which a score stands out."""

_SMALLEST = 0.05
_CUT = 0.5
_TO_SIGMA = 1.4826


def track_of(name: str, summary: str, scores: Sequence[float | None], unit: float) -> Track:
    """Return one measurement's track with the limit from which on its scores stand out.

    Args:
        name: Of the track.
        summary: What it measures.
        scores: One a frame, None where there is none.
        unit: Range that the score usually covers, or 0 where a calibration has one score alone and tells of none;
            differences of less than a twentieth of it never count as spread.
    """
    known = np.array([score for score in scores if score is not None])
    if len(known) < FEWEST:
        return Track(name=name, summary=summary, frames=len(known))
    middle = float(np.median(known))
    spread = max(_TO_SIGMA * float(np.median(np.abs(known - middle))), _SMALLEST * (unit or 1.0))
    return Track(name=name, summary=summary, frames=len(known), middle=middle, limit=middle + DEVIATIONS * spread)


def intervals_of(track: Track, frames: Sequence[TimelineFrame], duration: float) -> list[Interval]:
    """Return the runs of neighbouring frames that stand out in a track.

    Args:
        track: The measurement.
        frames: All sampled frames in their order.
        duration: Seconds of the video.
    """
    scores = [frame.scores.get(track.name) for frame in frames]
    loud = [track.limit is not None and score is not None and score >= track.limit for score in scores]
    found, at = [], 0
    while at < len(frames):
        end = at
        while end < len(frames) and loud[end]:
            end += 1
        if end > at:
            found.append(_interval(track, frames, (at, end), loud, duration))
        at = end + 1
    return found


def _interval(
    track: Track, frames: Sequence[TimelineFrame], span: tuple[int, int], loud: Sequence[bool], duration: float
) -> Interval:
    first, end = span
    inside = frames[first:end]
    start = (frames[first - 1].seconds + frames[first].seconds) / 2 if first else 0.0
    stop = (frames[end - 1].seconds + frames[end].seconds) / 2 if end < len(frames) else duration
    peak = max(inside, key=lambda frame: frame.scores[track.name] or -math.inf)
    assert track.middle is not None
    assert track.limit is not None
    sigma = (track.limit - track.middle) / DEVIATIONS
    deviation = ((peak.scores[track.name] or 0.0) - track.middle) / sigma
    text = (
        f"{track.name}: from {clock(start)} to {clock(stop)}, {len(inside)} sampled frame{'s' * (len(inside) != 1)} "
        f"stand{'s' * (len(inside) == 1)} out from the rest of this video, by up to {deviation:.0f} robust standard "
        "deviations."
    )
    return Interval(
        start=start,
        end=stop,
        track=track.name,
        frames=[frame.number for frame in inside],
        peak=peak.seconds,
        deviation=deviation,
        text=text,
        caveat=_caveat(inside, [frame for frame, is_loud in zip(frames, loud, strict=True) if not is_loud]),
    )


def _caveat(inside: Sequence[TimelineFrame], others: Sequence[TimelineFrame]) -> str:
    """Return a harmless cause that the data show, or ""."""
    if not {frame.shot for frame in inside} & {frame.shot for frame in others}:
        return "It is a shot of its own: another subject, light or camera does the same."
    coded = {frame.coding for frame in inside}
    if coded == {"I"} and "I" not in {frame.coding for frame in others}:
        return "Only these sampled frames are coded by themselves (I); they keep more detail than the others."
    return ""


def histogram(rgb: UInt8Array) -> FloatArray:
    """Return the colours of a frame, for `shot_numbers`."""
    counts = cv2.calcHist([rgb], [0, 1, 2], None, [8, 8, 8], [0, 256, 0, 256, 0, 256])
    blurred = sum(np.roll(counts, step, axis) for step in (-1, 0, 1) for axis in (0, 1, 2))
    return np.asarray(blurred / np.sum(blurred), np.float32)


def shot_numbers(histograms: Sequence[FloatArray | None]) -> list[int]:
    """Return the shot of each frame, from 1; a new one begins where the colours of two neighbours differ strongly."""
    numbers: list[int] = []
    last: FloatArray | None = None
    for colours in histograms:
        cut = (
            last is not None
            and colours is not None
            and cv2.compareHist(last, colours, cv2.HISTCMP_BHATTACHARYYA) > _CUT
        )
        numbers.append((numbers[-1] if numbers else 1) + int(cut))
        last = colours if colours is not None else last
    return numbers
