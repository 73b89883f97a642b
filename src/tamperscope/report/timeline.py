"""The part of a report that only a video has: its sampled frames, what was measured on each, and what stands out."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field

from tamperscope.report.fields import Model, Number, Pixels, Text


class TimelineFrame(Model):
    """One sampled frame."""

    number: int = Field(ge=0, description="Its number in the file, from 0.")
    seconds: float = Field(description="When it is shown, counted from the first frame of the file.")
    coding: Text = Field(default="", description="I: coded by itself; P, B: from other frames; empty: unknown.")
    shot: int = Field(default=1, ge=1, description="Number of the shot, from 1, as told by colours of sampled frames.")
    width: Pixels | None = Field(default=None, description="Columns as stored; null when it could not be decoded.")
    height: Pixels | None = Field(default=None, description="Rows as stored; null when it could not be decoded.")
    scores: dict[str, Number] = Field(
        default_factory=dict, description="Raw score by track; null or absent where there is none. Uncalibrated."
    )
    maps: list[Text] = Field(default_factory=list, description="Files of its maps, as --save-maps writes them.")
    problem: Text = Field(default="", description="Why it could not be decoded; empty: it was.")


class Track(Model):
    """One measurement over the whole video."""

    name: Text = Field(description="A detector, or noise_change: noise against that of neighbouring frames.")
    summary: Text = Field(default="", description="One sentence on what is measured.")
    frames: int = Field(description="Frames with a score.")
    middle: Number = Field(default=None, description="Median over the frames; null below five of them.")
    limit: Number = Field(default=None, description="Scores from here on stand out from this video; null: none can.")


class Interval(Model):
    """A stretch of the video whose scores stand out from the rest of the same video; no verdict."""

    start: float = Field(description="Seconds; half-way to the sampled frame before.")
    end: float = Field(description="Seconds; half-way to the sampled frame after.")
    track: Text = Field(description="Which track stands out.")
    frames: list[int] = Field(description="Numbers of the sampled frames inside.")
    peak: float = Field(description="Seconds of the frame that stands out most.")
    deviation: Number = Field(description="How far it lies above the median, in robust standard deviations.")
    text: Text = Field(description="The same in one plain sentence.")
    caveat: Text = Field(default="", description="A harmless cause that is visible in the data; empty: none is.")


class Timeline(Model):
    """What was measured over a video's time."""

    duration: float = Field(description="Seconds from the first frame to the end of the last one.")
    total: int = Field(description="Frames in the file.")
    frames: list[TimelineFrame] = Field(default_factory=list, description="The sampled frames in their order.")
    tracks: list[Track] = Field(default_factory=list, description="What was measured.")
    intervals: list[Interval] = Field(default_factory=list, description="What stands out, in order of time.")


@dataclass(frozen=True, slots=True, eq=False)
class FramePictures:
    """The pictures of one sampled frame, encoded, so that many fit into memory.

    Attributes:
        thumbnail: A small JPEG of it, as stored; empty where it could not be decoded.
        maps: By track, a greyscale PNG of the frame's own size, as stored, 255 = heatmap 1.0.
    """

    thumbnail: bytes = b""
    maps: dict[str, bytes] = field(default_factory=dict)


def clock(seconds: float) -> str:
    """Return seconds as a person reads a time in a film, such as `1:02.50`."""
    minutes, rest = divmod(round(seconds * 100), 6000)
    return f"{minutes}:{rest // 100:02}.{rest % 100:02}"


def map_file(number: int, track: str) -> str:
    """Return the name of the file of a frame's map."""
    from tamperscope.report.files import plain_name

    return f"frame_{number:06}_{plain_name(track)}.png"
