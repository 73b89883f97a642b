"""Reads the header and the names of an ICC profile (ICC.1:2022)."""

from __future__ import annotations

import struct
from typing import Any

from tamperscope.media.values import clean_text, decode_text, problem_finding
from tamperscope.types import Finding

MAX_TAGS = 128
_TEXT = 256
_NAMED = {b"desc": "description", b"cprt": "copyright", b"dmnd": "device_maker", b"dmdd": "device_model"}


def read_icc(profile: bytes, where: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the facts of an ICC profile and what is wrong with it.

    Args:
        profile: The whole profile.
        where: The part of the container that holds it, for the findings.

    Returns:
        `({"bytes", "version", "class", "color_space", "created", "description", …}, findings)`.
    """
    facts: dict[str, Any] = {"bytes": len(profile)}
    if len(profile) < 132 or profile[36:40] != b"acsp":
        problems = [f"no ICC header in {len(profile)} bytes"]
        return facts, problem_finding("icc.damaged", "The ICC profile cannot be read.", problems, where, "info")
    (declared,) = struct.unpack_from(">I", profile)
    year, month, day, hour, minute, second = struct.unpack_from(">6H", profile, 24)
    facts |= {
        "version": f"{profile[8]}.{profile[9] >> 4}.{profile[9] & 15}",
        "class": _code(profile[12:16]),
        "color_space": _code(profile[16:20]),
        "connection_space": _code(profile[20:24]),
        "created": f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}",
        "platform": _code(profile[40:44]),
        "manufacturer": _code(profile[48:52]),
        "creator": _code(profile[80:84]),
    }
    problems = []
    if declared != len(profile):
        problems.append(f"the header announces {declared} bytes, found {len(profile)}")
    facts |= _named_tags(profile, problems)
    return facts, problem_finding("icc.damaged", "The ICC profile is odd.", problems, where, "info")


def _code(raw: bytes) -> str:
    return decode_text(raw, 4).strip()


def _named_tags(profile: bytes, problems: list[str]) -> dict[str, str]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > MAX_TAGS:
        problems.append(f"{count} tags, only {MAX_TAGS} are read")
    found: dict[str, str] = {}
    for index in range(min(count, MAX_TAGS, (len(profile) - 132) // 12)):
        signature, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if offset + size > len(profile):
            problems.append(f"tag {_code(signature)} lies outside the profile")
        elif signature in _NAMED:
            found.setdefault(_NAMED[signature], _text(profile[offset : offset + min(size, 2**16)]))
    return found


def _text(tag: bytes) -> str:
    """Text of a `desc`, `text` or `mluc` tag."""
    kind = tag[:4]
    if kind == b"desc" and len(tag) >= 12:
        (size,) = struct.unpack_from(">I", tag, 8)
        return decode_text(tag[12 : 12 + size], _TEXT)
    if kind == b"mluc" and len(tag) >= 28:
        size, offset = struct.unpack_from(">II", tag, 20)
        return clean_text(tag[offset : offset + size].decode("utf-16-be", "replace").strip("\0"), _TEXT)
    return decode_text(tag[8:], _TEXT) if kind == b"text" else ""
