"""What stands before a backbone: colours beside filtered maps, by name; or a JPEG's own coefficients and table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.nn.coefficients import CLIP, planes
from tamperscope.nn.coordinates import coordinates
from tamperscope.nn.filters import Bayar, HighPass, Npr, Sobel, Srm

TABLE = 64
"""Steps of a quantization table are limited to below this."""

# Name of a map: what makes it, and how many channels it has.
_MAPS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "rgb": (nn.Identity, 3),
    "srm": (lambda: Srm("rgb9", clip=None), 9),
    "bayar": (Bayar, 3),
    "sobel": (lambda: Sobel(summed=True), 1),
    "fft": (lambda: HighPass("fft", 0.1), 3),
    "dct": (lambda: HighPass("dct", 0.1), 3),
    "npr": (Npr, 3),
}
# Those that would take the edge of the picture for an outline.
_REACHING = {"srm", "bayar"}


class Stem(nn.Module):
    """Concatenate maps of a picture: `rgb` less its mean over its deviation, and filtered maps beside it.

    SRM keeps the channels apart (9 maps), Bayar's kernels are learned (3), Sobel is one magnitude, FFT and DCT drop the
    lowest tenth of the frequencies (3 each), NPR is the difference within cells of 2 x 2 (3): the extractors of
    IMDL-BenCo and ForensicHub. Batch norm brings all but the colours to one scale, for residuals are a hundred times
    smaller. Everything is computed in single precision: half a grey level is what traces are made of, and bfloat16 does
    not keep it.

    Args:
        names: Which maps, in which order, each once.
        mean: Of the colours, 0 to 1.
        std: Of the colours.

    Attributes:
        channels: Of the result.

    Raises:
        InvalidValueError: There is no map, or one twice.
        UnknownNameError: A map is not known.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        names: Sequence[str] = ("rgb",),
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        for name in names:
            if name not in _MAPS:
                raise unknown_name("map of a stem", name, _MAPS)
        if isinstance(names, str) or not names or len(set(names)) < len(names):
            raise InvalidValueError(f"Stem: expected names of maps, each once, found {names}")
        self.filters = nn.ModuleDict({name: _MAPS[name][0]() for name in names})
        # The usual 1e-5 is more than the variance of residuals of a smooth picture.
        self.norms = nn.ModuleDict({name: nn.BatchNorm2d(_MAPS[name][1], 1e-8) for name in names if name != "rgb"})
        self.channels = sum(_MAPS[name][1] for name in names)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps (B, channels, H, W), float32, of pictures (B, 3, H, W) in [0, 1]."""
        with torch.autocast(image.device.type, enabled=False):
            return torch.cat([self._map(name, image.float()) for name in self.filters], 1)

    def _map(self, name: str, image: Tensor) -> Tensor:
        if name == "rgb":
            return (image - self.mean) / self.std
        reach = 2 if name in _REACHING else 0
        found = self.filters[name](F.pad(image, (reach,) * 4, mode="replicate"))
        height, width = image.shape[-2:]
        return self.norms[name](found[..., reach : reach + height, reach : reach + width])


class MbConv(nn.Module):
    """EfficientNet's block (Tan & Le, 2019) at one resolution: wide, 3 x 3 depthwise, gated, narrow, added.

    Args:
        channels: In and out.
        expand: How many times wider the middle is.
        share: Channels of the squeeze, of those in.
    """

    def __init__(self, channels: int, expand: int = 6, share: float = 0.25) -> None:
        super().__init__()
        wide, narrow = channels * expand, max(1, round(channels * share))
        self.widen = nn.Sequential(_conv(channels, wide, 1), nn.SiLU(), _conv(wide, wide, 3, groups=wide), nn.SiLU())
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, narrow, 1), nn.SiLU(), nn.Conv2d(narrow, wide, 1), nn.Sigmoid()
        )
        self.narrow = _conv(wide, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, h, w)."""
        wide = self.widen(x)
        return x + self.narrow(wide * self.gate(wide))


class QuantizedDct(nn.Module):
    """Quantized DCT coefficients of a JPEG's luma and its table to features of every block (FPH of DTD and FFDN).

    Magnitudes to 20 as 21 planes of 0 and 1; a 3 x 3 convolution of dilation 8, which sees the same frequency of the
    neighbouring blocks; 1 x 1 to few maps; these once more, times what the table's step at that frequency stands for;
    three planes of coordinates; an 8 x 8 convolution of stride 8; three MBConv. After each convolution come batch norm
    and ReLU.

    Args:
        size: `full` as published, or `tiny`: 16 and 8 maps, then 32, one MBConv.

    Attributes:
        channels: Of the features; their stride is 8.
    """

    def __init__(self, size: Literal["tiny", "full"] = "full") -> None:
        super().__init__()
        if size not in ("tiny", "full"):
            raise unknown_name("size", size, ["tiny", "full"])
        inner, few, width, blocks = (64, 16, 256, 3) if size == "full" else (16, 8, 32, 1)
        self.frequencies = nn.Sequential(
            _conv(CLIP + 1, inner, 3, dilation=8), nn.ReLU(), _conv(inner, few, 1), nn.ReLU()
        )
        self.steps = nn.Embedding(TABLE, few)
        self.cells = nn.Sequential(nn.Conv2d(2 * few + 3, width, 8, 8, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(*(MbConv(width) for _ in range(blocks)))
        self.channels = width

    def forward(self, coefficients: Tensor, table: Tensor) -> Tensor:
        """Return features (B, channels, H / 8, W / 8).

        Args:
            coefficients: (B, 1, H, W) quantized, integers; each at its place in its 8 x 8 block, blocks at theirs (see
                `laid_out`). They are the file's own: those of pixels compressed anew have lost the history.
            table: (B, 8, 8) steps, natural (row, column) order, from 1.

        Raises:
            InvalidValueError: Shapes are others, or sides are no multiples of 8.
        """
        count, height, width = len(coefficients), *coefficients.shape[-2:]
        if coefficients.shape[1:] != (1, height, width) or height % 8 or width % 8 or table.shape != (count, 8, 8):
            found = f"{tuple(coefficients.shape)} and {tuple(table.shape)}"
            raise InvalidValueError(f"QuantizedDct: expected (B, 1, 8 m, 8 n) and (B, 8, 8), found {found}")
        maps = self.frequencies(planes(coefficients[:, 0]).to(self.steps.weight.dtype))
        stands_for = self.steps(table.long().clamp(0, TABLE - 1)).permute(0, 3, 1, 2)
        scaled = maps * stands_for.repeat(1, 1, height // 8, width // 8)
        y, x = coordinates(maps)
        places = torch.stack([x, y, (x.square() + y.square()).sqrt()]).expand(count, -1, -1, -1)
        return self.blocks(self.cells(torch.cat([maps, scaled, places], 1)))


def laid_out(coefficients: NDArray[np.integer]) -> Tensor:
    """Return the coefficients of a component (rows, columns, 8, 8) as a plane (1, 8 rows, 8 columns), int16."""
    rows, columns = coefficients.shape[:2]
    plane = coefficients.transpose(0, 2, 1, 3).reshape(1, 8 * rows, 8 * columns)
    return torch.from_numpy(np.ascontiguousarray(plane, np.int16))


def _conv(inputs: int, outputs: int, size: int, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    reach = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=reach, dilation=dilation, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )
