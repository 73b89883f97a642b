"""CASIA v1+: the tampered pictures of CASIA v1.0 with pristine ones from COREL, as v1.0 shares its own with v2.0.

Chen et al., "Image Manipulation Detection by Multi-View Multi-Scale Supervision", ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.pairs import casia

SOURCE = Source(
    title="CASIA v1+",
    domain="manipulation",
    licence="research only",
    home="https://github.com/dong03/MVSS-Net",
    size="1 720 pictures of about 384×256",
    layout="Au (COREL pictures of any name), Tp (or Sp, CM) with Sp_D_NRN_A_ani0001_ani0002_0001.jpg, "
    "a folder of masks with NAME_gt.png",
    expected={"forged": 920, "pristine": 800},
    repairs=("masks of the wrong polarity, which mark more than half of the picture, are inverted",),
    mixed_polarity=True,
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pristine and tampered pictures; tampered ones that share a source picture are one group."""
    yield from casia(tree)
