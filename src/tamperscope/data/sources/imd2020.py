"""IMD2020, real-life part: manipulated pictures from the web beside their originals, with masks drawn by hand.

Novozámský et al., "IMD2020: A Large-Scale Annotated Dataset Tailored for Detecting Manipulated Images", WACVW 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.pairs import beside

SOURCE = Source(
    title="IMD2020 (real-life manipulated)",
    domain="manipulation",
    licence="research only",
    home="https://staff.utia.cas.cz/novozada/db/",
    size="2 424 pictures",
    layout="one folder an original: 1a3oag/1a3oag_orig.jpg, 1a3oag/c8tt7fg_0.jpg, 1a3oag/c8tt7fg_0_mask.png",
    expected={"forged": 2010, "pristine": 414},
    repairs=("the mask of z14/00030_fake has another size than its picture",),
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield originals and manipulated pictures; the folder that they share is their group."""
    masks, changed = [], []
    for image in tree.pictures("*"):
        name = stem(image).lower()
        if name.endswith("_mask"):
            masks.append(image)
        elif name == "orig" or name.endswith("_orig"):
            yield Found(image, 0, group=PurePosixPath(image).parent.name)
        else:
            changed.append(image)
    for image, mask in beside(tree, changed, masks, "{}_mask.*"):
        yield from forged(tree, image, mask, group=PurePosixPath(image).parent.name, kind="tampered")
