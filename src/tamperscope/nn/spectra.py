"""Fourier's transform inside of networks without one: what FreqNet does between it and its inverse, in closed form.

Pictures lie in the corner of a canvas, each with its own size (see `nn.rectangles`), and every transform is that of the
picture alone. Nothing complex is computed, so graphs of any size can be made.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.rectangles import picked

PART = 4
"""What is dropped is centred, half as wide as the spectrum: a fourth of it to each side (FreqNet)."""


class Lows(NamedTuple):
    """What takes the low frequencies out of maps; see `lows`.

    Attributes:
        down: (B, h, h) even part of what is dropped of a column.
        across: (B, w, w) even part of what is dropped of a row.
        waves: (B, 2, h) and (B, 2, w), the wave that loses its counterpart: the odd part is made of it.
    """

    down: Tensor
    across: Tensor
    waves: tuple[Tensor, Tensor]


def lows(heights: Tensor, widths: Tensor, like: Tensor) -> Lows:
    """Return what `without_low` needs for all maps of one size.

    Args:
        heights: (B,) of the pictures on the maps.
        widths: (B,) of the same.
        like: (B, C, h, w) maps.
    """
    (down, first), (across, second) = (
        _low(sizes, count) for sizes, count in zip((heights, widths), like.shape[-2:], strict=True)
    )
    return Lows(down, across, (first, second))


def without_low(maps: Tensor, low: Lows) -> Tensor:
    """Return maps less their low frequencies, a rectangle of half of the spectrum's height and width; float32.

    Of n frequencies -n/4 to n/4 - 1 are dropped, rounded towards 0, and the real part of what is left is taken: of the
    one that has lost its counterpart half is kept.

    Args:
        maps: (B, C, h, w).
        low: See `lows`.

    Returns:
        (B, C, h, w); what lies beyond a picture is as it was.
    """
    with torch.autocast(maps.device.type, enabled=False):
        # The low part is as large as the picture, what is left of it small: bfloat16 would not keep it.
        maps = maps.float()
        even = _from_left(low.down, _from_right(maps, low.across))
        # An odd part is a wave against itself, a fourth of its length on.
        down, across = low.waves
        core = _from_left(down, _from_right(maps, across))
        sign = 1 - 2 * torch.eye(2, device=maps.device)
        return maps - even - _from_left(down.mT, _from_right(core.flip(-2, -1) * sign, across.mT))


def turned(maps: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    """Return maps turned by half a circle around their first pixel, as if they went on periodically.

    Their transform is the conjugate of that of the maps.

    Args:
        maps: (B, C, h, w).
        heights: (B,) of the pictures on the maps.
        widths: (B,) of the same.
    """
    lines = []
    for sizes, count in zip((heights, widths), maps.shape[-2:], strict=True):
        period = sizes.clamp(min=1)[:, None]
        lines.append((period - torch.arange(count, device=maps.device) % period) % period)
    return picked(maps, *lines)


class SpectrumConv(nn.Module):
    """One 1 x 1 convolution of the real part of a spectrum, another of its imaginary part, and the inverse's real part.

    The real part is the transform of what is even under half a turn around the first pixel, the imaginary part of what
    is odd, and 1 x 1 convolutions commute with the transform. So both are convolutions of the even and the odd half of
    the maps themselves, exactly, and no transform is needed.

    Args:
        channels: In and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.real, self.imaginary = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))

    def forward(self, maps: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
        """Return (B, channels, h, w) of maps (B, channels, h, w) of pictures of these sizes, (B,) each."""
        other = turned(maps, heights, widths)
        found: Tensor = self.real((maps + other) / 2) + self.imaginary((maps - other) / 2)
        return found


class ChannelHighPass(nn.Module):
    """Channels less their low frequencies, at every place by itself, as if channels were a line.

    Args:
        channels: In and out.

    Raises:
        InvalidValueError: There is none.
    """

    low: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 1:
            raise InvalidValueError(f"ChannelHighPass.channels: expected at least 1, found {channels}")
        self.register_buffer("low", _low(torch.tensor([channels]), channels)[0][0], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, channels, h, w), float32."""
        with torch.autocast(maps.device.type, enabled=False):
            maps = maps.float()
            return maps - torch.einsum("ij,bjhw->bihw", self.low, maps)


def _low(sizes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return (B, count, count), the even part of what lines of these sizes lose, and (B, 2, count), their waves.

    The odd part is S = sine x cosine' - cosine x sine' of the wave, over the size, which the waves are divided by.
    """
    size = sizes.clamp(min=1)[:, None]
    place = torch.arange(count, device=sizes.device)
    known = place < sizes[:, None]
    reach = size // PART
    wave = _angle(reach * place, size)
    waves = torch.stack([wave.cos(), wave.sin()], 1) * (known / size.sqrt())[:, None]
    # The sum of cosines from -reach to reach - 1 is a sine times a cotangent; at a distance of 0 it is their number.
    distance = place[:, None] - place
    apart = torch.where(distance == 0, 1, distance)
    half = apart * (math.pi / size[:, None])
    total = _angle(reach[:, None] * apart, size[:, None]).sin() * half.cos() / half.sin()
    total = torch.where(distance == 0, 2 * reach[:, None], total)
    return torch.where(known[:, :, None] & known[:, None], total, 0) / size[:, None], waves


def _angle(number: Tensor, size: Tensor) -> Tensor:
    """Return the angle of whole numbers of parts of a circle; whole circles are left out, for digits are few."""
    return number % size * (2 * math.pi / size)


def _from_left(matrices: Tensor, maps: Tensor) -> Tensor:
    """Return (B, C, i, w) of matrices (B, i, h) and maps (B, C, h, w): no matrix is copied for each channel."""
    rows = maps.transpose(1, 2)
    return (matrices @ rows.flatten(2)).unflatten(2, rows.shape[2:]).transpose(1, 2)


def _from_right(maps: Tensor, matrices: Tensor) -> Tensor:
    """Return (B, C, h, i) of maps (B, C, h, w) and matrices (B, i, w)."""
    return (maps.flatten(1, 2) @ matrices.mT).unflatten(1, maps.shape[1:3])
