"""A contact sheet of a forged manifest: each forgery beside the same with its mask laid over it, captioned."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamperscope import media
from tamperscope.data import masks
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import InputError
from tamperscope.files import write_atomic
from tamperscope.ops.forge.delivery import Delivery
from tamperscope.report import imaging
from tamperscope.types import UInt8Array

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SIDE, CAPTION, GAP = 240, 44, 8
_STRENGTH = 0.6


def write(manifest: Path, path: Path, limit: int = 24, columns: int = 3) -> int:
    """Write the first forgeries of a manifest as one PNG; return how many.

    Args:
        manifest: Of a run.
        path: Where to write.
        limit: At most so many forgeries.
        columns: Of the grid.

    Raises:
        InputError: There is no forgery, or a file cannot be opened.
    """
    from PIL import Image, ImageDraw

    source = Manifest(manifest)
    forged = list(islice((entry for entry in source if entry.label == 1 and entry.mask), limit))
    if not forged:
        raise InputError(f"'{manifest.name}': expected forgeries with masks, found none")
    across, down = 2 * SIDE + 2 * GAP, SIDE + CAPTION
    rows = -(-len(forged) // columns)
    sheet = Image.new("RGB", (across * min(columns, len(forged)) + GAP, down * rows + GAP), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    for number, entry in enumerate(forged):
        x, y = GAP + across * (number % columns), GAP + down * (number // columns)
        for place, picture in enumerate(_pair(source, entry)):
            sheet.paste(Image.fromarray(picture), (x + place * (SIDE + GAP // 2), y))
        _caption(draw, entry, x, y + SIDE + 2)
    write_atomic(path, Delivery().encode(np.asarray(sheet)))
    return len(forged)


def _pair(source: Manifest, entry: Entry) -> tuple[UInt8Array, UInt8Array]:
    """Return a forgery and the same under its mask, both small; under all of it where all was made anew."""
    rgb = imaging.shrink(media.open(source.locate(entry.image)).sample.rgb, SIDE)
    mask = (masks.read(source.locate(entry.mask or "")) | _made_anew(entry)).astype(np.uint8) * np.uint8(255)
    return rgb, imaging.overlay(rgb, imaging.shrink(mask, SIDE), _STRENGTH)


def _made_anew(entry: Entry) -> bool:
    """Return whether an edit changed the whole picture; preparation and delivery may encode all anew, too."""
    editors = entry.extra.get("editors", ())
    return any(op.get("reencoded") and op.get("op") in editors for op in entry.extra.get("ops", ()))


def _caption(draw: ImageDraw, entry: Entry, x: int, y: int) -> None:
    from PIL import ImageFont

    font, extra = ImageFont.load_default(11), entry.extra
    lines = [
        f"{Path(entry.image).stem}  {' + '.join(extra.get('editors', ()))}",
        str(extra.get("sentences", {}).get("relations", "")),
        str(extra.get("delivery") or "lossless"),
    ]
    for number, line in enumerate(lines):
        draw.text((x, y + 13 * number), _fitted(draw, line, font), fill=(40, 40, 40), font=font)


def _fitted(draw: ImageDraw, line: str, font: Any) -> str:
    """Return a line, cut off where it would run into the next column."""
    while draw.textlength(line, font=font) > 2 * SIDE:
        line = line.removesuffix("…")[:-1] + "…"
    return line
