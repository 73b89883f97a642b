"""The guided filter (He, Sun & Tang, 2010) with a guide in colours: a map takes over the outlines of a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tamperscope.errors import InvalidValueError


class GuidedFilter:
    """In every box the map is the picture's colours times weights, plus an offset; boxes that overlap are averaged.

    It is linear in the map, to which gradient passes; none reaches the guide. All is in single precision.

    Args:
        guide: (B, 3, H, W) in [0, 1].
        radius: Boxes reach so many pixels to each side, and end with the picture.
        eps: Variance, of values in [0, 1], above which an outline is kept; what varies less is smoothed away.
        valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. What lies beyond is in no box.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    def __init__(self, guide: Tensor, radius: int = 8, eps: float = 1e-3, valid: Tensor | None = None) -> None:
        if radius < 1 or eps <= 0:
            raise InvalidValueError(f"GuidedFilter: expected radius from 1 and eps above 0, found {radius}, {eps}")
        self.radius = radius
        with torch.no_grad(), torch.autocast(guide.device.type, enabled=False):
            self.guide = guide.detach().float()
            self.counted = torch.ones_like(self.guide[:, :1]) if valid is None else valid.float()
            self.total = box_sum(self.counted, radius).clamp(min=1)
            self.mean = self._mean(self.guide)
            pairs = (self.guide[:, :, None] * self.guide[:, None]).flatten(1, 2)
            moments = self._mean(pairs).unflatten(1, (3, 3)) - self.mean[:, :, None] * self.mean[:, None]
            ridge = eps * torch.eye(3, device=guide.device)
            self.inverse = torch.linalg.inv(moments.permute(0, 3, 4, 1, 2) + ridge).permute(0, 3, 4, 1, 2)

    def __call__(self, source: Tensor, times: int = 1) -> Tensor:
        """Return a map (B, 1, H, W) filtered so many times; 0 where it is not valid."""
        with torch.autocast(source.device.type, enabled=False):
            source = source.float()
            for _ in range(times):
                source = self._once(source)
            return source

    def _once(self, source: Tensor) -> Tensor:
        mean = self._mean(source)
        common = self._mean(self.guide * source) - self.mean * mean
        weights = (self.inverse * common[:, None]).sum(2)
        offset = mean - (weights * self.mean).sum(1, keepdim=True)
        # What lies beyond has no weights of its own, and its box may be empty.
        return ((self._mean(weights) * self.guide).sum(1, keepdim=True) + self._mean(offset)) * self.counted

    def _mean(self, planes: Tensor) -> Tensor:
        return box_sum(planes * self.counted, self.radius) / self.total


def box_sum(planes: Tensor, radius: int) -> Tensor:
    """Return the sums (B, C, H, W) over boxes that reach so many pixels to each side; beyond the planes are zeros."""
    for axis in (2, 3):
        margin = (0, 0, radius + 1, radius) if axis == 2 else (radius + 1, radius)
        sums, length = F.pad(planes, margin).cumsum(axis), planes.shape[axis]
        planes = sums.narrow(axis, 2 * radius + 1, length) - sums.narrow(axis, 0, length)
    return planes
