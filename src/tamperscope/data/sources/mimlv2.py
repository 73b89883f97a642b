"""MIMLv2: pictures of the web that people edited, with masks drawn by a network from picture and original.

Qu et al., "Towards Modern Image Manipulation Localization: A Large-Scale Dataset and Novel Methods", CVPR 2024, and its
extension, arXiv 2508.20987.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged
from tamperscope.data.sources.folders import paired, split_of

SOURCE = Source(
    title="MIMLv2",
    domain="manipulation",
    licence="CC BY-NC 4.0, on request",
    home="https://github.com/qcf-568/MIML",
    size="246 212 pictures; the first version, read alike, has 123 150",
    layout="[PART/]imgs/NAME.jpg and [PART/]masks/NAME.png; images and tampered, mask, gt and labels also serve",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield edited pictures with their masks."""
    images, masks = ("imgs", "img", "images", "image", "tampered"), ("masks", "mask", "gt", "labels")
    for image, mask in paired(tree, images, masks):
        yield from forged(tree, image, mask, "nonzero", split_of(image.split("/")[:-1]), kind="tampered")
