"""Smash & Reconstruction (PatchCraft): patches of a picture, ordered by their texture, laid out anew as two mosaics.

What the picture shows is destroyed by it; every pixel keeps its neighbours within a patch, and with them its traces.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError

PATCH = 32
"""Side of a patch, pixels."""
_PLASTIC = 1.324717957244746
"""The root of x^3 = x + 1; multiples of 1/x and 1/x^2, less their whole parts, fill a square evenly (Roberts, 2018)."""


class Smash(nn.Module):
    """From pictures to two mosaics: their poorest patches in rising, their richest ones in falling order of texture.

    Patches lie where a low-discrepancy sequence puts them, each time the same: they overlap as random ones do.

    Args:
        side: Patches along each side of a mosaic.
        draws: Patches that are looked at, twice `side` x `side` at least, so that no draw is in both mosaics.

    Raises:
        InvalidValueError: There is no patch, or there are too few draws.
    """

    shares: Tensor

    def __init__(self, side: int = 8, draws: int = 192) -> None:
        super().__init__()
        if side < 1 or draws < 2 * side * side:
            expected = f"side from 1 and draws from 2 x side x side = {2 * side * side}"
            raise InvalidValueError(f"Smash: expected {expected}, found {side}, {draws}")
        self.side, self.draws = side, draws
        steps = torch.tensor([1 / _PLASTIC, 1 / _PLASTIC**2], dtype=torch.float64)
        numbers = torch.arange(draws, dtype=torch.float64)[:, None]
        self.register_buffer("shares", ((0.5 + numbers * steps) % 1).float(), persistent=False)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the poor and the rich mosaic, (B, C, side x 32, side x 32) each, filled row by row.

        Args:
            image: (B, C, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's, a rectangle; None = all.
        """
        patches = self.patches(image, valid)
        # Whole numbers, no two alike: so the order is the same on every machine.
        keys = diversity(patches).long() * self.draws + torch.arange(self.draws, device=image.device)
        poor, rich = (
            patches.take_along_dim(keys.topk(self.side * self.side, 1, largest).indices[..., None, None, None], 1)
            for largest in (False, True)
        )
        return self.laid(poor), self.laid(rich)

    def patches(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the patches (B, draws, C, 32, 32) in the order of the draws; see `forward`.

        A picture with a side below 32 is mirrored along it until it is long enough.
        """
        known = torch.ones_like(image[:, :1], dtype=torch.bool) if valid is None else valid
        rows = self._places(known[:, 0].any(2), self.shares[:, 0])
        columns = self._places(known[:, 0].any(1), self.shares[:, 1])
        places = rows[..., :, None] * image.shape[-1] + columns[..., None, :]
        flat = places.flatten(1)[:, None].expand(-1, image.shape[1], -1)
        found = image.flatten(2).gather(2, flat)
        return found.unflatten(2, (self.draws, PATCH, PATCH)).transpose(1, 2)

    def laid(self, patches: Tensor) -> Tensor:
        """Return a mosaic (B, C, side x 32, side x 32) of patches (B, side x side, C, 32, 32), row by row."""
        grid = patches.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 4, 2, 5)
        return grid.flatten(4, 5).flatten(2, 3)

    def _places(self, known: Tensor, shares: Tensor) -> Tensor:
        """Return the lines (B, draws, 32) of each patch along an axis of which (B, length) lines are the picture's."""
        first, length = known.int().argmax(1), known.sum(1)
        room = (length - PATCH).clamp(min=0)[:, None]
        start = torch.minimum((shares * (room + 1)).long(), room)
        line = start[..., None] + torch.arange(PATCH, device=known.device)
        period = 2 * length.clamp(min=1)[:, None, None]
        line = line % period
        return first[:, None, None] + torch.minimum(line, period - 1 - line)


def diversity(patches: Tensor) -> Tensor:
    """Return the texture diversity of patches: absolute differences of neighbours in four directions, all added.

    Args:
        patches: (..., C, h, w) in [0, 1]; they are rounded to grey levels.

    Returns:
        (...) whole numbers, float32: exact to about 5000 pixels of three channels.
    """
    level = (255 * patches.float()).round()
    across, down = level[..., 1:] - level[..., :-1], level[..., 1:, :] - level[..., :-1, :]
    falling = level[..., 1:, 1:] - level[..., :-1, :-1]
    rising = level[..., 1:, :-1] - level[..., :-1, 1:]
    return torch.stack([x.abs().sum((-3, -2, -1)) for x in (across, down, falling, rising)]).sum(0)
