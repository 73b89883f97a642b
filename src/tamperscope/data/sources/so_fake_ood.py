"""So-Fake-OOD: Reddit pictures against commercial generators that So-Fake-Set leaves out; for testing only.

Huang et al., "So-Fake: Benchmarking and Explaining Social Media Image Forgery Detection", 2025.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.so_fake_set import LAYOUT, social

SOURCE = Source(
    title="So-Fake-OOD",
    domain="generated",
    licence="CC BY 4.0, for evaluation only",
    home="https://huggingface.co/datasets/saberzl/So-Fake-OOD",
    size="99 722 pictures (second version), 104 GB",
    layout=LAYOUT,
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real, generated and tampered pictures."""
    return social(tree, split="test")
