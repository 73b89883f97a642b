"""Noise under letters: SRM residuals in grey levels, cut where edges of ink would drown what a scanner left."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.filters import Srm

GREY_LEVELS = 255.0
_REACH = 2


class CutResiduals(nn.Module):
    """Three SRM kernels over all colours (see `filters.Srm`), cut on both sides and divided by that: -1 to 1.

    Args:
        limit: Grey levels at which they are cut.

    Attributes:
        channels: Of the result.

    Raises:
        InvalidValueError: The limit is not above 0.
    """

    def __init__(self, limit: float = 20.0) -> None:
        super().__init__()
        if limit <= 0:
            raise InvalidValueError(f"CutResiduals.limit: expected above 0, found {limit}")
        self.limit = limit
        self.srm = Srm("sum3", clip=limit)
        self.channels = self.srm.channels

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the residuals (B, 3, H, W), float32; beyond the picture its edge is repeated.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; where a kernel would see others it gives 0.
        """
        with torch.autocast(image.device.type, enabled=False):
            # Half a grey level is what traces are made of; bfloat16 does not keep it.
            plane = F.pad(GREY_LEVELS * image.float(), (_REACH,) * 4, mode="replicate")
            found: Tensor = self.srm(plane)[..., _REACH:-_REACH, _REACH:-_REACH] / self.limit
            if valid is not None:
                found = found * -F.max_pool2d(-valid.to(found), 2 * _REACH + 1, 1, _REACH)
            return found
