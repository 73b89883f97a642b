"""Pixel-difference convolutions (Su et al., ICCV 2021): weights meet differences of pixels, never pixels themselves.

What is the same everywhere gives 0, and brightness that is added changes nothing; what is left is texture.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import unknown_name

Kind = Literal["central", "angular", "radial"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Of a 3 x 3 square in reading order, clockwise; of a 5 x 5 one, its outer ring and the neighbours of its centre.
_RING = (0, 1, 2, 5, 8, 7, 6, 3)
_OUTER = (0, 2, 4, 14, 24, 22, 20, 10)
_INNER = (6, 7, 8, 13, 18, 17, 16, 11)


class Difference(nn.Module):
    """A convolution with eight weights a pair of channels, each of one difference.

    `central`: the eight neighbours less the centre. `angular`: each neighbour less the next one clockwise; the centre
    is not looked at. `radial`: eight pixels at a distance of two less those between them and the centre.

    It computes in single precision, for weights that add to 0 no longer do in 16 bits; beyond the edge the map's last
    row or column is repeated, so that an edge makes no difference.

    Args:
        kind: `central`, `angular` or `radial`.
        inputs: Channels in.
        outputs: Channels out.

    Raises:
        UnknownNameError: There is no such kind.
    """

    taps: Tensor

    def __init__(self, kind: Kind, inputs: int, outputs: int) -> None:
        super().__init__()
        if kind not in KINDS:
            raise unknown_name("kind of differences", kind, KINDS)
        side, plus, minus = {
            "central": (3, _RING, (4,) * 8),
            "angular": (3, _RING, (*_RING[1:], _RING[0])),
            "radial": (5, _OUTER, _INNER),
        }[kind]
        taps = torch.zeros(8, side * side)
        taps[range(8), plus] = 1.0
        taps[range(8), minus] -= 1.0
        self.reach = side // 2
        self.register_buffer("taps", taps, persistent=False)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 8))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def kernel(self) -> Tensor:
        """Return the kernels of the plain convolution that does the same, (outputs, inputs, side, side)."""
        side = 2 * self.reach + 1
        return (self.weight @ self.taps).unflatten(2, (side, side))

    def forward(self, planes: Tensor) -> Tensor:
        """Return (B, outputs, H, W) of (B, inputs, H, W)."""
        with torch.autocast(planes.device.type, enabled=False):
            padded = F.pad(planes.float(), (self.reach,) * 4, mode="replicate")
            return F.conv2d(padded, self.kernel().float())
