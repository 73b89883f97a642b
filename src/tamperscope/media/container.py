"""Lists the parts of PNG, WebP, TIFF, GIF, BMP, HEIF/AVIF and PDF files and states what is odd about them.

JPEG has a module of its own (`media.jpeg`): here it gives empty facts.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

from tamperscope.media.bmff import C2PA_UUID, CONTAINERS, read_heif
from tamperscope.media.chunks import PNG_SIGNATURE, Part, bmff_boxes, gif_blocks, png_chunks, riff_chunks
from tamperscope.media.ifd import Ifd, Tiff, walk
from tamperscope.media.jpeg_parts import trailing_facts
from tamperscope.media.values import clean_text, json_ready, problem_finding
from tamperscope.types import Finding, Severity

MAX_LISTED = 200
MAX_OFFSETS = 65_536
_MAX_PROBLEMS = 50
_MAX_ITEMS = 64

_PNG_CRITICAL = {"IHDR", "PLTE", "IDAT", "IEND"}
_WEBP_KNOWN = {"VP8 ", "VP8L", "VP8X", "ALPH", "ANIM", "ANMF", "ICCP", "EXIF", "XMP ", "C2PA"}
_BMFF_KNOWN = {"ftyp", "meta", "mdat", "moov", "free", "skip", "uuid", "styp", "moof", "sidx", "wide", "mfra"}
_BMFF_KNOWN |= {"mpvd", "sefd", "udta"}
_STRIPS = ((0x0111, 0x0117), (0x0144, 0x0145), (0x0201, 0x0202))

Facts = dict[str, Any]
Result = tuple[Facts, list[Finding]]


def inspect_container(data: bytes, fmt: str) -> Result:
    """Return the parts of a file with their places, and what is odd about them.

    Args:
        data: The whole file.
        fmt: Type as returned by `sniff`.

    Returns:
        JSON-ready facts and findings. Facts: `parts` (up to 200 of `type`, `offset`, `bytes`, `count` of equal
        neighbours), `types` (how often each occurs), `frames`, `pages`, `problems`, `trailing`, and more by format.

    Raises:
        DecodeError: `fmt` is TIFF and the bytes have no TIFF header.
    """
    reader = _READERS.get(fmt)
    return reader(data) if reader is not None else ({}, [])


class _Parts:
    """Collects parts: equal neighbours share one entry, all types are counted, problems are bounded."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self.types: Counter[str] = Counter()
        self.problems: list[str] = []

    def add(self, part: Part, inside: str = "") -> None:
        kind = clean_text(part.kind, 32)
        self.types[kind if len(self.types) < MAX_LISTED or kind in self.types else "other"] += 1
        last = self.listed[-1] if self.listed else None
        if last is not None and last["type"] == kind and last.get("inside", "") == inside:
            last["bytes"] += part.length
            last["count"] += 1
        elif len(self.listed) < MAX_LISTED:
            entry = {"type": kind, "offset": part.offset, "bytes": part.length, "count": 1}
            self.listed.append({**entry, "inside": inside} if inside else entry)

    def note(self, problem: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)

    def facts(self, **more: Any) -> Facts:
        return {"parts": self.listed, "types": dict(self.types), "problems": self.problems, **more}


def _damage(parts: _Parts, fmt: str) -> list[Finding]:
    return problem_finding("container.damaged", f"The structure of the {fmt} file is damaged.", parts.problems, fmt)


def _trailing(data: bytes, start: int, facts: Facts, fmt: str) -> list[Finding]:
    """Describe the bytes behind the end of the picture; mere padding is neutral."""
    if not 0 < start < len(data):
        return []
    facts["trailing"] = trailing_facts(data, start, len(data))
    padding = not data[start:].strip(b"\0\xff \r\n")
    severity: Severity = "info" if padding else "notice"
    text = f"{len(data) - start} bytes of padding follow the end of the picture."
    if not padding:
        text = f"{len(data) - start} bytes follow the end of the picture; they are {facts['trailing']['type']}."
    if facts["trailing"]["archive_or_program"] and not padding:
        severity = "warning"
    return [Finding("container.trailing_bytes", text, severity, {**facts["trailing"], "padding": padding}, fmt)]


