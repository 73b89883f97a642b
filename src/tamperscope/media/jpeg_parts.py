"""Finds what a JPEG file carries beside its main picture: thumbnails, the parts of an MPF index, trailing bytes.

Sources: JFIF 1.02; CIPA DC-008 (Exif), 4.5.8; CIPA DC-007 (Multi-Picture Format), 5.2; Adobe, Photoshop file
formats, image resources 1033 and 1036.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

from tamperscope.errors import DecodeError
from tamperscope.media.ifd import Entry, Tiff
from tamperscope.media.ifd import walk as walk_tiff
from tamperscope.media.jpeg_markers import APP0, APP1, APP2, APP13, SOI, Layout, Segment, frame_size, walk
from tamperscope.media.sniff import describe, sniff

EXIF, XMP, MPF, PHOTOSHOP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0", b"Photoshop 3.0\0"
_GAIN_MAP = (b"hdrgm:", b"HDRGainMap", b"urn:iso:std:iso:ts:21496:-1")
_COMPRESSION, _THUMBNAIL_AT, _THUMBNAIL_BYTES = 0x0103, 0x0201, 0x0202
_MPF_COUNT, _MPF_ENTRIES = 0xB001, 0xB002
_MPF_KINDS = {
    0x030000: "main picture",
    0x010001: "preview (VGA)",
    0x010002: "preview (full HD)",
    0x010003: "preview (4K)",
    0x010004: "preview (8K)",
    0x010005: "preview (16K)",
    0x020001: "panorama",
    0x020002: "disparity",
    0x020003: "multi-angle",
    0x040000: "original preservation",
    0x050000: "gain map",
    0x000000: "undefined",
}
MAX_PARTS = 16
# Enough for the metadata in front of a preview's frame header.
_HEADER_BYTES = 2**18
_BINARIES = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_ARCHIVES = (b"PK\3\4", b"PK\5\6", b"Rar!\x1a\7", b"7z\xbc\xaf\x27\x1c", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_SCRIPTS = (b"#!", b"<?php", b"<script", b"<html", b"<!doctype html")
_ZIP_END, _ZIP_END_REACH = b"PK\5\6", 2**16 + 22


@dataclass(frozen=True, slots=True)
class Preview:
    """A thumbnail: where it comes from and lies, its coding (`jpeg` or `pixels`) and its (width, height)."""

    source: str
    offset: int
    length: int
    coding: str
    size: tuple[int, int] | None

    def facts(self) -> dict[str, Any]:
        """Return the JSON-ready facts."""
        width, height = self.size or (None, None)
        return {
            "source": self.source,
            "offset": self.offset,
            "length": self.length,
            "coding": self.coding,
            "width": width,
            "height": height,
        }


def previews(layout: Layout) -> list[Preview]:
    """Return the thumbnails in the first APPn segments of each kind: Exif, JFIF, JFXX and Photoshop ones."""
    found: list[Preview] = []
    kinds = (
        (APP1, EXIF, 1, _exif_thumbnail),
        (APP0, b"JF", 4, _jfif_thumbnail),
        (APP13, PHOTOSHOP, 4, _photoshop_thumbnail),
    )
    for code, start, limit, read in kinds:
        segments = [s for s in layout.of(code) if layout.data.startswith(start, s.start, s.end)]
        for segment in segments[:limit]:
            found += read(layout.data, segment, layout.payload(segment))
    return found


def _jpeg_preview(data: bytes, source: str, offset: int, length: int) -> list[Preview]:
    """Return a preview coded as JPEG, or nothing when there is none at `offset`."""
    if length < 4 or data[offset : offset + 2] != b"\xff\xd8":
        return []
    size = frame_size(data, offset, offset + min(length, _HEADER_BYTES))
    return [Preview(source, offset, length, "jpeg", size)]


def _exif_thumbnail(data: bytes, segment: Segment, payload: bytes) -> list[Preview]:
    try:
        tiff = walk_tiff(payload[len(EXIF) :])
    except DecodeError:
        return []
    ifd = tiff.get("IFD1")
    if ifd is None:
        return []
    start, length = (_number(tiff, ifd.entries.get(tag)) for tag in (_THUMBNAIL_AT, _THUMBNAIL_BYTES))
    if start is None or length is None:
        uncompressed = _number(tiff, ifd.entries.get(_COMPRESSION)) == 1
        width, height = (_number(tiff, ifd.entries.get(tag)) for tag in (0x0100, 0x0101))
        if not uncompressed or width is None or height is None:
            return []
        return [Preview("exif", segment.start + len(EXIF) + ifd.offset, 0, "pixels", (width, height))]
    # Some cameras state more bytes than the segment has.
    length = min(length, len(tiff.data) - start)
    return _jpeg_preview(data, "exif", segment.start + len(EXIF) + start, length)


def _number(tiff: Tiff, entry: Entry | None) -> int | None:
    values = tiff.numbers(entry, 1) if entry else []
    return values[0] if values and isinstance(values[0], int) else None


def _jfif_thumbnail(data: bytes, segment: Segment, payload: bytes) -> list[Preview]:
    if payload.startswith(b"JFIF\0") and len(payload) >= 14:
        width, height = payload[12], payload[13]
        pixels = [Preview("jfif", segment.start + 14, 3 * width * height, "pixels", (width, height))]
        return pixels if width and height else []
    if not payload.startswith(b"JFXX\0") or len(payload) < 8:
        return []
    if payload[5] == 0x10:
        return _jpeg_preview(data, "jfxx", segment.start + 6, len(payload) - 6)
    return [Preview("jfxx", segment.start + 8, len(payload) - 8, "pixels", (payload[6], payload[7]))]


def _photoshop_thumbnail(data: bytes, segment: Segment, payload: bytes) -> list[Preview]:
    """Return the thumbnail of the resources 1036 or 1033: a header of 28 bytes, then JPEG."""
    for resource in (b"8BIM\x04\x0c\0\0", b"8BIM\x04\x09\0\0"):
        at = payload.find(resource)
        if 0 <= at <= len(payload) - 40:
            length = int.from_bytes(payload[at + 8 : at + 12], "big") - 28
            length = min(length, len(payload) - at - 40)
            return _jpeg_preview(data, "photoshop", segment.start + at + 40, length)
    return []


def embedded_thumbnail(data: bytes) -> bytes | None:
    """Return the JPEG bytes of the thumbnail in the Exif IFD1, else of the JFXX one, else None.

    The bytes start with SOI; they are not checked further.

    Raises:
        UnsupportedFormatError: `data` is no JPEG.
    """
    found = [p for p in previews(walk(data, header_only=True)) if p.coding == "jpeg"]
    for source in ("exif", "jfxx"):
        for preview in found:
            if preview.source == source:
                return data[preview.offset : preview.offset + preview.length]
    return None


@dataclass(frozen=True, slots=True)
class Part:
    """A picture of an MPF index: its kind, offset and length in the file, and whether a JPEG lies there."""

    kind: str
    offset: int
    length: int
    sound: bool
    size: tuple[int, int] | None
    gain_map: bool

    def facts(self) -> dict[str, Any]:
        """Return the JSON-ready facts."""
        width, height = self.size or (None, None)
        return {
            "kind": self.kind,
            "offset": self.offset,
            "length": self.length,
            "sound": self.sound,
            "width": width,
            "height": height,
            "gain_map_marks": self.gain_map,
        }


def mpf_parts(layout: Layout) -> tuple[int, list[Part]]:
    """Return how many pictures the MPF index announces, and up to 16 of them; (0, []) without an index."""
    for segment in layout.of(APP2):
        payload = layout.payload(segment)
        if not payload.startswith(MPF):
            continue
        try:
            tiff = walk_tiff(payload[len(MPF) :])
        except DecodeError:
            return 0, []
        ifd = tiff.get("IFD0")
        entries = ifd.entries.get(_MPF_ENTRIES) if ifd else None
        count = _number(tiff, ifd.entries.get(_MPF_COUNT)) if ifd else None
        rows = tiff.raw(entries, 16 * MAX_PARTS) if entries else b""
        fields = struct.iter_unpack(tiff.order + "III4x", rows[: len(rows) // 16 * 16])
        return count or 0, [_part(layout.data, segment.start + len(MPF), *row) for row in fields]
    return 0, []


def _part(data: bytes, base: int, attributes: int, length: int, offset: int) -> Part:
    """Return one row of the index; offsets count from the index's byte-order mark, 0 is the file's own start."""
    at = base + offset if offset else 0
    sound = data[at : at + 3] == b"\xff\xd8\xff" and at + length <= len(data)
    head = at + min(length, _HEADER_BYTES)
    return Part(
        kind=_MPF_KINDS.get(attributes & 0xFFFFFF, f"{attributes & 0xFFFFFF:#08x}"),
        offset=at,
        length=length,
        sound=sound,
        size=frame_size(data, at, head) if sound else None,
        gain_map=sound and has_gain_map_marks(data, at, head),
    )


def has_gain_map_marks(data: bytes, start: int, stop: int) -> bool:
    """Return whether the bytes name a gain map: Ultra HDR XMP, Apple's XMP or ISO 21496-1."""
    return any(data.find(mark, start, stop) >= 0 for mark in _GAIN_MAP)


