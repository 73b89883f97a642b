"""ForenSynths: ProGAN pictures to train on, thirteen generators to test on.

Wang et al., "CNN-generated images are surprisingly easy to spot … for now", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import labelled

SOURCE = Source(
    title="ForenSynths",
    domain="generated",
    licence="CC BY-NC-SA 4.0",
    home="https://github.com/PeterWang512/CNNDetection",
    size="about 720 000 training and 90 000 test pictures, 91 GB",
    layout="train/cat/0_real, train/cat/1_fake, val/… (ProGAN) and test/GENERATOR/[CATEGORY/]0_real, …/1_fake",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and generated pictures; only training and validation folders leave ProGAN unnamed."""
    return labelled(tree, otherwise="progan")
