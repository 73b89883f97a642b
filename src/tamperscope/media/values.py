"""Bounded, JSON-ready values out of untrusted bytes."""

from __future__ import annotations

import math
import zlib
from typing import Any

from tamperscope.types import Finding, Severity

MAX_TEXT = 4096
MAX_INFLATED = 4 * 2**20
# Deflate reaches 1032 : 1 on constant bytes; real text and profiles stay under 20 : 1.
MAX_RATIO = 200
MAX_REFUSED = 50
_FREE_INFLATED = 64 * 2**10


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` cut to `limit` characters, encodable as UTF-8; control characters stay."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return cut.encode("utf-8", "replace").decode("utf-8")


def decode_text(raw: bytes, limit: int = MAX_TEXT) -> str:
    """Decode bytes as UTF-8, or as Latin-1 where they are not; cut at the first NUL."""
    raw = raw.split(b"\0", 1)[0][: 4 * limit]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        # The cut above, or one like it before, may have split the last character.
        split = len(raw) == 4 * limit and error.start >= len(raw) - 3
        text = raw[: error.start].decode("utf-8") if split else raw.decode("latin-1")
    return clean_text(text, limit)


def json_ready(value: Any, depth: int = 8, items: int = 64, limit: int = 512) -> Any:
    """Return a copy that JSON can hold: bounded depth, lengths and strings, no bytes, no nan.

    Args:
        value: Anything that a parser returned.
        depth: Levels of nesting that are kept.
        items: Entries kept of every list and mapping.
        limit: Characters kept of every string.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value) if abs(value) < 2**256 else "…"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return clean_text(value, limit)
    if isinstance(value, bytes):
        return {"bytes": len(value), "hex": value[:32].hex()}
    if depth <= 0:
        return "…"
    if isinstance(value, dict):
        kept = list(value.items())[:items]
        return {clean_text(str(k), 128): json_ready(v, depth - 1, items, limit) for k, v in kept}
    if isinstance(value, list | tuple):
        return [json_ready(v, depth - 1, items, limit) for v in value[:items]]
    return clean_text(str(value), limit)


class Inflater:
    """Inflates zlib streams of one file within one budget."""

    def __init__(self, budget: int = MAX_INFLATED) -> None:
        self.left = budget
        self.refused: list[str] = []

    def _refuse(self, problem: str) -> bytes:
        if len(self.refused) < MAX_REFUSED:
            self.refused.append(problem)
        return b""

    def inflate(self, raw: bytes, where: str) -> bytes:
        """Return the inflated bytes, or b"" when damaged or over the budget; `refused` says why."""
        engine = zlib.decompressobj()
        allowed = min(self.left, max(_FREE_INFLATED, MAX_RATIO * len(raw)))
        if allowed <= 0:
            return self._refuse(f"{where}: the budget of inflated bytes is spent")
        try:
            out = engine.decompress(raw, allowed + 1)
        except zlib.error:
            return self._refuse(f"{where}: damaged compressed data")
        if len(out) > allowed:
            self.left -= allowed
            return self._refuse(f"{where}: {len(raw)} bytes inflate to more than {allowed}")
        self.left -= len(out)
        if not engine.eof:
            self._refuse(f"{where}: compressed data ends early")
        return out


def problem_finding(
    code: str, text: str, problems: list[str], origin: str, severity: Severity = "notice"
) -> list[Finding]:
    """Return one finding that lists up to 20 problems, or nothing when there are none."""
    if not problems:
        return []
    shown = [clean_text(p, 200) for p in problems[:20]]
    return [Finding(code, text, severity, {"problems": shown, "count": len(problems)}, origin)]
