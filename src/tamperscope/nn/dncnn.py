"""DnCNN (Zhang et al., 2017) without its subtraction, as Noiseprint++ has it: it sees the picture itself."""

from __future__ import annotations

from torch import Tensor, nn

from tamperscope.errors import InvalidValueError


class DnCnn(nn.Module):
    """3 x 3 convolutions with ReLU between, and batch norm on all but both ends.

    `nn.residuals.Residuals` is smaller and sees a picture less its local mean; weights of the one mean nothing to the
    other.

    Args:
        layers: Number of convolutions, at least 2; Noiseprint++ has 17.
        width: Channels between them; Noiseprint++ has 64.

    Raises:
        InvalidValueError: There are fewer than 2 layers, or no channel.
    """

    def __init__(self, layers: int = 17, width: int = 64) -> None:
        super().__init__()
        self.layers = convolutions(layers, width)

    def forward(self, image: Tensor) -> Tensor:
        """Return one map (B, 1, H, W), unbounded, of pictures (B, 3, H, W) in [0, 1]."""
        return self.layers(image)


def convolutions(layers: int, width: int) -> nn.Sequential:
    """Return the layers, from three channels to one.

    Args:
        layers: Number of convolutions, at least 2.
        width: Channels between them.

    Raises:
        InvalidValueError: There are fewer than 2 layers, or no channel.
    """
    if layers < 2 or width < 1:
        raise InvalidValueError(f"DnCNN: expected 2 layers or more and a channel, found {layers} of {width}")
    inner: list[nn.Module] = []
    for _ in range(layers - 2):
        inner += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), *inner, nn.Conv2d(width, 1, 3, padding=1))
