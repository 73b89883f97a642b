"""TGIF and TGIF2: COCO pictures with one object painted anew from a text, spliced in or with the whole frame generated.

Mareen et al., "TGIF: Text-Guided Inpainting Forgery Dataset", WIFS 2024; "TGIF2: Extended Text-Guided Inpainting
Forgery Dataset & Benchmark", 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out, split_of

PART = re.compile(r"(sd2|sdxl|ps|flux1schnell|flux1dev|flux1filldev)(?:-random)?-(sp|fr)", re.I)
FAKE = re.compile(r"(\d+)_mask_(bbox|segm|random)\.png(?:_ps_mask\.png)?_[a-z0-9]+(?:-(512|1024))?_\d", re.I)
REAL = re.compile(r"(\d+)_orig(?:_(?:512|1024))?", re.I)
MASKS = ("masks", "masks-fr", "masks-flux", "masks-random", "masks-sd2", "masks-sdxl")
SOURCE = Source(
    title="TGIF",
    domain="manipulation",
    licence="CC BY-SA 4.0; pictures by FLUX.1 dev are non-commercial",
    home="https://github.com/IDLabMedia/tgif-dataset",
    size="3 124 authentic and 74 976 manipulated pictures; with TGIF2 215 556",
    layout="orig/SPLIT/CATEGORY/218091_orig.png; sd2-sp/SPLIT/CATEGORY/218091_mask_segm.png_ps_mask.png_sd2_0.png, "
    "ps-sp, sd2-fr, sdxl-fr, flux1dev-fr …; masks/SPLIT/CATEGORY/218091_mask_segm.png_ps_mask.png (or masks-fr, "
    "masks-flux); SPLIT training, validation, testing",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield authentic and manipulated pictures; `regenerated` says that the mask marks only where it was meant to."""
    known, rest = set(), []
    masks = [image for image in tree.pictures("*") if set(image.lower().split("/")[:-1]) & set(MASKS)]
    for image in sorted({*tree.pictures("*")} - {*masks}):
        if match := REAL.fullmatch(stem(image)):
            yield Found(image, 0, split=split_of(image.split("/")[:-1]), group=match[1])
        elif (match := FAKE.fullmatch(stem(image))) and (part := _part(image)):
            yield from _fake(tree, image, match, part)
        else:
            rest.append(image)
            continue
        known.add(match[1])
    left_out(tree, rest, "expected names as the makers give them, below a folder such as sd2-sp")
    for mask in masks:
        if stem(mask).partition("_")[0] not in known:
            tree.note("missing", mask, "no picture of its number")


def _part(image: str) -> tuple[int, re.Match[str]] | None:
    """Return the place of the folder that names generator and way, and its match."""
    return next(((i, m) for i, name in enumerate(image.split("/")) if (m := PART.fullmatch(name))), None)


def _fake(tree: Tree, image: str, name: re.Match[str], part: tuple[int, re.Match[str]]) -> Iterator[Found]:
    place, way = part
    folders = image.split("/")[:-1]
    number, shape, size = name.groups()
    masks = [f"_{shape}.png_ps_mask", f"_{shape}"] if size is None else [f"_{shape}_{size}"]
    if size and shape.lower() == "random":
        masks.append(f"_{size}")
    around = ["/".join([*folders[:place], mask, *folders[place + 1 :]]) for mask in MASKS]
    mask = tree.one_of(*(f"{folder}/{number}_mask{ending}.*" for folder in around for ending in masks))
    generator = way[1].lower()
    extra: dict[str, Any] = {
        "kind": "inpainting",
        "generator": "firefly" if generator == "ps" else generator,
        "shape": shape.lower(),
        "regenerated": way[2].lower() == "fr",
    }
    yield from forged(tree, image, mask, split=split_of(folders), group=number, **extra)
