"""TopNet: where and how large an object belongs in a picture, for every place and size at once (Zhu et al., 2023).

After "TopNet: Transformer-based Object Placement Network for Image Compositing" (arXiv 2304.03372): local tokens of the
background and one token of the object pass a transformer together; the object's token is then correlated with every
place of an up-sampled map, once a size. It is much smaller than the published one and trained on other pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tamperscope import weights
from tamperscope.errors import InvalidValueError
from tamperscope.nn.coordinates import coordinates
from tamperscope.nn.restoring import restore
from tamperscope.types import BoolArray, UInt8Array

SIDE, OBJECT_SIDE, STRIDE = 128, 64, 4
_FILE = "topnet.safetensors"
SMALLEST, LARGEST, SCALES = 0.07, 0.8, 8
SIZES: NDArray[np.float64] = np.geomspace(SMALLEST, LARGEST, SCALES)
"""Sizes of the heat map's layers: square root of the share of the picture that the object's box covers."""


class TopNet(nn.Module):
    """Score every place and size of an object in a background.

    Attributes:
        side: Height and width of the background, pixels; a multiple of 8. The heat map has a fourth of it.
        dim: Length of a token.
        layers: Transformer layers that join object and background.
    """

    def __init__(self, side: int = SIDE, dim: int = 96, layers: int = 2) -> None:
        super().__init__()
        if side % 8:
            raise InvalidValueError(f"side: expected a multiple of 8, found {side}")
        self.side = side
        self.fine = nn.Sequential(_down(5, dim // 4), _down(dim // 4, dim // 2))
        self.coarse = _down(dim // 2, dim)
        self.object = nn.Sequential(
            _down(4, dim // 4), _down(dim // 4, dim // 2), _down(dim // 2, dim), _down(dim, dim),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, dim),
        )  # fmt: skip
        self.places = nn.Parameter(0.02 * torch.randn(1, (side // 8) ** 2, dim))
        self.fusion = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, 4, 2 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.join = nn.Sequential(nn.Conv2d(dim + dim // 2, dim, 1), nn.GroupNorm(8, dim), nn.GELU())
        self.last = nn.Conv2d(dim, dim, 1)
        self.queries = nn.Linear(dim, SCALES * dim)
        self.offsets = nn.Linear(dim, SCALES)

    def forward(self, background: Tensor, foreground: Tensor) -> dict[str, Tensor]:
        """Return `heatmap`, the logits of every size, row and column, (B, 8, side / 4, side / 4).

        Args:
            background: (B, 3, side, side), in [-1, 1].
            foreground: (B, 4, 64, 64), the object's colours in [-1, 1], 0 outside of it, and its mask in {0, 1}.

        Raises:
            InvalidValueError: A shape is another one.
        """
        places, queries, offsets = self.encode(background, foreground)
        heat = torch.einsum("bdyx,bsd->bsyx", places, queries) + offsets[..., None, None]
        return {"heatmap": heat}

    def encode(self, background: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features of every place (B, D, h, w), and of every size what they are held against.

        The logit of a size and a place is the product of both, plus the size's offset.

        Raises:
            InvalidValueError: A shape is not as `forward` wants it.
        """
        for name, found, wanted in (
            ("background", background, (3, self.side, self.side)),
            ("foreground", foreground, (4, OBJECT_SIDE, OBJECT_SIDE)),
        ):
            if found.shape[1:] != wanted:
                raise InvalidValueError(f"{name}: expected (B, {wanted}), found {tuple(found.shape)}")
        told = coordinates(background).expand(len(background), -1, -1, -1)
        fine = self.fine(torch.cat([background, told], 1))
        coarse = self.coarse(fine)
        local = coarse.flatten(2).transpose(1, 2) + self.places
        tokens = torch.cat([self.object(foreground)[:, None], local], 1)
        for layer in self.fusion:
            tokens = layer(tokens)
        fused = functional.interpolate(
            tokens[:, 1:].transpose(1, 2).reshape(coarse.shape), scale_factor=2.0, mode="bilinear"
        )
        places = self.last(self.join(torch.cat([fused, fine], 1)))
        whole = tokens[:, 0]
        queries = self.queries(whole).unflatten(1, (SCALES, -1)) / places.shape[1] ** 0.5
        return places, queries, self.offsets(whole)


