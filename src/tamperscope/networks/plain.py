"""What the plain localizers share: what they see, a map, a score made of it, and one loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from tamperscope.networks.base import Network
from tamperscope.nn.heads import resized
from tamperscope.nn.plain import Factors, Score
from tamperscope.nn.stems import Stem


class Plain(Network):
    """A localizer with one map.

    Args:
        stem: Maps that it sees, see `nn.stems.Stem`.
        bce: Weight of the map's cross-entropy.
        dice: Weight of the map's Dice loss.
        score: Weight of the score's cross-entropy; None leaves the score out.

    Raises:
        InvalidValueError: A weight is out of range.
        UnknownNameError: A map of the stem is not known.
    """

    any_size = True

    def __init__(self, stem: Sequence[str], bce: float, dice: float, score: float | None) -> None:
        super().__init__()
        self.factors = Factors(bce, dice, score or 0.0)
        self.stem = Stem(stem)
        self.score = None if score is None else Score()

    def answered(self, found: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Return a map of logits (B, 1, h, w) at the picture's size as `mask`, and its `score` (B,)."""
        outputs = {"mask": found if found.shape[-2:] == image.shape[-2:] else resized(found, image.shape[-2:])}
        return outputs if self.score is None else outputs | {"score": self.score(found)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the weighted terms `bce`, `dice` and `score`."""
        return self.factors.loss(outputs, batch)
