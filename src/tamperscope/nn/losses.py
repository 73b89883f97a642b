"""Losses of localization: every one is told which pixels count, and is defined for empty masks.

Shapes: logits and truth (B, 1, H, W), `valid` (B, 1, H, W) bool or None for all; results are scalars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def edge_band(mask: Tensor, width: int = 7, valid: Tensor | None = None) -> Tensor:
    """Return the band along the outline of masks (IML-ViT): dilated but not eroded, by a cross of an odd width.

    Args:
        mask: (B, 1, H, W), 0 or 1.
        width: Pixels of the cross; 1 gives an empty band.
        valid: Which pixels are the picture's; its border is no outline.

    Returns:
        (B, 1, H, W) of the mask's type, 1 in the band. Beyond the border of the picture nothing changes.
    """
    reach = width // 2
    counted = torch.ones_like(mask) if valid is None else valid.to(mask)
    return _dilated(mask * counted, reach) * _dilated((1 - mask) * counted, reach)


def bce(logits: Tensor, truth: Tensor, valid: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Return the mean binary cross-entropy of the valid pixels.

    Args:
        logits: Of being forged.
        truth: 0 to 1.
        valid: Which pixels count.
        weight: Factor of each pixel, such as an edge band; the mean stays that over all valid pixels.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none")
    return _mean(loss if weight is None else loss * weight, valid)


def label_bce(scores: Tensor, label: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean binary cross-entropy of pictures' scores; those of unknown label cost nothing.

    It is a mean over all pictures, not the known ones: these would count more beside unknown ones.

    Args:
        scores: (B,), logits of being forged.
        label: (B,), 0 or 1; below 0 = not known.
        smoothing: How much of the truth is shared evenly by both classes.
    """
    known = label >= 0
    truth = label.clamp(min=0) * (1 - smoothing) + smoothing / 2
    return known.float().mean() * bce(scores, truth, known)


def edge_bce(
    logits: Tensor, truth: Tensor, valid: Tensor | None = None, factor: float = 20.0, width: int = 7
) -> Tensor:
    """Return cross-entropy with more weight along outlines: BCE + factor x mean(BCE x band) (IML-ViT, RelayFormer).

    The mean is over all valid pixels, so that the factor makes up for how few lie in the band.
    """
    return bce(logits, truth, valid, 1 + factor * edge_band(truth.float(), width, valid))


def dice(
    logits: Tensor, truth: Tensor, valid: Tensor | None = None, smooth: float = 0.0, squared: bool = False
) -> Tensor:
    """Return 1 - 2 sum(p g) / sum(p + g) of each picture, averaged (MMFusion's is with `smooth` 0).

    Args:
        logits: Of being forged.
        truth: 0 or 1.
        valid: Which pixels count.
        smooth: Added above and below: with 1 an empty mask that is answered by nothing costs nothing.
        squared: Whether it is sum(p p + g g) below (MVSS-Net, TruFor).
    """
    counted = torch.ones_like(truth) if valid is None else valid
    p, g = (x.float().mul(counted).flatten(1) for x in (logits.float().sigmoid(), truth))
    overlap, total = (p * g).sum(1), (p * p + g * g if squared else p + g).sum(1)
    return (1 - (2 * overlap + smooth) / (total + smooth + 1e-9)).mean()


