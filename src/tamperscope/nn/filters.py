"""Fixed and constrained filters in front of networks: SRM, Bayar, Sobel, high-pass, neighbouring pixel relations.

All keep the size of the picture and take any number of pictures (B, 3, H, W), float.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tamperscope.errors import InvalidValueError

# Clockwise from the right, as (row, column) steps.
_COMPASS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
_SQUARE3 = ((-1, 2, -1), (2, -4, 2), (-1, 2, -1))
_SQUARE5 = ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1))


def srm3() -> Tensor:
    """Return the three kernels of ManTra-Net and MMFusion, (3, 5, 5): second-order square, KV, horizontal."""
    horizontal = torch.zeros(5, 5)
    horizontal[2, 1:4] = torch.tensor([1.0, -2.0, 1.0]) / 2
    return torch.stack([_padded(torch.tensor(_SQUARE3) / 4.0), torch.tensor(_SQUARE5) / 12.0, horizontal])


def srm30() -> Tensor:
    """Return the 30 kernels of the spatial rich model (Fridrich & Kodovsky, 2012), (30, 5, 5).

    Eight of first order, four of second, eight of third, four edges of 3 x 3, four of 5 x 5, two squares: the order of
    PatchCraft and AIDE. Each is divided by the weight of its centre.
    """
    first = [_line({0: -1.0, 1: 1.0}, step) for step in _COMPASS]
    second = [_line({-1: 0.5, 0: -1.0, 1: 0.5}, step) for step in (*_COMPASS[1:4], _COMPASS[0])]
    third = [_line({-1: 1 / 3, 0: -1.0, 1: 1.0, 2: -1 / 3}, step) for step in _COMPASS]
    square3, square5 = _padded(torch.tensor(_SQUARE3) / 4.0), torch.tensor(_SQUARE5) / 12.0
    edges = [torch.rot90(_half(square), -turn) for square in (square3, square5) for turn in range(4)]
    return torch.stack([*first, *second, *third, *edges, square3, square5])


class Srm(nn.Module):
    """High-pass residuals of the spatial rich model.

    Args:
        mode: `sum3` filters R, G, B alike and adds them (3 maps; MMFusion, WSCL); `rgb9` keeps the channels apart (9
            maps, channel by channel; BenCo, ManTra-Net); `bank30` applies all thirty to each channel (90 maps;
            PatchCraft, AIDE).
        clip: Responses are limited to this on both sides; None leaves them.
    """

    kernels: Tensor

    def __init__(self, mode: Literal["sum3", "rgb9", "bank30"] = "sum3", clip: float | None = 2.0) -> None:
        super().__init__()
        if mode not in ("sum3", "rgb9", "bank30"):
            raise InvalidValueError(f"Srm.mode: expected sum3, rgb9 or bank30, found '{mode}'")
        bank = srm30() if mode == "bank30" else srm3()
        summed = mode == "sum3"
        kernels = bank[:, None].repeat(1, 3, 1, 1) if summed else bank[:, None].repeat(3, 1, 1, 1)
        self.groups, self.clip = 1 if summed else 3, clip
        self.channels = len(kernels)
        self.register_buffer("kernels", kernels, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the residuals (B, channels, H, W) of (B, 3, H, W)."""
        residual = F.conv2d(image, self.kernels, padding=2, groups=self.groups)
        return residual if self.clip is None else residual.clamp(-self.clip, self.clip)


