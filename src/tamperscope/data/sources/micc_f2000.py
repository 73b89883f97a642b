"""MICC-F2000: copy-move forgeries with rotation and scaling, without masks.

Amerini et al., "A SIFT-based Forensic Method for Copy-Move Attack Detection and Transformation Recovery", IEEE
TIFS 2011.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.pairs import micc

SOURCE = Source(
    title="MICC-F2000",
    domain="manipulation",
    licence="research only",
    home="https://lci.micc.unifi.it/labd/2015/01/copy-move-forgery-detection-and-localization/",
    size="2 000 JPEG pictures of 2048×1536",
    layout="P1000231.jpg (original), P1000231tamp1.jpg (forged), groundtruthDB_2000.txt (NAME 0 or 1)",
    expected={"forged": 700, "pristine": 1300},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield originals and forgeries without masks; an original and its forgeries are one group."""
    yield from micc(tree, masks=False)
