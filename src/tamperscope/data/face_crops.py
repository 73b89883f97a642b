"""Crops of faces: every face of a manifest's pictures cut out and aligned, as networks of faces learn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamperscope.data import masks
from tamperscope.data.manifest import Entry, Manifest, write
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.inference.faces import crops
from tamperscope.ops.forge.delivery import png_file
from tamperscope.types import Sample

_KEPT = ("split", "domain", "clip", "video", "frame", "generator", "delivery", "editors", "sequence", "compression")


@dataclass(slots=True)
class Found:
    """What was found.

    Attributes:
        pictures: That were opened.
        faces: That were cut out.
        without: Pictures without a face that is large enough.
        unreadable: Why, by name.
    """

    pictures: int = 0
    faces: int = 0
    without: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def crop(manifest: Manifest, entries: Iterable[Entry], out: str | Path, side: int) -> Found:
    """Write every face as a PNG of its own, with its part of the mask, and a manifest of them.

    A face is forged where its part of the mask is; without a mask it has the label of its picture. Groups stay, so that
    a part of the data that knew a picture knows all of its faces.

    Args:
        manifest: Where the entries are from.
        entries: Pictures to look at.
        out: Folder of the crops.
        side: Of the crops, pixels.
    """
    folder, found, listed = Path(out), Found(), []
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for entry in entries:
        try:
            sample = manifest.open(entry)
        except (TamperscopeError, OSError) as error:
            found.unreadable[entry.image] = str(error)
            continue
        made = crops(sample, side)
        found.pictures += 1
        found.without += not made
        for face, cut, _ in made:
            kept = {name: entry.model_dump()[name] for name in _KEPT if name in entry.model_dump()}
            kept |= {"group": entry.source_group, "face": [round(float(v), 1) for v in face.box], "of": entry.image}
            listed.append(Entry(**_saved(folder, f"{found.faces:06}", cut, entry.mask is not None), **kept))
            found.faces += 1
    write(folder / "manifest.jsonl", listed)
    return found


def _saved(folder: Path, name: str, cut: Sample, masked: bool) -> dict[str, Any]:
    """Write a crop; return what its entry says of its files and label."""
    image = f"images/{name}.png"
    write_atomic(folder / image, png_file(cut.rgb))
    if not masked or cut.mask is None:
        return {"image": image, "label": cut.label}
    if not cut.mask.any():
        return {"image": image, "label": 0}
    mask = f"masks/{name}.png"
    write_atomic(folder / mask, masks.png(cut.mask))
    return {"image": image, "mask": mask, "label": 1}
