"""UADFV: 49 videos and as many with the face exchanged for one actor's.

Yang, Li and Lyu, "Exposing Deep Fakes Using Inconsistent Head Poses", ICASSP 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import frame, frames

SOURCE = Source(
    title="UADFV",
    domain="face",
    licence="none stated, on request",
    home="https://arxiv.org/abs/1811.00661",
    size="49 original and 49 changed videos",
    layout="real/frames/0000/000.png and fake/frames/0000_fake/000.png",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield frames; `0000_fake` is grouped with `0000`."""
    for image, match in frames(tree, "(?P<part>real|fake)/"):
        part, video = match["part"].lower(), match["video"]
        extra = {"kind": "identity_swap", "method": "FakeApp"} if part == "fake" else {}
        group = video.lower().removesuffix("_fake")
        yield frame(image, int(part == "fake"), f"{part}/{video}", group=group, **extra)
