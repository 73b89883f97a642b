"""PSCC-Net: four masks from coarse to fine; what the coarser one holds for untouched, the finer one does not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.heads import resized
from tamperscope.nn.hrnet import HrNet, conv, stages
from tamperscope.nn.stems import Stem

ABOUT = About(
    title="PSCC-Net",
    source="Liu et al., TCSVT 2022, 'PSCC-Net: Progressive Spatio-Channel Correlation Network for Image Manipulation "
    "Detection and Localization'; github.com/proteus1991/PSCC-Net",
    departures=(
        "The finest map has a quarter of the picture's sides, as HRNet's maps have; the resolution of the published "
        "maps is not in the facts this follows.",
        "Reductions 1, 2, 2 and 4 go from the coarsest scale to the finest, which is our reading; a reduction lays the "
        "channels of so many places in each direction side by side, so that nothing is lost.",
        "Inner maps of the correlation have half of the channels, its products are divided by the root of their length "
        "over channels and by the number of places over places, so that it means the same at any size; the published "
        "widths and scales are not in the facts.",
        "Each head ends with two 3 x 3 convolutions without norms, and the detection head adds finer features, brought "
        "down, to coarser ones, whose mean passes a small perceptron: of both the published layers are not in the "
        "facts.",
        "Each map is brought to the picture's size, where its loss is taken, and the loss of a picture counts as much "
        "as that of any other.",
        "The score is one logit with plain cross-entropy for two classes with weights, which are not in the facts.",
        "Places that are wholly padding are left out of the correlation and of the score; published pictures had none.",
        "HRNet begins with random weights, for there is no loader of pretrained ones.",
        "`tiny` has branches of 8, 16, 32 and 64 channels behind a stem of 16, and sees SRM residuals beside the "
        "colours.",
    ),
)
STRIDES = (4, 8, 16, 32)
"""Of the maps, finest first, pixels of the picture."""
REDUCTIONS = (4, 2, 2, 1)
"""Places in each direction that the correlation takes for one, finest map first."""
SIDES = tuple(stride * reduction for stride, reduction in zip(STRIDES, REDUCTIONS, strict=True))
"""Pixels of such a place in each direction."""


class PsccNet(Network):
    """HRNet, and four heads from its coarsest features to its finest, each told what the one before it found.

    Features of a scale are multiplied by the probability that the next coarser map gives to each place, correlated over
    places and over channels, and read as a map. It differs from the published system as `ABOUT.departures` tells.

    Args:
        width: Channels of HRNet's finest branch.
        modules: Of HRNet's stages 2 to 4.
        blocks: Residual blocks of a branch in each module.
        first: Bottlenecks of HRNet's first stage.
        base: Width of HRNet's first stage.
        stem: Maps that it sees, see `nn.stems.Stem`.
        score: Weight of the score's cross-entropy; None leaves the score out.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: A map of the stem is not known.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self,
        width: int = 18,
        modules: Sequence[int] = (1, 3, 2),
        blocks: int = 2,
        first: int = 2,
        base: int = 64,
        stem: Sequence[str] = ("rgb",),
        score: float | None = 1.0,
    ) -> None:
        super().__init__()
        _check(width, modules, {"blocks": blocks, "first": first, "base": base}, score)
        self.weight = score or 0.0
        self.stem = Stem(stem)
        self.backbone = HrNet(self.stem.channels, stages(width, modules, blocks), first, base)
        channels = self.backbone.channels
        self.heads = nn.ModuleList(Head(c, r) for c, r in zip(channels, REDUCTIONS, strict=True))
        self.score = None if score is None else Detection(channels)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return logits of pictures.

        Args:
            image: (B, 3, H, W) in [0, 1], sides multiples of 32.
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.

        Returns:
            `mask` (B, 1, H, W) of the finest scale, `score` (B,), and `map_8`, `map_16`, `map_32` (B, 1, h, w), the
            coarser maps by their strides.
        """
        features = self.backbone(self.stem(image))
        found: list[Tensor] = []
        for x, head, side in list(zip(features, self.heads, SIDES, strict=True))[::-1]:
            found.append(head(gated(x, found[-1]) if found else x, _places(valid, side)))
        outputs = {"mask": resized(found[-1], image.shape[-2:])}
        outputs |= {f"map_{stride}": x for stride, x in zip(STRIDES[:0:-1], found, strict=False)}
        if self.score is None:
            return outputs
        return outputs | {"score": self.score(features, _places(valid, STRIDES[-1]))}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the balanced cross-entropy of each scale, `mask` and `map_*`, and that of the score, `score`.

        Pictures of unknown label (below 0) teach the score nothing.
        """
        truth, valid = batch["mask"], batch.get("valid")
        maps = {name: x for name, x in outputs.items() if name == "mask" or name.startswith("map_")}
        terms = {name: balanced_bce(resized(x, truth.shape[-2:]), truth, valid) for name, x in maps.items()}
        if "score" in outputs:
            label = batch["label"]
            terms["score"] = self.weight * losses.bce(outputs["score"], label.clamp(min=0), label >= 0)
        return terms


