"""States what the structure of a JPEG file shows: markers, tables, coding, previews, trailing bytes.

Everything here is read from headers in linear time; no pixel is decoded. What is guessed rather than read is
marked `derived`. Sources: ITU-T T.81; see `jpeg_markers`, `jpeg_parts` and `quantization`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tamperscope.media.jpeg_markers import (
    APP0,
    APP1,
    APP2,
    APP11,
    APP12,
    APP13,
    APP14,
    COM,
    PROCESSES,
    SOS,
    Frame,
    Header,
    Layout,
    Segment,
    identifier,
    parse_header,
    walk,
)
from tamperscope.media.jpeg_parts import (
    EXIF,
    MPF,
    PHOTOSHOP,
    XMP,
    Part,
    embedded_thumbnail,
    has_gain_map_marks,
    later_pictures,
    mpf_parts,
    previews,
    trailing_facts,
    uncovered,
)
from tamperscope.media.quantization import QualityMatch, nearest_quality
from tamperscope.media.values import decode_text
from tamperscope.types import Finding, Severity

__all__ = ["embedded_thumbnail", "inspect_jpeg"]

_ORIGIN = "jpeg"
_MAX_LISTED = 512
_MAX_COMMENTS, _COMMENT_CHARACTERS = 8, 1024
_MAX_BLOCKS = 8
# T.81, tables K.3 to K.6: number of codes of each length and their values, luminance and chrominance.
_DC_VALUES = bytes(range(12))
_DC_BITS = (bytes.fromhex("00010501010101010100000000000000"), bytes.fromhex("00030101010101010101010000000000"))
_AC_BITS = (bytes.fromhex("0002010303020403050504040000017d"), bytes.fromhex("00020102040403040705040400010277"))
_AC_VALUES = (
    bytes.fromhex(
        "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435"
        "363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798"
        "999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4"
        "f5f6f7f8f9fa"
    ),
    bytes.fromhex(
        "0001020311040521310612415107617113223281081442 91a1b1c109233352f0156272d10a162434e125f11718191a262728292a"
        "35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a9293949596"
        "9798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4"
        "f5f6f7f8f9fa"
    ),
)
_STANDARD_HUFFMAN = {(False, bits, _DC_VALUES) for bits in _DC_BITS} | {
    (True, bits, values) for bits, values in zip(_AC_BITS, _AC_VALUES, strict=True)
}


@dataclass(frozen=True, slots=True)
class _File:
    """A walked and parsed file: `parts` of its MPF index, unexplained `blocks` behind EOI."""

    layout: Layout
    header: Header
    announced: int
    parts: list[Part]
    blocks: list[tuple[int, int]]
    gain_map: bool

    @property
    def frame(self) -> Frame | None:
        return self.header.frames[0] if self.header.frames else None

    def segments(self, code: int, start: bytes = b"") -> list[Segment]:
        data = self.layout.data
        return [s for s in self.layout.of(code) if data.startswith(start, s.start, s.end)]

    def names(self, code: int, start: bytes, *words: bytes) -> bool:
        """Whether a segment that begins with `start` contains one of the words."""
        spans = [(s.start, s.end) for s in self.segments(code, start)]
        return any(self.layout.data.find(word, a, b) >= 0 for a, b in spans for word in words)


_Facts = tuple[Any, list[Finding]]


def _read(data: bytes) -> _File:
    layout = walk(data)
    announced, parts = mpf_parts(layout)
    blocks = uncovered(layout, parts) if layout.complete else []
    scans = layout.of(SOS)
    gain_map = has_gain_map_marks(data, 0, scans[0].offset if scans else layout.end)
    gain_map = gain_map or any(p.gain_map for p in parts)
    return _File(layout, parse_header(layout), announced, parts, blocks, gain_map)


def inspect_jpeg(data: bytes) -> tuple[dict[str, Any], list[Finding]]:
    """Return what the structure of a JPEG file says, without decoding it.

    Args:
        data: The whole file.

    Returns:
        JSON-ready facts, and the findings that rest on them. The facts are `markers`, `frame`, `quantization`,
        `huffman`, `scans`, `carriers`, `comments`, `previews`, `mpf`, `trailing`, `later_pictures`, `damage` and
        `encoder`. Warnings contradict an untouched file; features of ordinary cameras are `info`.

    Raises:
        UnsupportedFormatError: The bytes do not start with SOI.
    """
    file = _read(data)
    match = _quality(file)
    sections: dict[str, _Facts] = {
        "markers": (_markers(file), []),
        "frame": _frame(file),
        "quantization": _quantization(file, match),
        "huffman": (_huffman(file), []),
        "scans": _scans(file),
        "carriers": (_carriers(file), []),
        "comments": _comments(file),
        "previews": ([p.facts() for p in previews(file.layout)], []),
        "mpf": _mpf(file),
        "trailing": _trailing(file),
        "later_pictures": _later(file),
        "damage": _damage(file),
        "encoder": _encoder(file, match),
    }
    facts = {name: part for name, (part, _) in sections.items()}
    return facts, [finding for _, findings in sections.values() for finding in findings]


def _finding(code: str, text: str, values: dict[str, Any], severity: Severity = "info") -> Finding:
    return Finding(f"jpeg.{code}", text, severity, values, _ORIGIN)


def _markers(file: _File) -> dict[str, Any]:
    """List the segments in file order, and their names in one line: a fingerprint of the writing software."""
    rows: list[dict[str, Any]] = []
    for segment in file.layout.segments[:_MAX_LISTED]:
        row = {"marker": segment.name, "offset": segment.offset, "length": segment.end - segment.offset}
        if segment.name.startswith("APP"):
            row["identifier"] = identifier(file.layout.payload(segment)[:64])
        rows.append(row)
    names = [r["marker"] + (f":{r['identifier']}" if r.get("identifier") else "") for r in rows]
    runs = [(name, len(list(run))) for name, run in groupby(names)]
    order = " ".join(name if count == 1 else f"{name}*{count}" for name, count in runs)
    return {"segments": rows, "count": len(file.layout.segments), "order": order}


def _frame(file: _File) -> _Facts:
    frame = file.frame
    if frame is None:
        text = "The file has no frame header, so that it states no picture size and cannot be decoded."
        return None, [_finding("no_frame", text, {}, "warning")]
    facts = {
        "type": f"SOF{frame.code - 0xC0}",
        "process": PROCESSES[frame.code],
        "precision": frame.precision,
        "width": frame.width,
        "height": frame.height,
        "components": [{"id": c.id, "sampling": f"{c.h}x{c.v}", "table": c.table} for c in frame.components],
        "subsampling": frame.subsampling,
        "progressive": frame.progressive,
        "arithmetic": frame.arithmetic,
    }
    findings = []
    if frame.progressive:
        text = "The picture is coded progressively, as web software does and cameras rarely do."
        findings.append(_finding("progressive", text, {"scans": len(file.header.scans)}))
    if frame.arithmetic or frame.code not in (0xC0, 0xC1, 0xC2) or frame.precision != 8:
        text = f"The coding is {PROCESSES[frame.code]} with {frame.precision} bits a sample, which few programs read."
        findings.append(
            _finding("unusual_coding", text, {"type": facts["type"], "precision": frame.precision}, "notice")
        )
    if len(file.header.frames) > 1:
        text = f"The file has {len(file.header.frames)} frame headers in one stream; the standard allows one."
        findings.append(_finding("several_frames", text, {"count": len(file.header.frames)}, "notice"))
    return facts, findings


def _quality(file: _File) -> QualityMatch | None:
    """Return the IJG quality nearest to the distinct tables that the components use, luminance first."""
    slots, frame = file.header.slots(), file.frame
    used = dict.fromkeys(c.table for c in frame.components) if frame else dict.fromkeys(sorted(slots))
    tables = [slots[slot] for slot in used if slot in slots]
    return nearest_quality(tables[:3]) if tables else None


def _quantization(file: _File, match: QualityMatch | None) -> _Facts:
    tables = [
        {"slot": slot, "bits": bits, "values": table.ravel().tolist()}
        for _, slot, bits, table in file.header.tables[:16]
    ]
    if match is None:
        text = "The file defines no quantization table, so that it cannot be decoded alone."
        facts = {"tables": tables, "nearest_ijg": None}
        return facts, [_finding("no_tables", text, {}, "notice")]
    nearest = {"quality": match.quality, "distance": round(match.distance, 3), "exact": match.exact}
    findings = []
    if not match.exact:
        text = (
            "The quantization tables are not those of the IJG library, as with most cameras, Photoshop and some "
            f"web services; the nearest IJG quality is {match.quality}."
        )
        findings.append(_finding("nonstandard_tables", text, nearest))
    return {"tables": tables, "nearest_ijg": nearest}, findings


def _huffman(file: _File) -> dict[str, Any]:
    """Return the Huffman tables' slots and sizes, and whether all are the ones that Annex K recommends."""
    tables = file.header.huffman
    default = all((t.ac, t.bits, t.values) in _STANDARD_HUFFMAN for t in tables) if tables else None
    listed = [{"class": "AC" if t.ac else "DC", "slot": t.slot, "codes": len(t.values)} for t in tables[:32]]
    return {"tables": listed, "count": len(tables), "default": default}


