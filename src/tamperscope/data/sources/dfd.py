"""DeepFakeDetection: videos of 28 actors, with faces exchanged among them; given out with FaceForensics++.

Dufour and Gully, "Contributing Data to Deepfake Detection Research", Google, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import frame, frames

SOURCE = Source(
    title="DeepFakeDetection (DFD)",
    domain="face",
    licence="research only, on request",
    home="https://github.com/ondyari/FaceForensics",
    size="363 original and 3 068 changed videos",
    layout="original_sequences/actors/COMPRESSION/frames/01__walking/0000.png and manipulated_sequences/"
    "DeepFakeDetection/COMPRESSION/frames/01_02__walking__ABCDEFGH/0000.png with COMPRESSION raw, c23 or c40",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield frames; a changed video (`target_source__scene__code`) is grouped with its target's original."""
    below = "(?:original_sequences/actors|manipulated_sequences/(?P<fake>DeepFakeDetection))/(?P<rate>raw|c0|c23|c40)/"
    for image, match in frames(tree, below):
        rate, video = match["rate"].lower(), match["video"]
        extra = {"kind": "identity_swap", "method": "DeepFakeDetection"} if match["fake"] else {}
        group = "__".join([video.split("_")[0], *video.split("__")[1:2]])
        name = f"{'DeepFakeDetection' if match['fake'] else 'actors'}/{rate}/{video}"
        yield frame(image, int(bool(match["fake"])), name, group=group, compression=rate, **extra)
