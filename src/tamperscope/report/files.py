"""Files of a report: its maps, under harmless names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tamperscope.files import write_atomic
from tamperscope.media.recompress import MAX_SIDE

if TYPE_CHECKING:
    from tamperscope.report.schema import Report


def plain_name(name: str) -> str:
    """Return `name` as a file name: no folders, no leading dot, nothing but letters, digits, `_`, `-`, `.`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:100] or "_"


def save_maps(report: Report, folder: str | Path, upright: bool = False) -> list[Path]:
    """Write the maps of `report` into `folder` and return the paths; see `Report.save_maps`."""
    from tamperscope.report import imaging
    from tamperscope.report.schema import FUSED

    orientation = report.picture.orientation if upright else 1
    if report.timeline is not None:
        return _save_frames(report, Path(folder), orientation)
    pages = {
        f"{plain_name(name)}.png": imaging.grey_png(imaging.upright(heat, orientation))
        for name, heat in sorted(report.maps.items())
    }
    fused = report.maps.get(FUSED)
    if report.rgb is not None and fused is not None:
        laid = imaging.shrink(imaging.overlay(report.rgb, fused), MAX_SIDE)
        pages["fused_overlay.jpg"] = imaging.jpeg(imaging.upright(laid, orientation), 92)
    return [write_atomic(Path(folder) / name, data) for name, data in pages.items()]


def _save_frames(report: Report, folder: Path, orientation: int) -> list[Path]:
    from tamperscope.report import imaging
    from tamperscope.report.timeline import map_file

    assert report.timeline is not None
    return [
        write_atomic(
            folder / map_file(frame.number, name),
            data if orientation == 1 else imaging.grey_png(imaging.upright(imaging.read_grey(data), orientation)),
        )
        for frame, pictures in zip(report.timeline.frames, report.frames, strict=False)
        for name, data in sorted(pictures.maps.items())
    ]
