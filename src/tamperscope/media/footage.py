"""Some frames of a video file, one at a time, with what its container says; decoded in a process of its own.

The frames lie evenly in time. That process keeps the file and serves frame after frame, so that neither side ever holds
more than one of them. Pixels are as stored; how the file wants them turned is recorded as an EXIF orientation.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamperscope.errors import DecodeError, InvalidValueError, UnsupportedFormatError
from tamperscope.media import isolate, opening, video
from tamperscope.media.limits import Limits
from tamperscope.media.reply import Reply
from tamperscope.media.sniff import HEAD, sniff, type_by_extension
from tamperscope.types import Finding, UInt8Array

MOST_FRAMES = 256
_NAMES = {"mp4": "MP4", "matroska": "Matroska", "avi": "AVI"}
# A display matrix states how far to turn against the clock.
_ORIENTATIONS = {0: 1, 90: 8, 180: 3, 270: 6}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame.

    Attributes:
        rgb: (H, W, 3) uint8 pixels as stored.
        seconds: When it is shown, counted from the first frame.
        coding: `I` where it is coded by itself, `P` or `B` where from others, or "" where unknown.
        orientation: EXIF orientation, 1 to 8, that shows it as the file wants it shown.
    """

    rgb: UInt8Array
    seconds: float
    coding: str
    orientation: int


@dataclass(slots=True)
class Footage:
    """An open video file.

    Attributes:
        intake: How it was read, as `Opened.intake`.
        chosen: (number of the frame, seconds) of the frames that `frame` gives.
        total: Frames in the file.
        duration: Seconds that they take.
        facts: By reader: `video`, `c2pa`.
        findings: Of opening and of the readers.
    """

    intake: dict[str, Any]
    chosen: list[tuple[int, float]]
    total: int
    duration: float
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _decoder: Any = None
    _limits: Limits = field(default_factory=Limits)

    def frame(self, number: int) -> Frame:
        """Return the frame of the number that `chosen` gives.

        Raises:
            BudgetError: It takes too long or is too large.
            DecodeError: It is damaged, or the decoder process died of an earlier one.
        """
        if not self._decoder.alive():
            raise DecodeError("the decoder process died of an earlier frame")
        reply = self._decoder.ask({"do": "frame", "place": number}, 0, (), self._limits)
        if reply.error is not None:
            raise reply.error
        if "rgb" not in reply.arrays:
            raise DecodeError("video: expected a frame, found none")
        turned = int(reply.notes.get("rotation", 0)) % 360
        seconds, coding = float(reply.notes.get("seconds", 0.0)), str(reply.notes.get("coding", ""))
        return Frame(reply.arrays["rgb"], seconds, coding[:2], _ORIENTATIONS.get(turned, 1))


def is_video(source: Any) -> bool:
    """Return whether a path or bytes hold a video that is read here; pictures in a video's container are none."""
    if isinstance(source, bytes | bytearray | memoryview):
        head = bytes(source[:HEAD])
    elif isinstance(source, str | os.PathLike) and Path(source).is_file():
        try:
            with Path(source).open("rb") as stream:
                head = stream.read(HEAD)
        except OSError:
            return False
    else:
        return False
    try:
        return sniff(head) is None and bool(video.container_of(head))
    except UnsupportedFormatError:
        return False


@contextlib.contextmanager
def open_footage(source: Any, count: int, limits: Limits, name: str = "") -> Iterator[Footage]:
    """Give a video file's frames, at most `count` of them.

    Args:
        source: Path or bytes.
        count: 1 to `MOST_FRAMES`.
        limits: What the file may ask for; the time holds for each frame.
        name: Shown instead of the file name.

    Raises:
        BudgetError: The file is over a limit.
        DecodeError: It is damaged before its first frame, or has none.
        InputError: There is no such file.
        InvalidValueError: `count` is out of range.
        UnsupportedFormatError: It is no such video, holds sound only, or PyAV is not installed.
    """
    if not 1 <= count <= MOST_FRAMES:
        raise InvalidValueError(f"frames: expected 1 to {MOST_FRAMES}, found {count}")
    video.needed()
    with opening.bytes_of(source, limits, name) as data:
        kind = video.container_of(data.head)
        decoder = video.decoder(limits)
        try:
            request = {"do": "open", "format": kind, "count": count}
            reply = decoder.ask(request, data.size, data.chunks(), limits)
            if reply.error is not None:
                raise reply.error
            yield _footage(data, _NAMES[kind], reply, decoder, limits)
        finally:
            decoder.close()


def _footage(data: Any, fmt: str, reply: Reply, decoder: isolate.Decoder, limits: Limits) -> Footage:
    claimed = type_by_extension(data.name)
    damage = str(reply.notes.get("damage", ""))
    intake = {
        "name": data.name,
        "source": data.source,
        "bytes": data.size,
        "sha256": data.digest.hexdigest(),
        "type": fmt,
        "type_by_extension": claimed,
        "frames": int(reply.notes.get("frames", 0)),
        "bits": None,
        "decoder": opening._version("av"),
        "orientation_policy": "frames as stored; the rotation that the file states is recorded, not applied",
        "transformations": ["video_frames"],
        "complete": not damage,
        "not_read": reply.lost,
    }
    return Footage(
        intake,
        [(int(place), float(seconds)) for place, seconds in reply.notes.get("chosen", [])],
        intake["frames"],
        float(reply.notes.get("duration", 0.0)),
        reply.facts,
        opening._own_findings(fmt, claimed, reply) + reply.findings,
        decoder,
        limits,
    )