def lovasz(logits: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the Lovász-softmax loss (Berman et al., 2018), which stands for 1 - IoU, over all pixels of a batch.

    It is the mean of both classes, or that of the one class that is there; 0 where no pixel counts.

    Args:
        logits: Of being forged.
        truth: 0 or 1.
        valid: Which pixels count.
    """
    known = torch.ones_like(truth, dtype=torch.bool) if valid is None else valid
    forged = truth.float()[known]
    errors, order = (forged - logits.float().sigmoid()[known]).abs().sort(descending=True)
    forged, total = forged[order].double(), errors.new_zeros(())
    for members in (forged, 1 - forged):
        # What is lost of the IoU when the pixels with the greatest errors are wrong, one after another.
        lost = 1 - (members.sum() - members.cumsum(0)) / (members.sum() + (1 - members).cumsum(0)).clamp(min=1)
        steps = torch.diff(lost, prepend=lost.new_zeros(1)).to(errors)
        total = total + torch.dot(errors, steps) * (members.sum() > 0)
    classes = (forged.sum() > 0).float() + ((1 - forged).sum() > 0).float()
    return total / classes.clamp(min=1)


def focal(
    logits: Tensor, truth: Tensor, valid: Tensor | None = None, gamma: float = 2.0, alpha: float = 0.25
) -> Tensor:
    """Return the focal loss (Lin et al., 2017): cross-entropy x (1 - p of the true class)^gamma x class weight.

    Args:
        logits: Of being forged.
        truth: 0 or 1.
        valid: Which pixels count.
        gamma: 0 gives weighted cross-entropy.
        alpha: Weight of forged pixels; authentic ones have 1 - alpha. Below 0: no class weights.
    """
    logits, truth = logits.float(), truth.float()
    p = logits.sigmoid()
    right = p * truth + (1 - p) * (1 - truth)
    weight = (1 - right) ** gamma
    if alpha >= 0:
        weight = weight * (alpha * truth + (1 - alpha) * (1 - truth))
    return _mean(weight * F.binary_cross_entropy_with_logits(logits, truth, reduction="none"), valid)


def cross_entropy(
    logits: Tensor, classes: Tensor, valid: Tensor | None = None, weights: tuple[float, ...] = ()
) -> Tensor:
    """Return the cross-entropy over classes, weighted as `torch.nn.CrossEntropyLoss` does; 0 where no pixel counts.

    Args:
        logits: (B, C, H, W).
        classes: (B, H, W) int, 0 to C - 1.
        valid: (B, H, W) bool.
        weights: Of each class; none = all alike.
    """
    known = torch.ones_like(classes, dtype=torch.bool) if valid is None else valid
    weight = torch.tensor(weights, device=logits.device) if weights else None
    loss = F.cross_entropy(logits.float(), classes.long(), weight, reduction="none")
    total = known.float() if weight is None else known * weight[classes.long()]
    return (loss * known).sum() / total.sum().clamp(min=1e-9)


def confidence(logits: Tensor, confidences: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the squared error of a confidence map against the true class's probability (MMFusion, TruFor).

    Args:
        logits: Of being forged; no gradient goes there.
        confidences: Logits of the confidence.
        truth: 0 or 1.
        valid: Which pixels count.
    """
    p = logits.detach().float().sigmoid()
    target = truth * p + (1 - truth) * (1 - p)
    return _mean((confidences.float().sigmoid() - target).square(), valid)


def hardest(loss: Tensor, logits: Tensor, truth: Tensor, least: float = 0.7, count: int = 100_000) -> Tensor:
    """Return the mean loss of hard pixels (OHEM, APSC-Net): the true class below `least`, and never fewer than `count`.

    Args:
        loss: (B, 1, H, W), of each pixel.
        logits: Of being forged.
        truth: 0 or 1.
        least: Probability of the true class from which a pixel is easy.
        count: Pixels of the batch that count at least, or all where there are fewer.
    """
    p = logits.detach().float().sigmoid()
    right = (p * truth + (1 - p) * (1 - truth)).flatten()
    limit = right.kthvalue(min(count, right.numel())).values.clamp(min=least)
    return loss.flatten()[right <= limit].mean()


def consistency_target(mask: Tensor) -> Tensor:
    """Return which pairs of places differ in a soft mask: 1 - (m m' + (1 - m)(1 - m)') (WSCL).

    Args:
        mask: (B, N), 0 to 1.

    Returns:
        (B, N, N), 0 = alike.
    """
    return 1 - (mask[:, :, None] * mask[:, None] + (1 - mask)[:, :, None] * (1 - mask)[:, None])


def info_nce(features: Tensor, groups: Tensor, temperature: float = 0.07) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al., 2020, eq. 2): features of one group attract each other.

    Args:
        features: (N, D), of any length; they are normalized.
        groups: (N,) int. Where no group has two members the loss is 0.
        temperature: Divides the cosines.
    """
    unit = F.normalize(features.float(), dim=1)
    others = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    positive = (groups[:, None] == groups[None]) & others
    logits = (unit @ unit.T / temperature).masked_fill(~others, -torch.inf)
    log_p = logits.log_softmax(1).masked_fill(~positive, 0.0)
    counts = positive.sum(1)
    anchors = counts > 0
    return -(log_p.sum(1)[anchors] / counts[anchors]).sum() / anchors.sum().clamp(min=1)


def ramp(progress: float) -> float:
    """Return WSCL's weight of what early training cannot know: exp(-5 (1 - progress)^2), progress in [0, 1]."""
    return math.exp(-5 * (1 - min(max(progress, 0.0), 1.0)) ** 2)


def map_bce(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Return the cross-entropy of `mask`, logits, over each picture's valid pixels, then the mean of the pictures."""
    mask, truth, valid = outputs["mask"], batch["mask"], batch.get("valid")
    if valid is None:
        return bce(mask, truth)
    counts = valid.sum((1, 2, 3), keepdim=True)
    return bce(mask, truth, valid, valid.sum() / (counts.clamp(min=1) * (counts > 0).sum().clamp(min=1)))


def _dilated(mask: Tensor, reach: int) -> Tensor:
    """Return the maximum over a cross that reaches so far."""
    size = 2 * reach + 1
    across = F.max_pool2d(mask, (1, size), 1, (0, reach))
    return torch.maximum(across, F.max_pool2d(mask, (size, 1), 1, (reach, 0)))


def _mean(loss: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return loss.mean()
    return (loss * valid).sum() / valid.sum().clamp(min=1)
