"""Chameleon: generated pictures that people took for photographs, from unknown generators.

Yan et al., "A Sanity Check for AI-generated Image Detection", ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import labelled

SOURCE = Source(
    title="Chameleon",
    domain="generated",
    licence="academic use only, on request",
    home="https://github.com/shilinyan99/AIDE",
    size="about 26 000 pictures of 720p to 4K",
    layout="[test/]0_real and [test/]1_fake",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and generated pictures, all of them for testing."""
    return labelled(tree, split="test")
