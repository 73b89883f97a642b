"""Gathers the metadata of a file, whatever container holds it, and states what contradicts what."""

from __future__ import annotations

from typing import Any

from tamperscope.media.contradictions import find_contradictions
from tamperscope.media.exif import read_exif
from tamperscope.media.icc import read_icc
from tamperscope.media.iptc import read_iptc, read_photoshop
from tamperscope.media.marks import find_marks
from tamperscope.media.payloads import Payloads, collect
from tamperscope.media.values import clean_text
from tamperscope.media.xmp import add_extension, read_xmp
from tamperscope.types import Finding

_TEXT = 2048
# (turns of 90° counter-clockwise, mirror axis or None) -> EXIF orientation; ISO 23008-12, 6.5.10 and 6.5.12.
_ORIENTATIONS = {
    (0, None): 1,
    (1, None): 8,
    (2, None): 3,
    (3, None): 6,
    (0, 0): 4,
    (1, 0): 5,
    (2, 0): 2,
    (3, 0): 7,
    (0, 1): 2,
    (1, 1): 7,
    (2, 1): 4,
    (3, 1): 5,
}


def read_metadata(data: bytes, fmt: str, size: tuple[int, int] | None) -> tuple[dict[str, Any], list[Finding]]:
    """Return what the metadata of a file say and what is odd about it.

    Args:
        data: The whole file.
        fmt: Type as returned by `sniff`.
        size: Decoded (H, W), or None when nothing was decoded.

    Returns:
        JSON-ready facts and findings. Facts: `exif` (directory → tag → value), `exif_block`, `xmp` (flat
        `properties`, `history`, `derived_from`), `photoshop`, `iptc`, `icc`, `text` (list of `key`, `text`,
        `where`), and `orientation`: EXIF orientation 1 … 8 that the stored pixels still need, 1 when none is stated.

    Raises:
        UnsupportedFormatError: `fmt` is JPEG and the bytes are not.
    """
    found = collect(data, fmt)
    facts: dict[str, Any] = {}
    findings = found.findings()
    findings += _add_exif(facts, found)
    findings += _add_xmp(facts, found)
    findings += _add_iptc(facts, found)
    facts["icc"] = {}
    for where, block in found.icc[:1]:
        facts["icc"], odd = read_icc(block, where)
        findings += odd
    facts["text"] = [{"key": t.key, "text": clean_text(t.text, _TEXT), "where": t.where} for t in found.texts]
    facts["orientation"] = _orientation(facts, found, fmt)
    findings += find_contradictions(facts, size)
    findings += find_marks(facts, [(t.key, t.text, t.where) for t in found.texts])
    return facts, findings


def _repeated(kind: str, blocks: list[tuple[str, bytes]]) -> list[Finding]:
    """Return a finding when a file holds several different blocks of one kind, of which only the first is read."""
    if len({block for _, block in blocks}) < 2:
        return []
    places = [{"where": where, "bytes": len(block)} for where, block in blocks]
    text = f"The file holds {len(blocks)} blocks of {kind}; programs differ in which one they show."
    return [Finding(f"{kind.lower()}.duplicate", text, "notice", {"blocks": places}, "metadata")]


def _add_exif(facts: dict[str, Any], found: Payloads) -> list[Finding]:
    facts["exif"], facts["exif_block"] = {}, {}
    findings = _repeated("EXIF", found.exif)
    for where, block in found.exif[:1]:
        exif, odd = read_exif(block, where)
        findings += odd
        facts["exif"] = exif.pop("ifds", {})
        facts["exif_block"] = {"where": where, "bytes": len(block), **exif}
    return findings


def _add_xmp(facts: dict[str, Any], found: Payloads) -> list[Finding]:
    facts["xmp"] = {}
    findings = _repeated("XMP", found.xmp)
    for where, block in found.xmp[:1]:
        facts["xmp"], odd = read_xmp(block, where)
        findings += odd
        guid = facts["xmp"]["properties"].get("xmpNote:HasExtendedXMP", "")
        if guid in found.xmp_more:
            findings += add_extension(facts["xmp"], found.xmp_more[guid], where)
        elif guid:
            text = "The XMP packet announces an extension that the file does not hold."
            findings.append(Finding("xmp.extension_missing", text, "info", {"guid": guid[:64]}, where))
    return findings


def _add_iptc(facts: dict[str, Any], found: Payloads) -> list[Finding]:
    facts["photoshop"], facts["iptc"] = {}, {}
    findings: list[Finding] = []
    for where, block in found.photoshop[:1]:
        photoshop, odd = read_photoshop(block, where)
        findings += odd
        facts["iptc"] = photoshop.pop("iptc")
        facts["photoshop"] = photoshop
    for where, block in found.iptc[:1]:
        iptc, odd = read_iptc(block, where)
        findings += odd
        facts["iptc"] = {**iptc, **facts["iptc"]}
    return findings


def _orientation(facts: dict[str, Any], found: Payloads, fmt: str) -> int:
    """Return the EXIF orientation that the stored pixels still need.

    HEIC decoders turn the picture themselves; AVIF states it in the container and its EXIF tag does not count.
    """
    if fmt in ("HEIC", "HEIF"):
        return 1
    if fmt == "AVIF":
        stated = dict(found.transforms)
        return _ORIENTATIONS.get((stated.get("irot", 0), stated.get("imir")), 1)
    value = facts["exif"].get("IFD0", {}).get("Orientation")
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
