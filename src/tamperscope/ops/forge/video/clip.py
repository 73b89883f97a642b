"""A clip: frames in order, outlines of an object and of what it casts; and how an operation leaves its mark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.record import record
from tamperscope.types import BoolArray, Sample, UInt8Array

Masks: TypeAlias = tuple[BoolArray, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames of one camera.

    Attributes:
        frames: In order, of one size; of a forged clip, `mask` marks all pixels that may differ from the original.
        objects: (H, W) bool each, the object of each frame, or None where it is not known. Of a forged clip: what was
            removed or pasted.
        effects: (H, W) bool each, what the object casts (shadow, reflection), without the object; None = not known.
        fps: Frames a second, above 0.
        id: Unique name.

    Raises:
        InvalidValueError: There is no frame, or sizes or counts differ.
    """

    frames: tuple[Sample, ...]
    objects: Masks | None = None
    effects: Masks | None = None
    fps: float = 25.0
    id: str = ""

    def __post_init__(self) -> None:
        if not self.frames:
            raise InvalidValueError("clip: expected at least one frame, found none")
        if len(sizes := {frame.size for frame in self.frames}) > 1:
            raise InvalidValueError(f"clip: expected frames of one size, found {sorted(sizes)}")
        if not self.fps > 0:
            raise InvalidValueError(f"clip.fps: expected a number above 0, found {self.fps}")
        for name in ("objects", "effects"):
            masks = getattr(self, name)
            if masks is None:
                continue
            found = [mask.shape for mask in masks if mask.shape != self.size or mask.dtype != np.bool_]
            if len(masks) != len(self.frames) or found:
                raise InvalidValueError(
                    f"clip.{name}: expected {len(self.frames)} masks, bool {self.size}; found {len(masks)} {found[:1]}"
                )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        return self.frames[0].size

    @property
    def rgb(self) -> list[UInt8Array]:
        """(H, W, 3) uint8 pixels of every frame."""
        return [frame.rgb for frame in self.frames]

    def cut(self, start: int, stop: int) -> Clip:
        """Return the frames from `start` to `stop`, which is not among them."""
        part = slice(start, stop)
        parts = {name: masks and masks[part] for name in ("objects", "effects") if (masks := getattr(self, name))}
        return replace(self, frames=self.frames[part], **parts)


ClipOp: TypeAlias = Callable[[Clip, np.random.Generator], Clip]


def forged(
    clip: Clip,
    rgb: Sequence[UInt8Array],
    masks: Sequence[BoolArray],
    objects: Sequence[BoolArray],
    effects: Sequence[BoolArray],
    op: str,
    **values: Any,
) -> Clip:
    """Return the clip with new pixels and labels, recorded in every frame with its number as `frame`.

    Args:
        clip: Before the operation.
        rgb: (H, W, 3) uint8 of each frame.
        masks: (H, W) bool of each frame, all pixels that the operation may have changed; empty for an intact frame.
        objects: Of each frame, what was removed or pasted.
        effects: Of each frame, what it casts: removed, left, or added.
        op: Name of the operation.
        values: What was drawn or set, JSON-ready; enough to replay.
    """
    frames = tuple(
        record(old, old.with_pixels(new, mask=mask, label=int(mask.any())), op, frame=number, **values)
        for number, (old, new, mask) in enumerate(zip(clip.frames, rgb, masks, strict=True))
    )
    return replace(clip, frames=frames, objects=tuple(objects), effects=tuple(effects))


def span(length: int, share: tuple[float, float], rng: np.random.Generator) -> tuple[int, int]:
    """Return which frames an operation changes, (start, stop), stop not among them: a drawn share, at least 1."""
    count = int(np.clip(round(length * rng.uniform(*share)), 1, length))
    start = int(rng.integers(0, length - count + 1))
    return start, start + count


def check_record(entry: Any, op: str) -> None:
    """Check that a record is an operation's.

    Raises:
        InvalidValueError: It is another one's.
    """
    if entry.get("op") != op:
        raise InvalidValueError(f"expected a record of {op}, found one of {entry.get('op')!r}")


def grown(mask: BoolArray, margin: int) -> BoolArray:
    """Return a mask, `margin` pixels wider on all sides."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc) > 0)


def empty(clip: Clip) -> BoolArray:
    """Return a mask of a frame that marks nothing."""
    return np.zeros(clip.size, np.bool_)
