"""DEFACTO: COCO pictures spliced, copied, inpainted and morphed by a script, with masks.

Mahfoudi et al., "DEFACTO: Image and Face Manipulation Dataset", EUSIPCO 2019.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import linked
from tamperscope.data.sources.listed import coco_ids
from tamperscope.data.sources.pairs import unclaimed

KINDS = {
    "splicing": "splicing",
    "copy": "copy_move",
    "inpainting": "inpainting",
    "morph": "morphing",
    "face": "face_swap",
}
# Where the makers unpack pictures (`splicing_1_img/img`), and where a later copy has them (`splicing/images`).
_IMAGES = re.compile(r"(?P<part>.+)_img/img|(?P<copy>.+)/(?:images|img)")
SOURCE = Source(
    title="DEFACTO",
    domain="manipulation",
    licence="research only; the pictures are under COCO's terms",
    home="https://defactodataset.github.io",
    size="about 149 000 pictures with masks (105 000 splices, 25 000 removals, 19 000 copies) and 80 000 faces",
    layout="splicing_1_img/img/NAME.tif and splicing_1_annotations/probe_mask/NAME.jpg, likewise splicing_2 to 7, "
    "copymove, inpainting, face…; or splicing/images and splicing/probe_mask",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield forged pictures, masked where the picture was changed (probe); pictures linked by a source are a group."""
    folders = ((path, path.rpartition("/")[0].lower()) for path in tree.pictures("*"))
    images = [(path, match) for path, folder in folders if (match := _IMAGES.fullmatch(folder))]
    groups = linked([ids for image, _ in images if (ids := coco_ids(image))])
    used = set()
    for image, match in images:
        place = f"{match['part']}_annotations" if match["part"] else match["copy"]
        mask = tree.one_of(*(f"{place}/{folder}/{stem(image)}.*" for folder in ("probe_mask", "inpaint_mask")))
        used.add(mask)
        kind = next((kind for word, kind in KINDS.items() if word in place), "tampered")
        group = next((groups[number] for number in coco_ids(image)), "")
        yield from forged(tree, image, mask, group=group, kind=kind)
    unclaimed(tree, tree.pictures("*/probe_mask/*"), used)
