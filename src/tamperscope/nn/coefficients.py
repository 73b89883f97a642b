"""Quantized coefficients of JPEG files, found again from the pixels and the table, so that any window has them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.nn.filters import dct_matrix

CELL, CLIP = 8, 20
"""Side of a block in pixels; networks are told magnitudes of coefficients up to the second."""


class Coefficients(nn.Module):
    """The luma's coefficients of each block of 8 x 8, in steps of the table.

    In files whose steps begin at 3, 98 to 100 % of those that are not 0 equal the file's; smaller steps are lost in the
    rounding of the pixels.
    """

    transform: Tensor

    def __init__(self) -> None:
        super().__init__()
        matrix = dct_matrix(CELL, torch.zeros((), dtype=torch.float64))
        self.register_buffer("transform", torch.kron(matrix, matrix), persistent=False)

    def forward(self, image: Tensor, tables: Tensor) -> Tensor:
        """Return the coefficients (B, 64, H / 8, W / 8), float64 whole numbers, frequencies in natural order.

        In double precision, and a trifle off the ties: else what is rounded up here is rounded down elsewhere.

        Args:
            image: (B, 3, H, W) in [0, 1], whose blocks begin at its corner; sides are multiples of 8.
            tables: (B, 2, 8, 8), of luma and chroma; ones where nothing was quantized.
        """
        red, green, blue = (255 * image.double()).round().split(1, 1)
        blocks = F.pixel_unshuffle(0.299 * red + 0.587 * green + 0.114 * blue - 128, CELL)
        found = (self.transform.double() @ blocks.flatten(2)).reshape(blocks.shape)
        return (found / tables[:, 0].reshape(-1, CELL**2, 1, 1).double() + 1e-6).round()


def planes(coefficients: Tensor) -> Tensor:
    """Return magnitudes to `CLIP` as planes of 0 and 1, (B, CLIP + 1, H, W) int64, of which one is 1 at each place.

    In rows, not by channel: bfloat16's kernels for dilated convolutions break on some CPUs where channels come first.

    Args:
        coefficients: (B, H, W), quantized.
    """
    found = F.one_hot(coefficients.abs().clamp(max=CLIP).long(), CLIP + 1)
    return found.permute(0, 3, 1, 2).contiguous()
