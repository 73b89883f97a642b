"""FantasticReality: photographs with objects spliced in by hand, and masks that number the classes of the objects.

Kniaz et al., "The Point Where Reality Meets Fantasy: Mixed Adversarial Generators for Image Splice Detection",
NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out
from tamperscope.data.sources.pairs import beside, within

PACKED = "masks in NumPy's format; write arr_0 > 0 of NAME.npz as NAME.png with values 0 and 255 beside it"
SOURCE = Source(
    title="FantasticReality",
    domain="manipulation",
    licence="on request",
    home="https://zefirus.org/MAG",
    size="16 592 real and 19 423 spliced pictures",
    layout="dataset/ColorRealImages, dataset/ColorFakeImages/NAME.jpg and dataset/SegmentationFake/NAME.png or "
    f"dataset/masks/NAME.png. The makers store {PACKED}",
    expected={"forged": 19_423, "pristine": 16_592},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and spliced pictures; a mask's value is the class of the object, 0 = untouched."""
    for image in within(tree, "colorrealimages"):
        yield Found(image, 0)
    packed = set(tree.files("*segmentationfake/*.npz"))
    waiting = {stem(path).lower() for path in packed}
    images, masks = within(tree, "colorfakeimages"), within(tree, "segmentationfake", "masks")
    for image, mask in beside(tree, images, masks, "../SegmentationFake/{}.*", "../masks/{}.*"):
        if mask or stem(image).lower() not in waiting:
            yield from forged(tree, image, mask, "nonzero", kind="splicing")
    ready = {stem(mask).lower() for mask in masks}
    left_out(tree, (path for path in packed if stem(path).lower() not in ready), PACKED, "skipped")
