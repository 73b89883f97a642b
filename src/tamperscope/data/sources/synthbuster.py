"""Synthbuster: nine diffusion models, each asked for what a photograph of RAISE-1k shows.

Bammey, "Synthbuster: Towards Detection of Diffusion Model Generated Images", IEEE OJSP 2023.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, stem
from tamperscope.data.sources.folders import GENERATORS, left_out

SOURCE = Source(
    title="Synthbuster",
    domain="generated",
    licence="non-commercial use only",
    home="https://zenodo.org/records/10066460",
    size="9 000 generated pictures, 12 GB; photographs of RAISE-1k come apart",
    layout="dalle2/rID.png, dalle3, firefly, glide, midjourney-v5, stable-diffusion-1-3, stable-diffusion-1-4, "
    "stable-diffusion-2, stable-diffusion-xl; photographs, if any, in a folder whose name has RAISE or real",
    expected={"forged": 9_000},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield generated pictures and photographs; all that show one photograph's motif share its name as group."""
    rest = []
    for image in tree.pictures("*"):
        folder = image.lower().rpartition("/")[0].rpartition("/")[2]
        if folder in GENERATORS:
            extra = {"kind": "generated", "generator": GENERATORS[folder]}
            yield Found(image, 1, split="test", group=stem(image), extra=extra)
        elif "raise" in folder or "real" in folder:
            yield Found(image, 0, split="test", group=stem(image))
        else:
            rest.append(image)
    left_out(tree, rest, "their folder names no generator and no photographs")
