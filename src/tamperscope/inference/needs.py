"""What networks are told beside the pixels of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import unknown_name
from tamperscope.geometry import mosaic
from tamperscope.types import Sample

OF_CANVAS = frozenset({"valid"})
"""What every canvas has, so that a network that needs it gets it without more ado."""

PICTURES = frozenset({"mosaic"})
"""What is mirrored with its picture, having its pixels."""


def needs_of(sample: Sample, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Return what networks need beside the pixels, by name.

    `qtables` (2, 8, 8) are the quantization tables of the luma and the chroma, in natural order, as the last file had
    them; ones where there is none, for nothing was quantized then. `mosaic` (3, S, S) in [0, 1] are pieces of the
    whole picture at its own resolution (`geometry.mosaic`): what any part of it may be compared with.

    Args:
        sample: Before it is cut to a canvas.
        names: Of a network's `needs`.

    Raises:
        UnknownNameError: There is no such thing to be had.
    """
    return {name: _KNOWN[name](sample) for name in checked(names)}


def checked(names: Sequence[str]) -> list[str]:
    """Return those of the names that a sample is asked for; errors are those of `needs_of`."""
    wanted = [name for name in names if name not in OF_CANVAS]
    for name in wanted:
        if name not in _KNOWN:
            raise unknown_name("need of a network", name, [*_KNOWN, *OF_CANVAS])
    return wanted


def _qtables(sample: Sample) -> NDArray[np.float32]:
    tables = np.ones((2, 8, 8), np.float32)
    if sample.jpeg is not None and sample.jpeg.qtables:
        known = sample.jpeg.qtables
        tables[0], tables[1] = known[0], known[min(1, len(known) - 1)]
    return tables


def _mosaic(sample: Sample) -> NDArray[np.float32]:
    return np.asarray(mosaic(sample.rgb).transpose(2, 0, 1), np.float32) / np.float32(255)


_KNOWN = {"qtables": _qtables, "mosaic": _mosaic}
