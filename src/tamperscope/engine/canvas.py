"""Canvases: pictures and clips of one size, as networks see them, with all that is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.inference import needs
from tamperscope.types import BoolArray, ClassArray, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """One picture or clip as a network sees it; all arrays of a clip have its frames as their first axis.

    Attributes:
        image: (S, S, 3) uint8.
        mask: (S, S) bool; None where truth masks are not looked at.
        valid: (S, S) bool, which pixels are the picture's; none of a frame that only fills a clip up.
        label: 0 or 1, of what is left of the picture; of the whole one where masks are not looked at. 1 for a clip
            with a forged frame.
        id: Of the picture.
        needs: Of the network, by name.
        classes: (S, S) int16, as `Sample.classes`; None where maps of editors are not looked at.
        change: (S, S) uint8, as `Sample.change`; None where maps of changes are not looked at.
        sequence: (5,) int64, the edits of the whole picture from 1 in their order, then 0; None where none is told.
    """

    image: UInt8Array
    mask: BoolArray | None
    valid: BoolArray
    label: int
    id: str
    needs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    classes: ClassArray | None = None
    change: UInt8Array | None = None
    sequence: NDArray[np.int64] | None = None


def mirrored(canvas: Canvas) -> Canvas:
    """Return a canvas with left and right exchanged."""

    def turned(array: Any, axis: int) -> Any:
        return None if array is None else np.ascontiguousarray(np.flip(array, axis))

    return replace(
        canvas,
        image=turned(canvas.image, -2),
        mask=turned(canvas.mask, -1),
        valid=turned(canvas.valid, -1),
        classes=turned(canvas.classes, -1),
        change=turned(canvas.change, -1),
        needs={key: turned(x, -1) if key in needs.PICTURES else x for key, x in canvas.needs.items()},
    )


def clip(frames: Sequence[Canvas], count: int) -> Canvas:
    """Return the canvases of frames as one of `count` frames; those that are missing are empty, and not valid."""
    first = frames[0]

    def stacked(arrays: Sequence[NDArray[Any] | None]) -> Any:
        known = [array for array in arrays if array is not None]
        return np.stack([*known, *[np.zeros_like(known[0])] * (count - len(known))]) if known else None

    return Canvas(
        image=stacked([frame.image for frame in frames]),
        mask=stacked([frame.mask for frame in frames]),
        valid=stacked([frame.valid for frame in frames]),
        label=max(frame.label for frame in frames),
        id=first.id,
        needs={name: stacked([frame.needs[name] for frame in frames]) for name in first.needs},
        classes=stacked([frame.classes for frame in frames]),
        change=stacked([frame.change for frame in frames]),
    )
