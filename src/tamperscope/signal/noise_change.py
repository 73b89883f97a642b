"""Where the noise of one frame of a film differs from that of the same place in the frames around it.

Noise is what a Laplacian of second differences leaves (Immerkær, CVIU 64(2), 1996), in the calmest quarter of each
block, so that edges count little; it is taken against the whole frame's, so that a frame coded more coarsely than
its neighbours is not taken for a change.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tamperscope.types import FloatArray, UInt8Array

BLOCK = 32
_CELL = 8
_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_FLOOR = 0.5  # grey levels: below this, coding decides and not the camera
_SHARE = 0.1
_AROUND = 11  # frames that are compared: a camera that moves makes far ones unlike


def noise_levels(rgb: UInt8Array) -> FloatArray:
    """Return the noise of each whole block of a frame: binary logarithm, relative to the frame's median.

    Args:
        rgb: (H, W, 3), at least one block in size.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    strength = np.abs(cv2.filter2D(grey, cv2.CV_32F, _KERNEL)) * np.float32(np.sqrt(np.pi / 2) / 6)
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    size = columns * BLOCK // _CELL, rows * BLOCK // _CELL
    cells = cv2.resize(strength[: rows * BLOCK, : columns * BLOCK], size, interpolation=cv2.INTER_AREA)
    side = BLOCK // _CELL
    blocks = cells.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, side * side)
    levels = np.log2(np.partition(blocks, side * side // 4, axis=2)[..., side * side // 4] + np.float32(_FLOOR))
    return np.asarray(levels - np.median(levels), np.float32)


def noise_change(levels: Sequence[FloatArray]) -> tuple[list[float], list[FloatArray]]:
    """Return for each frame how much its noise differs from that of the frames around it, and where.

    Args:
        levels: What `noise_levels` returns of frames of one shot and size, in their order; three or more.

    Returns:
        Scores (mean difference of the tenth of the blocks that differ most, in powers of two) and, for each frame,
        the absolute difference of every block.
    """
    stack = np.stack(levels)
    change = np.empty_like(stack)
    for place in range(len(stack)):
        first = min(max(place - _AROUND // 2, 0), max(len(stack) - _AROUND, 0))
        change[place] = np.abs(stack[place] - np.median(stack[first : first + _AROUND], axis=0))
    most = max(1, round(_SHARE * change[0].size))
    scores = np.sort(change.reshape(len(change), -1), axis=1)[:, -most:].mean(axis=1)
    return [float(score) for score in scores], list(change)
