"""SAMM: news pictures with captions, changed together so that they still agree.

Shen et al., "Beyond Artificial Misalignment: Detecting and Grounding Semantic-Coordinated Multimodal Manipulations",
ACM MM 2025.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, stem
from tamperscope.data.sources.dgm4 import news

SOURCE = Source(
    title="SAMM",
    domain="manipulation",
    licence="Apache-2.0",
    home="https://github.com/shen8424/SAMM-RamDG-CAP",
    size="260 970 pairs of a picture and a text, 149 119 of them manipulated",
    layout="jsons/train.json, val.json, test.json; orig_output/65039.jpg, swap_jpg/65039.jpg, emotion_jpg/65039.jpg",
    expected={"forged": 79_762 + 69_357, "pristine": 111_851},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pairs with the box of the changed face and the places of changed words; one number is one group."""
    return news(tree, "jsons", lambda pair: stem(pair["image"]))
