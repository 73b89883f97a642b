"""The nouns that every stage exchanges: `Sample`, `Region`, `Finding`, `Prediction`.

Pixel coordinates are (x, y) with the origin at the top left; boxes are half-open. All maps of a picture have
the picture's own resolution, in the orientation in which its pixels are stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError

Severity = Literal["info", "notice", "warning"]
Status = Literal["ok", "not_applicable", "failed"]
Box = tuple[int, int, int, int]
UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
ClassArray = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Finding:
    """One stated fact or reason, with the numbers or strings that it rests on.

    Attributes:
        code: Stable dotted name, such as `exif.software_editor`.
        text: One plain sentence for a person.
        severity: `info` (neutral), `notice` (worth a look), `warning` (contradicts an untouched file).
        values: The evidence, JSON-ready.
        origin: The detector or the part of the container that states it.
    """

    code: str
    text: str
    severity: Severity = "info"
    values: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Jpeg:
    """The quantized DCT coefficients and tables of a JPEG picture.

    Attributes:
        qtables: One (8, 8) uint16 table per component, natural (row, column) frequency order.
        coefficients: One (block rows, block columns, 8, 8) int16 array per component; still quantized.
        sampling: (horizontal, vertical) sampling factor per component.
        progressive: Whether the picture is coded progressively.
    """

    qtables: tuple[NDArray[np.uint16], ...]
    coefficients: tuple[NDArray[np.int16], ...]
    sampling: tuple[tuple[int, int], ...]
    progressive: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture with what is known of it.

    Attributes:
        rgb: (H, W, 3) uint8 pixels as stored (EXIF orientation not applied).
        mask: (H, W) bool, True where forged; None when unknown; all False for a pristine picture.
        label: 0 pristine, 1 forged; derived from `mask` when omitted.
        id: Unique name inside its manifest.
        jpeg: Quantized coefficients, when the bytes are JPEG; dropped whenever pixels change.
        thumbnail: (h, w, 3) uint8 preview that the file embeds, as stored, or None.
        meta: Anything else: domain, split, group, ops, orientation …
        classes: (H, W) int16, the number of the editor that made each pixel last, from 1; 0 = none, -1 = not known
            which. None where nobody asked.
        change: (H, W) uint8, by how many grey levels each pixel differs from the authentic original. None where nobody
            asked.
    """

    rgb: UInt8Array
    mask: BoolArray | None = None
    label: int | None = None
    id: str = ""
    jpeg: Jpeg | None = None
    thumbnail: UInt8Array | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    classes: ClassArray | None = None
    change: UInt8Array | None = None

    def __post_init__(self) -> None:
        rgb = self.rgb
        if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            found = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
            raise InvalidValueError(
                f"Sample.rgb: expected uint8 (H, W, 3), found {found}; open files with media.open()"
            )
        if min(rgb.shape[:2]) < 1:
            raise InvalidValueError(f"Sample.rgb: expected at least one pixel, found shape {rgb.shape}")
        if self.mask is not None:
            if self.mask.dtype != np.bool_ or self.mask.shape != rgb.shape[:2]:
                raise InvalidValueError(
                    f"Sample.mask: expected bool {rgb.shape[:2]}, found {self.mask.dtype} {self.mask.shape}; "
                    "compare with a threshold (mask > 127) and keep the picture's own size"
                )
            if self.label is None:
                object.__setattr__(self, "label", int(self.mask.any()))
        if self.classes is not None and (self.classes.dtype != np.int16 or self.classes.shape != rgb.shape[:2]):
            found = f"{self.classes.dtype} {self.classes.shape}"
            raise InvalidValueError(f"Sample.classes: expected int16 {rgb.shape[:2]}, found {found}")
        if self.change is not None and (self.change.dtype != np.uint8 or self.change.shape != rgb.shape[:2]):
            found = f"{self.change.dtype} {self.change.shape}"
            raise InvalidValueError(f"Sample.change: expected uint8 {rgb.shape[:2]}, found {found}")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def with_pixels(self, rgb: UInt8Array, **changes: Any) -> Sample:
        """Return a copy with new pixels; coefficients of the old ones are dropped."""
        return replace(self, **{"rgb": rgb, "jpeg": None, **changes})


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A part of a picture.

    Attributes:
        box: (x0, y0, x1, y1), half-open, in pixels.
        mask: (y1 - y0, x1 - x0) bool inside the box, or None for the whole box.
        score: Higher = more suspicious; nan = none.
        origin: Who found it.
        words: What a person would call it.
        values: Evidence, JSON-ready (pair number, transform, log10 NFA …).
    """

    box: Box
    mask: BoolArray | None = None
    score: float = math.nan
    origin: str = ""
    words: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise InvalidValueError(f"Region.box: expected 0 <= x0 < x1 and 0 <= y0 < y1, found {self.box}")
        if self.mask is not None and self.mask.shape != (y1 - y0, x1 - x0):
            raise InvalidValueError(
                f"Region.mask: expected the box's shape {(y1 - y0, x1 - x0)}, found {self.mask.shape}"
            )

    @property
    def area(self) -> int:
        """Pixels that the region covers."""
        x0, y0, x1, y1 = self.box
        return int(self.mask.sum()) if self.mask is not None else (x1 - x0) * (y1 - y0)


@dataclass(slots=True, eq=False)
class Prediction:
    """What one detector says of one sample.

    Attributes:
        detector: Registry name.
        size: (H, W) of the sample.
        score: Raw statistic, higher = more suspicious; nan = none.
        heatmap: (H, W) float32 in [0, 1], higher = more suspicious, or None.
        regions: Parts that stand out.
        reasons: What the score rests on, in words.
        status: `ok`, or `not_applicable` / `failed` with the `cause`.
        cause: Why it does not apply or how it failed.
        evidence: JSON-ready numbers behind the score.
        classes: (H, W) int16, the number of the likeliest editor of each pixel, 0 = none; None where it is not told.
        confidence: (H, W) float32 in [0, 1], how sure the detector is of each pixel of its heatmap; None where it is
            not told.
    """

    detector: str
    size: tuple[int, int]
    score: float = math.nan
    heatmap: FloatArray | None = None
    regions: list[Region] = field(default_factory=list)
    reasons: list[Finding] = field(default_factory=list)
    status: Status = "ok"
    cause: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    classes: ClassArray | None = None
    confidence: FloatArray | None = None

    def __post_init__(self) -> None:
        for what, values in (("heatmap", self.heatmap), ("confidence", self.confidence)):
            if values is None:
                continue
            if values.shape != self.size or values.dtype != np.float32:
                raise InvalidValueError(
                    f"{self.detector}: {what} must be float32 {self.size}, found {values.dtype} {values.shape}"
                )
            low, high = float(values.min()), float(values.max())
            if not (low >= 0.0 and high <= 1.0):
                raise InvalidValueError(f"{self.detector}: {what} must lie in [0, 1], found [{low}, {high}]")
        if self.status != "ok" and not self.cause:
            raise InvalidValueError(f"{self.detector}: status '{self.status}' needs a cause")
