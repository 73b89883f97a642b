"""WSCL: localization learned from image labels alone, by agreement between three streams and between places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.filters import Bayar, Srm
from tamperscope.nn.heads import resized
from tamperscope.nn.pooling import otsu
from tamperscope.nn.resnet_small import ResNet8

ABOUT = About(
    title="WSCL",
    source="Zhai et al., ICCV 2023 (arXiv 2309.01246); github.com/yhZhai/WSCL, MIL-FCN variant",
    departures=(
        "Otsu's split is the exact one; the published search descends a hill from the middle and can stop early.",
        "Labels are never corrected: the released training corrects the label of a crop with its truth mask.",
        "Noise residuals are taken of grey levels 0 to 255, so that their limit of 5 is one of grey levels.",
        "`tiny` has residual networks of eight layers and maps at 1/8, for ResNet-50 and maps at 1/16.",
    ),
)
STREAMS = {"rgb": 1.0, "srm": 2.0, "bayar": 2.0}
"""The streams, and how much each counts in the ensemble."""
_EPS = 1e-6


class Wscl(Network):
    """Three independent streams, each a residual encoder with an FCN-16s head, see colours, SRM and Bayar residuals.

    It is told image labels alone: `loss` reads `label` and nothing else of the truth. Each stream's map is pooled by
    Otsu's split into a score. What all three say together, at the level of a decision, teaches each of them (MSC), and
    tells which pairs of places should look alike (IPC); both begin weak and grow, for early maps are wrong.

    Args:
        encoders: Returns the encoder of one stream: from (B, 3, H, W) to maps, finest first. The last two of them are
            used, of which each has half of the size of the one before.
        channels: Of these two.
        strides: Of these two, pixels of the picture.
        fine: Whether all comes on the grid of the finer map (FCN-16s), or else on that of the coarser one.
        hidden: Width of the head.
        width: Of the vectors whose products tell whether two places are alike.
        msc: Weight of agreement between streams, at the end of the training.
        ipc: Weight of agreement between places, at the end of the training.
    """

    supervision = "label"

    def __init__(
        self,
        encoders: Callable[[], nn.Module],
        channels: tuple[int, int],
        strides: tuple[int, int],
        fine: bool,
        hidden: int,
        width: int,
        msc: float = 0.1,
        ipc: float = 0.1,
    ) -> None:
        super().__init__()
        if msc < 0 or ipc < 0:
            raise InvalidValueError(f"wscl: expected weights msc and ipc of at least 0, found {msc}, {ipc}")
        self.multiple, self.msc, self.ipc = strides[1], msc, ipc
        self.srm, self.bayar = Srm("sum3", clip=5.0), Bayar(3, 3)
        self.streams = nn.ModuleDict({name: _Stream(encoders(), channels, fine, hidden, width) for name in STREAMS})

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the ensemble and each stream, as logits.

        Args:
            image: (B, 3, H, W) in [0, 1].
            needs: None are looked at.

        Returns:
            `mask` (B, 1, H, W) and `score` (B,); of every stream `map_*` (B, 1, h, w), and `left_*`, `right_*`
            (B, width, h, w), the vectors that `volume` multiplies.
        """
        grey = 255 * image
        seen = {"rgb": self.normalized(image), "srm": _inside(self.srm, grey), "bayar": _inside(self.bayar, grey)}
        outputs: dict[str, Tensor] = {}
        for name, stream in self.streams.items():
            outputs |= {f"{key}_{name}": value for key, value in stream(seen[name]).items()}
        maps = {name: _map(outputs, name) for name in STREAMS}
        whole = resized(ensemble(maps), image.shape[-2:])
        score = ensemble({name: otsu(m) for name, m in maps.items()})
        return {"mask": torch.logit(whole, _EPS), "score": torch.logit(score, _EPS), **outputs}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `image`, `msc` and `ipc`, each the sum over the streams; no truth but `label` is read."""
        label = batch["label"].float()
        maps = {name: _map(outputs, name) for name in STREAMS}
        pseudo = pseudo_map(ensemble(maps).detach(), label)
        target = losses.consistency_target(pseudo.flatten(1))
        late = losses.ramp(progress)
        image, msc, ipc = label.new_zeros(3)
        for name, found in maps.items():
            image = image + losses.bce(torch.logit(otsu(found), _EPS), label)
            msc = msc + F.mse_loss(found, pseudo)
            ipc = ipc + losses.bce(volume(outputs[f"left_{name}"].float(), outputs[f"right_{name}"].float()), target)
        return {"image": image, "msc": self.msc * late * msc, "ipc": self.ipc * late * ipc}


class _Stream(nn.Module):
    """An encoder, an FCN-16s-like head over its last two maps, and two projections of the finer one."""

    def __init__(self, encoder: nn.Module, channels: tuple[int, int], fine: bool, hidden: int, width: int) -> None:
        super().__init__()
        self.encoder, self.fine = encoder, fine
        self.head = nn.Sequential(
            nn.Conv2d(sum(channels), hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1),
        )
        self.left, self.right = _projection(channels[0], width), _projection(channels[0], width)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine, coarse = self.encoder(x)[-2:]
        size = (fine if self.fine else coarse).shape[-2:]
        fine = resized(fine, size)
        joined = torch.cat([fine, resized(coarse, size)], 1)
        return {"map": self.head(joined), "left": self.left(fine), "right": self.right(fine)}


def _projection(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1), nn.LeakyReLU(0.1), nn.Conv2d(width, width, 1))


def _inside(residual: nn.Module, grey: Tensor, reach: int = 2) -> Tensor:
    """Return residuals that do not see the edge of the picture as an outline: what lies beyond is mirrored."""
    return residual(F.pad(grey, (reach,) * 4, mode="reflect"))[..., reach:-reach, reach:-reach]


def _map(outputs: Mapping[str, Tensor], name: str) -> Tensor:
    """Return the probabilities of a stream's map."""
    return outputs[f"map_{name}"].float().sigmoid()


