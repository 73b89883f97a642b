"""Video files: written as H.264, and decoded in a process of its own, as pictures are.

Needs PyAV (`pip install "tamperscope[video]"`). The decoder process has the limits and the filter of `child`, serves
one file and ends; `footage` asks it for single frames. Only containers are opened that hold their own data; lists that
name other files are not.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamperscope.errors import DecodeError, InputError, InvalidValueError, UnsupportedFormatError
from tamperscope.media.limits import Limits
from tamperscope.types import UInt8Array

if TYPE_CHECKING:
    from tamperscope.media.child import Reply
    from tamperscope.media.film import Film
    from tamperscope.media.isolate import Decoder

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
# The first box of an MP4 file, or of a QuickTime file that is older than `ftyp`.
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")
_ENTRY = ("tamperscope.media.child import main", "tamperscope.media.video import main")


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """Decoded frames.

    Attributes:
        frames: (H, W, 3) uint8 each, in the order in which they are shown.
        fps: Frames a second as the file states them; 0 where it does not.
    """

    frames: tuple[UInt8Array, ...]
    fps: float


def available() -> bool:
    """Return whether PyAV is installed."""
    from importlib.util import find_spec

    return find_spec("av") is not None


def read(source: str | Path | bytes, limits: Limits | None = None, count: int = 0) -> Video:
    """Return the frames of a video file's first stream of pictures.

    Args:
        source: A file, or its bytes.
        limits: `max_pixels` holds for all frames together, `max_frames` for their number.
        count: Only the first so many frames; 0 = all.

    Raises:
        BudgetError: The file is over a limit.
        DecodeError: The file is damaged, or has no frame.
        InputError: There is no such file.
        UnsupportedFormatError: It is no MP4, Matroska or AVI file, or PyAV is not installed.
    """
    limits = limits or Limits(max_seconds=120.0)
    needed()
    if isinstance(source, bytes):
        data = source
    elif not Path(source).is_file():
        raise InputError(f"'{source}': no such file")
    else:
        limits.check("max_file_bytes", Path(source).stat().st_size, f"{Path(source).stat().st_size:,} bytes")
        data = Path(source).read_bytes()
    limits.check("max_file_bytes", len(data), f"{len(data):,} bytes")
    kind = container_of(data)
    process = decoder(limits)
    try:
        reply = process.ask({"do": "frames", "format": kind, "count": count}, len(data), [data], limits)
    finally:
        process.close()
    if reply.error is not None:
        raise reply.error
    number = int(reply.notes.get("frames", 0))
    if reply.lost or "rgb" not in reply.arrays or number < 1 or len(reply.arrays["rgb"]) % number:
        raise DecodeError(f"video: expected frames of one size, found none: {reply.lost}")
    return Video(tuple(np.split(reply.arrays["rgb"], number)), float(reply.notes.get("fps", 0.0)))


def decoder(limits: Limits) -> Decoder:
    """Return a new decoder process for one video file."""
    from tamperscope.media import isolate

    command = [part.replace(*_ENTRY) for part in isolate._command(limits.max_memory_bytes)]
    return isolate.Decoder(limits.max_memory_bytes, command)


def write(frames: Sequence[UInt8Array], fps: float, crf: int = 23, gop: int = 12) -> bytes:
    """Return frames as an MP4 file with H.264 in 4:2:0; one encoder gives the same bytes every time.

    Odd sides gain a row or column, a copy of the last one, because 4:2:0 needs even ones; cut it off after decoding.

    Args:
        frames: (H, W, 3) uint8 each, of one size.
        fps: Frames a second.
        crf: Constant rate factor of libx264, 0 (best) to 51.
        gop: Greatest number of frames from one intra frame to the next.

    Raises:
        InvalidValueError: There is no frame, or a value is out of range.
        UnsupportedFormatError: PyAV is not installed, or lacks libx264.
    """
    needed()
    import av

    if not frames or not 0 <= crf <= 51 or gop < 1 or not fps > 0:
        raise InvalidValueError(
            "video: expected frames, crf from 0 to 51, gop from 1, fps above 0; "
            f"found {len(frames)}, {crf}, {gop}, {fps}"
        )
    if "libx264" not in av.codecs_available:
        raise UnsupportedFormatError("H.264 needs a PyAV built with libx264, as the wheels on PyPI are")
    height, width = frames[0].shape[:2]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {"crf": str(crf), "g": str(gop), "threads": "1", "preset": "medium"}
        # Where the CPU has AVX-512, this step of x264 reads memory that nothing was written to.
        stream.options |= {"x264-params": "mbtree=0"}
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            out.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        out.mux(stream.encode())
    return buffer.getvalue()


def container_of(data: bytes) -> str:
    """Return the name of a file's container, as FFmpeg calls its reader.

    Raises:
        UnsupportedFormatError: It is none that is read here.
    """
    if data[4:8] in _BOXES:
        return "mp4"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    raise UnsupportedFormatError(
        f"video: expected MP4, Matroska or AVI, found a file that starts with {data[:8].hex()}"
    )


def main(settings: Mapping[str, Any]) -> None:
    """Serve the requests on one file, in the decoder process; the arguments are those of `child.main`."""
    import av  # noqa: F401 - before the limits, as what it loads is our own

    from tamperscope.media import child, film  # noqa: F401 - before the limits, too
    from tamperscope.media.wire import receive, send

    incoming, outgoing = child._take_pipes()
    child._lock_down(int(settings["memory"]))
    send(outgoing, {"ready": True})
    opened: Film | None = None
    while (request := receive(incoming)) is not None:
        data = incoming.read(int(request["bytes"]))
        opened = _served(request, data, opened, child.Reply(outgoing))
    sys.exit(0)


def _served(request: Mapping[str, Any], data: bytes, opened: Film | None, reply: Reply) -> Film | None:
    """Answer one request: all `frames` at once, or `open` a file and then one `frame` after another."""
    from tamperscope.errors import TamperscopeError
    from tamperscope.media import child, film

    limits = Limits(**request["limits"])
    child._allow_cpu(limits.max_seconds)
    try:
        if request["do"] == "frames":
            _answer(data, request, limits, reply)
        elif opened is None:
            opened = film.open_film(request, data, limits, reply)
        else:
            film.send_frame(request, opened, limits, reply)
    except MemoryError:
        reply.error(child._memory_error(limits))
    except TamperscopeError as error:
        reply.error(error)
    except BrokenPipeError:
        raise
    except Exception as error:  # whatever a codec raises is this file's fault
        reply.error(DecodeError(f"{type(error).__name__}: {error}"))
    reply.end()
    return opened


def _answer(data: bytes, request: Mapping[str, Any], limits: Limits, reply: Reply) -> None:
    """Decode, and send all frames as one array, one below the other."""
    reply.stage("decoding the frames")
    frames: list[UInt8Array] = []
    fps = 0.0
    for frame, stated in _decoded(data, str(request["format"])):
        frames.append(frame)
        fps = stated
        if frame.shape != frames[0].shape:
            raise DecodeError(f"video: expected frames of one size, found {frames[0].shape} and {frame.shape}")
        limits.check("max_frames", len(frames), f"{len(frames):,} frames")
        pixels = len(frames) * frame.shape[0] * frame.shape[1]
        limits.check("max_pixels", pixels, f"{pixels:,} pixels in its first {len(frames):,} frames")
        if len(frames) == request["count"]:
            break
    if not frames:
        raise DecodeError("video: expected a frame, found none")
    reply.note(frames=len(frames), fps=fps)
    height, width, _ = frames[0].shape
    reply.parts("rgb", "uint8", (len(frames) * height, width, 3), map(np.ascontiguousarray, frames))


def _decoded(data: bytes, kind: str) -> Iterator[tuple[UInt8Array, float]]:
    import av

    with av.open(io.BytesIO(data), "r", format=kind) as file:
        if not file.streams.video:
            raise DecodeError("video: expected a stream of pictures, found none")
        stream = file.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        # Without this, FFmpeg hides damage under parts of other frames.
        stream.codec_context.options = {"err_detect": "explode"}
        fps = float(stream.average_rate or 0)
        for frame in file.decode(stream):
            if frame.is_corrupt:
                raise DecodeError("video: a frame is damaged")
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), fps


def needed() -> None:
    """Check that PyAV is installed.

    Raises:
        UnsupportedFormatError: It is not; the message says how to mend it.
    """
    if not available():
        raise UnsupportedFormatError('video files need PyAV: pip install "tamperscope[video]"')
