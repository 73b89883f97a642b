"""In the decoder process: one video file, indexed without decoding, then decoded one frame at a time.

Frames are found by their time. A seek goes to the last key frame before the one that is wanted, and only where that
saves decoding; so a long file costs little more than a short one.
"""

from __future__ import annotations

import io
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tamperscope.errors import BudgetError, DecodeError, UnsupportedFormatError
from tamperscope.media.film_facts import film_facts, missing_end
from tamperscope.media.limits import Limits

if TYPE_CHECKING:
    from tamperscope.media.child import Reply

MAX_PACKETS = 2_000_000
_CODINGS = {1: "I", 2: "P", 3: "B"}


@dataclass(slots=True)
class Index:
    """When the frames of a stream are shown, in its own unit of time.

    Attributes:
        times: Rising.
        keys: Those of them that need no other frame.
        unit: Seconds of one unit.
        damage: Why the file could not be read to its end, or "".
    """

    times: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    unit: float = 0.0
    damage: str = ""

    def seconds(self, time: int) -> float:
        """Return when a frame is shown, counted from the first one."""
        return (time - self.times[0]) * self.unit

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last one."""
        count = len(self.times)
        return self.seconds(self.times[-1]) * count / (count - 1) if count > 1 else 0.0


def evenly(times: Sequence[int], count: int) -> list[int]:
    """Return places in `times`: the frames nearest to the middles of `count` equal spans, each once; all if fewer."""
    if count >= len(times):
        return list(range(len(times)))
    step = (times[-1] - times[0]) / (len(times) - 1)
    span = (times[-1] - times[0] + step) / count
    found: dict[int, None] = {}
    for number in range(count):
        wanted = times[0] + (number + 0.5) * span - step / 2
        after = min(bisect_left(times, wanted), len(times) - 1)
        nearest = min(max(after - 1, 0), after, key=lambda at: abs(times[at] - wanted))
        found[nearest] = None
    return list(found)


class Film:
    """One open video file; `close` and open another one for the next.

    Raises:
        BudgetError: Its frames are larger than the limits allow.
        DecodeError: It is damaged before its first frame, or has none.
        UnsupportedFormatError: It has no stream of pictures.
    """

    def __init__(self, data: bytes, kind: str, limits: Limits) -> None:
        self._data, self._kind, self._limits = data, kind, limits
        self._open()
        self.index = self._read_index()
        if not self.index.times:
            raise DecodeError(f"video: expected a frame, found none{': ' * bool(self.index.damage)}{self.index.damage}")

    def _open(self) -> None:
        import av

        try:
            self._file = av.open(io.BytesIO(self._data), "r", format=self._kind)
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            raise DecodeError("the video is damaged: no header can be read") from error
        self._stream = _pictures(self._file)
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        # Without this, FFmpeg hides damage under parts of other frames.
        self._stream.codec_context.options = {"err_detect": "explode"}
        if self._stream.codec_context.width and self._stream.codec_context.height:
            self._limits.check_size(self._stream.codec_context.width, self._stream.codec_context.height)
        self._frames: Iterator[Any] = iter(())
        self._shown: int | None = None

    def _read_index(self) -> Index:
        import av

        index = Index(unit=float(self._stream.time_base or 0))
        times: dict[int, bool] = {}
        counted, stated = 0, int(self._stream.frames or 0)
        try:
            for packet in self._file.demux(self._stream):
                if not packet.size:
                    continue
                counted += 1
                if counted > MAX_PACKETS:
                    raise BudgetError(f"video: expected at most {MAX_PACKETS:,} packets, found more")
                if packet.is_corrupt:
                    index.damage = "a packet is cut off"
                if packet.is_corrupt or packet.is_discard:
                    continue
                time = packet.pts if packet.pts is not None else packet.dts
                if time is None:
                    raise DecodeError("video: expected frames with times, found one without")
                times[time] = times.get(time, False) or packet.is_keyframe
        except av.error.FFmpegError as error:
            index.damage = str(error.strerror or error)
        if not index.damage and counted < stated:
            index.damage = f"{counted:,} of {stated:,} frames are there"
        index.damage = index.damage or missing_end(self._data, self._kind)
        index.times = sorted(times)
        index.keys = [time for time in index.times if times[time]]
        self._rewind(None)
        return index

    def _rewind(self, time: int | None) -> None:
        """Go to the key frame at or before a time, or to the beginning."""
        if time is None:
            self._file.close()
            self._open()
        else:
            self._file.seek(time, stream=self._stream)
        self._frames, self._shown = self._file.decode(self._stream), None

    def facts(self) -> tuple[dict[str, Any], list[Any]]:
        """Return what the container says of itself, and what is odd about it."""
        return film_facts(self._data, self._kind, self._file, self._stream, self.index)

    def frame(self, place: int) -> Any:
        """Return the decoded frame at a place of the index.

        Raises:
            DecodeError: It is damaged, or not there.
        """
        import av

        wanted = self.index.times[place]
        before = bisect_right(self.index.keys, wanted)
        key = self.index.keys[before - 1] if before else None
        try:
            if self._shown is None or self._shown >= wanted or (key is not None and key > self._shown):
                self._rewind(key)
            found = self._advance(wanted)
            if found is None or found.pts > wanted:
                # The seek went too far, as it may where frames are stored in another order than shown.
                self._rewind(None)
                found = self._advance(wanted)
        except (av.error.FFmpegError, DecodeError) as error:
            self._rewind(None)
            cause = getattr(error, "strerror", None) or error
            raise DecodeError(f"the frame is damaged: {cause}") from error
        if found is None:
            raise DecodeError("the stream ends before this frame")
        return found

    def _advance(self, wanted: int) -> Any:
        for frame in self._frames:
            if frame.pts is None:
                frame.pts = frame.dts
            if frame.pts is None:
                raise DecodeError("a frame without a time")
            self._shown = int(frame.pts)
            if self._shown >= wanted:
                if frame.is_corrupt:
                    raise DecodeError("its data are marked as corrupt")
                return frame
        return None


def _pictures(file: Any) -> Any:
    """Return the first stream of moving pictures; a cover picture of a sound file is none."""
    import av

    covers = av.stream.Disposition.attached_pic
    for stream in file.streams.video:
        if not stream.disposition & covers:
            return stream
    kinds = sorted({stream.type for stream in file.streams}) or ["nothing"]
    raise UnsupportedFormatError(f"video: expected a stream of pictures, found {' and '.join(kinds)} only")


def open_film(request: Mapping[str, Any], data: bytes, limits: Limits, reply: Reply) -> Film:
    """Answer the first request on a file: facts, findings, and which frames were chosen."""
    from tamperscope.media.c2pa import read_c2pa
    from tamperscope.media.child import _attempt

    reply.stage("reading the index of the video")
    film = Film(data, str(request["format"]), limits)
    chosen = evenly(film.index.times, int(request["count"]))
    reply.note(
        frames=len(film.index.times),
        duration=film.index.duration,
        damage=film.index.damage,
        chosen=[[place, film.index.seconds(film.index.times[place])] for place in chosen],
    )

    def send(name: str, found: tuple[dict[str, Any], list[Any]]) -> None:
        reply.facts(name, found[0])
        reply.findings(found[1])

    _attempt(reply, "reading the container", lambda: send("video", film.facts()))
    if request["format"] != "matroska":
        kind = {"mp4": "MP4", "avi": "AVI"}[request["format"]]
        _attempt(reply, "reading the C2PA manifest", lambda: send("c2pa", read_c2pa(data, kind)))
    return film


def send_frame(request: Mapping[str, Any], film: Film, limits: Limits, reply: Reply) -> None:
    """Answer with one frame: its pixels as stored, when it is shown, how it is coded and how it is turned."""
    reply.stage("decoding a frame")
    frame = film.frame(int(request["place"]))
    limits.check_size(frame.width, frame.height)
    rgb = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
    reply.array("rgb", rgb)
    reply.note(
        decoder="av",
        seconds=film.index.seconds(int(frame.pts)),
        coding=_CODINGS.get(int(frame.pict_type), ""),
        rotation=int(frame.rotation),
    )
