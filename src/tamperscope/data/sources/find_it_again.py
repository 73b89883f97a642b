"""Find it again!: receipts of SROIE, some of them forged by volunteers with the tools of their choice.

Tornés et al., "Receipt Dataset for Document Forgery Detection", ICDAR 2023.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import boxed, rows

SOURCE = Source(
    title="Find it again!",
    domain="document",
    licence="none stated",
    home="https://l3i-share.univ-lr.fr/2023Finditagain/index.html",
    size="988 receipts, 163 of them forged",
    layout="train/NAME.png, val, test and train.txt, val.txt, test.txt, which are tables with the columns image, "
    "forged, forgery annotations",
    repairs=("val.txt lists a picture that the archive lacks; it is left out",),
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield receipts; forged ones have the boxes that were changed, but no mask."""
    for split in ("train", "val", "test"):
        for path in tree.files(f"{split}.txt", f"*/{split}.txt"):
            base = path[: -len(f"{split}.txt")]
            for row in rows(tree, path, "image", "forged", "forgery annotations"):
                image = tree.one_of(f"{base}{split}/{row['image']}")
                if image is None:
                    tree.note(
                        "missing", f"{base}{split}/{row['image']}", f"listed in {path}, but there is no such picture"
                    )
                elif row["forged"] == "1":
                    yield from _forged(tree, image, split, row["forgery annotations"])
                else:
                    yield Found(image, 0, split=split)


def _forged(tree: Tree, image: str, split: str, notes: str) -> Iterator[Found]:
    """Yield a forged receipt; regions that only mark where something was copied from are no forgery."""
    try:
        regions: list[dict[str, Any]] = ast.literal_eval(notes)["regions"]
    except (ValueError, SyntaxError, TypeError, KeyError):
        regions = []
    changed = [region for region in regions if region.get("region_attributes", {}).get("Original area") != "yes"]
    shapes = [region["shape_attributes"] for region in changed]
    boxes = [(s["x"], s["y"], s["x"] + s["width"], s["y"] + s["height"]) for s in shapes if s.get("name") == "rect"]
    types = sorted({str(region["region_attributes"].get("Modification type", "")) for region in changed} - {""})
    if not boxes:
        tree.note("missing", image, "forged, but no box says where")
        yield Found(image, 1, split=split, extra={"kind": "tampered"})
        return
    yield boxed(image, boxes, split, **({"types": types} if types else {}))
