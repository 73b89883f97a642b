"""So-Fake-Set: real, wholly generated and locally tampered pictures as they circulate on social media.

Huang et al., "So-Fake: Benchmarking and Explaining Social Media Image Forgery Detection", 2025.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out, paired, split_of

LAYOUT = (
    "real/, full_synthetic/, tampered/ and masks/ with the name of the tampered picture, all or each split in a folder "
    "of its own; a metadata.csv with the columns filename, generator is used where there is one. The published "
    "parquet files have to be written out in this way first, each picture under its `filename`"
)
SOURCE = Source(
    title="So-Fake-Set",
    domain="generated",
    licence="none stated",
    home="https://huggingface.co/datasets/saberzl/So-Fake-Set",
    size="about 2 000 000 pictures of 30 generators",
    layout=LAYOUT,
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real, generated and tampered pictures."""
    return social(tree)


def social(tree: Tree, split: str = "") -> Iterator[Found]:
    """Yield the pictures of either So-Fake set; `split` is that of folders that name none."""
    generators = {
        stem(row["filename"]).lower(): row["generator"].lower()
        for table in tree.files("metadata.csv", "*/metadata.csv")
        for row in tree.table(table)
        if row.get("filename") and row.get("generator")
    }
    masks = dict(paired(tree, ("tampered",), ("masks", "mask")))
    rest = []
    for image in tree.pictures("*"):
        folders = [folder.lower() for folder in image.split("/")[:-1]]
        named = re.search(r"\d_([a-z][a-z0-9.-]*?)_(?:part\d+_)?tampered$", stem(image).lower())
        generator = generators.get(stem(image).lower()) or (named[1] if named else "")
        extra = {"generator": generator} if generator else {}
        where = split_of(folders) or split
        if image in masks:
            yield from forged(tree, image, masks[image], "white", where, "", kind="tampered", **extra)
        elif "full_synthetic" in folders:
            yield Found(image, 1, split=where, extra={"kind": "generated", **extra})
        elif "real" in folders:
            yield Found(image, 0, split=where)
        elif not {"masks", "mask"} & set(folders):
            rest.append(image)
    left_out(tree, rest, "not below real, full_synthetic or tampered")
