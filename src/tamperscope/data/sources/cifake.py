"""CIFAKE: CIFAR-10 against its counterpart by Stable Diffusion 1.4, 32 × 32 pixels.

Bird and Lotfi, "CIFAKE: Image Classification and Explainable Identification of AI-Generated Synthetic Images", 2023.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import labelled

SOURCE = Source(
    title="CIFAKE",
    domain="generated",
    licence="MIT, as CIFAR-10",
    home="https://www.kaggle.com/datasets/birdy654/cifake-real-and-ai-generated-synthetic-images",
    size="120 000 pictures, 0.1 GB",
    layout="train/REAL, train/FAKE, test/REAL, test/FAKE",
    expected={"train/pristine": 50_000, "train/forged": 50_000, "test/pristine": 10_000, "test/forged": 10_000},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and generated pictures."""
    return labelled(tree, otherwise="sd1.4")
