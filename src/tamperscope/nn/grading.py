"""Windows of a picture graded by how much of them is in high frequencies of the cosine transform (AIDE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.filters import dct_matrix
from tamperscope.nn.rectangles import cornered, picked

WINDOW, STRIDE = 32, 16
"""Side of a window and the step to the next, pixels."""
BANDS = 6
"""Of diagonals, as wide as each other; each weighs twice as much as the one below it."""
STEP = 1e-4
"""Grades are told apart by it: what is closer is of one grade, and the first window comes first."""
_NONE = -(2**60)


class Grader(nn.Module):
    """From pictures to their windows of the lowest and of the highest grades.

    Args:
        count: Windows of each kind.

    Raises:
        InvalidValueError: There is none.
    """

    transform: Tensor
    weights: Tensor

    def __init__(self, count: int = 2) -> None:
        super().__init__()
        if count < 1:
            raise InvalidValueError(f"Grader.count: expected at least 1, found {count}")
        self.count = count
        self.register_buffer("transform", dct_matrix(WINDOW), persistent=False)
        self.register_buffer("weights", band_weights(), persistent=False)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the lowest windows in rising and the highest in falling order, (B, count, C, 32, 32) each.

        Windows lie wholly in the picture. Of a picture with a side below 32, the mirror belongs to it; of one with
        fewer windows than `count`, the first stands for those that lack.

        Args:
            image: (B, C, H, W) in [0, 1], sides multiples of 16 from 32.
            valid: (B, 1, H, W) bool, which pixels are the picture's, a rectangle; None = all.
        """
        image, heights, widths = cornered(image, valid)
        grades = self.grades(image)
        down, across = (STRIDE * torch.arange(n, device=image.device) + WINDOW for n in grades.shape[1:])
        fits = (down <= heights.clamp(min=WINDOW)[:, None])[:, :, None]
        fits = fits & (across <= widths.clamp(min=WINDOW)[:, None])[:, None]
        steps = (grades / STEP).round().long().flatten(1)
        return self._chosen(image, steps, fits.flatten(1), False), self._chosen(image, steps, fits.flatten(1), True)

    def grades(self, image: Tensor) -> Tensor:
        """Return the grade of every window, (B, rows, columns), float32: the sum over channels and bands.

        The transform's magnitudes count as log(1 + x), and a band as the mean of what is in it.

        Args:
            image: (B, C, H, W) in [0, 1], sides multiples of 16 from 32.
        """
        with torch.autocast(image.device.type, enabled=False):
            # Every window is two blocks one way and two the other, so each block is transformed once, not copied.
            found = self._along(image.float().unflatten(2, (-1, STRIDE)).transpose(3, 4)).transpose(3, 4)
            found = self._along(found.unflatten(4, (-1, STRIDE)).permute(0, 1, 4, 2, 3, 5))
            # (B, C, columns, rows, 32 down, 32 across)
            return ((found.abs() + 1).log() * self.weights).sum((1, 4, 5)).transpose(1, 2)

    def _along(self, blocks: Tensor) -> Tensor:
        """Return the transforms (B, C, n - 1, ..., 32) of each two neighbours among blocks (B, C, n, ..., 16)."""
        first, second = self.transform[:, :STRIDE].T, self.transform[:, STRIDE:].T
        return blocks[:, :, :-1] @ first + blocks[:, :, 1:] @ second

    def _chosen(self, image: Tensor, steps: Tensor, fits: Tensor, largest: bool) -> Tensor:
        """Return windows (B, count, C, 32, 32) by their grades (B, n) in whole steps, of those that fit."""
        total = steps.shape[1]
        # Whole numbers, no two alike: so the order is the same on every machine.
        keys = (steps if largest else -steps) * total - torch.arange(total, device=image.device)
        keys = F.pad(torch.where(fits, keys, _NONE), (0, self.count - 1), value=_NONE)
        best = keys.topk(self.count, 1)
        places = torch.where(best.values > _NONE, best.indices, best.indices[:, :1])
        columns = image.shape[-1] // STRIDE - 1
        row = places // columns
        # A graph of any size cannot take the rest of a division by a number that it does not know.
        lines = [STRIDE * n[..., None] + torch.arange(WINDOW, device=n.device) for n in (row, places - columns * row)]
        return torch.stack([picked(image, *corner) for corner in zip(*(n.unbind(1) for n in lines), strict=True)], 1)


def band_weights() -> Tensor:
    """Return what each coefficient (32, 32) of a window counts: 2^band over the number of coefficients in the band.

    Band k of six has the coefficients with 64 k / 6 <= row + column <= 64 (k + 1) / 6: row + column = 32 is in two.
    """
    place = torch.arange(WINDOW)
    diagonal = BANDS * (place[:, None] + place)
    weights = torch.zeros(WINDOW, WINDOW)
    for band in range(BANDS):
        within = (diagonal >= 2 * WINDOW * band) & (diagonal <= 2 * WINDOW * (band + 1))
        weights += 2**band * within / within.sum()
    return weights
