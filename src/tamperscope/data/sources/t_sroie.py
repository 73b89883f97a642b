"""T-SROIE: scanned receipts with words rewritten by a network.

Wang et al., "Tampered Text Detection via RGB and Frequency Relationship Modeling", 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import boxed, masked, split_of
from tamperscope.errors import InputError

SOURCE = Source(
    title="T-SROIE",
    domain="document",
    licence="none stated",
    home="https://github.com/wangyuxin87",
    size="986 receipts",
    layout="train/NAME.jpg, test/NAME.jpg, sroie_train_1011.json, sroie_test_1011.json; masks drawn from the lists are "
    "used from train_masks/NAME.png; or folders SPLIT/images and SPLIT/masks",
)
TAMPERED = "text_temp"


def read(tree: Tree) -> Iterator[Found]:
    """Yield receipts with their mask or, without one, the boxes of rewritten words."""
    yield from masked(tree)
    for path in tree.files("*sroie_*.json"):
        folder, _, name = path.rpartition("/")
        try:
            yield from _listed(tree, tree.json(path), f"{folder}/" if folder else "", split_of([name]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: expected a list in COCO's format: {error!r}") from error


def _listed(tree: Tree, listed: dict[str, Any], base: str, split: str) -> Iterator[Found]:
    """Yield the pictures of one list in COCO's format."""
    tampered = {category["id"] for category in listed["categories"] if category["name"] == TAMPERED}
    boxes: dict[int, list[tuple[int, int, int, int]]] = {}
    for mark in listed["annotations"]:
        if mark["category_id"] in tampered:
            x, y, width, height = map(round, mark["bbox"])
            boxes.setdefault(mark["image_id"], []).append((x, y, x + width, y + height))
    for row in listed["images"]:
        image = tree.one_of(f"{base}{split}/{row['file_name']}")
        if image is None:
            tree.note("missing", f"{base}{split}/{row['file_name']}", "listed, but there is no such picture")
            continue
        mask = tree.one_of(f"{base}{split}_masks/{row['file_name'].rpartition('.')[0]}.*")
        found = boxed(image, boxes.get(row["id"], []), split)
        yield replace(found, mask=mask, truth="nonzero") if mask and found.label else found
