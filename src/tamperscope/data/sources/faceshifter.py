"""FaceShifter: the videos of FaceForensics++ changed by a fifth method, which came later and is used apart.

Li et al., "FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.faceforensics_pp import LAYOUT, sequences

SOURCE = Source(
    title="FaceShifter",
    domain="face",
    licence="research only, on request",
    home="https://github.com/ondyari/FaceForensics",
    size="1 000 original and 1 000 changed videos",
    layout=LAYOUT.replace("METHOD", "FaceShifter"),
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield the frames of original videos and of those that FaceShifter changed."""
    return sequences(tree, ("FaceShifter",))
