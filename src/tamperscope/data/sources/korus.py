"""Realistic Tampering (Korus): forgeries made by hand in uncompressed pictures of four cameras.

Korus and Huang, "Multi-scale Analysis Strategies in PRNU-based Tampering Localization", IEEE TIFS 2017. The ground
truth has two levels, white for changed content and grey for pixels touched around it; both were changed, so both count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import paired
from tamperscope.data.sources.pairs import within

SOURCE = Source(
    title="Realistic Tampering Dataset (Korus)",
    domain="manipulation",
    licence="research only",
    home="https://pkorus.pl/downloads/dataset-realistic-tampering",
    size="440 TIFF pictures of 1920×1080",
    layout="CAMERA/pristine/NAME.TIF, CAMERA/tampered-realistic/NAME.TIF, CAMERA/ground-truth/NAME.PNG, CAMERA such as "
    "Canon_60D",
    expected={"forged": 220, "pristine": 220},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pictures with their camera; an original and its forgery are one group."""
    for image in within(tree, "pristine"):
        yield Found(image, 0, group=_group(image), extra={"camera": _camera(image)})
    for image, mask in paired(tree, ("tampered-realistic",), ("ground-truth",)):
        yield from forged(tree, image, mask, "nonzero", group=_group(image), kind="tampered", camera=_camera(image))


def _camera(image: str) -> str:
    return PurePosixPath(image).parent.parent.name


def _group(image: str) -> str:
    return f"{_camera(image)}/{stem(image)}".lower()
