"""FreqNet: pictures of generators, known by their high frequencies, taken out again and again on the way through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.bottlenecks import stage, through
from tamperscope.nn.rectangles import cornered, halved, inside
from tamperscope.nn.spectra import ChannelHighPass, Lows, SpectrumConv, lows, without_low

ABOUT = About(
    title="FreqNet",
    source="Tan et al., AAAI 2024 (arXiv 2403.07240, 'Frequency-Aware Deepfake Detection'); order and sizes of layers "
    "from copies of its code (github.com/chuangchuangtan/FreqNet-DeepfakeDetection), for the paper was not at hand",
    parameters=1.9e6,
    departures=(
        "Its layers between a Fourier transform and the inverse convolve, as the abstract tells, amplitude and phase; "
        "in the code at hand, the real and the imaginary part, and so they do here. Of that nothing is left but the "
        "maps and the same maps turned by half a circle, each through its 1 x 1 convolution, which is exact.",
        "High-pass filters are products of matrices, the same as transform, drop and inverse but for rounding.",
        "Every transform is of the picture without what fills its canvas up, which is neither seen nor averaged.",
        "Pictures have their own size. How they are brought to the network in training and in tests is not known to us "
        "but from memory (windows of 224 pixels of pictures of 256, ImageNet's mean and deviation).",
        "The loss is the cross-entropy of one logit, from memory.",
        "`tiny` has a fourth of the width.",
    ),
)
STRIDE = 16
"""Pixels of the picture to a step of the last map."""


class FreqNet(Network):
    """The first half of a ResNet-50 between four filters that let only high frequencies of their maps pass.

    Half of the spectrum, each way, is dropped from the picture and from the maps, and of channels as well, as if they
    were a line; so no layer can go by what is coarse. What lies in those frequencies of the picture changes nothing:
    brightness, colours and soft shapes are not seen. Resizing and compression take away what is.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        width: Channels of the first filters; stages have 4 and 8 times as many.
        depths: Number of bottlenecks of both stages.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    multiple = STRIDE
    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    any_size = True

    def __init__(self, width: int = 64, depths: Sequence[int] = (3, 4)) -> None:
        super().__init__()
        if width < 1 or len(depths) != 2 or min(depths) < 1:
            raise InvalidValueError(f"freqnet: expected width from 1 and two depths from 1, found {width}, {depths}")
        self.fine = nn.ModuleList([_Filter(3, width, 1, True), _Filter(width, width, 2, True)])
        self.coarse = nn.ModuleList([_Filter(4 * width, 4 * width, 1), _Filter(4 * width, 4 * width, 2)])
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.first = stage(width, width, 1, depths[0])
        self.second = stage(4 * width, 2 * width, 2, depths[1])
        self.last = nn.Linear(8 * width, 1)
        for layer in self.modules():
            # Those of filters with a bias are drawn by themselves.
            if isinstance(layer, nn.Conv2d) and layer.bias is None:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logit `score` (B,): the picture is generated.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's, a rectangle; None = all.
            needs: Not looked at.
        """
        x, heights, widths = cornered(image, valid)
        x = self._filtered(self.fine, self.normalized(x), heights, widths)
        heights, widths = halved(heights), halved(widths)
        # Nothing is below 0, so that zeros beyond the picture are never a maximum.
        x = self.pool(x * inside(heights, widths, x))
        heights, widths = halved(heights), halved(widths)
        x, _ = through(self.first, x, inside(heights, widths, x))
        x = self._filtered(self.coarse, x, heights, widths)
        heights, widths = halved(heights), halved(widths)
        x, area = through(self.second, x, inside(heights, widths, x))
        return {"score": self.last((x.float() * area).sum((2, 3)) / area.sum((2, 3)).clamp(min=1))[:, 0]}

    def _filtered(self, filters: nn.ModuleList, x: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
        """Return maps after two filters, the second of which halves them."""
        low = lows(heights, widths, x)
        x = filters[0](x, low, heights, widths)
        return filters[1](x, low, halved(heights), halved(widths))

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `label`: the cross-entropy of the score; no truth but `label` is read, of which -1 teaches nothing."""
        return {"label": losses.label_bce(outputs["score"], batch["label"])}


class _Filter(nn.Module):
    """High frequencies of maps, a 1 x 1 convolution, high ones of channels if asked, and a convolution of spectra.

    After each of them what is below 0 is cut off.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Of the first convolution.
        channels: Whether channels lose their low frequencies.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, channels: bool = False) -> None:
        super().__init__()
        self.mix = nn.Conv2d(inputs, outputs, 1, stride)
        nn.init.normal_(self.mix.weight)
        assert self.mix.bias is not None
        nn.init.normal_(self.mix.bias)
        self.across = ChannelHighPass(outputs) if channels else nn.Identity()
        self.spectrum = SpectrumConv(outputs)

    def forward(self, x: Tensor, low: Lows, heights: Tensor, widths: Tensor) -> Tensor:
        """Return maps (B, outputs, ceil(h / stride), ceil(w / stride)), not negative.

        Args:
            x: (B, inputs, h, w).
            low: Of its size.
            heights: (B,) of the pictures on the maps that are returned.
            widths: (B,) of the same.
        """
        x = F.relu(self.across(F.relu(self.mix(F.relu(without_low(x, low))))))
        return F.relu(self.spectrum(x, heights, widths))


def build(size: Size = "tiny", **settings: Any) -> FreqNet:
    """Return FreqNet: 64 channels to begin with in full, 16 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `FreqNet`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
    """
    return FreqNet(**({"width": 64 if size == "full" else 16} | settings))
