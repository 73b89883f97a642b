"""Reads Photoshop image resources (8BIM) and the IPTC-IIM record inside them."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from tamperscope.media.values import clean_text, decode_text, problem_finding
from tamperscope.types import Finding

MAX_RESOURCES = 256
MAX_DATASETS = 500
_TEXT = 2048

_IPTC, _IPTC_DIGEST, _JPEG_QUALITY = 0x0404, 0x0425, 0x0406
_RESOURCES = {
    0x03ED: "resolution",
    0x03F3: "print flags",
    0x0404: "IPTC record",
    0x0406: "JPEG quality",
    0x0408: "grid and guides",
    0x0409: "thumbnail (Photoshop 4)",
    0x040A: "copyright flag",
    0x040C: "thumbnail",
    0x040D: "global angle",
    0x040F: "ICC profile",
    0x0414: "document-specific ids",
    0x041A: "slices",
    0x0421: "version",
    0x0422: "EXIF",
    0x0424: "XMP",
    0x0425: "IPTC digest",
    0x043A: "print information",
    0x043B: "print style",
}
# IIM 4.2, records 1 and 2.
_DATASETS = {
    (1, 90): "CodedCharacterSet",
    (2, 0): "RecordVersion",
    (2, 5): "ObjectName",
    (2, 10): "Urgency",
    (2, 15): "Category",
    (2, 20): "SupplementalCategories",
    (2, 25): "Keywords",
    (2, 40): "SpecialInstructions",
    (2, 55): "DateCreated",
    (2, 60): "TimeCreated",
    (2, 62): "DigitalCreationDate",
    (2, 63): "DigitalCreationTime",
    (2, 65): "OriginatingProgram",
    (2, 70): "ProgramVersion",
    (2, 80): "Byline",
    (2, 85): "BylineTitle",
    (2, 90): "City",
    (2, 92): "SubLocation",
    (2, 95): "ProvinceState",
    (2, 100): "CountryCode",
    (2, 101): "Country",
    (2, 103): "OriginalTransmissionReference",
    (2, 105): "Headline",
    (2, 110): "Credit",
    (2, 115): "Source",
    (2, 116): "Copyright",
    (2, 118): "Contact",
    (2, 120): "Caption",
    (2, 122): "Writer",
}
_BINARY = {(2, 0)}


def read_photoshop(block: bytes, where: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the facts of a block of Photoshop image resources and what is wrong with it.

    Args:
        block: Resources one after another, each starting with `8BIM`.
        where: The part of the container that holds them, for the findings.

    Returns:
        `({"resources": [{"id", "name", "bytes"}], "iptc": {…}, "jpeg_quality": …}, findings)`.
    """
    facts: dict[str, Any] = {"resources": [], "iptc": {}}
    problems: list[str] = []
    findings: list[Finding] = []
    digest = record = b""
    for number, data in _resources(block, problems):
        name = _RESOURCES.get(number, f"{number:#06x}")
        facts["resources"].append({"id": number, "name": name, "bytes": len(data)})
        if number == _IPTC:
            record = data
            facts["iptc"], iptc_findings = read_iptc(data, where)
            findings += iptc_findings
        elif number == _IPTC_DIGEST and len(data) == 16:
            digest = data
        elif number == _JPEG_QUALITY and len(data) >= 4:
            facts["jpeg_quality"] = _jpeg_quality(data)
    # All zeros means that the writer did not compute it.
    if record and any(digest) and hashlib.md5(record, usedforsecurity=False).digest() != digest:
        text = "The IPTC record was changed after the digest beside it was made."
        findings.append(Finding("iptc.digest_mismatch", text, "info", {"digest": digest.hex()}, where))
    text = "The Photoshop image resources are damaged."
    return facts, findings + problem_finding("photoshop.damaged", text, problems, where)


def _resources(block: bytes, problems: list[str]) -> list[tuple[int, bytes]]:
    """Split a block into (resource id, data); each has a padded Pascal string and padded data."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 12 <= len(block):
        if block[at : at + 4] not in (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa"):
            if block[at:].strip(b"\0"):
                problems.append(f"no resource signature at byte {at}")
            break
        if len(found) >= MAX_RESOURCES:
            problems.append(f"more than {MAX_RESOURCES} resources; the rest is not read")
            break
        (number,) = struct.unpack_from(">H", block, at + 4)
        name_end = at + 6 + 1 + block[at + 6]
        start = name_end + (name_end - at) % 2
        if start + 4 > len(block):
            problems.append(f"resource {number:#06x} ends early")
            break
        (size,) = struct.unpack_from(">I", block, start)
        if start + 4 + size > len(block):
            problems.append(f"resource {number:#06x} announces {size} bytes, {len(block) - start - 4} are left")
            break
        found.append((number, block[start + 4 : start + 4 + size]))
        at = start + 4 + size + size % 2
    return found


def _jpeg_quality(data: bytes) -> int:
    """Return the quality step 0 … 12 of Photoshop's save dialogue; it is stored less 4."""
    return int(struct.unpack_from(">h", data)[0]) + 4


def read_iptc(record: bytes, where: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the datasets of an IPTC-IIM record by name, repeated ones as lists, and what is wrong with it."""
    facts: dict[str, Any] = {}
    problems: list[str] = []
    utf8 = False
    for key, data in _datasets(record, problems):
        if key == (1, 90):
            utf8 = data == b"\x1b%G"
            continue
        name = _DATASETS.get(key)
        if name is None or key in _BINARY:
            continue
        text = clean_text(data.decode("utf-8", "replace"), _TEXT) if utf8 else decode_text(data, _TEXT)
        if name in facts:
            earlier = facts[name] if isinstance(facts[name], list) else [facts[name]]
            facts[name] = [*earlier, text][:64]
        else:
            facts[name] = text
    return facts, problem_finding("iptc.damaged", "The IPTC record is damaged.", problems, where)


def _datasets(record: bytes, problems: list[str]) -> list[tuple[tuple[int, int], bytes]]:
    found: list[tuple[tuple[int, int], bytes]] = []
    at = 0
    while at + 5 <= len(record):
        if record[at] != 0x1C:
            if record[at:].strip(b"\0"):
                problems.append(f"no dataset marker at byte {at}")
            break
        if len(found) >= MAX_DATASETS:
            problems.append(f"more than {MAX_DATASETS} datasets; the rest is not read")
            break
        key = (record[at + 1], record[at + 2])
        size, at = int.from_bytes(record[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:
            width = size & 0x7FFF
            size, at = int.from_bytes(record[at : at + min(width, 8)], "big"), at + width
        if at + size > len(record):
            problems.append(f"dataset {key[0]}:{key[1]} announces {size} bytes, {len(record) - at} are left")
            break
        found.append((key, record[at : at + size]))
        at += size
    return found
