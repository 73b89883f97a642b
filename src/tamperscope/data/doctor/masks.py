"""What can be wrong with a mask: one test a kind, from the facts of one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tamperscope.data.doctor.records import Record
from tamperscope.data.doctor.schema import View
from tamperscope.types import Severity

MAX_SOFT = 0.05
INVERTED_SHARE, INVERTED_BORDER = 0.5, 0.9


@dataclass(frozen=True, slots=True)
class MaskKind:
    """A kind of defect.

    Attributes:
        code: Of the problem.
        severity: Of the problem.
        text: What is wrong.
        mend: How to mend it.
        test: Returns what was found, in words, or None where nothing is wrong.
        view: How the page shows it.
    """

    code: str
    severity: Severity
    text: str
    mend: str
    test: Callable[[Record], str | None]
    view: View = "mask"


def _missing(record: Record) -> str | None:
    return record.entry.mask if record.mask_fault == "missing" else None


def _unreadable(record: Record) -> str | None:
    return record.mask_cause if record.mask_fault == "unreadable" else None


def _size(record: Record) -> str | None:
    if record.mask is None or record.fault or record.mask.size == record.size:
        return None
    (mask_h, mask_w), (height, width) = record.mask.size, record.size
    note = f"mask {mask_w} × {mask_h}, picture {width} × {height}"
    turned = record.orientation >= 5 and record.mask.size == (width, height)
    return f"{note}; the mask was drawn on the picture turned by its EXIF orientation" if turned else note


def _faint(record: Record) -> str | None:
    """Find masks whose forged pixels have a value that is not above 127, such as 1."""
    mask = record.mask
    return f"largest value {mask.high}" if mask is not None and 0 < mask.high <= 127 else None


def _empty(record: Record) -> str | None:
    mask = record.mask
    return "all 0" if record.entry.label == 1 and mask is not None and mask.high == 0 else None


def _marked(record: Record) -> str | None:
    mask = record.mask
    if record.entry.label != 0 or mask is None or mask.high == 0:
        return None
    return f"{mask.forged:.1%} above 127" if mask.forged else f"largest value {mask.high}"


def _inverted(record: Record) -> str | None:
    mask = record.mask
    if mask is None or mask.forged < INVERTED_SHARE or mask.border < INVERTED_BORDER or mask.forged == 1.0:
        return None
    return f"{mask.forged:.0%} of the picture and {mask.border:.0%} of its border are forged"


def _full(record: Record) -> str | None:
    mask = record.mask
    wanted = record.entry.label == 1 and record.entry.domain != "generated"
    return "100 % forged" if wanted and mask is not None and mask.forged == 1.0 else None


def _soft(record: Record) -> str | None:
    mask = record.mask
    # What is 0 and N throughout is reported as faint.
    if mask is None or mask.high <= 127 or mask.soft <= MAX_SOFT:
        return None
    return f"{mask.soft:.0%} of its pixels are neither dark nor bright"


def _coloured(record: Record) -> str | None:
    return "its channels differ" if record.mask is not None and record.mask.coloured else None


def _absent(record: Record) -> str | None:
    """Find forged pictures without a mask; generated ones are forged everywhere and need none."""
    entry = record.entry
    return "no mask" if entry.label == 1 and entry.mask is None and entry.domain != "generated" else None


MASK_KINDS = (
    MaskKind("mask.missing", "warning", "masks are missing", "Correct the paths or fetch them.", _missing, "names"),
    MaskKind("mask.unreadable", "warning", "masks cannot be opened", "Fetch or make them again.", _unreadable, "names"),
    MaskKind(
        "mask.size",
        "warning",
        "masks have another size than their picture",
        "Bring each mask to the stored size of its picture with the nearest neighbour; where the sides are exchanged, "
        "turn it back.",
        _size,
    ),
    MaskKind(
        "mask.faint",
        "warning",
        "masks mark with values up to 127, which count as pristine",
        "Save them as 0 and 255 (multiply a 0/1 mask by 255).",
        _faint,
    ),
    MaskKind(
        "mask.empty",
        "warning",
        "forged pictures have an empty mask",
        "Find the right mask, or correct the label to 0.",
        _empty,
    ),
    MaskKind(
        "mask.marked",
        "warning",
        "pristine pictures have a mask that marks something",
        "Correct the label to 1, or take the mask out.",
        _marked,
    ),
    MaskKind(
        "mask.inverted",
        "warning",
        "masks look inverted: most of the picture and its border are marked",
        "Look at them; if the forged part is black, save 255 minus the mask.",
        _inverted,
    ),
    MaskKind(
        "mask.full",
        "notice",
        "masks mark the whole picture",
        "Check them: a mask that says nothing about the place cannot measure localisation.",
        _full,
    ),
    MaskKind(
        "mask.soft",
        "notice",
        "masks hold many grey values",
        "Decide on a threshold and save 0 and 255, as PNG.",
        _soft,
    ),
    MaskKind(
        "mask.coloured",
        "notice",
        "masks are coloured",
        "Decide which colours are forged and save 0 and 255 in one channel.",
        _coloured,
    ),
    MaskKind(
        "mask.absent",
        "notice",
        "forged pictures have no mask",
        "Add masks, or use them for image-level measures only.",
        _absent,
        "names",
    ),
)
