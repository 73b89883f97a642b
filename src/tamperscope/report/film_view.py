"""What the HTML page shows of a video: the curves of its timeline, and its frames with their maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tamperscope.report import imaging
from tamperscope.report.schema import Report
from tamperscope.report.timeline import FramePictures, Interval, Timeline, TimelineFrame, Track

_SIDE = 320
_SMALL_SIDE, _MANY = 200, 64
_BUDGET = 24_000
_TOP, _BOTTOM = 12.0, 88.0


@dataclass(frozen=True, slots=True)
class Dot:
    """The score of one frame; x and y in percent of the chart."""

    frame: TimelineFrame
    score: float
    x: float
    y: float
    loud: bool


@dataclass(frozen=True, slots=True)
class Span:
    """An interval; x and width in percent of the chart."""

    interval: Interval
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """The chart of one track: its curve as an SVG path in a square of 100, dots, spans, and where its limit lies."""

    track: Track
    path: str
    dots: list[Dot]
    spans: list[Span]
    limit: float | None


@dataclass(frozen=True, slots=True)
class FrameMap:
    """One map of one frame, as a data URI."""

    name: str
    picture: Markup
    score: float | None
    loud: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One frame with its pictures."""

    frame: TimelineFrame
    picture: Markup | None
    maps: list[FrameMap]
    loud: bool


@dataclass(frozen=True, slots=True)
class Film:
    """All that is shown of a timeline.

    Attributes:
        timeline: As measured.
        rows: One a track.
        cuts: Where shots begin, in percent of the charts.
        frames: In their order.
        peaks: For each interval, the number of the frame that stands out most.
    """

    timeline: Timeline
    rows: list[Row]
    cuts: list[float]
    frames: list[Card]
    peaks: list[int]


def film(report: Report) -> Film | None:
    """Return what a page shows of a video, or None for a picture's report."""
    timeline = report.timeline
    if timeline is None:
        return None
    loud = {(number, i.track) for i in timeline.intervals for number in i.frames}
    pictures: Sequence[FramePictures] = report.frames or [FramePictures()] * len(timeline.frames)
    pairs = zip(timeline.frames, timeline.frames[1:], strict=False)
    at_peak = {frame.seconds: frame.number for frame in timeline.frames}
    return Film(
        timeline,
        rows=[_row(track, timeline, loud) for track in timeline.tracks],
        cuts=[_place((a.seconds + b.seconds) / 2, timeline) for a, b in pairs if a.shot != b.shot],
        frames=[_card(report, f, p, loud) for f, p in zip(timeline.frames, pictures, strict=True)],
        peaks=[at_peak.get(interval.peak, interval.frames[0]) for interval in timeline.intervals],
    )


def _place(seconds: float, timeline: Timeline) -> float:
    return round(100.0 * seconds / timeline.duration, 2) if timeline.duration > 0 else 50.0


def _row(track: Track, timeline: Timeline, loud: set[tuple[int, str]]) -> Row:
    known = [(f, score) for f in timeline.frames if (score := f.scores.get(track.name)) is not None]
    scores = [score for _, score in known]
    low, high = min(scores, default=0.0), max([*scores, track.limit if track.limit is not None else -math.inf])

    def height(score: float) -> float:
        share = (score - low) / (high - low) if high > low else 0.0
        return round(_BOTTOM - (_BOTTOM - _TOP) * share, 2)

    dots = [
        Dot(f, score, _place(f.seconds, timeline), height(score), (f.number, track.name) in loud) for f, score in known
    ]
    return Row(
        track,
        path=_path(dots, timeline.frames),
        dots=dots,
        spans=[
            Span(i, _place(i.start, timeline), round(_place(i.end, timeline) - _place(i.start, timeline), 2))
            for i in timeline.intervals
            if i.track == track.name
        ],
        limit=height(track.limit) if track.limit is not None else None,
    )


def _path(dots: Sequence[Dot], frames: Sequence[TimelineFrame]) -> str:
    """Return the curve through the dots; it breaks where a frame between two of them has no score."""
    place = {frame.number: number for number, frame in enumerate(frames)}
    parts: list[str] = []
    last = -2
    for dot in dots:
        joined = place[dot.frame.number] == last + 1
        parts.append(f"{'L' if joined else 'M'}{dot.x} {dot.y}")
        last = place[dot.frame.number]
    return " ".join(parts)


def _card(report: Report, frame: TimelineFrame, pictures: FramePictures, loud: set[tuple[int, str]]) -> Card:
    turn = report.picture.orientation
    assert report.timeline is not None
    side = _SIDE if len(report.timeline.frames) <= _MANY else _SMALL_SIDE
    picture = None
    if pictures.thumbnail:
        still = imaging.shrink(imaging.upright(imaging.read_rgb(pictures.thumbnail), turn), side)
        picture = Markup(imaging.data_uri(imaging.jpeg(still, 80), "jpeg"))
    maps = []
    for name, data in sorted(pictures.maps.items(), key=lambda item: (frame.number, item[0]) not in loud):
        small = imaging.upright(imaging.shrink(imaging.read_grey(data), side), turn)
        uri = Markup(imaging.data_uri(imaging.bounded_heat_png(small, _BUDGET)[0], "png"))
        maps.append(FrameMap(name, uri, frame.scores.get(name), (frame.number, name) in loud))
    return Card(frame, picture, maps, any(number == frame.number for number, _ in loud))
