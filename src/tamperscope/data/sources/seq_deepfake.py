"""Seq-DeepFake: faces changed in one to five steps, whose order is known.

Shao, Wu and Liu, "Detecting and Recovering Sequential DeepFake Manipulation", ECCV 2022.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import SPLITS, left_out

STEPS = {
    "facial_components": ("nose", "eye", "eyebrow", "lip", "hair"),
    "facial_attributes": ("bangs", "eyeglasses", "beard", "smiling", "young"),
}
SOURCE = Source(
    title="Seq-DeepFake",
    domain="face",
    licence="Apache-2.0",
    home="https://github.com/rshaojimmy/SeqDeepFake",
    size="about 85 000 pictures",
    layout="facial_components/images/SPLIT/nose-eye-lip/NAME.jpg, facial_attributes/images/SPLIT/Bangs-Young/NAME.jpg, "
    "and …/original for unchanged faces",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield faces; `sequence` lists the steps in their order, as the folder states them."""
    line = re.compile(rf"(?:.*/)?({'|'.join(STEPS)})/images/({'|'.join(SPLITS)})/([^/]+)/[^/]+", re.I)
    rest = []
    for image in tree.pictures("*"):
        match = line.fullmatch(image)
        part, split, steps = (text.lower() for text in match.groups()) if match else ("", "", "")
        sequence = [] if steps == "original" else steps.split("-")
        if match is None or not set(sequence) <= set(STEPS[part]):
            rest.append(image)
        elif sequence:
            extra = {"kind": "attribute_edit", "method": part, "sequence": sequence}
            yield Found(image, 1, split=SPLITS[split], extra=extra)
        else:
            yield Found(image, 0, split=SPLITS[split], extra={"subset": part, "sequence": []})
    left_out(tree, rest, "their folder is no sequence of known steps")
