"""COVERAGE: copy-move forgeries of pictures that hold similar but genuine objects.

Wen et al., "COVERAGE – A novel database for copy-move forgery detection", ICIP 2016.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out
from tamperscope.data.sources.pairs import beside, within

SOURCE = Source(
    title="COVERAGE",
    domain="manipulation",
    licence="research only, non-commercial",
    home="https://github.com/wenbihan/coverage",
    size="200 TIFF pictures of about 400×486",
    layout="image/1.tif (pristine), image/1t.tif (forged), mask/1forged.tif; 1copy.tif and 1paste.tif are not used",
    expected={"forged": 100, "pristine": 100},
    repairs=("some masks differ in size from their picture",),
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pairs of a pristine picture and its forgery; each pair is one group."""
    images = within(tree, "image")
    changed = [image for image in images if re.fullmatch(r"\d+t", stem(image), re.I)]
    for image in images:
        if stem(image).isdigit():
            yield Found(image, 0, group=stem(image))
    left_out(tree, (i for i in images if i not in changed and not stem(i).isdigit()), "expected names such as 1, 1t")
    masks = [mask for mask in within(tree, "mask") if re.fullmatch(r"\d+forged", stem(mask), re.I)]
    for image, mask in beside(tree, changed, masks, "../mask/{}forged.*", name=_number):
        yield from forged(tree, image, mask, group=_number(image), kind="copy_move")


def _number(image: str) -> str:
    return stem(image)[:-1]
