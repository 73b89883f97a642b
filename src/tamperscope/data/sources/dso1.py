"""DSO-1: photographs into which a person was pasted, at full resolution.

De Carvalho et al., "Exposing Digital Image Forgeries by Illumination Color Classification", IEEE TIFS 2013.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, pristine, stem
from tamperscope.data.sources.pairs import beside

PLACES = ("../DSO-1-Fake-Images-Masks/{}.*", "../masks/{}.*", "../mask/{}.*", "../masks/{}_gt.*", "{}_gt.*")
SOURCE = Source(
    title="DSO-1",
    domain="manipulation",
    licence="none stated",
    home="https://recodbr.wordpress.com/code-n-data/",
    size="200 PNG pictures of 2048×1536",
    layout="DSO-1/splicing-01.png, DSO-1/normal-01.png, DSO-1-Fake-Images-Masks/splicing-01.png (forged is black)",
    expected={"forged": 100, "pristine": 100},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pristine and spliced photographs."""
    named = tree.pictures("splicing-*", "*/splicing-*")
    masks = [p for p in named if "mask" in p.rpartition("/")[0].rpartition("/")[2].lower() or stem(p).endswith("_gt")]
    for image, mask in beside(tree, (p for p in named if p not in masks), masks, *PLACES):
        yield from forged(tree, image, mask, "black", kind="splicing")
    yield from pristine(tree, "normal-*", "*/normal-*")
