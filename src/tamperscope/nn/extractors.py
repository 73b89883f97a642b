"""Extractors of noise residuals as parts of other networks: frozen, in single precision, one map given three times."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn import residuals


class Frozen(nn.Module):
    """A network that neither learns nor leaves eval mode; its one map is given three times, as backbones want it.

    Args:
        inner: Makes one map (B, 1, H, W) of a picture.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode."""
        super().train(False)
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return the map (B, 3, H, W), in float32, of a picture (B, 3, H, W) in the range that the network expects."""
        with torch.autocast(image.device.type, enabled=False):
            # Half a grey level is what traces are made of; bfloat16 does not keep it.
            return self.inner(image.float()).expand(-1, 3, -1, -1)


def extractor(path: str | Path | None = None) -> Frozen:
    """Return a frozen extractor of noise residuals for pictures in [0, 1].

    Args:
        path: Safetensors file of a `nn.residuals.Residuals`, with a card `.json` beside it; None = the shipped.

    Raises:
        InputError: The weights are no safetensors file.
        InvalidValueError: There are no such files, or the weights are not those of the card.
    """
    if path is None:
        return Frozen(residuals.shipped())
    file = Path(path)
    try:
        weights, card = file.read_bytes(), file.with_suffix(".json").read_bytes()
    except OSError as error:
        raise InvalidValueError(f"extractor: expected '{file}' and a card beside it, found no such files") from error
    return Frozen(residuals.Residuals.from_bytes(weights, card))