def _unknown(kinds: list[str], text: str, fmt: str, severity: Severity = "notice") -> list[Finding]:
    names = [clean_text(kind, 32) for kind in sorted(set(kinds))[:20]]
    return [Finding("container.unknown_part", text, severity, {"types": names}, fmt)] if names else []


def _png(data: bytes) -> Result:
    parts, unknown = _Parts(), []
    bad: list[dict[str, Any]] = []
    end, frames, breaks, last = len(PNG_SIGNATURE), 1, 0, ""
    for part in png_chunks(data):
        parts.add(part)
        end = part.end
        if part.end > len(data):
            parts.note(f"chunk {part.kind!r} at byte {part.offset} is cut off after {part.length} bytes")
        elif zlib.crc32(memoryview(data)[part.offset + 4 : part.stop]) != _big(data, part.stop):
            bad.append({"type": clean_text(part.kind, 32), "offset": part.offset})
        if part.kind not in _PNG_CRITICAL and not ord(part.kind[0]) & 0x20:
            unknown.append(part.kind)
        breaks += part.kind == "IDAT" and last != "IDAT" and parts.types["IDAT"] > 1
        if part.kind == "acTL" and part.length >= 4:
            frames = _big(data, part.start)
        last = part.kind
    if breaks:
        parts.note("the IDAT chunks are not consecutive")
    if parts.types["IHDR"] != 1 or (parts.listed and parts.listed[0]["type"] != "IHDR"):
        parts.note(f"{parts.types['IHDR']} IHDR chunks, expected one in front")
    if last != "IEND":
        parts.note("the closing chunk IEND is missing")
    facts = parts.facts(frames=frames, bad_checksums=bad[:_MAX_ITEMS])
    findings = _damage(parts, "PNG")
    if bad:
        text = f"{len(bad)} chunks have a wrong check sum: they were changed without repair, or damaged."
        findings.append(Finding("png.bad_checksum", text, "notice", {"chunks": bad[:20], "count": len(bad)}, "PNG"))
    findings += _unknown(unknown, "The PNG file has critical chunks that no standard knows.", "PNG")
    return facts, findings + (_trailing(data, end, facts, "PNG") if last == "IEND" else [])


