"""The background of a clip without what moves: what other frames saw, brought to each frame's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.ops.forge.video.clip import Clip, grown
from tamperscope.ops.forge.video.motion import Motion, aligned
from tamperscope.types import BoolArray, FloatArray, UInt8Array

NEAR = 7
"""Frames, the nearest ones first, that take part in a pixel's median."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the other frames saw at the place of one.

    Attributes:
        rgb: (H, W, 3) float32, the background; 0 where no frame saw it.
        known: (H, W) bool, where one did.
    """

    rgb: FloatArray
    known: BoolArray


def motion_of(clip: Clip, hidden: Sequence[BoolArray]) -> Motion:
    """Return the camera motion of a clip, measured outside of `hidden`."""
    return Motion(clip.rgb, hidden)


def seen(
    frames: Sequence[UInt8Array],
    hidden: Sequence[BoolArray],
    motion: Motion,
    target: int,
    part: BoolArray,
    near: int = NEAR,
    dense: bool = True,
) -> Seen:
    """Return the background in a part of a frame: the median of what the nearest other frames saw there.

    Args:
        frames: (H, W, 3) uint8 each.
        hidden: (H, W) bool each, what hides the background.
        motion: Among the frames.
        target: Number of the frame.
        part: (H, W) bool, the pixels that are asked for; nothing else is known afterwards.
        near: At most so many frames, the nearest ones, take part in a pixel's median; 1 = the nearest frame's pixel.
        dense: Whether flow corrects the homography.
    """
    points = np.nonzero(part)
    values: list[FloatArray] = []
    count = np.zeros(len(points[0]), np.int32)
    for source in sorted((n for n in range(len(frames)) if n != target), key=lambda n: (abs(n - target), n)):
        if not len(count) or count.min() >= near:
            break
        rgb, sees = _brought(frames, hidden, motion, source, target, dense)
        use = sees[points] & (count < near)
        if use.any():
            values.append(np.where(use[:, None], rgb[points], np.float32(np.nan)).astype(np.float32))
            count += use
    out, known = np.zeros((*part.shape, 3), np.float32), np.zeros(part.shape, bool)
    if values:
        # Pixels that were not seen are nan, which is sorted to the end.
        ordered, each = np.sort(np.stack(values), axis=0), np.arange(len(count))
        middle = (ordered[np.maximum(count - 1, 0) // 2, each] + ordered[count // 2, each]) / 2
        known[points] = count > 0
        out[points] = np.where((count > 0)[:, None], middle, 0)
    return Seen(out, known)


def _brought(
    frames: Sequence[UInt8Array],
    hidden: Sequence[BoolArray],
    motion: Motion,
    source: int,
    target: int,
    dense: bool,
) -> tuple[UInt8Array, BoolArray]:
    """Return a frame at another one's place, and where it shows background there."""
    rgb = motion.warped(source, target, frames[source])
    shows = (~grown(hidden[source], 2)).astype(np.float32)
    # A pixel that leans on one outside of the frame, or on a hidden one, is not seen.
    sees = motion.warped(source, target, shows, cv2.INTER_LINEAR) > 0.999
    if dense:
        return aligned(rgb, sees, frames[target], hidden[target])
    return np.asarray(rgb, np.uint8), sees
