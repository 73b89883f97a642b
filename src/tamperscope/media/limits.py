"""How much one file may ask for, and the error that says which limit it hit and how to raise it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from tamperscope.errors import BudgetError, InvalidValueError

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask for.

    Attributes:
        max_file_bytes: Size of the file.
        max_pixels: Width times height.
        max_side: Longest side in pixels.
        max_frames: Frames of an animation or pages of a document (one of them is decoded at a time).
        max_scans: Scans of a JPEG file; each costs a pass over the picture.
        max_metadata_bytes: EXIF, XMP, ICC profile and text together, after decompression.
        max_inflate_ratio: Decompressed over compressed size of a text or a profile of more than 64 KiB.
        min_bits_per_pixel: A JPEG of more than 16 MP with less data than this is refused: entropy coding cannot
            go so low (a flat 4:2:0 picture needs 0.047, with optimal tables).
        max_seconds: Wall-clock time in the decoder process.
        max_memory_bytes: Address space of the decoder process (where the system can limit it).
    """

    max_file_bytes: int = 512 * MIB
    max_pixels: int = 200_000_000
    max_side: int = 100_000
    max_frames: int = 10_000
    max_scans: int = 500
    max_metadata_bytes: int = 32 * MIB
    max_inflate_ratio: float = 200.0
    min_bits_per_pixel: float = 0.02
    max_seconds: float = 20.0
    max_memory_bytes: int = 1536 * MIB

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            whole = spec.type == "int"
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                kind = "a whole number" if whole else "a number"
                raise InvalidValueError(f"Limits.{spec.name}: expected {kind}, found {value!r}")
            if not math.isfinite(value) or value < 0 or (value == 0 and spec.name != "min_bits_per_pixel"):
                raise InvalidValueError(f"Limits.{spec.name}: expected a positive finite value, found {value!r}")

    def check(self, option: str, found: float, what: str) -> None:
        """Raise when `found` is over the limit called `option`.

        Args:
            option: Name of an attribute.
            found: What the file asks for.
            what: The same in words that complete "the file has …".

        Raises:
            BudgetError: Names both numbers and the option.
        """
        limit = getattr(self, option)
        if found > limit:
            raise BudgetError(f"the file has {what}; the limit is {limit:,}: raise {option} to allow it")

    def check_size(self, width: int, height: int) -> None:
        """Raise when a picture of this size in pixels is over the budget.

        Raises:
            BudgetError: A side or the area is over its limit.
        """
        self.check("max_side", max(width, height), f"{width:,} × {height:,} pixels")
        self.check("max_pixels", width * height, f"{width:,} × {height:,} = {width * height:,} pixels")
