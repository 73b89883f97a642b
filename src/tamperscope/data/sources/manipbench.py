"""ManipBench: photographs edited by 25 editors, with boxes, cues and explanations of what gives the edit away.

Xu et al., "ManipShield: A Unified Framework for Image Manipulation Detection, Localization and Explanation", 2025.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.errors import InputError

FIELDS = ("editor", "category", "boxes", "cues", "text")
SOURCE = Source(
    title="ManipBench",
    domain="manipulation",
    licence="none stated",
    home="https://arxiv.org/abs/2511.14259",
    size="more than 450 000 edited pictures of 22 000 photographs",
    layout="annotations.json (or one a split: annotations_train.json …), a list of objects with `image`, a path "
    "relative to it, and where known editor, category, boxes ([[x0, y0, x1, y1], …]), cues, text, mask, original; "
    "without an editor a picture is pristine. The set was not public when this was written",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pristine and edited pictures; an original and its edits are one group.

    Raises:
        InputError: A list holds something else than objects with a path.
    """
    for path in tree.files("annotations*.json", "*/annotations*.json"):
        base, _, name = path.rpartition("/")
        base, split = base and f"{base}/", name[: -len(".json")].lower().partition("_")[2]
        document = tree.json(path)
        for row in document if isinstance(document, list) else [document]:
            if not isinstance(row, dict) or not isinstance(row.get("image"), str):
                raise InputError(f"{path}: expected a list of objects with `image`, found {str(row)[:60]}")
            image = tree.one_of(f"{base}{row['image']}")
            if image is None:
                tree.note("missing", f"{base}{row['image']}", f"listed in {path}, but there is no such picture")
                continue
            edited = bool(row.get("editor"))
            mask = tree.one_of(f"{base}{row['mask']}") if row.get("mask") else None
            if row.get("mask") and mask is None:
                tree.note("missing", f"{base}{row['mask']}", f"listed in {path}, but there is no such mask")
            extra = {"kind": "editing"} if edited else {}
            extra |= {field: row[field] for field in FIELDS if row.get(field)}
            yield Found(image, int(edited), mask, split=split, group=row.get("original") or row["image"], extra=extra)
