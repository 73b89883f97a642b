"""What is kept of each picture: features, never pixels, so that memory grows by about two kilobytes a picture."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tamperscope.data.doctor import formats, hashing
from tamperscope.data.manifest import Entry
from tamperscope.errors import TamperscopeError
from tamperscope.types import UInt8Array
from tamperscope.workers import processes

if TYPE_CHECKING:
    from tamperscope.media import Opened

_AHEAD = 4
_LEVEL = 127


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What was seen of a mask.

    Attributes:
        size: (H, W) in pixels.
        high: Largest grey value.
        forged: Share of the pixels above 127.
        border: The same of the outermost pixels.
        soft: Share of the pixels from 16 to 239, neither dark nor bright.
        coloured: Whether the channels differ.
    """

    size: tuple[int, int]
    high: int
    forged: float
    border: float
    soft: float
    coloured: bool


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What was seen of one line of the manifest.

    Attributes:
        entry: The line.
        fault: Why there is no picture: `missing`, `unreadable`, or "".
        cause: The same in words.
        damaged: What is wrong with a picture that could be decoded in part, or "".
        size: (H, W) in pixels; (0, 0) without a picture.
        orientation: EXIF orientation, 1 to 8.
        file_type: By content.
        named_type: By the ending of the name, or "".
        sha256: Of the bytes.
        thumb: (32, 32) grey thumbnail, or None.
        hash: Its 64-bit perceptual hash.
        features: Of the file format, by family and name.
        mask: None without a mask or when it cannot be read.
        mask_fault: Why there is no mask, as `fault`.
        mask_cause: The same in words.
    """

    entry: Entry
    fault: str = ""
    cause: str = ""
    damaged: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    file_type: str = ""
    named_type: str = ""
    sha256: str = ""
    thumb: UInt8Array | None = None
    hash: int = 0
    features: formats.Features | None = None
    mask: MaskFacts | None = None
    mask_fault: str = ""
    mask_cause: str = ""


def _try_open(path: Path) -> tuple[Opened | None, str, str]:
    """Return the picture, or None with the kind of fault and its cause."""
    from tamperscope import media

    # Unlike Path.exists this never raises, whatever the name holds.
    if not os.path.exists(path):  # noqa: PTH110
        return None, "missing", "no such file"
    try:
        return media.open(path), "", ""
    except (TamperscopeError, OSError, MemoryError) as error:
        return None, "unreadable", str(error) or type(error).__name__


def mask_facts(rgb: UInt8Array) -> MaskFacts:
    """Return what a mask looks like, from its (H, W, 3) pixels."""
    import cv2

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    bright = grey > _LEVEL
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    low, high = rgb.min(axis=2), rgb.max(axis=2)
    return MaskFacts(
        size=(grey.shape[0], grey.shape[1]),
        high=int(grey.max()),
        forged=float(bright.mean()),
        border=float(border.mean()),
        soft=float(((grey >= 16) & (grey < 240)).mean()),
        coloured=bool((high - low > 32).mean() > 0.001),
    )


def look(entry: Entry, root: Path) -> Record:
    """Return what is to be known of one line of a manifest in the folder `root`; never raises for a bad file."""
    mask, mask_fault, mask_cause = None, "", ""
    if entry.mask is not None:
        drawn, mask_fault, mask_cause = _try_open(root / entry.mask)
        mask = None if drawn is None else mask_facts(drawn.sample.rgb)
        del drawn
    opened, fault, cause = _try_open(root / entry.image)
    if opened is None:
        return Record(entry, fault=fault, cause=cause, mask=mask, mask_fault=mask_fault, mask_cause=mask_cause)
    thumb = hashing.thumbnail(opened.sample.rgb)
    return Record(
        entry,
        damaged=str(opened.sample.meta.get("damaged", "")),
        size=opened.sample.size,
        orientation=int(opened.sample.meta["orientation"]),
        file_type=str(opened.intake["type"]),
        named_type=str(opened.intake["type_by_extension"] or ""),
        sha256=str(opened.intake["sha256"]),
        thumb=thumb,
        hash=hashing.dct_hash(thumb),
        features=formats.features_of(opened),
        mask=mask,
        mask_fault=mask_fault,
        mask_cause=mask_cause,
    )


def survey(entries: Sequence[Entry], root: Path, workers: int = 1) -> Iterator[Record]:
    """Yield what is known of each line, in the order of the lines whatever the number of `workers` (processes)."""
    if workers == 1:
        yield from (look(entry, root) for entry in entries)
        return
    with processes(workers) as executor:
        yield from _in_order(executor, entries, root, _AHEAD * workers)


def _in_order(executor: ProcessPoolExecutor, entries: Iterable[Entry], root: Path, ahead: int) -> Iterator[Record]:
    waiting: deque[Future[Record]] = deque()
    for entry in entries:
        waiting.append(executor.submit(look, entry, root))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
