"""BR-Gen: photographs of which whole regions, such as sky or ground, were painted anew by inpainting networks.

Cai et al., "Zooming In on Fakes: A Novel Dataset for Localized AI-Generated Image Detection with Forgery
Amplification Approach", 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import paired, split_of

SOURCE = Source(
    title="BR-Gen",
    domain="manipulation",
    licence="none stated",
    home="https://github.com/clpbc/BR-Gen",
    size="150 000 forged pictures",
    layout="[SPLIT/]real/NAME.jpg, [SPLIT/]fake/[GENERATOR/]NAME.png, [SPLIT/]mask/[GENERATOR/]NAME.png. The makers "
    "describe no layout; bring the copy into this one",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and forged pictures; those of one name are one group."""
    for image, _ in paired(tree, ("real",), ()):
        yield Found(image, 0, split=split_of(image.split("/")[:-1]), group=stem(image))
    for image, mask in paired(tree, ("fake",), ("mask", "masks")):
        folders = image.split("/")[:-1]
        below = folders[[folder.lower() for folder in folders].index("fake") + 1 :]
        extra: dict[str, Any] = {"kind": "inpainting", **({"generator": below[0].lower()} if below else {})}
        yield from forged(tree, image, mask, split=split_of(folders), group=stem(image), **extra)
