"""MICC-F600: copy-move forgeries with several copies, rotated and scaled, with masks.

Amerini et al., "Copy-move forgery detection and localization by means of robust clustering with J-Linkage", Signal
Processing: Image Communication 2013.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.pairs import micc

SOURCE = Source(
    title="MICC-F600",
    domain="manipulation",
    licence="research only",
    home="https://lci.micc.unifi.it/labd/2015/01/copy-move-forgery-detection-and-localization/",
    size="600 pictures, 800×533 to 3888×2592",
    layout="NAME.png or NAME.jpg, NAME_gt.png (mask of a forged one), groundtruthDB_600.txt (NAME 0 or 1); without the "
    "list, pictures with `tamp` in the name are forged",
    expected={"forged": 160, "pristine": 440},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield originals and forgeries; an original and its forgeries are one group."""
    yield from micc(tree, masks=True)
