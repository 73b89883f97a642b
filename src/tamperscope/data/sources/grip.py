"""GRIP copy-move: 80 plain forgeries with their originals, made to test dense-field matching.

Cozzolino et al., "Efficient Dense-Field Copy–Move Forgery Detection", IEEE TIFS 2015.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out
from tamperscope.data.sources.pairs import beside

SOURCE = Source(
    title="GRIP copy-move",
    domain="manipulation",
    licence="non-profit use only",
    home="https://www.grip.unina.it/download/prog/CMFD/",
    size="160 PNG pictures of 768×1024",
    layout="forged_images/TP_NAME_copy.png (forged) and TP_NAME_gt.png (mask, source and copy), images/IMG_NAME.png "
    "(original); or NAME_copy, NAME_gt, NAME or NAME_orig, all in one folder or in folders side by side",
    expected={"forged": 80, "pristine": 80},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield originals and forgeries; an original and its forgery are one group."""
    pictures = tree.pictures("*")
    masks = [path for path in pictures if stem(path).lower().endswith("_gt")]
    changed = [path for path in pictures if re.search(r"_copy(?:_|$)", stem(path), re.I) and path not in masks]
    names, rest = {_source(path) for path in [*changed, *masks]}, []
    for image in pictures:
        if image in masks or image in changed:
            continue
        if _source(image) in names or stem(image).lower().endswith("_orig"):
            yield Found(image, 0, group=_source(image))
        else:
            rest.append(image)
    left_out(tree, rest, "expected names such as NAME_copy, NAME_gt, NAME_orig, or an original NAME beside them")
    for image, mask in beside(tree, changed, masks, "{}_gt.*", "../gt/{}_gt.*", "../masks/{}_gt.*", name=_name):
        yield from forged(tree, image, mask, group=_source(image), kind="copy_move")


def _name(path: str) -> str:
    return re.sub(r"_(copy.*|gt|orig)$", "", stem(path).lower())


def _source(path: str) -> str:
    """Return the name that an original, IMG_C01_001, and its forgery, TP_C01_001_copy, share: tp_c01_001."""
    return re.sub(r"^img_", "tp_", _name(path))
