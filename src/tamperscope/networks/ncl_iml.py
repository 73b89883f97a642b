"""NCL-IML: contrast without pretraining; patches on an outline stand with either class, in two branches at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.dilation import dilated
from tamperscope.nn.heads import Aspp, resized
from tamperscope.nn.plain import double
from tamperscope.nn.stems import Stem

ABOUT = About(
    title="NCL-IML",
    source="Zhou et al., ICCV 2023 (arXiv 2309.14900, Pre-training-free image manipulation localization through "
    "non-mutually exclusive contrastive learning); github.com/Knightzjz/NCL-IML, inference alone",
    departures=(
        "The training code is not published, and the published checkpoint is a wrong one in its author's words: what "
        "follows the idea of the paper is ours in its numbers.",
        "The published files are those of a DeepLab, and a checkpoint of 238 MB is about the size of DeepLabv3+ over "
        "ResNet-101: hence `full`, with maps at 1/16; its dilations are the usual ones.",
        "Which features are contrasted is not known to us: here the last ones of the encoder, a place of which is a "
        "patch, each branch with a perceptron of its own to 32 numbers.",
        "Shares of tampered pixels that make a patch authentic (below .1) or tampered (above .9) are ours; the rest is "
        "the contour, of which one branch makes tampered patches, the other authentic ones.",
        "Each branch has the supervised contrastive loss (Khosla et al., 2020) with a temperature of .1 within a "
        "picture: its formula is not known to us, and of patches of other pictures what one teaches would depend on "
        "them.",
        "At most 128 patches of each class are contrasted, evenly spread, for the matrix is quadratic.",
        "Of the pivot-consistent loss its aim is known, that contour patches are not torn by their roles: here they "
        "are to have the same direction in both branches.",
        "The map is one logit for a softmax of two classes, which is the same function; weights of the loss are ours.",
        "What the third of the four published outputs is, is not known to us: there are the two branches and the map.",
        "`tiny` is a U-Net of 16 to 128 channels whose patches have 8 pixels, and sees SRM residuals beside the "
        "colours.",
    ),
)
AUTHENTIC, CONTOUR, TAMPERED = range(3)
SIDES = {"tampered": CONTOUR, "authentic": TAMPERED}
"""On whose side a branch has the contour, and the first class that is on the tampered side for it."""


class NclIml(Network):
    """An encoder and a decoder, and beside the encoder two branches whose contrast teaches it from scratch.

    Patches are tampered, authentic, or on the contour. The first two are negatives of each other. The contour is a
    positive of the tampered ones and a negative of the authentic ones in one branch, and the other way round in the
    other; what it looks like is to be the same in both. It differs from the published system as `ABOUT.departures`
    tells.

    Args:
        backbone: Size of the ResNet under DeepLabv3+, `18` to `152`; or `unet`.
        width: Channels of the U-Net at the picture's resolution; each halving doubles them.
        halvings: How often the U-Net halves the picture.
        stem: Maps that it sees, see `nn.stems.Stem`.
        projection: Numbers of a patch in a branch.
        sides: Of each branch, on whose side the contour is: `tampered`, `authentic`. With one of them alone it is plain
            InfoNCE, the contour being forced into one class.
        limits: Share of tampered pixels below which a patch is authentic, and above which it is tampered.
        temperature: Of the contrast.
        most: Patches of each class that are contrasted, at most.
        contrast: Weight of the mean contrast of the branches.
        pivot: Weight of the pivot's consistency.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such backbone, map of a stem, or side.
    """

    any_size = True

    def __init__(
        self,
        backbone: str = "101",
        width: int = 16,
        halvings: int = 3,
        stem: Sequence[str] = ("rgb",),
        projection: int = 32,
        sides: Sequence[str] = tuple(SIDES),
        limits: tuple[float, float] = (0.1, 0.9),
        temperature: float = 0.1,
        most: int = 128,
        contrast: float = 0.1,
        pivot: float = 0.1,
    ) -> None:
        super().__init__()
        _check(width, halvings, projection, most)
        _check_contrast(sides, limits, temperature, (contrast, pivot))
        self.limits, self.temperature, self.most = (limits[0], limits[1]), temperature, most
        self.weights = {"contrast": contrast, "pivot": pivot}
        self.stem = Stem(stem)
        self.body: UnetBody | DeepLabBody = (
            UnetBody(self.stem.channels, width, halvings)
            if backbone == "unet"
            else DeepLabBody(self.stem.channels, backbone)
        )
        self.multiple = self.body.multiple
        deep, fine = self.body.channels
        self.branches = nn.ModuleDict({side: _projection(deep, projection) for side in sides})
        self.last = nn.Conv2d(fine, 1, 1)

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W), and of each branch `branch_*` (B, projection, h, w).

        Args:
            image: (B, 3, H, W) in [0, 1].
            needs: None are looked at.
        """
        deep, fine = self.body(self.stem(image))
        found = self.last(fine)
        mask = found if found.shape[-2:] == image.shape[-2:] else resized(found, image.shape[-2:])
        return {"mask": mask} | {f"branch_{side}": branch(deep) for side, branch in self.branches.items()}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`, the map's cross-entropy, and the weighted terms `contrast` and, of two branches, `pivot`.

        Each is a mean over pictures, which know nothing of each other.
        """
        branches = {side: outputs[f"branch_{side}"] for side in self.branches}
        size = next(iter(branches.values())).shape[-2:]
        classes = patches(batch["mask"], size, batch.get("valid"), self.limits)
        terms = {"mask": losses.map_bce(outputs, batch)}
        each = [contrasted(x, classes, SIDES[side], self.temperature, self.most) for side, x in branches.items()]
        terms["contrast"] = self.weights["contrast"] * torch.stack(each).mean()
        if len(branches) == 2:
            terms["pivot"] = self.weights["pivot"] * torn(branches["tampered"], branches["authentic"], classes)
        return terms


def patches(
    mask: Tensor, size: Sequence[int], valid: Tensor | None = None, limits: tuple[float, float] = (0.1, 0.9)
) -> Tensor:
    """Return the class of each patch (B, h, w): `AUTHENTIC`, `CONTOUR` or `TAMPERED`; -1 where no pixel is valid.

    Args:
        mask: (B, 1, H, W), 0 or 1.
        size: Rows and columns of patches, which divide those of the mask.
        valid: (B, 1, H, W) bool, pixels that count.
        limits: Share of tampered pixels below which a patch is authentic, and above which it is tampered.
    """
    cell = (mask.shape[-2] // size[0], mask.shape[-1] // size[1])
    counted = torch.ones_like(mask, dtype=torch.float32) if valid is None else valid.float()
    known = F.avg_pool2d(counted, cell)[:, 0]
    share = F.avg_pool2d(mask.float() * counted, cell)[:, 0] / known.clamp(min=1e-9)
    classes = AUTHENTIC + (share >= limits[0]).long() + (share > limits[1]).long()
    return classes.masked_fill(known == 0, -1)


def contrasted(features: Tensor, classes: Tensor, first: int, temperature: float = 0.1, most: int = 128) -> Tensor:
    """Return InfoNCE between the patches of each picture, averaged; 0 for a picture whose patches are all on one side.

    Args:
        features: (B, D, h, w) of any length.
        classes: (B, h, w), see `patches`.
        first: Class from which on patches are on the tampered side.
        temperature: Divides the cosines.
        most: Patches of each class that count, evenly spread, at most.
    """
    each = []
    for x, kinds in zip(features.flatten(2).transpose(1, 2), classes.flatten(1), strict=True):
        taken = torch.cat([_spread((kinds == kind).nonzero()[:, 0], most) for kind in (AUTHENTIC, CONTOUR, TAMPERED)])
        groups = kinds[taken] >= first
        both = bool(groups.any()) and not bool(groups.all())
        each.append(losses.info_nce(x[taken], groups, temperature) if both else x.float().sum() * 0)
    return torch.stack(each).mean()


def torn(one: Tensor, other: Tensor, classes: Tensor) -> Tensor:
    """Return how far contour patches are apart in two branches (the pivot's consistency): 1 - cosine, 0 to 2.

    It is the mean over the contour patches of each picture, of one without them 0, and then over the pictures.

    Args:
        one: (B, D, h, w) of one branch.
        other: (B, D, h, w) of the other.
        classes: (B, h, w), see `patches`.
    """
    contour = classes == CONTOUR
    apart = 1 - F.cosine_similarity(one.float(), other.float(), dim=1)
    return ((apart * contour).sum((1, 2)) / contour.sum((1, 2)).clamp(min=1)).mean()


class UnetBody(nn.Module):
    """U-Net without its last layer.

    Args:
        inputs: Channels of what it sees.
        width: Channels at the picture's resolution; each halving doubles them.
        halvings: How often the picture is halved.
    """

    def __init__(self, inputs: int, width: int, halvings: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(halvings + 1)]
        self.multiple, self.channels = 2**halvings, (widths[-1], width)
        self.down = nn.ModuleList(double(i, o) for i, o in pairwise([inputs, *widths]))
        self.halve = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[-2::-1])
        self.up = nn.ModuleList(double(2 * w, w) for w in widths[-2::-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last features of the encoder, and those of the decoder, at the picture's resolution."""
        passed = [self.down[0](x)]
        for layer in self.down[1:]:
            passed.append(layer(self.halve(passed[-1])))
        found = passed[-1]
        for grow, layer, beside in zip(self.grow, self.up, passed[-2::-1], strict=True):
            found = layer(torch.cat([beside, grow(found)], 1))
        return passed[-1], found


class DeepLabBody(nn.Module):
    """DeepLabv3+ (Chen et al., 2018) without its last layer: ResNet, ASPP, and a decoder that sees the first stage too.

    Args:
        inputs: Channels of what it sees.
        size: Of the ResNet.
        width: Of ASPP and decoder.
        low: Channels that the first stage is brought to.

    Raises:
        UnknownNameError: There is no such size.
    """

    def __init__(self, inputs: int, size: str, width: int = 256, low: int = 48) -> None:
        super().__init__()
        encoder = backbones.build("resnet", size, inputs)
        blocks = len(list(encoder.body.encoder.stages)[-1].layers)
        self.encoder = dilated(encoder, ([2 * 2**i for i in range(blocks)],))
        self.multiple, self.channels = self.encoder.multiple, (width, width)
        self.pool = Aspp(self.encoder.channels[-1], width, (1, 6, 12, 18))
        self.low = nn.Sequential(
            nn.Conv2d(self.encoder.channels[0], low, 1, bias=False), nn.BatchNorm2d(low), nn.ReLU()
        )
        self.join = double(width + low, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last features of the encoder, at 1/16, and those of the decoder, at 1/4."""
        maps = self.encoder(x)
        deep = self.pool(maps[-1])
        low = self.low(maps[0])
        return deep, self.join(torch.cat([low, resized(deep, low.shape[-2:])], 1))


def _projection(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, width, 1))


def _spread(places: Tensor, most: int) -> Tensor:
    """Return at most so many of the places (N,), evenly spread over them."""
    if len(places) <= most:
        return places
    return places[torch.linspace(0, len(places) - 1, most, device=places.device).round().long()]


def _check(width: int, halvings: int, projection: int, most: int) -> None:
    if min(width, halvings, projection) < 1 or most < 2:
        expected = "width, halvings and projection from 1, most from 2"
        raise InvalidValueError(f"ncl_iml: expected {expected}, found {width}, {halvings}, {projection}, {most}")


def _check_contrast(
    sides: Sequence[str], limits: Sequence[float], temperature: float, weights: tuple[float, float]
) -> None:
    for side in sides:
        if side not in SIDES:
            raise unknown_name("side of the contour", side, SIDES)
    if isinstance(sides, str) or not sides or len(set(sides)) < len(sides):
        raise InvalidValueError(f"ncl_iml.sides: expected one or more, each once, found {sides}")
    if len(limits) != 2 or not 0 < limits[0] <= limits[1] < 1:
        raise InvalidValueError(f"ncl_iml.limits: expected two ascending shares in (0, 1), found {list(limits)}")
    if temperature <= 0 or min(weights) < 0:
        expected = "temperature above 0, contrast and pivot from 0"
        raise InvalidValueError(f"ncl_iml: expected {expected}, found {temperature}, {weights[0]}, {weights[1]}")


def build(size: Size = "tiny", **settings: Any) -> NclIml:
    """Return NCL-IML: DeepLabv3+ over ResNet-101 in full, a U-Net of 16 to 128 channels in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `NclIml`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such backbone, map of a stem, or side.
    """
    sizes: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"backbone": "unet", "stem": ("rgb", "srm")}}
    return NclIml(**(sizes[size] | settings))
