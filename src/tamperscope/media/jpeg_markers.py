"""Walks the marker segments of a JPEG stream and parses their headers, within fixed bounds and in linear time.

Source: ITU-T T.81 (1992), annex B. The parsers accept what libjpeg accepts, so that a header without problems
here cannot stop libjpeg there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tamperscope.errors import DecodeError, UnsupportedFormatError
from tamperscope.media.quantization import ZIGZAG, Table

MAX_SEGMENTS = 4096
MAX_PROBLEMS = 50
MAX_TABLES = 1024

SOI, EOI, SOS, DQT, DHT, DRI, DAC, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xCC, 0xFE
APP0, APP1, APP2, APP11, APP12, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEC, 0xED, 0xEE
PROCESSES = {
    0xC0: "baseline",
    0xC1: "extended sequential",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC5: "differential sequential",
    0xC6: "differential progressive",
    0xC7: "differential lossless",
    0xC9: "extended sequential, arithmetic",
    0xCA: "progressive, arithmetic",
    0xCB: "lossless, arithmetic",
    0xCD: "differential sequential, arithmetic",
    0xCE: "differential progressive, arithmetic",
    0xCF: "differential lossless, arithmetic",
}
_NAMES = {0xD8: "SOI", 0xD9: "EOI", 0xDA: "SOS", 0xDB: "DQT", 0xC4: "DHT", 0xDD: "DRI", 0xCC: "DAC", 0xFE: "COM"}
_NAMES |= {0xDC: "DNL", 0xDE: "DHP", 0xDF: "EXP", 0xC8: "JPG"}
_NAMES |= {code: f"SOF{code - 0xC0}" for code in PROCESSES} | {0xE0 + n: f"APP{n}" for n in range(16)}
_RATIOS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0"}

# A marker outside stuffed zeros, restarts, fill bytes and reserved codes.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_CHUNK = 2**20
_PRINTABLE = re.compile(rb"[\x20-\x7e]{2,64}")


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker; `offset` is its 0xFF byte, the payload lies at `start` up to `end`, past the length field."""

    code: int
    offset: int
    start: int
    end: int

    @property
    def name(self) -> str:
        """Name in T.81, such as `SOF0` or `APP1`."""
        return _NAMES.get(self.code, f"{self.code:#04x}")


