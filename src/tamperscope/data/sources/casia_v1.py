"""CASIA v1.0: small JPEG photographs, spliced or with parts copied within them.

Dong et al., "CASIA image tampering detection evaluation database", ChinaSIP 2013. The makers gave no masks; those
in use were drawn by others from the difference to the originals.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.pairs import casia

SOURCE = Source(
    title="CASIA v1.0",
    domain="manipulation",
    licence="research only",
    home="https://github.com/namtpham/casia1groundtruth",
    size="1 721 pictures of 384×256",
    layout="Au/Au_ani_0001.jpg, Modified Tp/Tp/Sp and …/CM (or Tp) with Sp_D_NRN_A_ani0001_ani0002_0001.jpg, "
    "CASIA 1.0 groundtruth/Sp and …/CM with NAME_gt.png",
    expected={"forged": 920, "pristine": 800},
    repairs=(
        "one tampered picture, Sp_D_NRN_A_cha0011_sec0011_0542, has no mask and is left out",
        "masks of the wrong polarity, which mark more than half of the picture, are inverted",
    ),
    mixed_polarity=True,
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pristine and tampered pictures; those that share a source picture are one group."""
    yield from casia(tree)
