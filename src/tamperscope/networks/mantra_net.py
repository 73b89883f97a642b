"""ManTra-Net: how far each pixel's trace is from those around it, in standard deviations, from far to near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses, traces

ABOUT = About(
    title="ManTra-Net",
    source="Wu, AbdAlmageed & Natarajan, CVPR 2019, ManTra-Net: Manipulation Tracing Network for Detection and "
    "Localization of Image Forgeries With Anomalous Features",
    departures=(
        *traces.DEPARTURES,
        "The floor of the deviation is the root of two squares' sum, not the greater: it learns always.",
        "Variances are over all valid pixels, and Z-scores of padding are 0.",
        "Gates of the ConvLSTM are logistic and see no cell, and its forget gate begins at a bias of 1: the facts at "
        "hand give its size alone.",
        "There is no batch norm after the adaptation: Z-scores take its scale out.",
        "`tiny` has six convolutions of 32 channels and an adaptation to 16.",
    ),
)


class ZPool(nn.Module):
    """How many standard deviations the mean around a pixel is from the pixel: |mean - x| / sigma.

    Sigma is that of the whole picture, channel by channel, with a learned floor. Which of two kinds of pixels is the
    background does not matter: what is measured is how far they are from each other, without a sign.

    Args:
        channels: Of the features.
        windows: Odd sides of the windows; the whole picture comes beside them.

    Attributes:
        scales: Number of maps a channel: the windows and the whole picture.
    """

    def __init__(self, channels: int, windows: Sequence[int] = (7, 15, 31)) -> None:
        super().__init__()
        if not windows or any(side < 3 or side % 2 == 0 for side in windows):
            raise InvalidValueError(f"mantra_net.windows: expected odd numbers from 3, found {list(windows)}")
        self.windows = tuple(sorted(windows, reverse=True))
        self.scales = 1 + len(windows)
        self.floor = nn.Parameter(torch.full((channels, 1, 1), 1e-3))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the scores (B, scales, C, H, W), coarse to fine: the whole picture, then the largest window.

        Args:
            x: (B, C, H, W).
            valid: (B, 1, H, W) bool; what is not the picture's is in no mean and scores 0.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            counted = torch.ones_like(x[:, :1]) if valid is None else valid.to(x)
            pixels = counted.sum((2, 3), keepdim=True).clamp(min=1)
            mean = (x * counted).sum((2, 3), keepdim=True) / pixels
            # Less the mean: else means of what is far from 0 lose what they differ by.
            x = (x - mean) * counted
            variance = x.square().sum((2, 3), keepdim=True) / pixels
            sigma = (variance + self.floor.square() + 1e-12).sqrt()
            means = [torch.zeros_like(x)]
            for side in self.windows:
                share = _box(counted, side)
                means.append(_box(x, side) / share.clamp(min=0.5 / side**2))
            return torch.stack([(m - x).abs() * counted / sigma for m in means], 1)


def _box(x: Tensor, side: int) -> Tensor:
    """Return the sum over windows over their area, with zeros beyond the plane; rows and columns apart are faster."""
    reach = side // 2
    return F.avg_pool2d(F.avg_pool2d(x, (side, 1), 1, (reach, 0)), (1, side), 1, (0, reach))


class ConvLstm(nn.Module):
    """Convolutional LSTM (Shi et al., 2015) over a short sequence of planes.

    Args:
        inputs: Channels of a plane.
        hidden: Channels of the state.
        size: Side of the kernels, odd.
    """

    def __init__(self, inputs: int, hidden: int = 8, size: int = 7) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, size, padding=size // 2)
        nn.init.zeros_(self.gates.bias)  # type: ignore[arg-type]
        nn.init.ones_(self.gates.bias[hidden : 2 * hidden])  # type: ignore[index]

    def forward(self, planes: Tensor) -> Tensor:
        """Return the last state (B, hidden, H, W) of a sequence (B, S, C, H, W)."""
        state = planes.new_zeros(planes.shape[0], self.hidden, *planes.shape[-2:])
        cell = state
        for plane in planes.unbind(1):
            taken, kept, shown, new = self.gates(torch.cat([plane, state.to(plane)], 1)).chunk(4, 1)
            cell = kept.sigmoid() * cell + taken.sigmoid() * new.tanh()
            state = shown.sigmoid() * cell.tanh()
        return state


class MantraNet(Network):
    """Traces to few channels, their Z-scores at four scales, a ConvLSTM over these from coarse to fine, one logit.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        widths: Of the front end, see `nn.traces.Traces`.
        channels: After the adaptation.
        windows: Odd sides of the windows of the Z-pooling.
        hidden: Channels of the ConvLSTM.
        weights: A safetensors file of a pretrained front end.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """

    multiple = 8
    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self,
        widths: Sequence[int] = traces.WIDTHS["full"],
        channels: int = 64,
        windows: Sequence[int] = (7, 15, 31),
        hidden: int = 8,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if min(channels, hidden) < 1:
            found = f"{channels} and {hidden}"
            raise InvalidValueError(f"mantra_net: expected channels and hidden of at least 1, found {found}")
        self.traces = traces.Traces(widths, weights)
        # Z-scores know no constant, so a bias would learn nothing.
        self.adapt = nn.Conv2d(self.traces.channels, channels, 1, bias=False)
        self.pool = ZPool(channels, windows)
        self.compare = ConvLstm(channels, hidden)
        self.last = nn.Conv2d(hidden, 1, 7, padding=3)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        scores = self.scores(image, valid)
        return {"mask": self.last(self.compare(scores))}

    def scores(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the Z-scores (B, scales, C, H, W), coarse to fine."""
        return self.pool(self.adapt(self.traces(image, valid)), valid)

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`: the cross-entropy of logits, picture by picture."""
        return {"mask": losses.map_bce(outputs, batch)}


def build(size: Size = "tiny", **settings: Any) -> MantraNet:
    """Return ManTra-Net: twelve convolutions to 256 in full, six of 32 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `MantraNet`; they replace those of the size.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """
    sizes: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"widths": traces.WIDTHS["tiny"], "channels": 16}}
    return MantraNet(**(sizes[size] | settings))
