"""Boxes of text lines beside a scanned page, as ICDAR's sets store them: eight corner coordinates, then the text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamperscope.errors import InputError
from tamperscope.types import Box

_MOST = 4 * 2**20  # bytes: a page of text has far fewer
_CORNERS = 8
_FAR = 2**31  # pixels: no picture is as large


def read(path: Path) -> list[tuple[Box, str]]:
    """Return the (x0, y0, x1, y1) box of every line of text, half-open, with what it says.

    Args:
        path: Of a file with one line of text a line: `x1,y1,x2,y2,x3,y3,x4,y4,text`; the text may hold commas.

    Raises:
        InputError: The file cannot be read, is too large, or a line is something else.
    """
    try:
        if path.exists() and not path.is_file():
            # A device or a pipe has no size, and may have no end.
            raise InputError(f"'{path.name}': expected text boxes, found no file")
        if path.stat().st_size > _MOST:
            raise InputError(f"'{path.name}': expected text boxes of at most {_MOST} bytes, found a larger file")
        # Not `splitlines`, which takes characters of a text for the end of its line.
        told = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    except OSError as error:
        raise InputError(f"'{path.name}': expected text boxes: {error}") from error
    return [_parsed(line, f"'{path.name}', line {number}") for number, line in enumerate(told, 1) if line.strip()]


def lines(known: Sequence[tuple[Box, str]], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Return lines of text as a sample's `meta["lines"]` tells them; what lies outside of the page is cut off.

    Args:
        known: Box and text of each.
        size: (H, W) of the page.
    """
    limits = np.array([*size[::-1]] * 2)
    seen = [(np.clip(box, 0, limits), text) for box, text in known]
    return [{"box": box.tolist(), "text": text} for box, text in seen if (box[2:] > box[:2]).all()]


def _parsed(line: str, where: str) -> tuple[Box, str]:
    *corners, text = line.split(",", _CORNERS)
    try:
        values = [round(float(corner)) for corner in corners]
    except (ValueError, OverflowError):
        values = []
    if len(values) != _CORNERS or max(map(abs, values)) >= _FAR:
        raise InputError(f"{where}: expected eight numbers and a text with commas between, found {line[:60]!r}")
    xs, ys = values[::2], values[1::2]
    return (min(xs), min(ys), max(xs), max(ys)), text.strip()
