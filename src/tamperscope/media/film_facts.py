"""What the container of a video says of itself: streams, tags, edit lists, and what contradicts a recording."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tamperscope.media.bmff import CONTAINERS
from tamperscope.media.chunks import Part, bmff_boxes
from tamperscope.media.contradictions import find_contradictions, parse_moment
from tamperscope.media.marks import find_marks
from tamperscope.types import Finding, Severity

if TYPE_CHECKING:
    from tamperscope.media.film import Index

_ORIGIN = "video"
_SOFTWARE = re.compile(
    r"(?:^|[._-])(?:encoder|software|tool|encoded_by|application|writing_app|©too|©swr)$", re.IGNORECASE
)
_LIBRARIES = re.compile(
    r"\b(?:Lavf|Lavc|libx26[45]|HandBrake|GPAC|Shotcut|Kdenlive|OpenShot|VirtualDub|mkvmerge)", re.IGNORECASE
)
_EDITORS = re.compile(
    r"Premiere|After Effects|Final Cut|DaVinci|Resolve|CapCut|iMovie|Vegas|Filmora|InShot|KineMaster", re.IGNORECASE
)
_APART = timedelta(hours=24)
_LENGTHS_APART = 1.0
_MAX_EDITS, _MAX_TRACKS = 100, 32
_INSIDE = {**CONTAINERS, "edts": 0}


def film_facts(data: bytes, kind: str, file: Any, stream: Any, index: Index) -> tuple[dict[str, Any], list[Finding]]:
    """Return JSON-ready facts of a video's container, and findings.

    Args:
        data: The whole file.
        kind: `mp4`, `matroska` or `avi`.
        file: The open container.
        stream: The stream whose frames are analysed.
        index: Its frames.
    """
    streams = [_stream(s) for s in list(file.streams)[:_MAX_TRACKS]]
    tags = {str(key): str(value) for key, value in file.metadata.items()}
    gaps = [(b - a) * index.unit for a, b in zip(index.times, index.times[1:], strict=False)]
    facts: dict[str, Any] = {
        "format": f"{file.format.name}: {file.format.long_name}",
        "seconds": index.duration,
        "seconds_stated": (file.duration or 0) / 1_000_000,
        "bits_per_second": int(file.bit_rate or 0),
        "analysed_stream": stream.index,
        "frames": len(index.times),
        "key_frames": len(index.keys),
        "frames_stated": int(stream.frames or 0),
        "frame_rate_stated": float(stream.average_rate or 0),
        "shortest_gap": min(gaps, default=0.0),
        "longest_gap": max(gaps, default=0.0),
        "metadata": tags,
        "streams": streams,
    }
    if kind == "mp4":
        facts["edit_lists"] = list(_edit_lists(data))
    findings = [
        *_completeness(facts, index),
        *_tags(tags, streams),
        *_times(tags, streams),
        *_lengths(streams),
        *_gaps(gaps, index),
        *_edits(facts.get("edit_lists", [])),
    ]
    return facts, findings


def missing_end(data: bytes, kind: str) -> str:
    """Return in words that a Matroska file is shorter than it says, or ""."""
    at = data.find(b"\x18\x53\x80\x67", 0, 4096) + 4 if kind == "matroska" else 0
    if at < 4 or at >= len(data) or not data[at]:
        return ""
    width = 9 - data[at].bit_length()
    size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    unknown = size == (1 << 7 * width) - 1
    return "" if unknown or at + width + size <= len(data) else f"it states {size:,} bytes, {len(data):,} are there"


def _stream(stream: Any) -> dict[str, Any]:
    context = stream.codec_context
    facts: dict[str, Any] = {
        "index": stream.index,
        "type": stream.type,
        "codec": context.name if context is not None else "",
        "seconds": float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None,
        "metadata": {str(key): str(value) for key, value in stream.metadata.items()},
    }
    if stream.type == "video" and context is not None:
        facts |= {
            "profile": str(context.profile or ""),
            "width": context.width,
            "height": context.height,
            "pixel_format": str(context.pix_fmt or ""),
            "pixel_aspect": str(stream.sample_aspect_ratio or "1"),
        }
    return facts


def _completeness(facts: Mapping[str, Any], index: Index) -> Iterator[Finding]:
    stated, found = facts["frames_stated"], facts["frames"]
    if index.damage:
        words = f" of the {stated:,} that it states" if stated > found else ""
        text = f"The file is cut off or damaged: {found:,} frames{words} are there."
        values = {"stated": stated, "found": found, "cause": index.damage}
        yield Finding("video.truncated", text, "warning", values, _ORIGIN)
    short = facts["seconds_stated"] - facts["seconds"]
    if not index.damage and short > max(_LENGTHS_APART, 0.05 * facts["seconds"]):
        text = f"The file states a length of {facts['seconds_stated']:.1f} s; its pictures end {short:.1f} s earlier."
        yield Finding("video.pictures_end_early", text, "notice", {"seconds": short}, _ORIGIN)
    others = [s for s in facts["streams"] if s["type"] == "video" and s["index"] != facts["analysed_stream"]]
    if others:
        text = f"The file holds {len(others)} more stream{'s' * (len(others) != 1)} of pictures, not analysed."
        yield Finding("video.more_streams", text, "notice", {"streams": [s["index"] for s in others]}, _ORIGIN)


def _tags(tags: Mapping[str, str], streams: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Name the software that left its name, and the marks of generators."""
    texts = [("the container", key, value) for key, value in tags.items()]
    texts += [(f"stream {s['index']}", key, value) for s in streams for key, value in s["metadata"].items()]
    named = [(where, "Software" if _SOFTWARE.search(key) else key, value) for where, key, value in texts]
    yield from find_marks({}, [(key, value, where) for where, key, value in named])
    facts = {"text": [{"where": where, "key": key, "text": value} for where, key, value in named]}
    known = {f.values.get("value"): f for f in find_contradictions(facts, None)}
    yield from known.values()
    seen = set(known)
    for where, key, value in named:
        kind = "editor" if _EDITORS.search(value) else "converter" if _LIBRARIES.search(value) else ""
        if not kind or value in seen or key not in ("Software", "handler_name", "comment"):
            continue
        seen.add(value)
        words = "An editing program wrote this file" if kind == "editor" else "A program, not a camera, wrote this file"
        text = f"{words} ({value[:100]}); that is no proof of a change of content."
        yield Finding("video.software", text, "notice", {"where": where, "value": value[:200], "kind": kind}, _ORIGIN)