class Head(nn.Module):
    """From the features of one scale to its map of logits: correlated, then two convolutions.

    Args:
        channels: Of the features.
        reduction: Of the correlation.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.correlation = Correlation(channels, reduction)
        self.read = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 1, 3, padding=1)
        )

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return (B, 1, h, w) of (B, channels, h, w); `seen` as of `Correlation`."""
        return self.read(self.correlation(x, seen))


class Correlation(nn.Module):
    """Spatio-channel correlation: x + gamma_s W_s(y_s) + gamma_c W_c(y_c); both gammas begin as 0.

    In y_s each place is a mean of all places, by how alike they are; in y_c each channel is a mean of all channels. An
    area of `reduction` x `reduction` is one place, with the channels of all of its places: the attention's matrix is
    the fourth power of it smaller.

    Args:
        channels: Of the features.
        reduction: Sides of the features are multiples of it.
    """

    def __init__(self, channels: int, reduction: int = 1) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.reduction = reduction
        # A bias would add one number to all that a softmax compares.
        self.query, self.key = (nn.Conv2d(channels, inner, 1, bias=False) for _ in range(2))
        self.value = nn.Conv2d(channels, inner, 1)
        self.space, self.channel = (nn.Conv2d(inner, channels, 1) for _ in range(2))
        self.gamma_space, self.gamma_channel = (nn.Parameter(torch.zeros(1)) for _ in range(2))

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return (B, C, h, w).

        Args:
            x: (B, C, h, w).
            seen: (B, 1, h / reduction, w / reduction) bool, places that others may look at; None = all.
        """
        reduced = [F.pixel_unshuffle(layer(x), self.reduction) for layer in (self.query, self.key, self.value)]
        size = reduced[0].shape[-2:]
        query, key, value = (y.flatten(2) for y in reduced)
        flat = None if seen is None else seen.flatten(2)
        y_space, y_channel = over_places(query, key, value, flat), over_channels(query, key, value, flat)
        y_space, y_channel = (F.pixel_shuffle(y.unflatten(2, size), self.reduction) for y in (y_space, y_channel))
        return x + self.gamma_space * self.space(y_space) + self.gamma_channel * self.channel(y_channel)


def over_places(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None = None) -> Tensor:
    """Return the values (B, C, N) of each place as a mean over places whose keys are as its query.

    Args:
        query: (B, C, N).
        key: (B, C, N).
        value: (B, C, N).
        seen: (B, 1, N) bool, places that count; where a picture has none, all count alike.
    """
    hidden = None
    if seen is not None:
        hidden = torch.zeros_like(seen, dtype=query.dtype).masked_fill(~seen, torch.finfo(query.dtype).min)
    q, k, v = (y.transpose(1, 2)[:, None] for y in (query, key, value))
    got = F.scaled_dot_product_attention(q, k, v, attn_mask=None if hidden is None else hidden[:, None])
    return got[:, 0].transpose(1, 2)


def over_channels(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None = None) -> Tensor:
    """Return the values (B, C, N) of each channel as a mean over channels whose keys are as its query, place by place.

    Args:
        query: (B, C, N).
        key: (B, C, N).
        value: (B, C, N).
        seen: (B, 1, N) bool, places in which channels are compared.
    """
    counted = torch.ones_like(query[:, :1]) if seen is None else seen.to(query)
    alike = (query * counted) @ key.transpose(1, 2) / counted.sum(2, keepdim=True).clamp(min=1)
    return alike.softmax(2) @ value


class Detection(nn.Module):
    """From the features of all scales to one logit: fine ones are brought down and added to the next coarser ones.

    Args:
        channels: Of the features, finest first, each of half the size of the one before.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(conv(fine, coarse, stride=2) for fine, coarse in pairwise(channels))
        self.last = nn.Sequential(nn.Linear(channels[-1], channels[-1]), nn.ReLU(), nn.Linear(channels[-1], 1))

    def forward(self, features: Sequence[Tensor], seen: Tensor | None = None) -> Tensor:
        """Return (B,); `seen` (B, 1, h, w) bool tells which places of the coarsest features count, None = all."""
        x = features[0]
        for down, coarser in zip(self.down, features[1:], strict=True):
            x = coarser + down(x)
        counted = torch.ones_like(x[:, :1]) if seen is None else seen.to(x)
        mean = (x * counted).sum((2, 3)) / counted.sum((2, 3)).clamp(min=1)
        return self.last(mean)[:, 0]


