"""Tampered-IC13: ICDAR 2013 scene text with words rewritten by SRNet.

Wang et al., "Detecting Tampered Scene Text in the Wild", ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, stem
from tamperscope.data.sources.folders import boxed, masked

TAMPERED = 2  # 1 = a word as it was
SOURCE = Source(
    title="Tampered-IC13",
    domain="document",
    licence="none stated",
    home="https://github.com/wangyuxin87/Tampered-IC13",
    size="229 training and 233 test pictures",
    layout="train_img/NAME.jpg, train_gt/NAME.txt, test_img, test_gt; a line is x0,y0,x1,y1,CLASS with class 1 for a "
    "real and 2 for a rewritten word; or folders SPLIT/images and SPLIT/masks",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pictures with the boxes of rewritten words."""
    yield from masked(tree)
    claimed = set()
    for image in tree.pictures(*(f"{start}{split}_img/*" for start in ("", "*/") for split in ("train", "test"))):
        folder = image.rpartition("/")[0]
        truth = tree.one_of(*(f"{folder[: -len('_img')]}_gt/{start}{stem(image)}.txt" for start in ("", "gt_")))
        if truth is None:
            tree.note("missing", image, "no list of words of its name; the picture is left out")
            continue
        claimed.add(truth)
        yield boxed(image, _rewritten(tree, truth), folder.rpartition("/")[2].lower()[: -len("_img")])
    for truth in tree.files(*(f"{start}{split}_gt/*.txt" for start in ("", "*/") for split in ("train", "test"))):
        if truth not in claimed:
            tree.note("missing", truth, "no picture of its name")


def _rewritten(tree: Tree, path: str) -> list[tuple[int, int, int, int]]:
    """Return the boxes of rewritten words of one list."""
    boxes = []
    for line in tree.lines(path):
        try:
            x0, y0, x1, y1, word = map(int, line.split(","))
        except ValueError:
            tree.note("unknown", path, f"expected x0,y0,x1,y1,CLASS, found '{line}'; the line is left out")
            continue
        if word == TAMPERED:
            boxes.append((x0, y0, x1, y1))
    return boxes
