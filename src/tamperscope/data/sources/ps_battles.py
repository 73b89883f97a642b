"""PS-Battles: pictures of a web forum and what its members made of them, without masks.

Heller, Rossetto and Schuldt, "The PS-Battles Dataset: an Image Collection for Image Manipulation Detection", 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tamperscope.data.sources.base import Found, Source, Tree, stem

SOURCE = Source(
    title="PS-Battles",
    domain="manipulation",
    licence="none stated for the pictures, which are linked, not given",
    home="https://github.com/dbisUnibas/PS-Battles",
    size="11 142 originals and 90 886 derivatives; links rot, so copies hold fewer",
    layout="originals/100c1k.jpg, photoshops/100c1k/NAME.jpg",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield originals and derivatives with the path of their `original`; both are one group."""
    for image in tree.pictures("originals/*", "*/originals/*"):
        yield Found(image, 0, group=stem(image))
    lonely = set()
    for image in tree.pictures("photoshops/*/*", "*/photoshops/*/*"):
        folder = PurePosixPath(image).parent
        original = tree.one_of(f"{folder.parent.parent / 'originals' / folder.name}.*")
        if original is None and str(folder) not in lonely:
            lonely.add(str(folder))
            tree.note("missing", str(folder), "no original of its name; the derivatives are kept")
        extra = {"kind": "tampered", **({"original": original} if original else {})}
        yield Found(image, 1, group=folder.name, extra=extra)
