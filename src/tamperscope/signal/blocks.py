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
        (H, W) float32.
    """
    rows, cols = values.shape
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    covered = cv2.resize(values.astype(np.float32), (cols * step, rows * step), interpolation=how)
    below, right = size[0] - offset[0] - rows * step, size[1] - offset[1] - cols * step
    covered = covered[: size[0] - offset[0], : size[1] - offset[1]]
    whole = cv2.copyMakeBorder(covered, offset[0], max(0, below), offset[1], max(0, right), cv2.BORDER_REPLICATE)
    return np.asarray(whole, dtype=np.float32)