def gated(features: Tensor, coarser: Tensor) -> Tensor:
    """Return features (B, C, h, w) times the probabilities of a coarser map, told as logits (B, 1, h', w')."""
    return features * resized(coarser.sigmoid(), features.shape[-2:])


def balanced_bce(logits: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of pictures, in which forged pixels together weigh as much as pristine ones.

    A forged pixel weighs .5 over the share of forged ones, a pristine one .5 over the share of the others; where
    nothing is forged each weighs 1. Shares and means are those of the valid pixels.

    Args:
        logits: (B, 1, H, W) of being forged.
        truth: 0 or 1.
        valid: (B, 1, H, W) bool, which pixels count; None = all.
    """
    counted = (torch.ones_like(truth) if valid is None else valid).float().flatten(1)
    target = truth.float().flatten(1)
    each = F.binary_cross_entropy_with_logits(logits.float().flatten(1), target, reduction="none")
    classes = (target * counted, (1 - target) * counted)
    count = counted.sum(1, keepdim=True).clamp(min=1)
    forged, pristine = (0.5 * part * count / part.sum(1, keepdim=True).clamp(min=1e-9) for part in classes)
    weight = torch.where(classes[0].sum(1, keepdim=True) > 0, forged + pristine, counted)
    return ((weight * each).sum(1) / count[:, 0]).mean()


def _places(valid: Tensor | None, side: int) -> Tensor | None:
    """Return in which squares of so many pixels there is some of the picture, (B, 1, H / side, W / side)."""
    return None if valid is None else F.max_pool2d(valid.float(), side) > 0


def _check(width: int, modules: Sequence[int], others: Mapping[str, int], score: float | None) -> None:
    if width < 2:
        raise InvalidValueError(f"pscc_net.width: expected at least 2, found {width}")
    if len(modules) != len(STRIDES) - 1 or min(modules) < 1:
        raise InvalidValueError(f"pscc_net.modules: expected three numbers from 1, found {list(modules)}")
    for name, value in others.items():
        if value < 1:
            raise InvalidValueError(f"pscc_net.{name}: expected at least 1, found {value}")
    if score is not None and score < 0:
        raise InvalidValueError(f"pscc_net.score: expected at least 0 or none, found {score}")


def build(size: Size = "tiny", **settings: Any) -> PsccNet:
    """Return PSCC-Net: behind HRNet-W18-small-v2 in full, behind one of width 8 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `PsccNet`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: A map of the stem is not known.
    """
    sizes: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"width": 8, "base": 16, "stem": ("rgb", "srm")}}
    return PsccNet(**(sizes[size] | settings))
