"""From a map to one score: Otsu pooling for learning from image labels, soft statistics for detection heads."""

from __future__ import annotations

import torch
from torch import Tensor

STATISTICS = 4
"""Numbers that `soft_statistics` returns for each map."""


def otsu(maps: Tensor, portion: float = 1.0) -> Tensor:
    """Return the mean of the upper class of each map, parted by Otsu's threshold; at most half of the places are above.

    WSCL's adaptive pooling with the exact split: the published one descends a hill from the middle and can stop early.
    No gradient reaches places below the split.

    Args:
        maps: (B, N) or (B, 1, H, W) values, such as probabilities.
        portion: Share of the upper class that is averaged, from the top.

    Returns:
        (B,).
    """
    ordered = maps.flatten(1).sort(dim=1, descending=True).values
    count = ordered.shape[1]
    # Only where the split lies is chosen here; what lies above it carries the gradient.
    upper = _split(ordered.detach().double())
    kept = (upper * portion).ceil().clamp(min=1)
    chosen = torch.arange(count, device=maps.device)[None] < kept[:, None]
    return (ordered * chosen).sum(1) / kept


def _split(ordered: Tensor) -> Tensor:
    """Return how many values of each falling row (B, N) are in the upper class: the least variance within classes."""
    count = ordered.shape[1]
    above = torch.arange(1, max(count // 2, 1) + 1, device=ordered.device, dtype=ordered.dtype)
    sums, squares = ordered.cumsum(1), ordered.square().cumsum(1)
    up, up2 = (total[:, : len(above)] for total in (sums, squares))
    down, down2 = sums[:, -1:] - up, squares[:, -1:] - up2
    below = (count - above).clamp(min=1)
    within = (up2 - up.square() / above) + (down2 - down.square() / below)
    return within.argmin(1) + 1


def top_mean(maps: Tensor, share: float) -> Tensor:
    """Return the mean of the highest values of each map: between its maximum and its mean.

    Args:
        maps: (B, N) or (B, 1, H, W).
        share: Of the places that count, above 0 and up to 1; one place counts at least.

    Returns:
        (B,).
    """
    flat = maps.flatten(1)
    return flat.topk(min(max(round(share * flat.shape[1]), 1), flat.shape[1]), 1).values.mean(1)


def soft_statistics(values: Tensor, weights: Tensor | None = None, sharpness: float = 1.0) -> Tensor:
    """Return soft minimum, soft maximum, mean and mean square of each map, weighted (TruFor, MMFusion).

    Args:
        values: (B, 1, H, W), such as the difference of two logits.
        weights: (B, 1, H, W), logarithms of weights, such as the log-sigmoid of a confidence; None = all alike.
        sharpness: The larger, the nearer the soft ends are to the true ones.

    Returns:
        (B, 4).
    """
    flat = values.flatten(1)
    share = torch.zeros_like(flat) if weights is None else weights.flatten(1)
    share = share - share.logsumexp(1, keepdim=True)
    highest = torch.logsumexp(sharpness * flat + share, 1) / sharpness
    lowest = -torch.logsumexp(-sharpness * flat + share, 1) / sharpness
    part = share.exp()
    return torch.stack([lowest, highest, (part * flat).sum(1), (part * flat.square()).sum(1)], 1)
