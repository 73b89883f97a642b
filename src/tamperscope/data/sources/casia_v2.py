"""CASIA v2.0: photographs as JPEG, TIFF and BMP, spliced or with parts copied within them.

Dong et al., "CASIA image tampering detection evaluation database", ChinaSIP 2013. The makers gave no masks; those
in use were drawn by others from the difference to the originals.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.pairs import casia

SOURCE = Source(
    title="CASIA v2.0",
    domain="manipulation",
    licence="research only",
    home="https://github.com/namtpham/casia2groundtruth",
    size="12 614 pictures, 240×160 to 900×600",
    layout="Au/Au_ani_00001.jpg, Tp/Tp_D_NRN_S_N_ani10171_ani00001_12458.jpg, CASIA 2 Groundtruth/NAME_gt.png",
    expected={"forged": 5123, "pristine": 7491},
    repairs=(
        "masks with another spelling of the name are found by the picture's number and a source that both name",
        "pictures named as splices (D) whose two sources are the same one count as copy-move",
        "masks of the wrong polarity, which mark more than half of the picture, are inverted",
        "17 masks of the first edition have another size than their picture; take the corrected masks, "
        "https://github.com/SunnyHaze/CASIA2.0-Corrected-Groundtruth",
    ),
    mixed_polarity=True,
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pristine and tampered pictures; those that share a source picture are one group."""
    yield from casia(tree)
