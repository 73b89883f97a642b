"""The manipulation trace of ManTra-Net and SPAN: what every pixel went through, as a vector of length 1.

The front end is pretrained to name the operation that a patch went through (published: 385 of them); what comes after
it only asks whether traces of one picture are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.nn.filters import Bayar, Srm
from tamperscope.nn.restoring import restore

WIDTHS = {"full": (32, *(64,) * 2, *(128,) * 3, *(256,) * 6), "tiny": (32,) * 6}
"""Channels of the convolutions after the first layer: twelve as published, or six."""
PLAIN, BAYAR, REACH = 4, 3, 2
GAIN = 20.0
"""Brings what Bayar and SRM leave of a picture in [0, 1] to about the scale of its colours."""
DEPARTURES = (
    "Twelve 3 x 3 convolutions have 32, 64, 64, 128, 128, 128 and six times 256 channels: the facts at hand say no "
    "more than VGG-like and 256 in the end.",
    "Kernels of the first layer are 5 x 5, plain ones see 2 x - 1, Bayar's and SRM's maps count twentyfold and pass "
    "without clipping or ReLU, and the last convolution has no ReLU: the facts at hand do not say.",
    "Convolutions begin as He et al. (2015) with biases of 0 and there is no batch norm: the facts at hand do not say.",
    "At the edge of a picture its last pixels are repeated, padding is black whatever it holds, and where Bayar's or "
    "SRM's kernels would reach into it their maps are 0.",
    "No weights are published with this package: `nn.traces.Operations` pretrains the front end on operations of your "
    "own, and `weights` takes the file; without it all is learned from masks.",
)
"""What both systems say of this front end."""


class Traces(nn.Module):
    """From pictures to traces: 4 plain, 3 Bayar and 9 SRM maps, then 3 x 3 convolutions, then length 1 at every pixel.

    Args:
        widths: Channels after each 3 x 3 convolution, see `WIDTHS`.
        weights: A safetensors file of such a front end; None = begin at random.

    Attributes:
        channels: Of the trace.
        reach: Pixels on every side that a trace is made of.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: There is no convolution or one without a channel, or the weights do not fit.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS["full"], weights: str | Path | None = None) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise InvalidValueError(f"Traces.widths: expected one or more numbers from 1, found {list(widths)}")
        self.plain = nn.Conv2d(3, PLAIN, 2 * REACH + 1, padding=REACH)
        self.bayar, self.srm = Bayar(3, BAYAR), Srm("rgb9", clip=None)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((PLAIN + BAYAR + self.srm.channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        for layer in (self.plain, *self.layers):
            if isinstance(layer, nn.Conv2d):
                # The default's biases are larger than what is left of a residual after a few layers.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.channels, self.reach = widths[-1], REACH + len(widths)
        if weights is not None:
            self.load(weights)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the traces (B, channels, H, W), float32, each of length 1.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
        """
        with torch.autocast(image.device.type, enabled=False):
            maps = self.first(image.float(), valid)
        x = self.layers(maps).float()
        # The root of a sum that is never 0: its gradient is finite where nothing is left of a picture.
        return x * (x.square().sum(1, keepdim=True) + 1e-6).rsqrt()

    def first(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the sixteen maps (B, 16, H, W): plain, Bayar, SRM.

        They are computed in single precision: half a grey level is what traces are made of.
        """
        inside: Tensor | None = None
        if valid is not None:
            image = image * valid
            inside = 1 - F.max_pool2d(1 - valid.to(image), 2 * REACH + 1, 1, REACH)
        wide = F.pad(image, (REACH,) * 4, mode="replicate")
        high = GAIN * torch.cat([self.bayar(wide), self.srm(wide)], 1)
        plain, high = (x[..., REACH:-REACH, REACH:-REACH] for x in (self.plain(2 * wide - 1), high))
        return torch.cat([plain, high if inside is None else high * inside], 1)

    def load(self, path: str | Path) -> None:
        """Take the weights of a safetensors file; all must be there, and no other.

        Raises:
            InputError: There is no such file, or it is no safetensors file.
            InvalidValueError: The weights do not fit.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"'{path}': expected a safetensors file, found none: {error}") from error
        restore(self, data, str(path))


class Operations(nn.Module):
    """Which of so many operations a patch went through: what a front end is pretrained with.

    Args:
        traces: Learns with it.
        operations: Number of operations; one strength of one kind is one of them.
    """

    def __init__(self, traces: Traces, operations: int) -> None:
        super().__init__()
        if operations < 2:
            raise InvalidValueError(f"Operations.operations: expected 2 or more, found {operations}")
        self.traces, self.classes = traces, nn.Linear(traces.channels, operations)
        self.sharpness = nn.Parameter(torch.tensor(16.0))

    def features(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the mean trace of each patch (B, channels), of pixels whose trace sees nothing beyond the patch."""
        traces, reach = self.traces(image, valid), self.traces.reach
        inside = torch.ones_like(image[:, :1]) if valid is None else valid.to(traces)
        inside = 1 - F.max_pool2d(F.pad(1 - inside, (reach,) * 4, value=1.0), 2 * reach + 1, 1)
        return (traces * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the logits (B, operations) of patches (B, 3, H, W) in [0, 1], each wholly of one operation."""
        return self.sharpness * self.classes(self.features(image, valid))

    def loss(self, logits: Tensor, operations: Tensor) -> Tensor:
        """Return the mean cross-entropy; operations (B,) below 0 are not known and do not count."""
        known = operations >= 0
        loss = F.cross_entropy(logits.float(), operations.clamp(min=0).long(), reduction="none")
        return (loss * known).sum() / known.sum().clamp(min=1)
