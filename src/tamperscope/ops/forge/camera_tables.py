"""Quantization tables of real cameras, for deliveries that look as a camera wrote them.

Each was read from a picture file whose Exif names the model; a camera has others for other settings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamperscope.media.recompress import Subsampling


@dataclass(frozen=True, slots=True)
class CameraTables:
    """What a camera compresses with.

    Attributes:
        luma: 64 entries from 1 to 255 in natural order.
        chroma: Those of both chroma components.
        subsampling: Of the chroma.
        source: Where the numbers come from.
    """

    luma: str
    chroma: str
    subsampling: Subsampling
    source: str

    @property
    def arrays(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """The luma and chroma tables as (8, 8) uint16 in natural order."""
        luma, chroma = (np.array(text.split(), np.uint16).reshape(8, 8) for text in (self.luma, self.chroma))
        return luma, chroma


CAMERAS: dict[str, CameraTables] = {
    "canon_powershot_a40": CameraTables(
        "1 1 1 2 3 6 8 10 1 1 2 3 4 8 9 8 2 2 2 3 6 8 10 8 2 2 3 4 7 12 11 9 3 3 8 11 10 16 15 11 3 5 8 10 12 15 "
        "16 13 7 10 11 12 15 17 17 14 14 13 13 15 15 14 14 14",
        "4 4 5 9 15 26 26 26 4 4 5 10 19 26 26 26 5 5 8 9 26 26 26 26 9 10 9 13 26 26 26 26 15 19 26 26 26 26 26 "
        "26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26 26",
        "4:2:2",
        "file of a Canon PowerShot A40; the same in SD300, SX60 HS and four more",
    ),
    "canon_ixus_430": CameraTables(
        "1 1 1 1 1 2 3 3 1 1 1 1 1 3 3 3 1 1 1 1 2 3 3 3 1 1 1 1 2 4 4 3 1 1 3 4 4 6 6 4 1 2 3 3 4 5 6 5 2 3 4 4 "
        "5 6 6 5 5 5 5 5 5 5 5 5",
        "1 1 2 4 6 11 11 11 1 1 2 4 8 11 11 11 2 2 3 4 11 11 11 11 4 4 4 5 11 11 11 11 6 8 11 11 11 11 11 11 11 "
        "11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11",
        "4:2:2",
        "file of a Canon DIGITAL IXUS 430; the same in A610, S230 and S400",
    ),
    "canon_eos_5d_mark_ii": CameraTables(
        "1 1 1 1 1 2 3 3 1 1 1 1 1 3 3 3 1 1 1 1 2 3 3 3 1 1 1 2 3 4 4 3 1 1 2 3 3 5 5 4 1 2 3 3 4 5 5 4 2 3 4 4 "
        "5 6 6 5 4 4 5 5 5 5 5 5",
        "1 1 1 2 5 5 5 5 1 1 1 3 5 5 5 5 1 1 3 5 5 5 5 5 2 3 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 "
        "5 5 5 5 5 5 5 5 5 5 5 5",
        "4:2:2",
        "file of a Canon EOS 5D Mark II",
    ),
    "kodak_dx4330": CameraTables(
        "5 5 5 5 5 6 7 8 5 5 5 5 5 6 7 9 5 5 5 6 6 7 8 10 5 5 6 7 8 9 10 11 5 5 6 8 9 11 12 14 6 6 7 9 11 13 15 "
        "16 7 7 8 10 12 15 17 20 8 9 10 11 14 16 20 23",
        "5 5 5 5 5 6 7 9 5 5 5 5 6 6 8 9 5 5 5 6 6 7 9 10 5 5 6 7 8 9 10 12 5 6 6 8 10 11 13 14 6 6 7 9 11 13 15 "
        "17 7 8 9 10 13 15 18 20 9 9 10 12 14 17 20 24",
        "4:2:0",
        "file of a Kodak DX4330; the same in DX4900, M5370 and Z1012 IS",
    ),
    "iphone_6": CameraTables(
        "1 1 1 2 3 4 5 6 1 1 1 2 3 4 5 6 1 1 2 3 4 5 6 7 2 2 3 4 5 6 7 8 3 3 4 5 6 7 8 9 4 4 5 6 7 8 9 9 5 5 6 7 "
        "8 9 9 9 6 6 7 8 9 9 9 9",
        "1 1 2 4 9 9 9 9 1 2 2 6 9 9 9 9 2 2 5 9 9 9 9 9 4 6 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 "
        "9 9 9 9 9 9 9 9 9 9 9 9",
        "4:2:0",
        "file of an Apple iPhone 6, software 8.3; the same in iPhone 5s, 9.3.1",
    ),
    "iphone_7": CameraTables(
        "2 2 2 3 4 5 6 7 2 2 2 3 4 5 6 7 2 2 3 4 5 6 7 9 3 2 4 5 6 7 9 10 4 4 5 6 7 9 10 12 5 5 6 7 9 10 12 12 6 "
        "6 7 9 10 12 12 12 7 7 9 10 12 12 12 12",
        "2 2 3 5 12 12 12 12 2 3 3 8 12 12 12 12 3 3 7 12 12 12 12 12 5 8 12 12 12 12 12 12 12 12 12 12 12 12 12 "
        "12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12 12",
        "4:2:0",
        "file of an Apple iPhone 7, software 10.3.2",
    ),
    "fujifilm_x_e1": CameraTables(
        "3 2 8 8 8 7 7 7 2 8 8 8 8 7 7 7 8 8 8 8 7 7 7 7 8 8 8 8 7 7 7 7 8 8 7 7 7 10 9 7 8 7 7 7 7 9 11 7 7 7 7 "
        "7 9 13 13 8 7 7 7 8 10 8 9 8",
        "3 4 6 8 8 8 8 8 4 5 6 8 8 8 8 8 6 6 8 8 8 8 8 8 10 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 "
        "8 8 8 8 8 8 8 8 8 8 8 8",
        "4:2:0",
        "file of a Fujifilm X-E1, software 2",
    ),
}
