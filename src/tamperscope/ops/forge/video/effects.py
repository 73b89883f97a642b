"""Effects: what an object casts, shadow or reflection, found where a clip differs from its background and moves along.

A frame is compared with what other frames saw at its place. What differs because the frames were not brought together
exactly stays with the scene; what the object casts goes with the object. So differences are brought to the object's own
place and size, and what persists there is its effect (the classical counterpart of the attention-based `M_AE` of
Object-WIPER, arXiv 2601.06391).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tamperscope.ops.forge.video import background
from tamperscope.ops.forge.video.clip import Clip, Masks, grown
from tamperscope.ops.forge.video.motion import Motion
from tamperscope.types import BoolArray, FloatArray

LEVEL = 5.0
"""Least difference from the background, grey levels, of what is an effect."""
_REACH = 2.0  # sizes of the object within which its effects lie
_WHOLE = 0.1  # of the object's area: in most frames an effect is so large, or it is grass in the wind
_SHARE = 0.03  # of the object's area: smaller spots are no effect
_CLEAR = 3  # pixels around the object: its soft edge and motion blur are no effect
_LAST = 0.6  # share of the frames that saw the place in which an effect must show


def found(clip: Clip, motion: Motion | None = None, level: float = LEVEL) -> Masks:
    """Return the effects of a clip's object in each frame, (H, W) bool, without the object; empty where it casts none.

    The object must move against the background, or no frame shows what is beneath its effects.

    Args:
        clip: With its objects; none where they are not known.
        motion: Of the camera, if it was measured.
        level: Least difference from the background, grey levels.
    """
    none = tuple(np.zeros(clip.size, bool) for _ in clip.frames)
    present = [] if clip.objects is None else [n for n, mask in enumerate(clip.objects) if mask.any()]
    if clip.objects is None or len(present) < 3:
        return none
    motion = motion or background.motion_of(clip, clip.objects)
    differences = {number: _difference(clip, motion, number) for number in present}
    noise = float(np.median([np.nanmedian(values) for values in differences.values()]))
    least = max(level, 4 * noise)
    own = [_frame_of(clip.objects[number]) for number in present]
    shown = [_brought(differences[n], matrix, clip.size) for n, matrix in zip(present, own, strict=True)]
    lasting = _lasting(shown, least)
    masks = list(none)
    for number, matrix in zip(present, own, strict=True):
        back = cv2.warpAffine(
            lasting.astype(np.float32), matrix, clip.size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        near = grown(back > 0.5, 3)
        effect = near & (np.nan_to_num(differences[number]) > 0.7 * least)
        masks[number] = _solid(effect & ~clip.objects[number], int(_SHARE * clip.objects[number].sum()))
    shares = [masks[n].sum() / clip.objects[n].sum() for n in present]
    return tuple(masks) if float(np.median(shares)) >= _WHOLE else none


def _difference(clip: Clip, motion: Motion, number: int) -> FloatArray:
    """Return how far a frame is from its background, smoothed, (H, W) grey levels; nan where that is not known."""
    assert clip.objects is not None
    mask = clip.objects[number]
    hidden = [grown(m, _CLEAR) if m.any() else m for m in clip.objects]
    # An effect hides the background too, but not in most frames.
    there = background.seen(clip.rgb, hidden, motion, number, _around(mask), len(clip))
    known = there.known & ~grown(mask, _CLEAR)
    gap = np.where(known[..., None], clip.frames[number].rgb - there.rgb, 0).astype(np.float32)
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), 1.5)
    smooth = cv2.GaussianBlur(gap, (0, 0), 1.5) / np.maximum(weight, 1e-3)[..., None]
    return np.where(known, np.abs(smooth).max(axis=2), np.float32(np.nan)).astype(np.float32)


def _around(mask: BoolArray) -> BoolArray:
    """Return the box in which an object's effects lie."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    reach = int(_REACH * max(rows[-1] - rows[0], columns[-1] - columns[0]) + 8)
    out = np.zeros_like(mask)
    out[max(0, rows[0] - reach) : rows[-1] + 1 + reach, max(0, columns[0] - reach) : columns[-1] + 1 + reach] = True
    return out


def _frame_of(mask: BoolArray) -> FloatArray:
    """Return the (2, 3) that takes a frame to where the object's foot is in the middle and its size is a fifth."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    scale = 0.2 * np.sqrt(height * width / max(len(rows), 1))
    x, y = columns.mean(), rows.mean()
    return np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]], np.float32)


def _brought(values: FloatArray, matrix: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return values at the object's own place; nan where they are not known."""
    known = np.isfinite(values).astype(np.float32)
    flat = cv2.warpAffine(np.nan_to_num(values), matrix, size[::-1], flags=cv2.INTER_LINEAR)
    seen = cv2.warpAffine(known, matrix, size[::-1], flags=cv2.INTER_LINEAR)
    return np.where(seen > 0.5, flat / np.maximum(seen, 1e-3), np.float32(np.nan)).astype(np.float32)


def _lasting(shown: Sequence[FloatArray], least: float) -> BoolArray:
    """Return where enough of the frames that saw a place around the object differ there."""
    stack = np.stack(shown)
    sees = np.isfinite(stack).sum(axis=0)
    differs = (np.nan_to_num(stack) > least).sum(axis=0)
    return np.asarray((sees >= max(3, 0.3 * len(shown))) & (differs >= _LAST * sees))


def _solid(mask: BoolArray, least: int) -> BoolArray:
    """Return a mask without specks and small parts, its gaps closed."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(closed)
    large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= max(least, 16)]
    return np.isin(parts, large)
