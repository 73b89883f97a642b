"""Luma and the 8 x 8 block grid: transforms, and maps of blocks brought back to pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from tamperscope.types import FloatArray, UInt8Array

BLOCK = 8
DCT_MATRIX: FloatArray = dct(np.eye(BLOCK), axis=0, norm="ortho").astype(np.float32)
_LUMA = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)


def luma(rgb: UInt8Array) -> FloatArray:
    """Return the BT.601 luma of (H, W, 3) pixels as (H, W) float32 in [0, 255], not rounded."""
    return np.asarray(cv2.transform(rgb.astype(np.float32), _LUMA), dtype=np.float32)


def block_dct(plane: FloatArray) -> FloatArray:
    """Return the orthonormal 8 x 8 DCT of every whole block: (H, W) -> (H // 8, W // 8, 8, 8) float32."""
    rows, cols = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    tiles = plane[: rows * BLOCK, : cols * BLOCK].reshape(rows, BLOCK, cols, BLOCK).swapaxes(1, 2)
    return np.asarray(np.matmul(np.matmul(DCT_MATRIX, tiles), DCT_MATRIX.T), dtype=np.float32)


def spread(
    values: NDArray[np.floating],
    size: tuple[int, int],
    step: int = BLOCK,
    offset: tuple[int, int] = (0, 0),
    smooth: bool = False,
) -> FloatArray:
    """Bring a map of cells to pixels.

    Args:
        values: (rows, cols) one value a cell.
        size: (H, W) of the picture.
        step: Side of a cell in pixels.
        offset: (y, x) of the first cell's corner; pixels outside all cells take the nearest cell's value.
        smooth: Interpolate linearly between the centres of the cells instead of repeating values.

    Returns:
        (H, W) float32, no value outside the range of the cells'.
    """
    rows, cols = values.shape
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    top, left = offset
    bottom, right = top + rows * step, left + cols * step
    # Maps may be large: the cells are enlarged where they belong, and nothing is copied.
    whole = np.empty((max(size[0], bottom), max(size[1], right)), np.float32)
    cv2.resize(values.astype(np.float32), (cols * step, rows * step), whole[top:bottom, left:right], interpolation=how)
    whole[:top], whole[bottom:] = whole[top], whole[bottom - 1]
    whole[:, :left], whole[:, right:] = whole[:, [left]], whole[:, [right - 1]]
    # Rounding may leave the range of the values.
    return np.clip(whole, values.min(), values.max(), out=whole)[: size[0], : size[1]]
