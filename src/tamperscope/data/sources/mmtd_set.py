"""MMTD-Set: tampered pictures of other sets with descriptions of what gives them away, written by GPT-4o.

Xu et al., "FakeShield: Explainable Image Forgery Detection and Localization via Multi-modal Large Language Models",
ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree, forged
from tamperscope.data.sources.folders import paired, split_of
from tamperscope.errors import InputError

KINDS = {"photoshop": "tampered", "deepfake": "attribute_edit", "aigc": "inpainting"}
TRAIN = ("casiav2", "fr")
AUTHENTIC = ("ffhq", "coco2017")
SOURCE = Source(
    title="MMTD-Set",
    domain="manipulation",
    licence="terms of the sets that it is made of",
    home="https://github.com/zhipeixu/FakeShield",
    size="34 000 described pictures for training",
    layout="photoshop/CASIAv2_Tp/image, …/mask, photoshop/CASIAv2_Au/image, likewise FR, CASIAv1+, IMD2020; "
    "deepfake/FaceAPP_Train, FFHQ_Train; aigc/SD_inpaint_Train, COCO2017_Train, and _Val; MMTD_Set/MMTD-Set-34k.json. "
    "Masks are white where forged: those of Columbia, DSO-1, NIST16 are not as published, so use these sets instead",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pictures; `text` is the description of what was found, where there is one."""
    texts = {name: text for path in tree.files("*mmtd-set*.json") for name, text in _described(tree, path)}
    for image, mask in paired(tree, ("image",), ("mask",)):
        folders = image.lower().split("/")[:-1]
        kind = next((kind for name, kind in KINDS.items() if name in folders), None)
        if kind is None or len(folders) < 3:
            continue
        part = folders[-2]
        name, _, ending = part.rpartition("_")
        split = split_of([part]) or ("train" if name in TRAIN else "test")
        extra: dict[str, Any] = {"subset": part}
        if text := texts.get("/".join([*folders[-2:], image.lower().rpartition("/")[2]])):
            extra["text"] = text
        if ending == "au" or name in AUTHENTIC:
            yield Found(image, 0, split=split, extra=extra)
        else:
            yield from forged(tree, image, mask, split=split, kind=kind, **extra)


def _described(tree: Tree, path: str) -> Iterator[tuple[str, str]]:
    """Yield the last three parts of a picture's path with the last answer of its conversation.

    Raises:
        InputError: The list holds something else than conversations on pictures.
    """
    try:
        for row in tree.json(path):
            answers = [turn["value"] for turn in row["conversations"] if turn["from"] == "gpt"]
            if answers:
                yield "/".join(row["image"].lower().split("/")[-3:]), answers[-1]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected objects with image and conversations: {error}") from error
