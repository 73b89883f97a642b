"""Features that nobody learned: colours, Lab, gradients, Gabor energies; for a probe where no weights are at hand."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError

_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.950456, 1.0, 1.088754)
_SCALES, _ORIENTATIONS, _WAVE = 3, 4, 4.0


class HandFeatures(nn.Module):
    """48 numbers of every cell, each as how unusual it is in its picture: its distance from the mean, standardized.

    Colours and Lab (3 + 3), magnitudes of the colours' differences across and down (6), and the energies of Gabor
    filters of four orientations at waves of 4, 8 and 16 pixels, each colour apart (36). They are fixed.

    Args:
        cell: Side of a cell, pixels: 4 or a multiple.
        limit: No distance is more, standard deviations.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    channels = 6 + 6 + 3 * _SCALES * _ORIENTATIONS
    kernels: Tensor

    def __init__(self, cell: int = 4, limit: float = 4.0) -> None:
        super().__init__()
        if cell < 4 or cell % 4 or limit <= 0:
            raise InvalidValueError(f"HandFeatures: expected cells of whole 4s, a limit above 0, found {cell}, {limit}")
        self.cell, self.limit = cell, limit
        self.register_buffer("kernels", gabor(_WAVE, _ORIENTATIONS), persistent=False)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, 48, H / cell, W / cell), float32, of mean 0 and deviation 1, of pictures (B, 3, H, W) in [0, 1].

        Args:
            image: Sides are multiples of the cell.
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. The others are in no mean.
        """
        with torch.autocast(image.device.type, enabled=False):
            image = image.float()
            counted = torch.ones_like(image[:, :1]) if valid is None else valid.float()
            share = F.avg_pool2d(counted, self.cell)
            planes = torch.cat([image, lab(image), *differences(image)], 1) * counted
            cells = [F.avg_pool2d(planes, self.cell) / share.clamp(min=1e-6)]
            for scale in range(_SCALES):
                cells.append(F.avg_pool2d(self._energy(image), self.cell >> scale))
                image = F.avg_pool2d(image, 2)
            away = _standard(torch.cat(cells, 1), share).abs().clamp(max=self.limit)
            return _standard(away, share)

    def _energy(self, image: Tensor) -> Tensor:
        """Return the magnitudes (B, 12, H, W) of even and odd filters, each colour apart."""
        reach = self.kernels.shape[-1] // 2
        flat = F.pad(image, (reach,) * 4, mode="replicate").flatten(0, 1)[:, None]
        even, odd = F.conv2d(flat, self.kernels).chunk(2, 1)
        return (even.square() + odd.square()).sqrt().unflatten(0, image.shape[:2]).flatten(1, 2)


def gabor(wave: float, orientations: int) -> Tensor:
    """Return Gabor kernels (2 x orientations, 1, side, side): first the even ones, which add to 0, then the odd ones.

    Args:
        wave: Length, pixels; the Gaussian's deviation is .56 of it (one octave), and the kernel reaches three of them.
        orientations: Evenly from 0 to below 180 degrees.
    """
    sigma = 0.56 * wave
    reach = math.ceil(3 * sigma)
    line = torch.arange(-reach, reach + 1).float()
    y, x = torch.meshgrid(line, line, indexing="ij")
    bell = torch.exp(-(x.square() + y.square()) / (2 * sigma**2))
    bell = bell / bell.sum()
    phases = [2 * math.pi / wave * (x * math.cos(a) + y * math.sin(a)) for a in _angles(orientations)]
    even = [bell * phase.cos() for phase in phases]
    even = [kernel - bell * kernel.sum() for kernel in even]
    return torch.stack(even + [bell * phase.sin() for phase in phases])[:, None]


def _standard(cells: Tensor, share: Tensor) -> Tensor:
    """Return planes (B, C, h, w) less the mean over their deviation, each place weighted by its share (B, 1, h, w)."""
    total = share.sum((2, 3), keepdim=True).clamp(min=1e-6)
    away = cells - (cells * share).sum((2, 3), keepdim=True) / total
    variance = (away.square() * share).sum((2, 3), keepdim=True) / total
    return away / (variance.sqrt() + 1e-3)


def _angles(orientations: int) -> list[float]:
    return [math.pi * number / orientations for number in range(orientations)]


def differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return magnitudes of central differences across and down, (B, C, H, W) each; the edge is repeated beyond it."""
    wide = F.pad(image, (1, 1, 1, 1), mode="replicate")
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]).abs() / 2
    return across, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]).abs() / 2


def lab(image: Tensor) -> Tensor:
    """Return CIE L*a*b* (D65) over 100, (B, 3, H, W), of sRGB in [0, 1]."""
    linear = torch.where(image > 0.04045, ((image.clamp(min=0) + 0.055) / 1.055) ** 2.4, image / 12.92)
    matrix = torch.tensor(_TO_XYZ, device=image.device) / torch.tensor(_WHITE, device=image.device)[:, None]
    ratios = (matrix[:, :, None, None] * linear[:, None]).sum(2)
    limit = (6 / 29) ** 3
    x, y, z = torch.where(
        ratios > limit, ratios.clamp(min=limit) ** (1 / 3), ratios * (29 / 6) ** 2 / 3 + 4 / 29
    ).unbind(1)
    return torch.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], 1)
