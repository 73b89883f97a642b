"""RTM (RealTextManipulation): photographs and scans of text, changed by hand in six ways.

Luo et al., "Toward real text manipulation detection: New dataset and new solution", Pattern Recognition 2024.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import paired

KINDS = {
    "cpmv": "copy_move",
    "splice": "splicing",
    "insert": "insertion",
    "edit": "editing",
    "inpaint": "inpainting",
    "cover": "covering",
}
SOURCE = Source(
    title="RealTextManipulation (RTM)",
    domain="document",
    licence="none stated",
    home="https://github.com/DrLuo/RTM",
    size="6 000 changed and 3 000 unchanged pictures",
    layout="JPEGImages/cpmv_0001.jpg, SegmentationClass/cpmv_0001.png, train.txt, val.txt, test.txt (names without "
    "ending); unchanged pictures are called good_0001",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield changed and unchanged pictures; the first word of a name states how it was changed."""
    splits = {
        stem(line).lower(): split
        for split in ("train", "val", "test")
        for path in tree.files(f"{split}.txt", f"*/{split}.txt")
        for line in tree.lines(path)
    }
    for image, mask in paired(tree, ("jpegimages",), ("segmentationclass",)):
        name = stem(image).lower()
        kind, split = name.split("_")[0], splits.pop(name, "")
        if kind == "good":
            yield Found(image, 0, split=split)
        elif kind in KINDS:
            yield from forged(tree, image, mask, "nonzero", split, kind=KINDS[kind])
        else:
            tree.note("unknown", image, f"expected a name that begins with good, {', '.join(KINDS)}")
    for name, split in sorted(splits.items()):
        tree.note("missing", name, f"listed in {split}.txt, but there is no such picture")
