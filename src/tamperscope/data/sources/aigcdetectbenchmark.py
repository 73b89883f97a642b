"""AIGCDetectBenchmark: sixteen generators to test on.

Zhong et al., "PatchCraft: Exploring Texture Patch for Efficient AI-generated Image Detection", 2023.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import labelled

SOURCE = Source(
    title="AIGCDetectBenchmark",
    domain="generated",
    licence="none stated",
    home="https://github.com/Ekko-zn/AIGCDetectBenchmark",
    size="16 test sets; the training set is that of ForenSynths",
    layout="[test/]GENERATOR/[CATEGORY/]0_real and …/1_fake, such as progan/cat/0_real, ADM/1_fake, wukong/0_real",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and generated pictures; folders that name no split are the test set."""
    return labelled(tree, split="test")
