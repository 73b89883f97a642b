"""What an editor gives back for an edit of a region: the region in the old picture, or a whole new picture.

What is measured on regions that are pasted back does not hold for whole pictures, and the other way round (TGIF,
Mareen et al., 2024): they are two problems, so a record says which one a forgery is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import blending, shapes
from tamperscope.types import BoolArray, UInt8Array


@dataclass(frozen=True, slots=True)
class Return:
    """What an editor gives back for an edit of a region: the region in the old picture, or a whole new picture.

    Attributes:
        whole: Whether all of the picture is new.
        look: How the region is laid into the old picture where it is not.
    """

    whole: bool
    look: blending.Look

    @classmethod
    def draw(
        cls,
        whole: bool | Sequence[bool],
        blends: Sequence[blending.Blend],
        feathers: Sequence[float],
        rng: np.random.Generator,
    ) -> Return:
        """Return one of what may be, drawn evenly; a whole picture has no border to soften."""
        drawn = choose(whole, rng)
        return cls(drawn, blending.Look() if drawn else blending.draw(blends, feathers, rng))

    @classmethod
    def recorded(cls, entry: Mapping[str, Any]) -> Return:
        """Return the one of a record."""
        return cls(bool(entry["reencoded"]), blending.Look(entry["blend"], entry["feather"]))

    @property
    def values(self) -> dict[str, Any]:
        """What the record holds of it."""
        return {"reencoded": self.whole, "blend": self.look.blend, "feather": self.look.feather}

    @property
    def suffix(self) -> str:
        """Of the sentence about an edit."""
        return " with the rest of the picture" if self.whole else ""

    def window(self, mask: BoolArray, margin: int, factor: int) -> tuple[slice, slice]:
        """Return the rows and columns that must pass an editor: all, or the mask's with a margin; whole cells.

        A window begins at a multiple of `factor`, so that its cells are those of the whole picture.
        """
        if self.whole:
            return slice(0, mask.shape[0]), slice(0, mask.shape[1])
        rows, columns = shapes.box(mask, margin)
        return tuple(slice(s.start // factor * factor, -(-s.stop // factor) * factor) for s in (rows, columns))  # type: ignore[return-value]

    def given(self, rgb: UInt8Array, part: UInt8Array, mask: BoolArray, window: tuple[slice, slice]) -> UInt8Array:
        """Return the picture that the editor gives back.

        Args:
            rgb: (H, W, 3) uint8, the old picture.
            part: (h, w, 3) uint8, the new pixels of the window.
            mask: (H, W) bool, the region.
            window: As `window` returned it.
        """
        if self.whole:
            return part
        new = rgb.copy()
        new[window] = part
        return self.look.lay(rgb, new, mask)


def check_return(name: str, whole: Any, blends: Sequence[str], feathers: Sequence[float]) -> None:
    """Check the settings of `Return.draw`.

    Raises:
        InvalidValueError: One is empty or of another type.
        UnknownNameError: There is no such blend.
    """
    check_whole(name, whole)
    if not all(0 <= feather <= 10 for feather in feathers):
        raise InvalidValueError(f"{name}.feathers: expected widths from 0 to 10 pixels, found {list(feathers)}")
    blending.draw(blends, feathers, np.random.default_rng(0))  # type: ignore[arg-type]


def choose(whole: bool | Sequence[bool], rng: np.random.Generator) -> bool:
    """Return whether the whole picture is new: as told, or one of a list, drawn evenly."""
    choices = (whole,) if isinstance(whole, bool) else tuple(whole)
    return choices[int(rng.integers(len(choices)))]


def check_whole(name: str, whole: Any) -> None:
    """Check a setting of `choose`.

    Raises:
        InvalidValueError: It is neither true nor false nor a list of them.
    """
    choices = [whole] if isinstance(whole, bool) else whole
    if not isinstance(choices, list | tuple) or not choices or not all(isinstance(c, bool) for c in choices):
        raise InvalidValueError(f"{name}.whole: expected true, false or a list of both, found {whole!r}")
