"""compRAISE: RAISE's raw camera pictures, compressed as JPEG; all of them pristine.

Kwon et al., "Learning JPEG Compression Artifacts for Image Manipulation Detection and Localization", IJCV 2022;
Dang-Nguyen et al., "RAISE: A Raw Images Dataset for Digital Image Forensics", MMSys 2015.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, stem

_RAISE = re.compile(r"r[0-9a-f]{8}t", re.IGNORECASE)
SOURCE = Source(
    title="compRAISE",
    domain="manipulation",
    licence="CC BY 4.0 (since August 2026; research only before)",
    home="https://github.com/mjkwon2021/CAT-Net",
    size="24 462 pictures",
    layout="pictures in any folder, named for RAISE's: r000da54ft.jpg, r000da54ft_2.jpg",
    expected={"pristine": 24_462},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield all pictures as pristine; versions of one RAISE picture are a group."""
    for image in tree.pictures("*"):
        name = _RAISE.match(stem(image))
        yield Found(image, 0, group=name[0].lower() if name else "")