class _Constrained(nn.Module):
    """Weights whose centre is -1 and whose others add to 1."""

    def forward(self, weight: Tensor) -> Tensor:
        size = weight.shape[-1]
        centre = torch.zeros_like(weight)
        centre[..., size // 2, size // 2] = 1
        free = weight * (1 - centre)
        total = free.sum(dim=(-2, -1), keepdim=True)
        # The published form divides by a signed sum, which can come near 0.
        safe = torch.where(total.abs() < 1e-3, torch.full_like(total, 1e-3), total)
        free = free + (1 - centre) * (total - safe).abs() / (size * size - 1)
        return free / free.sum(dim=(-2, -1), keepdim=True) - centre


class Bayar(nn.Conv2d):
    """Constrained convolution (Bayar & Stamm, 2016): each kernel predicts its centre from the rest, and subtracts it.

    The constraint is a parametrization, so it holds after every step of any optimizer; weights begin uniform in (0, 1).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        size: Side of the kernels, odd.
    """

    def __init__(self, inputs: int = 3, outputs: int = 3, size: int = 5) -> None:
        if size < 3 or size % 2 == 0:
            raise InvalidValueError(f"Bayar.size: expected an odd number from 3, found {size}")
        super().__init__(inputs, outputs, size, padding=size // 2, bias=False)
        nn.init.uniform_(self.weight)
        parametrize.register_parametrization(self, "weight", _Constrained())


class Sobel(nn.Module):
    """Magnitude of the Sobel gradient: of each channel, or of the sum of all channels as one map.

    Args:
        summed: Whether channels are added first.
    """

    kernels: Tensor

    def __init__(self, summed: bool = False) -> None:
        super().__init__()
        across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        self.summed = summed
        self.register_buffer("kernels", torch.stack([across, -across.T])[:, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, H, W), or (B, 1, H, W) where summed, not negative."""
        planes = image.sum(1, keepdim=True) if self.summed else image
        count, channels, height, width = planes.shape
        flat = planes.reshape(count * channels, 1, height, width)
        gradient = F.conv2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), self.kernels)
        # The root has no gradient at 0.
        magnitude: Tensor = gradient.square().sum(1, keepdim=True).add(1e-12).sqrt()
        return magnitude.reshape(count, channels, height, width)


class HighPass(nn.Module):
    """What is left of a picture without its low frequencies: high and low add to the picture.

    Args:
        kind: `fft` drops a centred square of frequencies, `dct` the corner.
        share: Side of what is dropped, as a share of the highest frequency.
    """

    def __init__(self, kind: Literal["fft", "dct"] = "fft", share: float = 0.25) -> None:
        super().__init__()
        if kind not in ("fft", "dct") or not 0 <= share <= 1:
            raise InvalidValueError(f"HighPass: expected fft or dct and a share in [0, 1], found '{kind}', {share}")
        self.kind, self.share = kind, share

    def forward(self, image: Tensor) -> Tensor:
        """Return the high part of (B, C, H, W)."""
        rows, columns = (self._low(n, image) for n in image.shape[-2:])
        return image - rows @ image @ columns.T

    def _low(self, count: int, like: Tensor) -> Tensor:
        """Return the matrix (count, count) that leaves the low frequencies of a line: what is dropped is a rectangle.

        It is the same as to transform, drop and transform back, and works wherever matrices can be multiplied.
        """
        place = torch.arange(count, device=like.device)
        if self.kind == "dct":
            low = dct_matrix(count, like)[place / count < self.share]
            return low.T @ low
        numbers = place[torch.minimum(place, count - place) / count * 2 < self.share]
        angles = (numbers[:, None] * place % count).to(like.dtype) * (2 * torch.pi / count)
        return (angles.cos().T @ angles.cos() + angles.sin().T @ angles.sin()) / count


class Npr(nn.Module):
    """Neighbouring pixel relations (Tan et al., CVPR 2024): each 2 x 2 cell less its top left pixel, times 2/3.

    An odd last row or column belongs to a cell that is cut off.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, H, W); 0 where a picture was enlarged twofold by nearest neighbour on this grid."""
        height, width = image.shape[-2:]
        first = image[..., ::2, ::2].repeat_interleave(2, -2).repeat_interleave(2, -1)
        relation: Tensor = (image - first[..., :height, :width]) * (2 / 3)
        return relation


def dct_matrix(size: int, like: Tensor | None = None) -> Tensor:
    """Return the orthonormal DCT-II matrix (size, size): rows are frequencies; of the type and device of `like`."""
    place = torch.arange(size, dtype=torch.float64)
    matrix: Tensor = torch.cos(torch.pi / size * (place[None] + 0.5) * place[:, None]) * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    return matrix.float() if like is None else matrix.to(like)


def _padded(kernel: Tensor) -> Tensor:
    margin = (5 - kernel.shape[-1]) // 2
    return F.pad(kernel, (margin,) * 4)


def _line(weights: dict[int, float], step: tuple[int, int]) -> Tensor:
    """Return a kernel with weights at multiples of a step from its centre."""
    kernel = torch.zeros(5, 5)
    for distance, weight in weights.items():
        kernel[2 + distance * step[0], 2 + distance * step[1]] = weight
    return kernel


def _half(square: Tensor) -> Tensor:
    """Return the upper part of a square with its middle row."""
    half = square.clone()
    half[3:] = 0
    return half
