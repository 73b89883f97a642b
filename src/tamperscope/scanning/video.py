"""One video in, one `Report` with a timeline out.

Frames are decoded, measured and let go one at a time. The calibration is of photographs and holds for no video frame,
so scores stay raw and are compared within the video only; the verdict can rest on nothing but what the file declares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from tamperscope import registry
from tamperscope.errors import DecodeError, TamperscopeError
from tamperscope.media.footage import Footage, open_footage
from tamperscope.report import imaging, schema
from tamperscope.report.maps import quantized
from tamperscope.report.timeline import FramePictures, Interval, Timeline, TimelineFrame, Track, map_file
from tamperscope.scanning import one
from tamperscope.scanning.timeline import FEWEST, histogram, intervals_of, shot_numbers, track_of
from tamperscope.signal.noise_change import BLOCK, noise_change, noise_levels
from tamperscope.types import Finding, FloatArray, Prediction, Sample, UInt8Array
from tamperscope.verdict.fusion import Verdict, decide

if TYPE_CHECKING:
    from tamperscope.scanning.one import Scanner

NOISE = "noise_change"
_NOISE_SUMMARY = "How much the noise of places in a frame differs from that of the same places in the frames around it"
_THUMBNAIL = 320
_MISSING = {"jpeg": "a decoded video frame has no JPEG coefficients", "thumbnail": "a video frame embeds no thumbnail"}

LIMITS = (
    "No calibrated verdict exists for video frames: the rates of this version were measured on photographs, and a "
    "video codec removes or imitates most of the traces that they leave. Scores are therefore raw, and are compared "
    "only with those of other frames of the same video. An interval that stands out is a place to look at; moving "
    "subjects, cuts, changes of light and of coding quality stand out, too. A change that lasts for most of the video "
    "does not.\n\n"
    "Only sampled frames were looked at. Decide with the video's origin and context."
)


@dataclass(slots=True)
class _Sampled:
    """What is kept of one frame."""

    number: int
    seconds: float
    coding: str = ""
    orientation: int = 1
    size: tuple[int, int] | None = None
    predictions: list[Prediction] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    thumbnail: bytes = b""
    maps: dict[str, bytes] = field(default_factory=dict)
    colours: FloatArray | None = None
    noise: FloatArray | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    problem: str = ""


def scan_video(scanner: Scanner, source: Any, name: str = "") -> schema.Report:
    """Return the report on a video file.

    Args:
        scanner: Its detectors, number of frames and limits.
        source: Path or bytes.
        name: Shown instead of the file name.

    Raises:
        InputError: It cannot be opened, or none of its frames decoded; the message says why and what to do.
    """
    scanner.tell("opening")
    with open_footage(source, scanner.frames, scanner.limits, name) as footage:
        sampled = []
        for place, (number, seconds) in enumerate(footage.chosen, start=1):
            where = f"frame {place} of {len(footage.chosen)}: "
            scanner.tell(f"{where}decoding")
            sampled.append(_sample(scanner, footage, (number, seconds), where))
    readable = [frame for frame in sampled if frame.size is not None]
    if not readable:
        raise DecodeError(f"video: none of its {len(sampled)} sampled frames can be decoded: {sampled[0].problem}")
    shots = shot_numbers([frame.colours for frame in sampled])
    _measure_noise(sampled, shots)
    frames = [_frame(frame, shot) for frame, shot in zip(sampled, shots, strict=True)]
    tracks = _tracks(scanner, frames)
    found = [interval for track in tracks for interval in intervals_of(track, frames, footage.duration)]
    timeline = Timeline(
        duration=footage.duration,
        total=footage.total,
        frames=frames,
        tracks=tracks,
        intervals=sorted(found, key=lambda interval: (interval.start, interval.track)),
    )
    report = _report(scanner, footage, readable, timeline, _damage(sampled))
    return report.with_frames([FramePictures(frame.thumbnail, frame.maps) for frame in sampled])


def _sample(scanner: Scanner, footage: Footage, chosen: tuple[int, float], where: str) -> _Sampled:
    """Decode one frame and measure it; of its pixels only small or compressed pictures are kept."""
    number, seconds = chosen
    try:
        frame = footage.frame(number)
    except TamperscopeError as error:
        return _Sampled(number, seconds, problem=str(error))
    rgb = frame.rgb
    sample = Sample(rgb, id=f"frame {number}", meta={"format": "video frame", "orientation": frame.orientation})
    names = [name for name in scanner.names if not scanner.detector(name).needs]
    predictions, maps, spent = scanner.predict_all(sample, names, where)
    for prediction in predictions:
        prediction.regions = []
    return _Sampled(
        number,
        frame.seconds,
        frame.coding,
        frame.orientation,
        sample.size,
        predictions,
        spent,
        thumbnail=imaging.jpeg(imaging.shrink(rgb, _THUMBNAIL), 80),
        maps={name: imaging.grey_png(maps[name]) for name in names if name in maps},
        colours=histogram(rgb),
        noise=noise_levels(rgb) if min(sample.size) >= 2 * BLOCK else None,
        scores={p.detector: p.score if math.isfinite(p.score) else None for p in predictions},
    )


def _measure_noise(sampled: Sequence[_Sampled], shots: Sequence[int]) -> None:
    """Add the track of noise to the frames of every shot that has enough of one size."""
    groups: dict[tuple[int, tuple[int, int]], list[_Sampled]] = {}
    for frame, shot in zip(sampled, shots, strict=True):
        if frame.noise is not None and frame.size is not None:
            groups.setdefault((shot, frame.size), []).append(frame)
    for group in groups.values():
        if len(group) < FEWEST:
            continue
        scores, changes = noise_change([frame.noise for frame in group if frame.noise is not None])
        for frame, score, change in zip(group, scores, changes, strict=True):
            assert frame.size is not None
            frame.scores[NOISE] = score
            frame.maps[NOISE] = imaging.grey_png(_noise_map(change, frame.size))


def _noise_map(change: FloatArray, size: tuple[int, int]) -> UInt8Array:
    """Return the change of each block as a map of the frame's size; 0.5 is a factor of two."""
    rows, columns = change.shape[0] * BLOCK, change.shape[1] * BLOCK
    heat = np.zeros(size, np.float32)
    heat[:rows, :columns] = cv2.resize(np.clip(change / 2, 0, 1), (columns, rows), interpolation=cv2.INTER_NEAREST)
    return quantized(NOISE, heat, size)


