"""Boxes of text lines beside a scanned page, as ICDAR's sets store them: eight corner coordinates, then the text."""

from __future__ import annotations

from pathlib import Path

from tamperscope.errors import InputError
from tamperscope.types import Box

_MOST = 4 * 2**20  # bytes: a page of text has far fewer
_CORNERS = 8


def read(path: Path) -> list[tuple[Box, str]]:
    """Return the (x0, y0, x1, y1) box of every line of text, half-open, with what it says.

    Args:
        path: Of a file with one line of text a line: `x1,y1,x2,y2,x3,y3,x4,y4,text`; the text may hold commas.

    Raises:
        InputError: The file cannot be read, is too large, or a line is something else.
    """
    try:
        if path.stat().st_size > _MOST:
            raise InputError(f"'{path.name}': expected text boxes of at most {_MOST} bytes, found a larger file")
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"'{path.name}': expected text boxes: {error}") from error
    return [_parsed(line, f"'{path.name}', line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parsed(line: str, where: str) -> tuple[Box, str]:
    *corners, text = line.split(",", _CORNERS)
    try:
        values = [round(float(corner)) for corner in corners]
    except (ValueError, OverflowError):
        values = []
    if len(values) != _CORNERS:
        raise InputError(f"{where}: expected eight numbers and a text with commas between, found {line[:60]!r}")
    xs, ys = values[::2], values[1::2]
    return (min(xs), min(ys), max(xs), max(ys)), text.strip()
