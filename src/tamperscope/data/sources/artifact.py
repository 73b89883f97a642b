"""ArtiFact: eight sources of real pictures against 25 generators, cropped, shrunk and compressed.

Rahman et al., "ArtiFact: A Large-Scale Dataset with Artificial and Factual Images", ICIP 2023.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import left_out, rows

SOURCE = Source(
    title="ArtiFact",
    domain="generated",
    licence="that of each source; several forbid commercial use",
    home="https://github.com/awsaf49/artifact",
    size="2 496 738 pictures of 200 × 200 pixels",
    layout="METHOD/metadata.csv with the columns image_path (below METHOD), target (0 is real) and category",
    expected={"forged": 1_531_749, "pristine": 964_989},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield the pictures that the folders' tables list."""
    listed = set()
    for table in tree.files("*/metadata.csv"):
        folder = table.rpartition("/")[0]
        method = folder.rpartition("/")[2].lower()
        for row in rows(tree, table, "image_path", "target"):
            wanted = f"{folder}/{row['image_path']}"
            image = tree.one_of(wanted)
            if image is None:
                tree.note("missing", wanted, f"listed in {table}, but there is no such picture")
                continue
            listed.add(image)
            label = int(row["target"] != "0")
            extra = {"kind": "generated", "generator": method} if label else {"subset": method}
            yield Found(image, label, extra={**extra, "category": row.get("category", "")})
    left_out(tree, (image for image in tree.pictures("*") if image not in listed), "no METHOD/metadata.csv lists them")