def _scans(file: _File) -> _Facts:
    """Return scans and restart markers; in one interleaved scan their number follows from the frame."""
    frame, header = file.frame, file.header
    found = file.layout.restarts()
    facts = {
        "count": len(file.layout.of(SOS)),
        "coded_bytes": sum(end - start for start, end in file.layout.scans),
        "restart_interval": header.restart_interval,
        "restart_markers": found,
    }
    single = frame is not None and len(header.scans) == 1 and len(header.scans[0][1]) == len(frame.components)
    if frame is None or not single or not file.layout.complete:
        return facts, []
    interval = header.restart_interval
    expected = max(0, -(-frame.units() // interval) - 1) if interval else 0
    if found == expected or not frame.height:
        return facts, []
    text = f"The coded data holds {found} restart markers where the headers call for {expected}: it is damaged."
    return facts, [_finding("restart_markers", text, {"found": found, "expected": expected}, "notice")]


def _carriers(file: _File) -> dict[str, Any]:
    """Return which kinds of metadata segments are present."""
    data = file.layout.data
    jfif, adobe = file.segments(APP0, b"JFIF\0"), file.segments(APP14, b"Adobe")
    version = data[jfif[0].start + 5 : jfif[0].start + 7] if jfif else b""
    transform = data[adobe[0].start + 11 : min(adobe[0].start + 12, adobe[0].end)] if adobe else b""
    jumbf = len(file.segments(APP11, b"JP"))
    return {
        "jfif": f"{version[0]}.{version[1]:02d}" if len(version) == 2 else None,
        "jfxx": bool(file.segments(APP0, b"JFXX\0")),
        "adobe_transform": transform[0] if transform else None,
        "exif": bool(file.segments(APP1, EXIF)),
        "xmp": bool(file.segments(APP1, XMP)),
        "xmp_extension": bool(file.segments(APP1, b"http://ns.adobe.com/xmp/extension/\0")),
        "icc": bool(file.segments(APP2, b"ICC_PROFILE\0")),
        "mpf": bool(file.segments(APP2, MPF)),
        "photoshop": bool(file.segments(APP13, PHOTOSHOP)),
        "iptc": file.names(APP13, PHOTOSHOP, b"8BIM\x04\x04"),
        "ducky": bool(file.segments(APP12, b"Ducky")),
        "jumbf_segments": jumbf,
        "c2pa": bool(jumbf) and file.names(APP11, b"JP", b"c2pa"),
    }


def _comments(file: _File) -> _Facts:
    comments = [decode_text(file.layout.payload(s), _COMMENT_CHARACTERS) for s in file.layout.of(COM)[:_MAX_COMMENTS]]
    if not comments:
        return [], []
    return comments, [_finding("comment", "The file carries a comment.", {"comments": comments})]


def _damage(file: _File) -> _Facts:
    layout = file.layout
    problems = layout.problems + file.header.problems
    garbage = [{"offset": at, "length": length} for at, length in layout.garbage[:16]]
    findings = []
    if not layout.complete and layout.end == len(layout.data):
        text = "The file ends without its end marker: it was cut off, as by a broken transfer."
        findings.append(_finding("missing_eoi", text, {"bytes": len(layout.data)}, "notice"))
    if problems:
        text = "Segments of the file are damaged or break the standard."
        findings.append(
            _finding("damaged_segments", text, {"problems": problems[:20], "count": len(problems)}, "notice")
        )
    if garbage:
        text = "There are bytes between the segments that belong to none of them."
        findings.append(_finding("garbage", text, {"places": garbage, "count": len(layout.garbage)}, "notice"))
    return {"complete": layout.complete, "problems": problems[:20], "garbage": garbage}, findings


def _encoder(file: _File, match: QualityMatch | None) -> _Facts:
    """Guess the family of the last encoder from its tables and the company that they keep."""
    frame = file.frame
    if match is None or frame is None:
        return None, []
    adobe = bool(file.segments(APP14, b"Adobe") or file.segments(APP12, b"Ducky") or file.segments(APP13, PHOTOSHOP))
    default = _huffman(file)["default"]
    coding = "progressive" if frame.progressive else "default Huffman" if default else "optimised Huffman"
    if match.exact:
        family = f"libjpeg standard tables, quality {match.quality}"
    elif adobe:
        family = "Adobe-like: custom tables beside Adobe segments"
    elif file.segments(APP1, EXIF) and not file.segments(APP0, b"JFIF\0"):
        family = "camera-like: custom tables, EXIF without JFIF"
    else:
        family = "custom tables"
    words = f"{family}, {frame.subsampling}, {coding}"
    text = f"The coding suggests this kind of encoder: {words}. This is a guess, and many programs share one kind."
    facts = {"family": words, "derived": True}
    return facts, [_finding("encoder", text, facts)]


def _mpf(file: _File) -> _Facts:
    """Return the MPF index and whether the file names a gain map."""
    findings = []
    if file.gain_map:
        text = "The metadata names an HDR gain map, as recent phones write; what is shown may differ by screen."
        findings.append(_finding("gain_map", text, {"derived": True}))
    if not (file.parts or file.announced):
        return None, findings
    parts = [p.facts() for p in file.parts]
    lost = sum(not p.sound for p in file.parts)
    values = {"announced": file.announced, "lost": lost, "kinds": [p.kind for p in file.parts]}
    if lost:
        text = (
            f"The index of pictures lists {lost} that are not where it says: the file was cut or written anew "
            "after the camera had made the index."
        )
        findings.append(_finding("mpf_lost", text, values, "warning"))
    else:
        text = f"The file holds {file.announced} pictures in an index, as cameras and phones write."
        findings.append(_finding("mpf", text, values))
    return {"announced": file.announced, "parts": parts, "gain_map": file.gain_map}, findings


def _announced(file: _File) -> bool:
    """Return whether the XMP announces appended data: the motion photo, depth map or gain map of a phone."""
    words = (b"MotionPhoto", b"MicroVideo", b"GDepth", b"Container:Directory")
    return file.gain_map or file.names(APP1, XMP, *words)


def _trailing(file: _File) -> _Facts:
    """Return the bytes behind EOI that the MPF index does not explain."""
    facts = [trailing_facts(file.layout.data, start, end) for start, end in file.blocks[:_MAX_BLOCKS]]
    announced = _announced(file)
    return facts, [_trailing_finding(block, announced) for block in facts]


def _trailing_finding(block: dict[str, Any], announced: bool) -> Finding:
    size = f"{block['length']} bytes ({block['type']})"
    if block["archive_or_program"]:
        text = f"Behind the end of the picture lies an archive, a program or a web page: {size}."
        return _finding("trailing_bytes", text, block, "warning")
    if announced or block["type"] == "a Samsung trailer":
        return _finding("trailing_bytes", f"Behind the end of the picture lie {size}, as phones append.", block)
    text = f"Behind the end of the picture lie {size} that no index explains."
    return _finding("trailing_bytes", text, block, "notice")


def _later(file: _File) -> _Facts:
    """Return the pictures that start inside the stream or behind it without being in the MPF index."""
    pictures = later_pictures(file.layout, file.blocks)
    if not pictures:
        return [], []
    usual = _announced(file) and not any(p["inside"] for p in pictures)
    text = f"JPEG pictures that no index lists start inside or behind the main one: {len(pictures)}."
    finding = _finding("second_image", text, {"pictures": pictures}, "info" if usual else "notice")
    return pictures, [finding]
