"""CocoGlide: crops of COCO pictures in which GLIDE repainted one object from a text.

Guillaro et al., "TruFor: Leveraging All-Round Clues for Trustworthy Image Forgery Detection and Localization",
CVPR 2023.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.pairs import unclaimed, within

SOURCE = Source(
    title="CocoGlide",
    domain="manipulation",
    licence="non-profit use only",
    home="https://www.grip.unina.it/download/prog/TruFor/",
    size="1 024 PNG pictures of 256×256",
    layout="fake/glide_inpainting_val2017_357501_up.png, mask/scissors_357501_mask.png, real/scissors_357501.png; the "
    "COCO number is what they share",
    expected={"forged": 512, "pristine": 512},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real crops and repainted ones; crops of one COCO picture are one group."""
    for image in within(tree, "real"):
        yield Found(image, 0, group=_number(image))
    truths = within(tree, "mask", "masks")
    numbered = {_number(mask): mask for mask in reversed(truths)}
    images = within(tree, "fake")
    for image in images:
        mask = numbered.get(_number(image))
        yield from forged(tree, image, mask, group=_number(image), kind="inpainting", generator="glide")
    unclaimed(tree, truths, {numbered.get(_number(image)) for image in images})


def _number(image: str) -> str:
    """Return the COCO number, the last one of the name that is no year, or else the name."""
    numbers = re.findall(r"\d+", re.sub(r"val\d{4}", "", stem(image)))
    return str(int(numbers[-1])) if numbers else stem(image)