def _frame(frame: _Sampled, shot: int) -> TimelineFrame:
    height, width = frame.size or (None, None)
    return TimelineFrame(
        number=frame.number,
        seconds=frame.seconds,
        coding=frame.coding,
        shot=shot,
        width=width,
        height=height,
        scores=frame.scores,
        maps=[map_file(frame.number, name) for name in sorted(frame.maps)],
        problem=frame.problem,
    )


def _tracks(scanner: Scanner, frames: Sequence[TimelineFrame]) -> list[Track]:
    """Return the tracks that have a score; a score's usual range comes from its calibration, where it has one."""
    tracks = []
    for name in (NOISE, *scanner.names):
        scores = [frame.scores.get(name) for frame in frames]
        if all(score is None for score in scores):
            continue
        curve = scanner.card.detectors.get(name)
        unit = curve.scores[-1] - curve.scores[0] if curve else 1.0
        summary = _NOISE_SUMMARY if name == NOISE else one.first_line(scanner.detector(name))
        tracks.append(track_of(name, summary, scores, unit))
    return tracks


def _damage(sampled: Sequence[_Sampled]) -> list[Finding]:
    lost = [frame for frame in sampled if frame.problem]
    if not lost:
        return []
    text = f"{len(lost)} of the {len(sampled)} sampled frames cannot be decoded; the first: {lost[0].problem}."
    values = {"frames": [frame.number for frame in lost]}
    return [Finding("video.damaged_frames", text, "warning", values, "video")]


