"""Canvases as tensors, and how much each of a step's batches counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tamperscope.engine.canvas import Canvas


def tensors(canvases: Sequence[Canvas], device: torch.device) -> dict[str, Tensor]:
    """Return the batch that networks are told and judged by, as `networks.base` names it.

    `mask` and `classes` are absent where truth masks are not looked at; without maps of editors, `classes` is the mask
    as integers, for all forged pixels have one editor then. `change` is there where maps of changes are looked at,
    `sequence` where sequences of edits are told.
    """
    image = torch.from_numpy(np.stack([c.image for c in canvases])).to(device, non_blocking=True)
    batch = {
        "image": image.movedim(-1, -3).float().div_(255).contiguous(),
        "valid": torch.from_numpy(np.stack([c.valid for c in canvases])).unsqueeze(-3).to(device),
        "label": torch.tensor([c.label for c in canvases], device=device),
    }
    masks = [c.mask for c in canvases if c.mask is not None]
    if len(masks) == len(canvases):
        mask = torch.from_numpy(np.stack(masks)).to(device)
        batch |= {"mask": mask.unsqueeze(-3).float(), "classes": mask.long()}
    classes = [c.classes for c in canvases if c.classes is not None]
    if len(classes) == len(canvases):
        batch["classes"] = torch.from_numpy(np.stack(classes)).to(device).long()
    change = [c.change for c in canvases if c.change is not None]
    if len(change) == len(canvases):
        batch["change"] = torch.from_numpy(np.stack(change)).to(device).unsqueeze(-3).float()
    sequences = [c.sequence for c in canvases if c.sequence is not None]
    if len(sequences) == len(canvases):
        batch["sequence"] = torch.from_numpy(np.stack(sequences)).to(device)
    for name in canvases[0].needs:
        batch[name] = torch.from_numpy(np.stack([c.needs[name] for c in canvases])).to(device)
    return batch


def size(batch: dict[str, Tensor], supervision: str) -> float:
    """Return how much a batch counts among those of one step: its valid pixels, or its pictures for labels.

    The gradient of a step is the mean of its batches' gradients, weighted by this. For a loss that is a mean over
    valid pixels (or over pictures, for labels) that is exactly the gradient of one batch of all; a term that is a mean
    over pictures beside one over pixels, such as Dice, is exact where all batches have equally many valid pixels.
    Batch norm looks at one batch at a time and knows nothing of the others.
    """
    return float(len(batch["image"])) if supervision == "label" else float(batch["valid"].sum())
