"""AutoSplice: news photographs in which DALL-E 2 redrew an object from a text, stored at three JPEG qualities.

Jia et al., "AutoSplice: A Text-prompt Manipulated Image Dataset for Media Forensics", CVPRW 2023.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.pairs import unclaimed, within

QUALITIES = (100, 90, 75)
SOURCE = Source(
    title="AutoSplice",
    domain="manipulation",
    licence="non-commercial research only, on request",
    home="https://github.com/shanface33/AutoSplice_Dataset",
    size="2 273 authentic pictures and 3 621 forged ones, each of them at three JPEG qualities",
    layout="Authentic/1.jpg, Forged_JPEG100/1_0.jpg, Forged_JPEG90, Forged_JPEG75, Mask/1_0_mask.png or 1_mask.png",
    expected={"pristine": 2273},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield authentic and forged pictures; those whose names share the first number are one group."""
    for image in within(tree, "authentic"):
        yield Found(image, 0, group=_source(image))
    used = set()
    for quality in QUALITIES:
        for image in within(tree, f"forged_jpeg{quality}"):
            place = f"{image.rpartition('/')[0].rpartition('/')[0]}/Mask/".lstrip("/")
            name = stem(image)
            mask = tree.one_of(f"{place}{name}_mask.*", f"{place}{name}.*", f"{place}{_source(image)}_mask.*")
            used.add(mask)
            extra = {"kind": "inpainting", "generator": "dalle2"}
            yield from forged(tree, image, mask, "nonzero", group=_source(image), quality=quality, **extra)
    unclaimed(tree, within(tree, "mask"), used)


def _source(image: str) -> str:
    return stem(image).partition("_")[0]