def ensemble(found: Mapping[str, Tensor]) -> Tensor:
    """Return the mean of what the streams found, noise streams counting twice."""
    total: Tensor = sum((STREAMS[name] * value for name, value in found.items()), torch.zeros(()))
    return total / sum(STREAMS.values())


def pseudo_map(probabilities: Tensor, label: Tensor) -> Tensor:
    """Return the map that streams are taught: the ensemble's decision, which agrees with the label (WSCL).

    Args:
        probabilities: (B, 1, h, w) of the ensemble.
        label: (B,) 0 or 1.

    Returns:
        (B, 1, h, w), 0 or 1: nothing where the picture is authentic; above .5 where it is forged, or the highest
        places where none is.
    """
    highest = probabilities.amax((1, 2, 3), keepdim=True)
    marked = torch.where(highest > 0.5, probabilities > 0.5, probabilities == highest)
    return marked * (label > 0.5)[:, None, None, None].to(probabilities.dtype)


def volume(left: Tensor, right: Tensor) -> Tensor:
    """Return how unlike every two places are: logits of V = 1 - sigmoid(f1 f2 / sqrt(d)) (WSCL's IPC).

    Args:
        left: (B, d, h, w) of one projection.
        right: (B, d, h, w) of the other.

    Returns:
        (B, h w, h w) logits, below 0 = alike.
    """
    a, b = left.flatten(2), right.flatten(2)
    return -(a.transpose(1, 2) @ b) / a.shape[1] ** 0.5


def crop_noise(masks: Sequence[NDArray[np.bool_]], side: int, rng: np.random.Generator, draws: int = 20) -> float:
    """Return the share of wrong labels of random crops: of forged pictures, those crops without a forged pixel.

    It is for a report; training never reads masks.

    Args:
        masks: (H, W) bool of forged pictures, of any sizes.
        side: Of the square crops, pixels; a picture that is smaller is taken whole along that side.
        rng: Draws the places.
        draws: Crops a picture.

    Raises:
        InvalidValueError: There is no mask, or a mask is empty.
    """
    if not masks or not all(mask.any() for mask in masks):
        raise InvalidValueError("crop_noise: expected masks of forged pictures, found none or an empty one")
    missed = 0
    for mask in masks:
        for _ in range(draws):
            top, left = (int(rng.integers(max(n - side, 0) + 1)) for n in mask.shape)
            missed += not mask[top : top + side, left : left + side].any()
    return missed / (draws * len(masks))


def build(size: Size = "tiny", weights: str | None = None, **settings: Any) -> Wscl:
    """Return WSCL: ResNet-50 and maps at 1/16 in full, eight layers and maps at 1/8 in tiny.

    Args:
        size: `full` or `tiny`.
        weights: Folder of a ResNet-50 for all three encoders to begin with, as `backbones.build` reads it; None draws
            them.
        settings: `msc`, `ipc` of `Wscl`.

    Raises:
        InvalidValueError: A weight is negative, `tiny` is given a folder, or the folder holds another network.
    """
    if size == "full":
        encoders = partial(backbones.build, "resnet", "50", weights=weights)
        return Wscl(encoders, (1024, 2048), (16, 32), fine=True, hidden=512, width=512, **settings)
    if weights is not None:
        raise InvalidValueError(f"wscl.weights: expected none for tiny, found '{weights}'; use size full")
    return Wscl(ResNet8, (32, 64), (4, 8), fine=False, hidden=64, width=32, **settings)
