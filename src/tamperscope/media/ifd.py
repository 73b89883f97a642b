"""Walks TIFF image file directories (TIFF 6.0, BigTIFF) within fixed bounds.

Counts, depth, decoded bytes and pointers are all bounded, so that no input loops or fills memory; every oddity
is kept as a sentence in `Tiff.problems`.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from tamperscope.errors import DecodeError

MAX_IFDS = 32
MAX_ENTRIES = 1000
MAX_DEPTH = 4
MAX_VALUE_BYTES = 2**20
MAX_PROBLEMS = 50

BYTE, ASCII, UNDEFINED = 1, 2, 7
# TIFF type -> (struct letter, bytes of one value); rationals are pairs.
_TYPES = {
    BYTE: ("B", 1),
    ASCII: ("s", 1),
    3: ("H", 2),
    4: ("I", 4),
    5: ("II", 8),
    6: ("b", 1),
    UNDEFINED: ("s", 1),
    8: ("h", 2),
    9: ("i", 4),
    10: ("ii", 8),
    11: ("f", 4),
    12: ("d", 8),
    13: ("I", 4),
    16: ("Q", 8),
    17: ("q", 8),
    18: ("Q", 8),
}
_RATIONALS = (5, 10)
_POINTERS = {0x8769: "Exif", 0x8825: "GPS", 0xA005: "Interop", 0x014A: "SubIFD"}
Number = int | float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory entry; `offset` and `size` locate the bytes of its values inside the block."""

    tag: int
    type: int
    count: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Ifd:
    """One directory: its name (`IFD0`, `Exif`, `GPS` …), offset, entries by tag, and where it was linked."""

    name: str
    offset: int
    end: int
    depth: int
    entries: dict[int, Entry]


@dataclass(slots=True)
class Tiff:
    """All directories of one TIFF-structured block.

    Attributes:
        data: The block; offsets count from its first byte.
        order: `<` little-endian or `>` big-endian.
        big: Whether it is BigTIFF.
        ifds: Directories in the order in which they were reached.
        problems: Damage and limits met, as sentences.
    """

    data: bytes
    order: str
    big: bool
    ifds: list[Ifd] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    budget: int = MAX_VALUE_BYTES

    def note(self, problem: str) -> None:
        """Keep a problem, up to `MAX_PROBLEMS` of them."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def get(self, name: str) -> Ifd | None:
        """Return the first directory of that name."""
        return next((ifd for ifd in self.ifds if ifd.name == name), None)

    def raw(self, entry: Entry, limit: int) -> bytes:
        """Return up to `limit` bytes of an entry, charged to the block's budget."""
        size = min(entry.size, limit)
        if size > self.budget:
            self.note(f"tag {entry.tag:#06x}: the budget of {MAX_VALUE_BYTES} value bytes is spent")
            size = 0
        self.budget -= size
        return self.data[entry.offset : entry.offset + size]

    def span(self, entry: Entry) -> bytes:
        """Return all bytes of an entry; for payloads that have limits of their own."""
        return self.data[entry.offset : entry.offset + entry.size]

    def numbers(self, entry: Entry, limit: int = 64) -> list[Number]:
        """Return up to `limit` values as numbers; a rational over zero and nan are None."""
        letter, size = _TYPES[entry.type]
        if letter == "s":
            return list(self.raw(entry, limit))
        raw = self.raw(entry, limit * size)
        count = len(raw) // size
        flat = struct.unpack(f"{self.order}{count * len(letter)}{letter[0]}", raw[: count * size])
        if entry.type in _RATIONALS:
            return [n / d if d else None for n, d in zip(flat[::2], flat[1::2], strict=True)]
        return [None if isinstance(v, float) and not math.isfinite(v) else v for v in flat]


def walk(data: bytes) -> Tiff:
    """Return the directories of a TIFF-structured block.

    Args:
        data: Block that starts with the byte-order mark; offsets count from there.

    Raises:
        DecodeError: The block does not start with a TIFF header.
    """
    tiff, first = _header(data)
    todo = [(first, 0, "IFD0", True)]
    seen: set[int] = set()
    while todo:
        offset, depth, name, chained = todo.pop()
        if offset in seen:
            tiff.note(f"{name}: points back to the directory at {offset}")
            continue
        if len(tiff.ifds) >= MAX_IFDS:
            tiff.note(f"more than {MAX_IFDS} directories; the rest is not read")
            break
        seen.add(offset)
        ifd, following = _read_ifd(tiff, offset, depth, name)
        if ifd is None:
            continue
        tiff.ifds.append(ifd)
        if chained and following:
            todo.append((following, depth, f"IFD{int(name[3:]) + 1}", True))
        todo.extend(reversed(_children(tiff, ifd)))
    return tiff


