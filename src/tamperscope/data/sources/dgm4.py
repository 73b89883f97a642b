"""DGM4: news pictures with captions, of which the face, the text or both were changed.

Shao, Wu and Liu, "Detecting and Grounding Multi-Modal Media Manipulation", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.errors import InputError

Pair = Mapping[str, Any]
SOURCE = Source(
    title="DGM4",
    domain="manipulation",
    licence="S-Lab License 1.0, non-commercial",
    home="https://github.com/rshaojimmy/MultiModal-DeepFake",
    size="230 000 pairs of a picture and a text, 152 574 of them manipulated",
    layout="[DGM4/]metadata/train.json, val.json, test.json, [DGM4/]origin/…, [DGM4/]manipulation/infoswap/NAME.jpg, "
    "simswap, StyleCLIP, HFGI",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pairs; one whose text alone was changed has label 0, as its picture is pristine. Groups are news items."""
    return news(tree, "metadata", lambda pair: str(pair["id"]))


def news(tree: Tree, folder: str, group: Callable[[Pair], str]) -> Iterator[Found]:
    """Yield the pictures of pairs with `text`, `manipulation` as the makers call it, and what is fake in both.

    `boxes` is the changed face, `face_boxes` all that a detector found; `text_positions` count the words of the text.

    Args:
        tree: Files of the set.
        folder: Of the lists train.json, val.json, test.json; paths in them are relative to the folder around it.
        group: Gives the group of a pair.

    Raises:
        InputError: A list holds something else than pairs.
    """
    for split in ("train", "val", "test"):
        for path in tree.files(f"{folder}/{split}.json", f"*/{folder}/{split}.json"):
            base = path[: -len(f"{folder}/{split}.json")]
            try:
                pairs = [(pair["image"], group(pair), _facts(pair)) for pair in tree.json(path)]
            except (KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{path}: expected objects with id, image, text, fake_cls: {error}") from error
            for name, of, facts in pairs:
                image = tree.one_of(base + name, base + name.partition("/")[2])
                if image is None:
                    tree.note("missing", base + name, f"listed in {path}, but there is no such picture")
                else:
                    yield Found(image, int("kind" in facts), split=split, group=of, extra=facts)


def _facts(pair: Pair) -> dict[str, Any]:
    """Return what a pair says of itself; `kind` only where the picture was changed."""
    facts = {"text": pair["text"], "manipulation": pair["fake_cls"]}
    parts = [part for part in pair["fake_cls"].split("&") if not part.startswith(("orig", "text"))]
    if parts:
        facts["kind"] = "identity_swap" if "swap" in parts[0] else "attribute_edit"
        if pair.get("fake_image_box"):
            facts["boxes"] = [pair["fake_image_box"]]
    if pair.get("fake_text_pos"):
        facts["text_positions"] = pair["fake_text_pos"]
    if pair.get("mtcnn_boxes"):
        facts["face_boxes"] = pair["mtcnn_boxes"]
    return facts