def _times(tags: Mapping[str, str], streams: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Compare the times of making that the container, its streams and the phone's tag state."""
    stated = [("the container", tags.get("creation_time", ""))]
    stated += [("the camera's tag", tags.get("com.apple.quicktime.creationdate", ""))]
    stated += [(f"stream {s['index']}", s["metadata"].get("creation_time", "")) for s in streams]
    moments = [moment for name, text in stated if (moment := parse_moment(name, text)) is not None]
    for moment in moments[1:]:
        if moments[0].gap(moment) > _APART:
            text = f"The times of making that {moments[0].name} and {moment.name} state are more than a day apart."
            values = {moments[0].name: moments[0].text, moment.name: moment.text}
            yield Finding("video.times_differ", text, "notice", values, _ORIGIN)
            return


def _lengths(streams: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    lengths = {s["index"]: s["seconds"] for s in streams if s["type"] in ("video", "audio") and s["seconds"]}
    if lengths and max(lengths.values()) - min(lengths.values()) > _LENGTHS_APART:
        text = "Picture and sound differ in length by more than a second; cutting one of them does that."
        yield Finding("video.lengths_differ", text, "notice", {"seconds": lengths}, _ORIGIN)


def _gaps(gaps: Sequence[float], index: Index) -> Iterator[Finding]:
    """Report that frames do not follow each other evenly, and long pauses in a steady stream."""
    if len(gaps) < 3:
        return
    usual = sorted(gaps)[len(gaps) // 2]
    uneven = sum(not math.isclose(gap, usual, rel_tol=0.1, abs_tol=0.002) for gap in gaps) / len(gaps)
    if uneven > 0.1:
        text = f"The frame rate varies: {uneven:.0%} of the frames do not follow at the usual pace."
        yield Finding("video.variable_rate", text, "info", {"share": uneven, "usual_gap": usual}, _ORIGIN)
        return
    pauses = [(index.seconds(index.times[n]), gap) for n, gap in enumerate(gaps) if gap > max(0.5, 5 * usual)]
    if pauses:
        text = f"Frames are missing or held in {len(pauses)} place{'s' * (len(pauses) != 1)} of a steady stream."
        values = {"pauses": [{"at": at, "seconds": gap} for at, gap in pauses[:20]]}
        yield Finding("video.pause", text, "notice", values, _ORIGIN)


def _edit_lists(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the edit list of every track of an MP4 or QuickTime file (ISO 14496-12, 8.6.6)."""
    moov = next((box for box in bmff_boxes(data) if box.kind == "moov"), None)
    if moov is None:
        return
    tracks = [box for box in bmff_boxes(data, moov.start, moov.stop) if box.kind == "trak"][:_MAX_TRACKS]
    for number, track in enumerate(tracks):
        for box in _inner(data, track, "edts"):
            for part in _inner(data, box, "elst"):
                yield {"track": number, "edits": _edits_of(data, part)}


def _inner(data: bytes, box: Part, kind: str) -> list[Part]:
    return [part for part in bmff_boxes(data, box.start + _INSIDE.get(box.kind, 0), box.stop) if part.kind == kind]


def _edits_of(data: bytes, part: Part) -> list[dict[str, int]]:
    """Return duration and start in the medium of each edit; a start of -1 is a pause."""
    width = 8 if part.length and data[part.start] == 1 else 4
    count = int.from_bytes(data[part.start + 4 : part.start + 8], "big")
    edits = []
    for number in range(min(count, _MAX_EDITS, max(0, part.length - 8) // (2 * width + 4))):
        at = part.start + 8 + number * (2 * width + 4)
        duration, start = data[at : at + width], data[at + width : at + 2 * width]
        edits.append({"duration": int.from_bytes(duration, "big"), "start": int.from_bytes(start, "big", signed=True)})
    return edits


def _edits(lists: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    severity: Severity = "notice"
    cut = [entry for entry in lists if sum(edit["start"] >= 0 for edit in entry["edits"]) > 1]
    if cut:
        text = "An edit list joins several parts of a track: not all that is stored is shown, or not in its order."
        yield Finding("video.edit_list", text, severity, {"tracks": [entry["track"] for entry in cut]}, _ORIGIN)