def _header(data: bytes) -> tuple[Tiff, int]:
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    magic = int.from_bytes(data[2:4], "little" if order == "<" else "big") if order else 0
    if magic == 42 and len(data) >= 8:
        return Tiff(data, order, False), struct.unpack_from(f"{order}I", data, 4)[0]
    if magic == 43 and len(data) >= 16 and struct.unpack_from(f"{order}HH", data, 4) == (8, 0):
        return Tiff(data, order, True), struct.unpack_from(f"{order}Q", data, 8)[0]
    raise DecodeError(f"TIFF header: expected 'II*' or 'MM*', found {data[:4].hex() or 'nothing'}")


def _read_ifd(tiff: Tiff, offset: int, depth: int, name: str) -> tuple[Ifd | None, int]:
    data, order = tiff.data, tiff.order
    count_letter, size, pointer = ("Q", 20, "Q") if tiff.big else ("H", 12, "I")
    start = offset + struct.calcsize(count_letter)
    if offset < 8 or start > len(data):
        tiff.note(f"{name}: directory at {offset} lies outside the {len(data)} bytes")
        return None, 0
    (count,) = struct.unpack_from(order + count_letter, data, offset)
    fitting = min(count, (len(data) - start) // size)
    if fitting < count:
        tiff.note(f"{name}: announces {count} entries, only {fitting} fit")
    elif count > MAX_ENTRIES:
        tiff.note(f"{name}: {count} entries, only {MAX_ENTRIES} are read")
    entries: dict[int, Entry] = {}
    for index in range(min(fitting, MAX_ENTRIES)):
        entry = _entry(tiff, start + index * size, name)
        if entry is not None and entries.setdefault(entry.tag, entry) is not entry:
            tiff.note(f"{name}: tag {entry.tag:#06x} appears twice")
    end = start + count * size
    following = 0
    if end + struct.calcsize(pointer) <= len(data):
        (following,) = struct.unpack_from(order + pointer, data, end)
        end += struct.calcsize(pointer)
    return Ifd(name, offset, min(end, len(data)), depth, entries), following


def _entry(tiff: Tiff, at: int, name: str) -> Entry | None:
    letters, inline = ("HHQ", 8) if tiff.big else ("HHI", 4)
    tag, kind, count = struct.unpack_from(tiff.order + letters, tiff.data, at)
    if kind not in _TYPES:
        tiff.note(f"{name}: tag {tag:#06x} has the unknown type {kind}")
        return None
    size = count * _TYPES[kind][1]
    offset = at + 4 + inline
    if size > inline:
        (offset,) = struct.unpack_from(tiff.order + ("Q" if tiff.big else "I"), tiff.data, offset)
    if offset + size > len(tiff.data):
        tiff.note(f"{name}: tag {tag:#06x} has {size} bytes at {offset}, outside the {len(tiff.data)} bytes")
        return None
    return Entry(tag, kind, count, offset, size)


def _children(tiff: Tiff, ifd: Ifd) -> list[tuple[int, int, str, bool]]:
    found = []
    for tag, name in _POINTERS.items():
        entry = ifd.entries.get(tag)
        if entry is None or _TYPES[entry.type][0] not in ("I", "Q"):
            continue
        if ifd.depth + 1 >= MAX_DEPTH:
            tiff.note(f"{ifd.name}: directories are nested more than {MAX_DEPTH} deep")
            continue
        prefix = "" if ifd.name in ("IFD0", "Exif") else f"{ifd.name}."
        offsets = [int(v) for v in tiff.numbers(entry, MAX_IFDS) if v is not None]
        for index, offset in enumerate(offsets):
            suffix = str(index) if name == "SubIFD" else ""
            found.append((offset, ifd.depth + 1, f"{prefix}{name}{suffix}", False))
    return found
