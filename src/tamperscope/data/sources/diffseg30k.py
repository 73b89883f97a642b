"""DiffSeg30k: COCO pictures and generated ones, edited up to three times; the mask says which editor was last.

Ci et al., "DiffSeg30k: A Multi-Turn Diffusion Editing Benchmark for Localized AIGC Detection", 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import paired, rows, split_of

SOURCE = Source(
    title="DiffSeg30k",
    domain="manipulation",
    licence="none stated",
    home="https://huggingface.co/datasets/Chaos2629/Diffseg30k",
    size="30 000 pictures of eight editors",
    layout="[train/ or validation/]images/NAME.png and masks/NAME.png, written out from the published parquet files: "
    "0 where nothing was edited, else the number of the editor; a metadata.csv with the columns filename, turns "
    "(editors in their order, separated by ;) is used where there is one",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield edited pictures; `turns` lists the editors in their order, where that is known."""
    turns = {
        stem(row["filename"]).lower(): [editor.strip() for editor in row["turns"].split(";") if editor.strip()]
        for path in tree.files("metadata.csv", "*/metadata.csv")
        for row in rows(tree, path, "filename", "turns")
    }
    for image, mask in paired(tree, ("images", "image"), ("masks", "mask")):
        extra: dict[str, Any] = {"kind": "inpainting"}
        if known := turns.get(stem(image).lower()):
            extra["turns"] = known
        yield from forged(tree, image, mask, "labels", split_of(image.split("/")[:-1]), **extra)