def _big(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _webp(data: bytes) -> Result:
    parts = _Parts()
    for part in riff_chunks(data):
        parts.add(part)
        if part.start + part.length < part.end - 1:
            parts.note(f"chunk {part.kind!r} at byte {part.offset} is cut off after {part.length} bytes")
    announced = 8 + _little(data, 4)
    if announced > len(data):
        parts.note(f"the header announces {announced} bytes, the file has {len(data)}")
    extended = next((p for p in parts.listed if p["type"] == "VP8X"), None)
    kinds = {"VP8X": "extended", "VP8L": "lossless", "VP8 ": "lossy"}
    coding = next((kinds[p["type"]] for p in parts.listed if p["type"] in kinds), "")
    facts = parts.facts(frames=max(1, parts.types["ANMF"]), coding=coding)
    findings = _damage(parts, "WebP")
    if extended is None and parts.types.keys() & {"EXIF", "XMP ", "ICCP"}:
        text = "Metadata chunks without the VP8X header that must announce them: they were added later."
        findings.append(Finding("webp.unannounced_metadata", text, "notice", {"types": dict(parts.types)}, "WebP"))
    unknown = [kind for kind in parts.types if kind not in _WEBP_KNOWN]
    findings += _unknown(unknown, "The WebP file has chunks that the format does not know.", "WebP")
    return facts, findings + _trailing(data, announced, facts, "WebP")


def _gif(data: bytes) -> Result:
    parts = _Parts()
    end = 0
    for part in gif_blocks(data):
        parts.add(part)
        if part.end > len(data):
            parts.note(f"block {part.kind!r} at byte {part.offset} is cut off")
        if part.kind == "trailer":
            end = part.end
    if not end:
        parts.note("the closing byte is missing")
    facts = parts.facts(frames=parts.types["image"], version=clean_text(data[:6].decode("latin-1")))
    return facts, _damage(parts, "GIF") + _trailing(data, end, facts, "GIF")


def _bmp(data: bytes) -> Result:
    parts = _Parts()
    announced, start, header = _little(data, 2), _little(data, 10), _little(data, 14)
    core = header == 12
    width = _little(data, 18, 2) if core else abs(int.from_bytes(data[18:22], "little", signed=True))
    height = _little(data, 20, 2) if core else abs(int.from_bytes(data[22:26], "little", signed=True))
    bits = _little(data, 24 if core else 28, 2)
    compression = 0 if core else _little(data, 30)
    parts.add(Part("header", 0, 0, min(start, len(data)), start))
    # Run-length and embedded codings state their size; plain rows are padded to four bytes.
    size = (width * bits + 31) // 32 * 4 * height if compression in (0, 3, 6) else _little(data, 34)
    # Version 5 headers may keep an ICC profile behind the pixels.
    profile = 14 + _little(data, 112) + _little(data, 116) if header >= 124 and _little(data, 116) else 0
    end = max(start + size, profile)
    parts.add(Part("pixels", start, min(start, len(data)), min(start + size, len(data)), start + size))
    if start + size > len(data):
        parts.note(f"the pixels need {start + size} bytes, the file has {len(data)}")
    if announced not in (0, len(data)):
        parts.note(f"the header announces {announced} bytes, the file has {len(data)}")
    facts = parts.facts(frames=1, header_bytes=header, bits=bits, compression=compression)
    return facts, _damage(parts, "BMP") + _trailing(data, end, facts, "BMP")


def _tiff(data: bytes) -> Result:
    tiff = walk(data)
    listed = [
        {"name": ifd.name, "offset": ifd.offset, "entries": len(ifd.entries), **_page(tiff, ifd)} for ifd in tiff.ifds
    ]
    pages = sum(1 for ifd in tiff.ifds if ifd.depth == 0)
    facts: Facts = {
        "directories": listed,
        "pages": pages,
        "byte_order": "little" if tiff.order == "<" else "big",
        "big": tiff.big,
        "problems": tiff.problems,
    }
    end = _tiff_end(tiff)
    # An odd length is padded, and some writers round up to a block.
    return facts, _trailing(data, end + end % 2, facts, "TIFF") if end else []


def _page(tiff: Tiff, ifd: Ifd) -> dict[str, Any]:
    """Return width, height, compression and subfile type of a directory, where it states them."""
    names = {0x00FE: "subfile_type", 0x0100: "width", 0x0101: "height", 0x0103: "compression"}
    found = {}
    for tag, name in names.items():
        entry = ifd.entries.get(tag)
        values = tiff.numbers(entry, 1) if entry is not None else []
        if values and isinstance(values[0], int):
            found[name] = values[0]
    return found


def _tiff_end(tiff: Tiff) -> int:
    """Return the offset behind everything that the directories point to; 0 when that cannot be told."""
    end = 16 if tiff.big else 8
    if tiff.problems:
        return 0
    for ifd in tiff.ifds:
        end = max(end, ifd.end, *(e.offset + e.size for e in ifd.entries.values()), 0)
        for offsets_tag, counts_tag in _STRIPS:
            offsets, counts = ifd.entries.get(offsets_tag), ifd.entries.get(counts_tag)
            if offsets is None and counts is None:
                continue
            if offsets is None or counts is None or offsets.count != counts.count:
                return 0
            if offsets.count > MAX_OFFSETS:
                return 0
            starts, sizes = tiff.numbers(offsets, MAX_OFFSETS), tiff.numbers(counts, MAX_OFFSETS)
            if len(starts) != offsets.count or len(sizes) != offsets.count:
                return 0
            end = max([end, *(int(a or 0) + int(b or 0) for a, b in zip(starts, sizes, strict=True))])
    return end


def _bmff(data: bytes) -> Result:
    parts = _Parts()
    end = _list_boxes(data, 0, len(data), "", parts)
    heif = read_heif(data)
    kinds = Counter(clean_text(item.kind, 8) for item in heif.items.values())
    items = [
        {"id": item.id, "type": item.kind, "mime": item.mime, "bytes": sum(e[2] for e in item.extents)}
        for item in list(heif.items.values())[:_MAX_ITEMS]
    ]
    top = [p["type"] for p in parts.listed if "inside" not in p]
    if "ftyp" not in top[:1]:
        parts.note("the first box is not ftyp")
    facts = parts.facts(
        brands=heif.brands, primary=heif.primary, item_types=dict(kinds), items=items, transforms=heif.transforms
    )
    facts = json_ready(facts, items=MAX_LISTED)
    findings = _damage(parts, "HEIF")
    unknown = [kind for kind in top if kind not in _BMFF_KNOWN and not kind.startswith("uuid:")]
    findings += _unknown(unknown, "The file has top-level boxes that the format does not know.", "HEIF")
    return facts, findings + _trailing(data, end, facts, "HEIF")


def _list_boxes(data: bytes, start: int, stop: int, inside: str, parts: _Parts, depth: int = 0) -> int:
    """Add the boxes between two bytes and those inside them; return where the last one ends."""
    end = start
    for box in bmff_boxes(data, start, stop):
        kind = box.kind
        if kind == "uuid":
            uuid = data[box.start : box.start + 16]
            kind = "uuid:C2PA" if uuid == C2PA_UUID else f"uuid:{uuid.hex()}"
        plausible = box.kind.isascii() and box.kind.isprintable() and (box.end <= stop or box.kind in _BMFF_KNOWN)
        if not inside and not plausible:
            # What follows the last real box is no box.
            return end
        parts.add(Part(kind, box.offset, box.start, box.stop, box.end), inside)
        if box.end > stop:
            parts.note(f"box {kind!r} at byte {box.offset} announces {box.end - box.offset} bytes, too many")
        end = min(box.end, stop)
        if box.kind in CONTAINERS and depth < 4 and sum(parts.types.values()) < MAX_OFFSETS:
            _list_boxes(data, box.start + CONTAINERS[box.kind], box.stop, box.kind, parts, depth + 1)
    return end


def _pdf(data: bytes) -> Result:
    """Count what a PDF shows without being parsed: its version, and how often it was saved on top of itself."""
    version = re.match(rb"[\0-\x20]*%PDF-(\d\.\d)", data[:1024])
    count = data.count(b"%%EOF")
    ends = [match.end() for match in islice(re.finditer(rb"%%EOF", data), 20)]
    linear = b"/Linearized" in data[:2048]
    saves = max(0, count - 1 - linear)
    facts: Facts = {
        "version": version[1].decode() if version else "",
        "end_markers": count,
        "linearized": linear,
        "incremental_saves": saves,
        "signature_fields": len(re.findall(rb"/ByteRange\s*\[", data)),
    }
    findings = []
    if saves:
        text = f"The PDF was saved {saves} times on top of itself: earlier versions are still inside."
        findings.append(Finding("pdf.incremental_save", text, "notice", {"saves": saves, "ends": ends}, "PDF"))
    if not ends:
        findings += problem_finding("container.damaged", "The PDF file is damaged.", ["%%EOF is missing"], "PDF")
        return facts, findings
    rest = data[data.rfind(b"%%EOF") + 5 :]
    end = len(data) - len(rest.lstrip(b"\r\n \t"))
    return facts, findings + _trailing(data, end, facts, "PDF")


_READERS: dict[str, Callable[[bytes], Result]] = {
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
    "HEIC": _bmff,
    "HEIF": _bmff,
    "AVIF": _bmff,
    "PDF": _pdf,
}
