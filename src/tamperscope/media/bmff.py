"""Reads what a HEIF or AVIF file says of its items (ISO 23008-12): types, places, primary item, profile, rotation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tamperscope.media.chunks import Part, bmff_boxes, code
from tamperscope.media.values import decode_text

MAX_ITEMS = 512
MAX_EXTENTS = 32
MAX_PROPERTIES = 512
_TRANSFORMS = ("irot", "imir")
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
# Boxes that hold boxes, and the bytes in front of the first inner one.
CONTAINERS = {"meta": 4, "iprp": 0, "ipco": 0, "moov": 0, "trak": 0, "mdia": 0, "minf": 0, "dinf": 0}


@dataclass(slots=True)
class Item:
    """One item: its type, MIME type where it has one, and (construction method, offset, length) per extent."""

    id: int
    kind: str
    mime: str = ""
    extents: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Heif:
    """What the `ftyp` and `meta` boxes say."""

    brands: list[str] = field(default_factory=list)
    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    icc: bytes = b""
    transforms: list[tuple[str, int]] = field(default_factory=list)
    idat: Part | None = None

    def of_kind(self, kind: str, mime: str = "") -> Iterator[Item]:
        """Yield the items of a type, and of a MIME type where one is given."""
        return (i for i in self.items.values() if i.kind == kind and (not mime or i.mime == mime))

    def content(self, data: bytes, item: Item, limit: int) -> bytes:
        """Return up to `limit` bytes of an item, its extents joined."""
        out = bytearray()
        for method, offset, length in item.extents:
            if method == 1 and self.idat is not None:
                offset += self.idat.start
            elif method != 0:
                continue
            out += data[offset : offset + min(length, limit - len(out))]
        return bytes(out)


class _Fields:
    """Reads big-endian numbers one after another; past the end they are 0 and `ended` is set."""

    def __init__(self, data: bytes, part: Part) -> None:
        self._data, self.at, self._stop = data, part.start, part.stop
        self.ended = False

    def take(self, size: int) -> int:
        self.ended |= self.at + size > self._stop
        value = 0 if self.ended else int.from_bytes(self._data[self.at : self.at + size], "big")
        self.at += size
        return value

    def text(self) -> str:
        stop = self._data.find(b"\0", self.at, min(self._stop, self.at + 256))
        if stop < 0:
            self.ended = True
            return ""
        raw, self.at = self._data[self.at : stop], stop + 1
        return decode_text(raw, 256)


def read_heif(data: bytes) -> Heif:
    """Return the facts of the `ftyp` box and of the first `meta` box; what is damaged stays empty."""
    heif = Heif()
    boxes = list(bmff_boxes(data))
    for box in boxes:
        if box.kind == "ftyp":
            raw = data[box.start : box.stop]
            heif.brands = [code(raw[at : at + 4]) for at in (0, *range(8, min(len(raw), 136), 4))]
    meta = next((box for box in boxes if box.kind == "meta"), None)
    if meta is None:
        return heif
    inner = {box.kind: box for box in bmff_boxes(data, meta.start + 4, meta.stop)}
    heif.idat = inner.get("idat")
    if "pitm" in inner:
        fields = _Fields(data, inner["pitm"])
        heif.primary = fields.take(2 if fields.take(4) >> 24 == 0 else 4)
    if "iinf" in inner:
        _read_items(data, inner["iinf"], heif)
    if "iloc" in inner:
        _read_places(data, inner["iloc"], heif)
    if "iprp" in inner:
        _read_properties(data, inner["iprp"], heif)
    return heif


def _read_items(data: bytes, box: Part, heif: Heif) -> None:
    wide = box.start < box.stop and data[box.start] > 0
    for part in bmff_boxes(data, box.start + (8 if wide else 6), box.stop):
        if part.kind != "infe" or len(heif.items) >= MAX_ITEMS:
            continue
        fields = _Fields(data, part)
        version = fields.take(4) >> 24
        if version < 2:
            continue
        number = fields.take(4 if version == 3 else 2)
        fields.take(2)
        item = Item(number, code(fields.take(4).to_bytes(4, "big")))
        fields.text()
        if item.kind == "mime":
            item.mime = fields.text()
        if item.kind.isprintable():
            heif.items.setdefault(number, item)


def _read_places(data: bytes, box: Part, heif: Heif) -> None:
    fields = _Fields(data, box)
    version = fields.take(4) >> 24
    sizes = fields.take(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    for _ in range(min(fields.take(4 if version == 2 else 2), MAX_ITEMS)):
        number = fields.take(4 if version == 2 else 2)
        method = fields.take(2) & 15 if version in (1, 2) else 0
        fields.take(2)
        base = fields.take(base_size)
        count = fields.take(2)
        extents = []
        for _ in range(min(count, MAX_EXTENTS)):
            fields.take(index_size)
            extents.append((method, base + fields.take(offset_size), fields.take(length_size)))
        fields.at += max(0, count - MAX_EXTENTS) * (index_size + offset_size + length_size)
        if fields.ended:
            return
        if number in heif.items:
            heif.items[number].extents = extents


def _read_properties(data: bytes, box: Part, heif: Heif) -> None:
    inner = {part.kind: part for part in bmff_boxes(data, box.start, box.stop)}
    if "ipco" not in inner:
        return
    properties = list(bmff_boxes(data, inner["ipco"].start, inner["ipco"].stop))[:MAX_PROPERTIES]
    for part in properties:
        if part.kind == "colr" and data[part.start : part.start + 4] in (b"prof", b"rICC") and not heif.icc:
            heif.icc = data[part.start + 4 : part.stop]
    for index in _associated(data, inner.get("ipma"), heif.primary):
        chosen = properties[index - 1 : index] if index else []
        heif.transforms += [(p.kind, data[p.start] & 3) for p in chosen if p.kind in _TRANSFORMS and p.length]


def _associated(data: bytes, box: Part | None, item: int) -> list[int]:
    """Return the property numbers, counted from 1, that belong to an item, in their order."""
    if box is None:
        return []
    fields = _Fields(data, box)
    head = fields.take(4)
    width = 2 if head & 1 else 1
    for _ in range(min(fields.take(4), MAX_ITEMS)):
        number = fields.take(4 if head >> 24 else 2)
        found = [fields.take(width) & (0x7FFF if width == 2 else 0x7F) for _ in range(fields.take(1))]
        if fields.ended:
            return []
        if number == item:
            return found
    return []
