"""SID-Set: real, wholly generated and locally tampered pictures as they circulate on social media.

Huang et al., "SIDA: Social Media Image Deepfake Detection, Localization and Explanation with Large Multimodal Model",
CVPR 2025.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.so_fake_set import LAYOUT, social

SOURCE = Source(
    title="SID-Set",
    domain="manipulation",
    licence="CC BY 4.0",
    home="https://huggingface.co/datasets/saberzl/SID_Set",
    size="300 000 pictures, a third each real, generated and tampered; 60 000 of them, the test set, on request",
    layout=f"{LAYOUT}; here that is `img_id`, and label 0 is real, 1 full_synthetic, 2 tampered",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real, generated and tampered pictures."""
    return social(tree)