def loss(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the sparse contrastive loss: `all`, against every cell; `others`, against given ones; `total`, their sum.

    `all` is the cross-entropy with a Gaussian of one cell about the true place. Where a background has more holes than
    the object's own, `others` holds the true cell against theirs alone: finding a hole helps nothing there.

    Args:
        outputs: `heatmap` (B, S, h, w).
        batch: `target` (B, 3), the true cell (size, row, column) in cells, fractions allowed; `others` (B, N, 3), whole
            cells, -1 where there is none; may be absent.
    """
    heat, target = outputs["heatmap"], batch["target"]
    log = heat.flatten(1).log_softmax(1)
    parts = {"all": -(gaussian(target, heat.shape[1:]).flatten(1) * log).sum(1).mean()}
    others = batch.get("others")
    if others is not None:
        true = _clipped(target, heat.shape[1:])
        cells = torch.cat([true[:, None], others.clamp(min=0)], 1)
        index = (cells[..., 0] * heat.shape[2] + cells[..., 1]) * heat.shape[3] + cells[..., 2]
        scores = heat.flatten(1).gather(1, index)
        absent = functional.pad(others[..., 0] < 0, (1, 0), value=False)
        parts["others"] = -scores.masked_fill(absent, -torch.inf).log_softmax(1)[:, 0].mean()
    return {**parts, "total": torch.stack(list(parts.values())).sum()}


def gaussian(target: Tensor, shape: tuple[int, ...], sigma: float = 1.0) -> Tensor:
    """Return Gaussians about cells, each of sum 1, (B, S, h, w).

    Args:
        target: (B, 3), size, row and column in cells.
        shape: (S, h, w).
        sigma: Standard deviation in cells.
    """
    lines = [
        (-((torch.arange(n, device=target.device) - target[:, i, None]) ** 2) / (2 * sigma**2)).softmax(1)
        for i, n in enumerate(shape)
    ]
    return torch.einsum("bs,by,bx->bsyx", *lines)


def cell(row: float, column: float, size: float, cells: int = SIDE // STRIDE) -> tuple[float, float, float]:
    """Return the cell (size, row, column) of a box, fractions kept.

    Args:
        row: Of the box's middle, as a share of the picture's height.
        column: Of the box's middle, as a share of its width.
        size: Square root of the share of the picture that the box covers.
        cells: Rows and columns of the heat map.
    """
    layer = np.log(size / SMALLEST) / np.log(LARGEST / SMALLEST) * (SCALES - 1)
    return float(layer), row * cells - 0.5, column * cells - 0.5


def background_input(rgb: UInt8Array, side: int = SIDE) -> Tensor:
    """Return a picture, (H, W, 3) uint8, as `forward` takes it, (3, side, side); it is squeezed to a square."""
    small = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.asarray(small, np.float32).transpose(2, 0, 1) / 127.5 - 1)


def foreground_input(rgb: UInt8Array, mask: BoolArray) -> Tensor:
    """Return an object as `forward` takes it, (4, 64, 64): its box fills the longer side, its shape is kept.

    How large it was does not show: it always passes 32 pixels.

    Args:
        rgb: (h, w, 3) uint8, the object's box.
        mask: (h, w) bool, the object.
    """
    height, width = mask.shape
    half = OBJECT_SIDE // 2
    factor = half / max(height, width)
    side = (max(1, round(width * factor)), max(1, round(height * factor)))
    alpha = mask.astype(np.float32)
    planes = np.dstack([(rgb / np.float32(127.5) - 1) * alpha[..., None], alpha])
    small = cv2.resize(np.asarray(planes, np.float32), side, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((half, half, 4), np.float32)
    top, left = (half - side[1]) // 2, (half - side[0]) // 2
    canvas[top : top + side[1], left : left + side[0]] = small
    large = cv2.resize(canvas, (OBJECT_SIDE, OBJECT_SIDE), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(np.ascontiguousarray(large.transpose(2, 0, 1)))


def heatmap(net: TopNet, rgb: UInt8Array, object_rgb: UInt8Array, mask: BoolArray) -> NDArray[np.float64]:
    """Return the log-probability of every size, row and column, (8, 32, 32).

    Args:
        net: The network.
        rgb: (H, W, 3) uint8, the background.
        object_rgb: (h, w, 3) uint8, the object's box.
        mask: (h, w) bool, the object.
    """
    inputs = background_input(rgb, net.side)[None], foreground_input(object_rgb, mask)[None]
    with torch.inference_mode():
        heat: Tensor = net(*inputs)["heatmap"][0].double()
    return heat.flatten().log_softmax(0).reshape(heat.shape).numpy()


@lru_cache(maxsize=1)
def shipped() -> TopNet:
    """Return the network inside the package, checked against its card.

    Raises:
        InvalidValueError: The weights are not those of the card.
    """
    return from_files(*weights.shipped(_FILE))


def from_files(data: bytes, card: bytes) -> TopNet:
    """Return the network of a safetensors file and its card.

    Raises:
        InvalidValueError: The weights are not those of the card.
    """
    net = TopNet(**weights.checked(data, card, _FILE)["architecture"])
    restore(net, data, _FILE)
    return net.eval()


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(min(8, outputs // 4), outputs), nn.GELU()
    )


def _clipped(cells: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the nearest whole cells inside of a heat map."""
    limit = torch.tensor(shape, device=cells.device) - 1
    return torch.minimum(cells.round().long().clamp(min=0), limit)
