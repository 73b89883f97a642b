"""DEAL-300K: COCO pictures that InstructPix2Pix edited on a sentence alone, with masks of what changed.

Zhang et al., "DEAL-300K: A Large-Scale Dataset and Benchmark Method for Diffusion-Based Image Editing Area
Localization", arXiv 2511.23377.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out, split_of
from tamperscope.data.sources.listed import coco
from tamperscope.data.sources.pairs import beside

SOURCE = Source(
    title="DEAL-300K",
    domain="manipulation",
    licence="MIT",
    home="https://github.com/ymhzyj/DEAL-300K",
    size="221 097 edited pictures of 119 371 originals",
    layout="train/000000000009.jpg (original), train/000000000009_qwen120.jpg (edited), likewise val and test; the "
    "mask 000000000009_qwen120.png beside it or in label/, label/train/",
)
_PLACES = ("{}.png", "../label/{}.png", *(f"../label/{part}/{{}}.png" for part in ("train", "val", "test")))


def read(tree: Tree) -> Iterator[Found]:
    """Yield originals and edits; those of one COCO picture are a group."""
    masks: list[str] = []
    edits: list[str] = []
    rest: list[str] = []
    for path in tree.pictures("*"):
        if path.lower().endswith(".png"):
            masks.append(path)
        elif re.fullmatch(r"\d{12}", stem(path)):
            yield Found(path, 0, split=_split(path), group=coco(path))
        else:
            (edits if re.fullmatch(r"\d{12}_\w+", stem(path)) else rest).append(path)
    left_out(tree, rest, "expected names such as 000000000009.jpg and 000000000009_qwen120.jpg")
    for image, mask in beside(tree, edits, masks, *_PLACES):
        extra = {"kind": "editing", "generator": "instructpix2pix"}
        yield from forged(tree, image, mask, "nonzero", _split(image), coco(image), **extra)


def _split(path: str) -> str:
    return split_of(path.split("/")[:-1])
