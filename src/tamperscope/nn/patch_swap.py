"""Random patch swap (HiDA-Net): composites of two pictures, cell by cell, that teach where a picture is forged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tamperscope.errors import InvalidValueError
from tamperscope.nn.cover import extents

CELL = 16
SHARES = (0.2, 0.98)
"""Least and greatest share of cells that show the forged picture."""


def cells(size: tuple[int, int], share: Tensor, cell: int = CELL, generator: torch.Generator | None = None) -> Tensor:
    """Return masks (B, 1, H, W), 1 in cells drawn at random, of a grid that begins at the top left.

    Args:
        size: (H, W); cells at the right and lower edge may be cut off.
        share: (B,) of the cells, 0 to 1; rounded to whole cells.
        cell: Side of a cell, pixels.
        generator: Of the draws; None = torch's own.

    Raises:
        InvalidValueError: A cell has no pixel, or a share is out of range.
    """
    if cell < 1 or bool(((share < 0) | (share > 1)).any()):
        raise InvalidValueError(f"cells: expected a side from 1 and shares of 0 to 1, found {cell}, {share.tolist()}")
    rows, columns = (-(-n // cell) for n in size)
    rank = torch.rand((len(share), rows * columns), generator=generator, device=share.device).argsort(1).argsort(1)
    chosen = (rank < (share * (rows * columns)).round()[:, None]).float().view(-1, 1, rows, columns)
    return chosen.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[..., : size[0], : size[1]]


def swapped(
    batch: Mapping[str, Tensor], rate: float = 0.1, cell: int = CELL, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Return a batch some of whose forged pictures have become composites: real ones with cells of the forged.

    The truth is 1 where the forged picture is seen and was forged (the published code labels the other cells so). The
    real picture is one of the batch whose valid pixels lie alike, drawn at random; a batch that has none is returned as
    it is. Where both show the same scene, as a picture and its reconstruction do, only traces tell cells apart; else
    their edges do, too. What was known of tables no longer holds, and becomes unknown.

    Args:
        batch: As networks are told it, with `image`, `mask`, `label` and perhaps `valid` and `qtables`.
        rate: How often a forged picture is changed.
        cell: Side of a cell, pixels.
        generator: Of the draws; None = torch's own.

    Raises:
        InvalidValueError: The rate is out of range, or a cell has no pixel.
    """
    if not 0 <= rate <= 1:
        raise InvalidValueError(f"swapped: expected a rate of 0 to 1, found {rate}")
    image, mask, label = batch["image"], batch["mask"], batch["label"]
    valid = batch.get("valid", torch.ones_like(mask, dtype=torch.bool))
    low, high = SHARES
    draws = torch.rand((3, len(label)), generator=generator, device=image.device)
    forged = cells((image.shape[2], image.shape[3]), low + (high - low) * draws[1], cell, generator)
    extent = extents(valid).flatten(1)
    alike = (extent[:, None] == extent).all(2) & (label == 0)
    # The how-manieth of those that it may be.
    wanted = (draws[2] * alike.sum(1)).long()[:, None]
    other = (alike & (alike.cumsum(1) - 1 == wanted)).int().argmax(1)
    chosen = ((label == 1) & (draws[0] < rate) & alike.any(1))[:, None, None, None]
    truth = torch.where(chosen, mask * forged, mask)
    left = truth.flatten(1).amax(1) > 0
    told = {
        "image": torch.where(chosen, torch.where(forged > 0, image, image[other]), image),
        "mask": truth,
        "label": torch.where(chosen[:, 0, 0, 0], left.to(label), label),
    }
    if "qtables" in batch:
        told["qtables"] = torch.where(chosen, torch.ones_like(batch["qtables"]), batch["qtables"])
    return {**batch, **told}