@dataclass(slots=True)
class Layout:
    """Where the parts of a JPEG stream lie.

    Attributes:
        data: The bytes; all offsets count from their start.
        segments: All markers in file order, without restart markers.
        scans: (start, end) of the entropy-coded data behind each SOS.
        garbage: (offset, length) of bytes between segments that belong to none.
        end: Offset behind the EOI marker, or where the walk stopped.
        complete: Whether EOI was met.
        problems: Damage and limits met, as sentences.
    """

    data: bytes
    segments: list[Segment] = field(default_factory=list)
    scans: list[tuple[int, int]] = field(default_factory=list)
    garbage: list[tuple[int, int]] = field(default_factory=list)
    end: int = 0
    complete: bool = False
    problems: list[str] = field(default_factory=list)

    def payload(self, segment: Segment) -> bytes:
        """Return the bytes of a segment behind its length field."""
        return self.data[segment.start : segment.end]

    def of(self, *codes: int) -> list[Segment]:
        """Return the segments with any of these marker codes."""
        return [s for s in self.segments if s.code in codes]

    def note(self, problem: str) -> None:
        """Keep a problem, up to `MAX_PROBLEMS` of them."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def restarts(self) -> int:
        """Return how many restart markers the entropy-coded data holds."""
        count = 0
        for start, end in self.scans:
            for at in range(start, end, _CHUNK):
                # One byte of overlap: a marker may straddle two chunks.
                count += len(_RESTART.findall(self.data, at, min(at + _CHUNK + 1, end)))
        return count


def walk(data: bytes, start: int = 0, stop: int | None = None, header_only: bool = False) -> Layout:
    """Return the segments of the JPEG stream that starts at `start`, up to its EOI.

    Args:
        data: The file.
        start: Offset of the SOI marker.
        stop: Offset where reading ends; the end of `data` when omitted.
        header_only: Stop behind the first SOS header.

    Raises:
        UnsupportedFormatError: There is no SOI marker at `start`.
    """
    stop = len(data) if stop is None else min(stop, len(data))
    if data[start : start + 2] != b"\xff\xd8":
        found = data[start : start + 4].hex() or "nothing"
        raise UnsupportedFormatError(f"JPEG: expected ffd8 at offset {start}, found {found}")
    layout = Layout(data, [Segment(SOI, start, start + 2, start + 2)])
    at = start + 2
    while not layout.complete and len(layout.segments) < MAX_SEGMENTS:
        match = _MARKER.search(data, at, stop)
        _keep_gap(layout, at, match.start() if match else stop)
        if match is None:
            at = stop
            break
        segment = _segment(layout, match.start(), stop)
        layout.segments.append(segment)
        at = segment.end
        layout.complete = segment.code == EOI
        if segment.code == SOS and header_only:
            break
    if len(layout.segments) >= MAX_SEGMENTS:
        layout.note(f"more than {MAX_SEGMENTS} segments; the rest is not read")
    layout.end = at
    return layout


def _keep_gap(layout: Layout, at: int, until: int) -> None:
    """File the bytes in front of a marker: the scan behind an SOS, or garbage; 0xFF bytes are legal fill."""
    if layout.segments[-1].code == SOS:
        layout.scans.append((at, until))
    elif layout.data[at:until].strip(b"\xff"):
        layout.garbage.append((at, until - at))


def _segment(layout: Layout, offset: int, stop: int) -> Segment:
    code = layout.data[offset + 1]
    if code in (SOI, EOI):
        return Segment(code, offset, offset + 2, offset + 2)
    size = int.from_bytes(layout.data[offset + 2 : min(offset + 4, stop)], "big")
    if offset + 4 > stop or size < 2:
        layout.note(f"{_NAMES.get(code, hex(code))} at {offset}: a length of at least 2 expected, found {size}")
        return Segment(code, offset, offset + 2, offset + 2)
    end = offset + 2 + size
    if end > stop:
        layout.note(f"{_NAMES.get(code, hex(code))} at {offset}: {end - stop} of its {size} bytes are missing")
    return Segment(code, offset, offset + 4, min(end, stop))


def identifier(payload: bytes) -> str:
    """Return the name with which an APPn payload starts, such as `Exif`, `JFIF` or `MPF`; empty when none."""
    match = _PRINTABLE.match(payload)
    return match.group().decode("ascii") if match else ""


@dataclass(frozen=True, slots=True)
class Component:
    """One colour component of a frame: id, horizontal and vertical sampling, slot of its quantization table."""

    id: int
    h: int
    v: int
    table: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame header (SOFn)."""

    code: int
    precision: int
    height: int
    width: int
    components: tuple[Component, ...]

    @property
    def progressive(self) -> bool:
        """Whether the scans refine the picture progressively."""
        return self.code in (0xC2, 0xC6, 0xCA, 0xCE)

    @property
    def arithmetic(self) -> bool:
        """Whether the entropy coding is arithmetic."""
        return self.code >= 0xC9

    @property
    def subsampling(self) -> str:
        """`4:2:0` and the like, `grey`, or the sampling factors where they have no such name."""
        if len(self.components) == 1:
            return "grey"
        first, *others = self.components
        if len(others) == 2 and (others[0].h, others[0].v) == (others[1].h, others[1].v):
            (h, odd_h), (v, odd_v) = divmod(first.h, others[0].h), divmod(first.v, others[0].v)
            if not odd_h and not odd_v and (h, v) in _RATIOS:
                return _RATIOS[h, v]
        return " ".join(f"{c.h}x{c.v}" for c in self.components)

    def blocks(self, component: Component) -> tuple[int, int]:
        """Return how many (rows, columns) of 8 x 8 blocks cover a component (T.81, A.1.1 and A.2)."""
        tall, wide = max(c.v for c in self.components), max(c.h for c in self.components)
        return -(-self.height * component.v // (8 * tall)), -(-self.width * component.h // (8 * wide))

    def units(self) -> int:
        """Return how many interleaved minimum coded units (MCU) cover the frame."""
        if len(self.components) == 1:
            rows, columns = self.blocks(self.components[0])
            return rows * columns
        tall, wide = max(c.v for c in self.components), max(c.h for c in self.components)
        return -(-self.height // (8 * tall)) * -(-self.width // (8 * wide))


@dataclass(frozen=True, slots=True)
class Huffman:
    """A Huffman table: `bits[k]` codes of length k + 1, and the values in the order of their codes."""

    ac: bool
    slot: int
    bits: bytes
    values: bytes


@dataclass(slots=True)
class Header:
    """What the headers of a stream say.

    Attributes:
        frames: All frame headers; a picture has one.
        tables: (index of the segment, slot, bits per entry, (8, 8) table in natural order) as they are defined.
        huffman: All Huffman tables in file order.
        scans: (index of the segment, component ids) of all scan headers.
        restart_interval: MCUs between restart markers as last defined; 0 = none.
        problems: Segments that cannot be parsed, as sentences.
    """

    frames: list[Frame] = field(default_factory=list)
    tables: list[tuple[int, int, int, Table]] = field(default_factory=list)
    huffman: list[Huffman] = field(default_factory=list)
    scans: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    restart_interval: int = 0
    problems: list[str] = field(default_factory=list)

    def slots(self, segment: int | None = None) -> dict[int, Table]:
        """Return the table in each slot in front of a segment; at the end of the stream when omitted."""
        return {slot: table for at, slot, _, table in self.tables if segment is None or at < segment}


def parse_header(layout: Layout) -> Header:
    """Parse the frame, table and scan headers of a walked stream; what cannot be parsed is kept as a problem."""
    header = Header()
    for index, segment in enumerate(layout.segments):
        parse = _PARSERS.get(segment.code) or (_parse_frame if segment.code in PROCESSES else None)
        if parse is None:
            continue
        if len(header.tables) + len(header.huffman) > MAX_TABLES:
            header.problems.append(f"more than {MAX_TABLES} tables; the rest is not read")
            break
        try:
            parse(header, index, segment.code, layout.payload(segment))
        except DecodeError as error:
            if len(header.problems) < MAX_PROBLEMS:
                header.problems.append(f"{segment.name} at {segment.offset}: {error}")
    return header


def _parse_frame(header: Header, index: int, code: int, payload: bytes) -> None:
    if len(payload) < 6 or len(payload) != 6 + 3 * payload[5] or not payload[5]:
        raise DecodeError(f"a frame of {len(payload)} bytes does not fit its components")
    precision, height, width, count = struct.unpack_from(">BHHB", payload)
    rows = [payload[6 + 3 * i : 9 + 3 * i] for i in range(count)]
    components = tuple(Component(i, s >> 4, s & 15, t) for i, s, t in rows)
    if any(not (1 <= c.h <= 4 and 1 <= c.v <= 4 and c.table < 4) for c in components):
        raise DecodeError("sampling factors must be 1 to 4 and table slots 0 to 3")
    header.frames.append(Frame(code, precision, height, width, components))


def _parse_quantization(header: Header, index: int, code: int, payload: bytes) -> None:
    at, found = 0, []
    while at < len(payload):
        wide, slot = payload[at] >> 4, payload[at] & 15
        size = 128 if wide else 64
        if slot > 3 or wide > 1 or at + 1 + size > len(payload):
            raise DecodeError("a table needs a slot 0 to 3 and 64 entries of 8 or 16 bits")
        values = np.frombuffer(payload, dtype=">u2" if wide else "u1", count=64, offset=at + 1)
        if not values.all():
            raise DecodeError("the entries of a quantization table must be above 0")
        table = np.empty(64, dtype=np.uint16)
        table[list(ZIGZAG)] = values
        found.append((index, slot, 16 if wide else 8, table.reshape(8, 8)))
        at += 1 + size
    header.tables += found


def _parse_huffman(header: Header, index: int, code: int, payload: bytes) -> None:
    at, found = 0, []
    while at < len(payload):
        kind, slot = payload[at] >> 4, payload[at] & 15
        bits = payload[at + 1 : at + 17]
        values = payload[at + 17 : at + 17 + sum(bits)]
        if kind > 1 or slot > 3 or len(bits) < 16 or sum(bits) > 256 or len(values) < sum(bits):
            raise DecodeError("a Huffman table needs class 0 or 1, slot 0 to 3 and all of its up to 256 codes")
        found.append(Huffman(bool(kind), slot, bits, values))
        at += 17 + len(values)
    header.huffman += found


def _parse_restart(header: Header, index: int, code: int, payload: bytes) -> None:
    if len(payload) != 2:
        raise DecodeError(f"a restart interval has 2 bytes, found {len(payload)}")
    header.restart_interval = int.from_bytes(payload, "big")


def _parse_scan(header: Header, index: int, code: int, payload: bytes) -> None:
    count = payload[0] if payload else 0
    if not 1 <= count <= 4 or len(payload) != 4 + 2 * count:
        raise DecodeError("a scan header has 1 to 4 components and the length that they need")
    ids = tuple(payload[1 : 1 + 2 * count : 2])
    known = [c.id for c in header.frames[-1].components] if header.frames else []
    if tuple(i for i in known if i in ids) != ids:
        raise DecodeError(f"a scan names components of its frame {known}, each once and in order; found {list(ids)}")
    header.scans.append((index, ids))


_PARSERS: dict[int, Callable[[Header, int, int, bytes], None]] = {
    DQT: _parse_quantization,
    DHT: _parse_huffman,
    DRI: _parse_restart,
    SOS: _parse_scan,
}


def frame_size(data: bytes, start: int = 0, stop: int | None = None) -> tuple[int, int] | None:
    """Return the (width, height) that the stream at `start` states, or None when it states none."""
    try:
        frames = parse_header(walk(data, start, stop, header_only=True)).frames
    except UnsupportedFormatError:
        return None
    return (frames[0].width, frames[0].height) if frames else None
