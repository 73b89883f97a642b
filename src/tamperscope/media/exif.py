"""Reads EXIF (CIPA DC-008) into JSON-ready facts by an own bounded walk of its directories."""

from __future__ import annotations

from typing import Any

from PIL.ExifTags import GPSTAGS, TAGS

from tamperscope.errors import DecodeError
from tamperscope.media.ifd import ASCII, BYTE, UNDEFINED, Entry, Ifd, Tiff, walk
from tamperscope.media.values import MAX_TEXT, clean_text, decode_text, problem_finding
from tamperscope.types import Finding

# Names of the standard where the table of Pillow differs, and tags that it lacks.
_NAMES = {
    0x8769: "ExifIFD",
    0x8825: "GPSIFD",
    0xA005: "InteropIFD",
    0xA002: "PixelXDimension",
    0xA003: "PixelYDimension",
    0x02BC: "XMP",
    0x8649: "PhotoshopResources",
    0x83BB: "IPTC",
    0x8773: "ICCProfile",
    0xCD41: "C2PA",
}
_INTEROP = {1: "InteropIndex", 2: "InteropVersion"}
_MAKER_NOTE, _USER_COMMENT = 0x927C, 0x9286
_OPAQUE = {0x02BC, 0x8649, 0x83BB, 0x8773, 0xCD41, _MAKER_NOTE, 0x014A}
_VERSIONS = {0x9000, 0xA000}
_UTF16 = {0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F}
# ImageDescription, Make, Model, Software, DateTime, Artist, HostComputer, Copyright, DateTimeOriginal, -Digitized:
# some writers store these texts as BYTE or UNDEFINED.
_TEXTS = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, 0x9003, 0x9004}
# Prompts of generators are long and their grammar stands at the end.
_LONG_TEXTS = {0x010E, 0x010F, 0x0110, _USER_COMMENT}
LONG_TEXT = 4 * MAX_TEXT
_GPS_TEXTS = {27, 28}
_SHOWN, _DIGEST = 16, 32


def read_exif(block: bytes, where: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the facts of an EXIF block and what is wrong with it.

    Args:
        block: TIFF-structured bytes, with or without the prefix `Exif` and two NULs.
        where: The part of the container that holds the block, for the findings.

    Returns:
        `({"byte_order": …, "ifds": {"IFD0": {"Make": …}, "Exif": {…}, "GPS": {…}}, "maker_note": …}, findings)`;
        an unreadable block gives empty facts and a finding.
    """
    try:
        tiff = walk(block.removeprefix(b"Exif\0\0"))
    except DecodeError as error:
        text = "The EXIF block cannot be read."
        return {}, problem_finding("exif.damaged", text, [str(error)], where)
    return exif_facts(tiff), damage(tiff, where)


def damage(tiff: Tiff, where: str) -> list[Finding]:
    """Return the finding that lists the damage met while walking, if any."""
    text = "The EXIF directories are damaged or unusual, as after a careless rewrite."
    return problem_finding("exif.damaged", text, tiff.problems, where)


def exif_facts(tiff: Tiff) -> dict[str, Any]:
    """Return the JSON-ready facts of walked directories."""
    facts: dict[str, Any] = {"byte_order": "little" if tiff.order == "<" else "big", "ifds": {}}
    for ifd in tiff.ifds:
        facts["ifds"][ifd.name] = {tag_name(ifd, tag): _value(tiff, ifd, e) for tag, e in ifd.entries.items()}
        note = ifd.entries.get(_MAKER_NOTE)
        if note is not None and "maker_note" not in facts:
            start = decode_text(tiff.raw(note, _SHOWN), _SHOWN)
            facts["maker_note"] = {"bytes": note.size, "starts_with": start if start.isprintable() else ""}
    return facts


def tag_name(ifd: Ifd, tag: int) -> str:
    """Return the standard name of a tag in its directory, or its number in hexadecimal."""
    kind = ifd.name.rpartition(".")[2]
    if kind == "GPS":
        return GPSTAGS.get(tag, f"{tag:#06x}")
    if kind == "Interop" and tag in _INTEROP:
        return _INTEROP[tag]
    return _NAMES.get(tag) or TAGS.get(tag) or f"{tag:#06x}"


def _value(tiff: Tiff, ifd: Ifd, entry: Entry) -> Any:
    kind = ifd.name.rpartition(".")[2]
    # Directories of GPS and interoperability number their tags anew.
    tag = entry.tag if kind not in ("GPS", "Interop") else -1
    if entry.type in (ASCII, BYTE, UNDEFINED):
        limit = LONG_TEXT if tag in _LONG_TEXTS else MAX_TEXT
        if tag in _OPAQUE:
            return {"bytes": entry.size}
        if entry.type == ASCII or tag in _TEXTS:
            return decode_text(tiff.raw(entry, 4 * limit), limit).rstrip()
        if tag == _USER_COMMENT or (kind == "GPS" and entry.tag in _GPS_TEXTS):
            return _prefixed_text(tiff.raw(entry, 4 * limit), limit, tiff.order)
        if tag in _UTF16:
            text = tiff.raw(entry, 2 * limit).decode("utf-16-le", "replace")
            return clean_text(text.split("\0", 1)[0], limit)
        raw = tiff.raw(entry, _DIGEST)
        if tag in _VERSIONS or (kind == "Interop" and entry.tag == 2):
            return decode_text(raw, _SHOWN)
        return _octets(raw, entry)
    numbers = tiff.numbers(entry)
    if entry.count == 1 and len(numbers) == 1:
        return numbers[0]
    if entry.count > len(numbers):
        return {"count": entry.count, "first": numbers[:_SHOWN]}
    return numbers


def _octets(raw: bytes, entry: Entry) -> Any:
    """Short BYTE and UNDEFINED values as numbers, longer ones as length and first bytes."""
    if len(raw) == entry.size and entry.size <= (_SHOWN if entry.type == BYTE else 4):
        return raw[0] if entry.size == 1 else list(raw)
    return {"bytes": entry.size, "hex": raw.hex()}


def _prefixed_text(raw: bytes, limit: int, order: str) -> str:
    """Decode text behind an 8-byte character code (UserComment, GPSProcessingMethod)."""
    code, body = raw[:8].rstrip(b"\0 ").upper(), raw[8:]
    if code == b"UNICODE":
        return clean_text(_utf16(body, order).rstrip("\0 "), limit)
    if code == b"JIS":
        return clean_text(body.decode("iso2022_jp", "replace").rstrip("\0 "), limit)
    if code in (b"ASCII", b""):
        return decode_text(body, limit).rstrip()
    return decode_text(raw, limit).rstrip()


def _utf16(body: bytes, order: str) -> str:
    """Decode UTF-16; Latin letters give away the byte order, which many writers do not take from the block."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    high_first, low_first = body[0::2].count(0), body[1::2].count(0)
    if high_first == low_first:
        return body.decode("utf-16-le" if order == "<" else "utf-16-be", "replace")
    return body.decode("utf-16-be" if high_first > low_first else "utf-16-le", "replace")