def _report(
    scanner: Scanner,
    footage: Footage,
    readable: Sequence[_Sampled],
    timeline: Timeline,
    damage: Sequence[Finding],
) -> schema.Report:
    findings = [*footage.findings, *damage]
    verdict = decide([], findings, scanner.card)
    first = readable[0]
    assert first.size is not None
    height, width = first.size
    intake = {**footage.intake, "complete": footage.intake["complete"] and not damage}
    predictions = [_prediction(scanner, name, readable, timeline) for name in scanner.names]
    return schema.Report(
        tool=one.tool(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        intake=schema.Intake.of(intake),
        picture=schema.Picture(
            width=width, height=height, orientation=first.orientation, megapixels=round(height * width / 1e6, 4)
        ),
        facts=footage.facts,
        findings=[schema.FindingModel.of(f) for f in findings],
        predictions=predictions,
        verdict=_verdict(scanner, verdict, predictions, timeline),
        timeline=timeline,
        reproduce=scanner.reproduce(footage.intake["name"], frames=scanner.frames),
        limits=LIMITS,
    )


def _prediction(
    scanner: Scanner, name: str, readable: Sequence[_Sampled], timeline: Timeline
) -> schema.PredictionModel:
    """Return what one detector says of the video as a whole: the median of its frames, uncalibrated."""
    detector = scanner.detector(name)
    said = [p for frame in readable for p in frame.predictions if p.detector == name]
    size = readable[0].size or (1, 1)
    scores = [score for frame in readable if (score := frame.scores.get(name)) is not None]
    if detector.needs:
        told = Prediction(name, size, status="not_applicable", cause=_MISSING[min(detector.needs)])
    elif not any(p.status == "ok" for p in said):
        where = "every frame" if len({p.cause for p in said}) == 1 else "every frame, such as the first"
        told = Prediction(name, size, status=said[0].status, cause=f"in {where}: {said[0].cause}")
    else:
        told = Prediction(name, size, float(np.median(scores)) if scores else math.nan)
        told.evidence = {
            "frames": len(scores),
            "lowest": min(scores, default=None),
            "highest": max(scores, default=None),
        }
        told.reasons = [_finding(interval) for interval in timeline.intervals if interval.track == name]
    seconds = sum(frame.spent.get(name, 0.0) for frame in readable)
    return schema.PredictionModel.of(
        told, summary=one.first_line(detector), guide=detector.guide, family=detector.family, seconds=seconds
    )


def _finding(interval: Interval) -> Finding:
    values = {"start": interval.start, "end": interval.end, "deviation": interval.deviation}
    text = f"{interval.text} {interval.caveat}".strip()
    return Finding("timeline.interval", text, "notice", values, interval.track)


def _verdict(
    scanner: Scanner, verdict: Verdict, predictions: Sequence[schema.PredictionModel], timeline: Timeline
) -> schema.Verdict:
    looked = sum(not frame.problem for frame in timeline.frames)
    none = "the calibration is of photographs; none exists for video frames"
    unseen = [*one.NEVER_CHECKED, ("a calibrated verdict", none)]
    unseen += [(p.detector, p.cause) for p in predictions if p.status != "ok"]
    unseen += [(n, "left out of this scan by its options") for n in registry.names() if n not in scanner.names]
    if looked < timeline.total:
        unseen.append(("the other frames", f"{looked} of {timeline.total:,} were looked at; --frames takes more"))
    unseen.append(("sound", "only pictures are looked at"))
    return schema.Verdict(
        level=verdict.level,
        headline=_headline(verdict, timeline),
        reasons_for=[one.reason(r) for r in verdict.reasons_for],
        not_checked=[schema.NotChecked(what=what, why=why) for what, why in unseen],
    )


def _headline(verdict: Verdict, timeline: Timeline) -> str:
    if verdict.declared:
        return "The file itself states that it was generated or edited by an AI tool."
    count = len({(interval.start, interval.end) for interval in timeline.intervals})
    if count:
        some = f"{count} interval{'s' * (count != 1)} stand{'s' * (count == 1)} out"
        return f"{some} from the rest of this video; there is no calibrated verdict for video frames."
    if not any(track.limit is not None for track in timeline.tracks):
        return "Too few frames could be measured to compare them; there is no calibrated verdict for video frames."
    return "No sampled frame stands out from the others; there is no calibrated verdict for video frames."
