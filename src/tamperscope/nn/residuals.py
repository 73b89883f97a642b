"""Noise residuals that tell camera pipelines apart: a small DnCNN, taught by comparing patches (Noiseprint, NP++).

The network makes one map of a picture. Patches that went the same way (camera, noise, demosaicing, JPEG grid) and lie
alike on its grid get maps that are near to each other, patches that did not get maps that are far.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope import weights
from tamperscope.nn.dncnn import convolutions
from tamperscope.nn.restoring import restore

GAIN = 20.0
"""Brings what is left of a picture less its local mean to about 1."""
_NAME = "residuals.safetensors"


class Residuals(nn.Module):
    """DnCNN (Zhang et al., 2017) without its subtraction: 3 x 3 convolutions, batch norm on all but both ends.

    It sees a picture less its mean of 3 x 3 pixels, so that it need not first unlearn what the picture shows.
    Noiseprint++ sees the picture, in 17 layers of 64 channels; the shipped network has 7 of 32 and sees 17 x 17 pixels.

    Args:
        layers: Number of convolutions, at least 2.
        width: Channels between them.

    Raises:
        InvalidValueError: There are fewer than 2 layers, or no channel.
    """

    def __init__(self, layers: int = 7, width: int = 32) -> None:
        super().__init__()
        self.layers = convolutions(layers, width)
        self.margin = layers + 1

    def forward(self, image: Tensor) -> Tensor:
        """Return the residual (B, 1, H, W), unbounded, of pictures (B, 3, H, W) in [0, 1]."""
        mean = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return self.layers(GAIN * (image - mean))

    @classmethod
    def from_bytes(cls, data: bytes, card: bytes) -> Residuals:
        """Return the network of a safetensors file and its card, frozen and in eval mode.

        Raises:
            InputError: The weights are no safetensors file.
            InvalidValueError: The weights are not those of the card, or not of this network.
        """
        stated = weights.checked(data, card, _NAME)
        net = cls(stated["layers"], stated["width"])
        restore(net, data, _NAME)
        return net.eval().requires_grad_(False)


def contrast(residuals: Tensor, groups: Tensor, period: int = 8, temperature: float = 0.5) -> Tensor:
    """Return Noiseprint's loss (Cozzolino & Verdoliva, 2020): of all other patches, those of the own group are nearest.

    -log sum_own exp(-d^2) / sum_others exp(-d^2), d^2 being the squared distance of two maps, so that a level tells
    groups apart as well as a pattern does. Two things differ, for short training. Maps are first averaged over the
    cells of the JPEG grid: pixel by pixel noise drowns what is alike. And the unit of distance is the variance within
    the batch times the temperature: else all maps shrink to one, where there is hardly a gradient.

    Args:
        residuals: (N, 1, H, W), cut alike on the grid, sides multiples of the period.
        groups: (N,) int; a patch alone in its group counts nothing.
        period: Side of a cell, pixels.
        temperature: The smaller, the more the nearest patches count.
    """
    vectors = folded(residuals, period)
    unit = vectors.var(0).mean().clamp(min=1e-12) * temperature
    logits = -(vectors[:, None] - vectors[None]).square().mean(2) / unit
    others = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    own = (groups[:, None] == groups[None]) & others
    known = own.any(1)
    if not known.any():
        return vectors.sum() * 0
    all_others, all_own = (logits[known].masked_fill(~kept[known], -torch.inf).logsumexp(1) for kept in (others, own))
    return (all_others - all_own).mean()


def folded(residuals: Tensor, period: int = 8) -> Tensor:
    """Return the mean of each place of a grid's cell, (N, period^2), of (N, 1, H, W); sides are multiples of it."""
    cells = residuals.float().unflatten(3, (-1, period)).unflatten(2, (-1, period))
    return cells.mean((1, 2, 4)).flatten(1)


def shipped() -> Residuals:
    """Return the extractor inside the package, a new copy each time, checked against its card.

    Raises:
        InvalidValueError: The weights are not those of the card.
    """
    return Residuals.from_bytes(*weights.shipped(_NAME))
