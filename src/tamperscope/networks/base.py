"""What every trainable system is: from a picture to named logits, and from those and the truth to named losses.

Names of outputs, all logits: `mask` (B, 1, H, W) forged, at the picture's size; `score` (B,) forged somewhere;
`confidence` (B, 1, H, W) that the mask is right; `classes` (B, C, H, W) who edited. A clip (B, T, 3, H, W) gives its
outputs with T after B. A system that judges whole pictures gives a score and no mask. `sequence` (B, 6, 8), when not
training: which edits were made, in their order. A step's numbers are for: 0 the beginning, 1 to 5 the kinds of edits,
6 the end, 7 filling; the first and the last are never called, and what follows an end says nothing.

Names of a batch: `image` (B, 3, H, W) in [0, 1]; `mask` (B, 1, H, W), 0 or 1; `valid` (B, 1, H, W) bool, which pixels
are the picture's; `label` (B,), 0 or 1; `classes` (B, H, W) int, 0 no editor, -1 not known; whatever else the network
`needs`. `change` (B, 1, H, W) is there where maps of changes are looked at: 0 to 255 grey levels; `sequence` (B, 5)
int where sequences are told: edits from 1 in their order, then 0. Of clips, T follows B; what fills a short one up is
not valid.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

Size = Literal["tiny", "full"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a system; every module of one has it as `ABOUT`.

    Attributes:
        title: As people call it.
        source: Paper and code that the facts are from.
        parameters: Published count of the full size, or None where it is not known.
        departures: What differs from the published system, and why.
        whole: The same, where it is asked of whole pictures and not of faces.
    """

    title: str
    source: str
    parameters: float | None = None
    departures: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


class Network(nn.Module):
    """A trainable system. It is told pictures in [0, 1] and brings them to what it was made for by itself.

    Attributes:
        multiple: Sides of pictures are multiples of it.
        grid: Windows and tiles of a picture begin at multiples of it; 8 keeps the blocks of a JPEG in their places.
        needs: Names of what `forward` takes beside the picture.
        supervision: `mask`, or `label` where truth masks are never looked at.
        any_size: Whether one exported graph serves canvases of any size.
        exported: Names of `needs` that an exported graph takes; None = all.
        clips: Whether it takes clips (B, T, 3, H, W) as well; what does not is told frames as pictures.
        editors: Number of editors that it tells apart; 0 = none.
        edits: Number of kinds of edits whose order it tells; 0 = none.
    """

    multiple: int = 32
    grid: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()
    supervision: ClassVar[str] = "mask"
    any_size: bool = False
    exported: ClassVar[tuple[str, ...] | None] = None
    clips: ClassVar[bool] = False
    editors: int = 0
    edits: int = 0

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...] = IMAGENET[0], std: tuple[float, ...] = IMAGENET[1]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def normalized(self, image: Tensor) -> Tensor:
        """Return a picture in [0, 1] less the mean, over the standard deviation."""
        return (image - self.mean) / self.std

    @abstractmethod
    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the logits by name."""

    @abstractmethod
    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the terms of the loss by name, weighted: their sum is what is minimized.

        Args:
            outputs: Of `forward`.
            batch: What it was told, with the truth.
            progress: Share of the training that is done, 0 to 1.
        """


def parameters(module: nn.Module, trainable: bool = False) -> int:
    """Return how many numbers a module learns; with `trainable`, only those that are not frozen."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)
