"""tampCOCO: objects copied and spliced between COCO and RAISE pictures by a script, then compressed.

Kwon et al., "Learning JPEG Compression Artifacts for Image Manipulation Detection and Localization", IJCV 2022.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out, linked, split_of
from tamperscope.data.sources.listed import coco_ids, located
from tamperscope.data.sources.pairs import within
from tamperscope.errors import InputError

# Word that begins a list's or folder's name, and what was done; bcmc is compressed once more.
PARTS = {"cm": "copy_move", "sp": "splicing", "bcm": "copy_move", "bcmc": "copy_move"}
SOURCE = Source(
    title="tampCOCO",
    domain="manipulation",
    licence="CC BY 4.0 (since August 2026; research only before)",
    home="https://github.com/mjkwon2021/CAT-Net",
    size="800 000 pictures in four parts",
    layout="cm_COCO_list.txt, sp_COCO_list.txt, bcm_COCO_list.txt, bcmc_COCO_list.txt (or …_train_list.txt and "
    "…_valid_list.txt) with lines 'cm_images/NAME.jpg,cm_masks/NAME.png', and the folders that they name",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield the listed pictures, each once; `subset` is the part, and pictures linked by a source are a group.

    Raises:
        InputError: A line has no comma.
    """
    pairs: dict[str, tuple[str, str | None, str]] = {}
    for path in tree.files(*(f"{start}{part}_*list*.txt" for part in PARTS for start in ("", "*/"))):
        part, split = stem(path).lower().partition("_")[0], split_of([stem(path)])
        for name, mask in _pairs(tree, path):
            image = located(tree, path, name)
            if image is None:
                tree.note("missing", name, f"listed in {path}, but there is no such picture")
            elif split or image not in pairs:
                pairs[image] = (part, located(tree, path, mask), split)
    groups = linked([ids for image in pairs if (ids := coco_ids(image))])
    used: set[str | None] = {*pairs}
    for image, (part, found, split) in sorted(pairs.items()):
        group = next((groups[number] for number in coco_ids(image)), "")
        used.add(found)
        yield from forged(tree, image, found, "nonzero", split, group, kind=PARTS[part], subset=part)
    there = within(tree, *(f"{part}_{what}" for part in PARTS for what in ("images", "masks")))
    left_out(tree, (path for path in there if path not in used), "no list names them")


def _pairs(tree: Tree, path: str) -> Iterator[tuple[str, str]]:
    for line in tree.lines(path):
        name, comma, mask = line.partition(",")
        if not comma:
            raise InputError(f"{path}: expected lines such as 'cm_images/1.jpg,cm_masks/1.png', found '{line}'")
        yield name.strip(), mask.strip()
