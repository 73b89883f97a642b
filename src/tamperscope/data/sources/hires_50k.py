"""HiRes-50K: real and generated pictures of up to 64 megapixels, in folders by their longer side.

"No Pixel Left Behind: A Detail-Preserving Architecture for Robust High-Resolution AI-Generated Image Detection",
ICLR 2026.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import labelled

SOURCE = Source(
    title="HiRes-50K",
    domain="generated",
    licence="none stated",
    home="https://huggingface.co/datasets/Mu437/HiRes-50K",
    size="50 568 pictures",
    layout="W_0900/0_real, W_0900/1_fake, and so on up to W>5000 (unpack each archive into a folder of its name)",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and generated pictures, all of them for testing; `category` is the folder of their size."""
    return labelled(tree, split="test")
