"""GenImage: a million ImageNet pictures against eight generators.

Zhu et al., "GenImage: A Million-Scale Benchmark for Detecting AI-Generated Image", NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import labelled

SOURCE = Source(
    title="GenImage",
    domain="generated",
    licence="CC BY-NC-SA 4.0",
    home="https://github.com/GenImage-Dataset/GenImage",
    size="about 2 680 000 pictures, 500 GB",
    layout="[Midjourney/]imagenet_midjourney/train/ai, …/train/nature, …/val/ai, …/val/nature, and so on for "
    "stable_diffusion_v_1_4, stable_diffusion_v_1_5, ADM, glide, wukong, VQDM, BigGAN; 0_real and 1_fake also serve",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and generated pictures of every generator; the makers' test pictures are in `val`."""
    return labelled(tree)
