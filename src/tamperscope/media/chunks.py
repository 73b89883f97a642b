"""Walks the parts of PNG, RIFF, GIF and ISO base media files; every walk is bounded and never raises."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PARTS = 65_536
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a container.

    Attributes:
        kind: Its four-character type, or what stands for it.
        offset: Its first byte in the file, header included.
        start: The first byte of its payload.
        stop: One past the last byte of its payload; cut at the end of the file.
        end: One past its last byte, padding and check sum included; may lie beyond the file.
    """

    kind: str
    offset: int
    start: int
    stop: int
    end: int

    @property
    def length(self) -> int:
        """Bytes of the payload that are there."""
        return self.stop - self.start


def code(raw: bytes) -> str:
    """Return a four-character code as text."""
    return raw.decode("latin-1")


def png_chunks(data: bytes, start: int = len(PNG_SIGNATURE)) -> Iterator[Part]:
    """Yield the chunks of a PNG file up to and including IEND."""
    at = start
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        yield Part(code(kind), at, at + 8, min(at + 8 + size, len(data)), at + 12 + size)
        if kind == b"IEND":
            return
        at += 12 + size


def riff_chunks(data: bytes, start: int = 12) -> Iterator[Part]:
    """Yield the chunks of a RIFF file inside the size that its header announces."""
    if len(data) < 12:
        return
    limit = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    at = start
    for _ in range(MAX_PARTS):
        if at + 8 > limit:
            return
        kind, size = struct.unpack_from("<4sI", data, at)
        yield Part(code(kind), at, at + 8, min(at + 8 + size, len(data)), at + 8 + size + size % 2)
        at += 8 + size + size % 2


def bmff_boxes(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[Part]:
    """Yield the boxes of an ISO base media file (ISO 14496-12) between two bytes; size 0 means to the end."""
    limit = len(data) if stop is None else min(stop, len(data))
    at = start
    for _ in range(MAX_PARTS):
        if at + 8 > limit:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1 and at + 16 <= limit:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        elif size == 0:
            size = limit - at
        if size < header:
            return
        yield Part(code(kind), at, at + header, min(at + size, limit), at + size)
        at += size


def gif_blocks(data: bytes) -> Iterator[Part]:
    """Yield the blocks of a GIF file: `image`, `extension:XX`, `application:NAME` and `trailer`."""
    if len(data) < 13:
        return
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    for _ in range(MAX_PARTS):
        if at >= len(data):
            return
        lead = data[at]
        if lead == 0x3B:
            yield Part("trailer", at, at + 1, at + 1, at + 1)
            return
        if lead == 0x2C and at + 10 <= len(data):
            flags = data[at + 9]
            start = at + 10 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0) + 1
            kind = "image"
        elif lead == 0x21 and at + 3 <= len(data):
            start, kind = at + 2, f"extension:{data[at + 1]:02x}"
            if data[at + 1] == 0xFF:
                kind = f"application:{code(data[at + 3 : at + 14])}"
        else:
            return
        end = _skip_sub_blocks(data, start)
        yield Part(kind, at, min(start, len(data)), min(end, len(data)), end)
        at = end


def _skip_sub_blocks(data: bytes, at: int) -> int:
    """Return the byte after a chain of sub-blocks; one past the file when the chain does not end."""
    while at < len(data):
        size = data[at]
        at += 1 + size
        if size == 0:
            return at
    return len(data) + 1


def sub_block_bytes(data: bytes, part: Part, limit: int) -> bytes:
    """Return up to `limit` bytes that the sub-blocks of a GIF block hold."""
    out, at = bytearray(), part.start
    while at < part.stop and data[at] and len(out) < limit:
        out += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return bytes(out[:limit])
