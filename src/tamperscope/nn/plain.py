"""What plain localizers share: convolutions, a score made of the map alone, and one loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn import losses
from tamperscope.nn.pooling import STATISTICS, soft_statistics


class Score(nn.Sequential):
    """From a map of logits to one: soft minimum, soft maximum, mean, mean square, and a small perceptron.

    Args:
        width: Of the hidden layer.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__(nn.Linear(STATISTICS, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, logits: Tensor) -> Tensor:
        """Return (B,) of (B, 1, h, w)."""
        return super().forward(soft_statistics(logits.float()))[:, 0]


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Return a U-Net's two convolutions, each with batch norm and ReLU; the size stays."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True, slots=True)
class Factors:
    """Weights of the terms of the loss, at least 0: cross-entropy and Dice of the map, cross-entropy of the score.

    Raises:
        InvalidValueError: One is below 0, or those of the map are both 0.
    """

    bce: float = 1.0
    dice: float = 1.0
    score: float = 0.2

    def __post_init__(self) -> None:
        if min(self.bce, self.dice, self.score) < 0 or self.bce + self.dice == 0:
            raise InvalidValueError(f"Factors: expected at least 0, and one of the map above it, found {self}")

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted terms `bce`, `dice`, and `score` where the network gives one.

        Dice is smoothed by 1, so that a pristine picture that is answered by nothing costs nothing. Pictures of unknown
        label (below 0) teach the score nothing.
        """
        mask, truth, valid = outputs["mask"], batch["mask"], batch.get("valid")
        terms = {
            "bce": self.bce * losses.bce(mask, truth, valid),
            "dice": self.dice * losses.dice(mask, truth, valid, smooth=1.0),
        }
        if "score" in outputs:
            label = batch["label"]
            terms["score"] = self.score * losses.bce(outputs["score"], label.clamp(min=0), label >= 0)
        return terms