def uncovered(layout: Layout, parts: list[Part]) -> list[tuple[int, int]]:
    """Return the (start, end) of bytes behind EOI that no picture of the MPF index covers, less mere padding."""
    at, found = layout.end, []
    for part in sorted((p for p in parts if p.sound), key=lambda p: p.offset):
        if part.offset >= at:
            found.append((at, part.offset))
            # Up to its own EOI: an index may claim more bytes than the picture has.
            at = _end_of(layout.data, part.offset, part.offset + part.length)
    found.append((at, len(layout.data)))
    return [(a, b) for a, b in found if b > a and layout.data[a:b].strip(b"\0\xff")]


def trailing_facts(data: bytes, start: int, end: int) -> dict[str, Any]:
    """Return offset, length, sha256, type and danger of the bytes from `start` to `end`.

    `whole_sectors` says that the file's length is a multiple of 512: a file recovered from a disk may end with
    what its last cluster held before.
    """
    block = data[start:end]
    # What is appended often starts on a round address, behind zeros.
    inner = block.lstrip(b"\0")
    hidden_zip = _ZIP_END in block[-_ZIP_END_REACH:] and not inner.startswith(b"PK")
    active = inner.startswith(_BINARIES + _ARCHIVES) or inner[:1024].lstrip().lower().startswith(_SCRIPTS)
    kind = sniff(inner) or sniff(block) or describe(inner)
    if block.endswith(b"SEFT"):
        kind = "a Samsung trailer"
    if block[4:8] == b"ftyp":
        kind = describe(block)
    return {
        "offset": start,
        "length": end - start,
        "sha256": hashlib.sha256(block).hexdigest(),
        "type": "data that ends as a ZIP archive" if hidden_zip else kind,
        "archive_or_program": hidden_zip or active,
        "whole_sectors": len(data) % 512 == 0,
    }


def later_pictures(layout: Layout, blocks: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return up to 16 further JPEG streams: SOI markers in front of EOI, and pictures in `blocks` behind it."""
    data = layout.data
    found = [
        (s.offset, True, frame_size(data, s.offset, s.offset + _HEADER_BYTES))
        for s in layout.of(SOI)[1 : MAX_PARTS + 1]
    ]
    for start, end in blocks:
        at = data.find(b"\xff\xd8\xff", start, end)
        for _ in range(4 * MAX_PARTS):
            if at < 0:
                break
            # Three bytes are there by chance in every 16 MB of noise; a frame header is not.
            size = frame_size(data, at, min(at + _HEADER_BYTES, end))
            if size:
                found.append((at, False, size))
            at = data.find(b"\xff\xd8\xff", _end_of(data, at, end), end)
    rows = []
    for at, inside, size in found[:MAX_PARTS]:
        width, height = size or (None, None)
        rows.append({"offset": at, "inside": inside, "width": width, "height": height})
    return rows


def _end_of(data: bytes, start: int, stop: int) -> int:
    """Return the offset behind the EOI of the picture at `start`; behind its SOI when it has no EOI."""
    layout = walk(data, start, stop)
    return layout.end if layout.complete else start + 2
