"""PEEKABOO: where objects are, learned without truth: a probe on frozen features that hidden parts must not fool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones
from tamperscope.nn.attention import Block
from tamperscope.nn.averages import valid_mean
from tamperscope.nn.guided import GuidedFilter
from tamperscope.nn.handmade import HandFeatures
from tamperscope.nn.heads import resized
from tamperscope.nn.scribbles import scribbles
from tamperscope.nn.vit import Patches, load_mae

ABOUT = About(
    title="PEEKABOO",
    source="Zunair & Ben Hamza, BMVC 2024, 'PEEKABOO: Hiding Parts of an Image for Unsupervised Object Localization' "
    "(arXiv 2407.17628); github.com/hasibzunair/peekaboo",
    departures=(
        "Both views are to agree in what they say, fitted to the picture; in the released code it is their decisions, "
        "through which no gradient passes, so that the term teaches nothing.",
        "A guided filter of three rounds stands for the bilateral solver.",
        "Strokes are drawn anew for every picture, and what they hide has its mean colour; the released ones are a "
        "thousand stored masks.",
        "Means over places leave padding out, and every picture is a mean of its own.",
        "Features may also be those of DINOv2's ViT-S/14, or made by hand of colours, differences and Gabor energies, "
        "with which `tiny` learns 49 numbers and needs no weights.",
    ),
)
Kind = Literal["hand", "dino", "dinov2"]
"""Frozen features: made by hand, keys of DINO's ViT-S/8, or the last map of DINOv2's ViT-S/14."""


class Peekaboo(Network):
    """One 1 x 1 convolution on features that never learn; its own decision, fitted to the picture, teaches it.

    A second view has parts hidden by strokes: it is taught its own decision, too, and to agree with the first. No truth
    is looked at. It differs from the published system as `ABOUT.departures` tells.

    That nothing is an object costs nothing, and views agree best there: with weights far from the published ones, such
    as `agree` of 100, it is what is learned. A training that has masks to validate by then warns of it, and its best
    network is the one from before.

    Args:
        features: `hand`, `dino` or `dinov2`.
        weights: Of `dino` a safetensors file with the names of timm, of `dinov2` a folder as `nn.backbones.build` reads
            it; None draws them.
        fitted: Weight of the cross-entropy with the decision fitted to the picture.
        masked: Weight of the same for the second view.
        agree: Weight of the squared difference of both views, fitted.
        decided: Weight of the cross-entropy with the plain decision.
        cell: Side of a cell of `hand`, pixels.
        radius: Of the guided filter, pixels.
        eps: Of the guided filter.

    Raises:
        InputError: Weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: There are no such features.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    any_size = True

    def __init__(
        self,
        features: Kind = "hand",
        weights: str | Path | None = None,
        fitted: float = 1.5,
        masked: float = 1.0,
        agree: float = 1.0,
        decided: float = 4.0,
        cell: int = 4,
        radius: int = 8,
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        if min(fitted, masked, agree, decided) < 0:
            raise InvalidValueError(f"peekaboo: expected weights from 0, found {fitted}, {masked}, {agree}, {decided}")
        if features == "hand" and weights is not None:
            raise InvalidValueError(f"peekaboo.weights: expected none for features made by hand, found '{weights}'")
        if radius < 1 or eps <= 0:
            raise InvalidValueError(f"peekaboo: expected radius from 1 and eps above 0, found {radius}, {eps}")
        self.fitted, self.masked, self.agree, self.decided = fitted, masked, agree, decided
        self.radius, self.eps = radius, eps
        made = _features(features, weights, cell)
        self.features, channels = made.requires_grad_(False), int(made.channels)
        self.multiple, self.colours = int(made.cell), features != "hand"
        self.head = nn.Conv2d(channels, 1, 1)
        if features == "hand":
            _begin(self.head)

    def train(self, mode: bool = True) -> Peekaboo:
        """Set the mode of what learns; the features always stay as in use."""
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W) of being an object, and in training `hidden`, those of the second view.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        outputs = {"mask": self.answer(image, valid)}
        if self.training:
            strokes = scribbles(len(image), image.shape[-2:], device=image.device)
            outputs["hidden"] = self.answer(veiled(image, strokes, valid), valid)
        return outputs

    def answer(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the logits (B, 1, H, W) of pictures (B, 3, H, W) in [0, 1]."""
        with torch.no_grad():
            found = self.features(self.normalized(image), valid) if self.colours else self.features(image, valid)
        return resized(self.head(found), image.shape[-2:])

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `fitted`, `decided` and, where there is a second view, `masked` and `agree`; no truth is read."""
        logits, valid = outputs["mask"], batch.get("valid")
        fit = GuidedFilter(batch["image"], self.radius, self.eps, valid)
        terms = {
            "fitted": self.fitted * _bce(logits, fitted(logits, fit), valid),
            "decided": self.decided * _bce(logits, (logits > 0).float(), valid),
        }
        if "hidden" in outputs:
            hidden = outputs["hidden"]
            # The filter is linear, so that it is filtered once, and gradient passes.
            apart = fit(logits.sigmoid() - hidden.sigmoid(), _TIMES)
            terms["masked"] = self.masked * _bce(hidden, fitted(hidden, fit), valid)
            terms["agree"] = self.agree * valid_mean(apart.square(), valid).mean()
        return terms


_TIMES = 3
"""Rounds of the guided filter."""


def fitted(logits: Tensor, fit: GuidedFilter) -> Tensor:
    """Return the decision of a map, fitted to the outlines of the picture, (B, 1, H, W) in [0, 1]; a target."""
    return fit((logits > 0).float(), _TIMES).clamp(0, 1)


def veiled(image: Tensor, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return pictures (B, 3, H, W) with what is hidden (B, 1, H, W) in the mean colour of each."""
    return torch.where(hidden, valid_mean(image, valid)[..., None, None], image)


class Keys(nn.Module):
    """A plain vision transformer with a class token (DINO's): the keys of its last attention.

    Args:
        weights: A safetensors file with the names of timm; None draws them.
        cell: Side of a patch, pixels.
        channels: Width of a token.
        heads: Of the attention.
        depth: Blocks.
        side: Of the table of places, tokens.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        cell: int = 8,
        channels: int = 384,
        heads: int = 6,
        depth: int = 12,
        side: int = 28,
    ) -> None:
        super().__init__()
        self.cell, self.channels = cell, channels
        self.patches = Patches(cell, channels, side)
        self.token = nn.Parameter(torch.zeros(channels))
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(depth))
        if weights is not None:
            token = load_mae(weights, self.patches, self.blocks)
            if token is None:
                raise InvalidValueError(f"'{weights}': expected a class token, found none")
            self.token = nn.Parameter(token)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, channels, H / cell, W / cell) of normalized pictures; places are resized to their plane.

        Args:
            image: (B, 3, H, W).
            valid: (B, 1, H, W) bool, which pixels are the picture's: patches without any are not looked at.
        """
        plane = self.patches.project(image)
        places = F.interpolate(
            self.patches.places.permute(2, 0, 1)[None], plane.shape[-2:], mode="bicubic", align_corners=False
        )
        tokens = (plane + places).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(tokens), 1, -1), tokens], 1)
        seen = None
        if valid is not None:
            seen = F.pad(F.max_pool2d(valid.float(), self.cell).flatten(1) > 0, (1, 0), value=True)
        blocks: list[Any] = list(self.blocks)
        for block in blocks[:-1]:
            x = block.sequence(x, valid=seen)
        last = blocks[-1]
        keys = last.attention.qkv(last.norm1(x))[:, 1:].chunk(3, 2)[1]
        return keys.transpose(1, 2).unflatten(2, plane.shape[-2:])


class _Last(nn.Module):
    """The last map of a backbone."""

    def __init__(self, backbone: backbones.Backbone) -> None:
        super().__init__()
        self.backbone, self.cell, self.channels = backbone, backbone.strides[-1], backbone.channels[-1]

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        return self.backbone(image)[-1]


def _features(kind: Kind, weights: str | Path | None, cell: int) -> Any:
    made = {
        "hand": lambda: HandFeatures(cell),
        "dino": lambda: Keys(weights),
        "dinov2": lambda: _Last(backbones.build("dinov2", "s14", weights=weights)),
    }
    if kind not in made:
        raise unknown_name("features", kind, made)
    return made[kind]()


def _begin(head: nn.Conv2d) -> None:
    """Begin with the mean of all features: an object is what is unusual in any way."""
    nn.init.constant_(head.weight, 2 / head.in_channels)
    assert head.bias is not None
    nn.init.zeros_(head.bias)


def _bce(logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean over pictures of their cross-entropies."""
    each = F.binary_cross_entropy_with_logits(logits.float(), target.detach(), reduction="none")
    return valid_mean(each, valid).mean()


def build(size: Size = "tiny", **settings: Any) -> Peekaboo:
    """Return PEEKABOO: keys of ViT-S/8 in full, features made by hand in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Peekaboo`; they replace those of the size.

    Raises:
        InputError: Weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: There are no such features.
    """
    return Peekaboo(**({"features": "dino" if size == "full" else "hand"} | settings))
