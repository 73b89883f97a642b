"""Two bands of a picture's cosine transform, what is not its coarsest and what is not its finest, in one range."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.filters import dct_matrix

LEAST = 1e-3
"""Range below which a band is not stretched: that of a flat picture is made of rounding alone."""


class Bands(nn.Module):
    """The high and the low band of Mesorch, by the orthonormal DCT-II of the whole picture.

    The high one lacks the corner that is among the first rows and the first columns of coefficients. The low one lacks
    what is among neither, and so is an L: it holds the finest frequencies across where they are coarse down, and the
    other way round. Both hold the arms of the L, so they do not add to the picture.

    Args:
        share: Of the rows, and of the columns, that are the first ones; one that is begun counts.

    Raises:
        InvalidValueError: The share is out of range.
    """

    def __init__(self, share: float = 0.05) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise InvalidValueError(f"Bands.share: expected above 0 and below 1, found {share}")
        self.share = share

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the high and the low band, (B, C, H, W) each, float32, of a picture (B, C, H, W)."""
        with torch.autocast(image.device.type, enabled=False):
            image = image.float()
            down, across = (self._first(n, image) for n in image.shape[-2:])
            rows, columns = down @ image, image @ across
            corner = rows @ across
            return image - corner, rows + columns - corner

    def _first(self, count: int, like: Tensor) -> Tensor:
        """Return the matrix (count, count) that leaves the first frequencies of a line; it is symmetric."""
        matrix = dct_matrix(count, like)
        # Multiplied, not chosen: a graph of any size cannot choose by a number that it does not know.
        kept = torch.arange(count, device=like.device) < count * self.share
        return matrix.T @ (matrix * kept[:, None])


def stretched(planes: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return planes (B, C, H, W) from their least value to their greatest as 0 to 1, each picture by itself.

    Args:
        planes: Of any range; one smaller than `LEAST` is taken for that.
        valid: (B, 1, H, W) bool, which pixels are looked at; None = all.
    """
    lowest, highest = planes, planes
    if valid is not None:
        lowest = torch.where(valid, planes, planes.amax((1, 2, 3), keepdim=True))
        highest = torch.where(valid, planes, planes.amin((1, 2, 3), keepdim=True))
    least, most = lowest.amin((1, 2, 3), keepdim=True), highest.amax((1, 2, 3), keepdim=True)
    return ((planes - least) / (most - least).clamp(min=LEAST)).clamp(0, 1)


def filled(image: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return pictures (B, C, H, W) whose padding has the mean colour of the rest: zeros would be in every frequency.

    Args:
        image: Pictures.
        valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. Where there is none, all becomes 0.
    """
    if valid is None:
        return image
    kept = torch.where(valid, image, 0)
    mean = kept.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(valid, image, mean.to(image.dtype))
