"""ObjectFormer: a few prototypes gather what patches have in common, and each patch asks them whether it fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.attention import Mlp
from tamperscope.nn.bands import filled
from tamperscope.nn.filters import HighPass
from tamperscope.nn.heads import LayerNorm2d, resized
from tamperscope.nn.losses import map_bce
from tamperscope.nn.vit import Patches

ABOUT = About(
    title="ObjectFormer",
    source="Wang et al., CVPR 2022, ObjectFormer for Image Manipulation Detection and Localization; as rebuilt in "
    "github.com/scu-zjz/IMDLBenCo",
    departures=(
        "High frequencies are those of each channel's orthonormal DCT outside its lowest corner. The rebuilt code "
        "keeps coefficients of amplitudes above .5, strong low ones among them, of a transform that is no DCT. "
        "How large a corner the paper drops is not known to us: here the lowest tenth of both axes.",
        "Three grey levels of high frequencies count as much as a whole deviation of colours. The published scale is "
        "not known to us; at that of the colours `tiny` learned nothing of a trace of a few grey levels in a few "
        "hundred steps.",
        "Patches are embedded by one linear layer for colours and one for high frequencies, each with places of its "
        "own, and both kinds are tokens of one sequence: 392 of a picture of 224 pixels, as many as there are "
        "prototypes. What the paper has before its patches, and how both kinds meet, is not known to us.",
        "Norms come before attention, which has 12 heads, and a perceptron of four times the width follows where "
        "patches have asked the prototypes; these layers are not known to us.",
        "Incoherence is 1 less the mean cosine to the neighbours in a 3 x 3 window, of each kind of tokens for itself, "
        "after every layer, and is added to the tokens along a learned direction. Where it stands and what is done "
        "with it is not known to us; added to all channels alike it would vanish in the next norm.",
        "The map is made by two transposed convolutions to a quarter of the patch and a bilinear resize, the score by "
        "a linear layer on the mean token; both heads are not known to us.",
        "The mask's loss is the cross-entropy of each picture's valid pixels, and the score's counts as much: form "
        "and weights of the published terms are not known to us.",
        "Padding takes the picture's mean colour, is no token that prototypes look at, no neighbour, and has no part "
        "in the score; published pictures were resized and had none.",
        "Any size that is a multiple of a patch is taken, not 224 alone: places are resized to its plane.",
        "It begins with random weights: there is no loader of pretrained ones.",
        "`tiny` has eight prototypes, three layers of width 64 and four heads, and patches of 8.",
    ),
)
KINDS = 2
"""Tokens of a place: of its colours and of its high frequencies."""
LEVELS = 3.0
"""Grey levels that are 1 in the map of high frequencies."""


class ObjectFormer(Network):
    """Layers in which prototypes look at all patches of colours and high frequencies, and patches at the prototypes.

    Every layer has prototypes of its own, and hands on patches alone: what a patch hears of others in attention, it
    hears through the prototypes. It differs from the published system as `ABOUT.departures` tells.

    Args:
        patch: Side of a patch, pixels.
        width: Of a token.
        heads: Of all attention.
        depth: Layers.
        prototypes: Of each layer.
        table: Side of the tables of places, tokens; planes of other sizes take them resized.
        share: Of the frequencies of each axis, which are low.
        boundaries: Whether incoherence with neighbouring patches is added to the tokens.
        weight: Of the score's cross-entropy.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)

    def __init__(
        self,
        patch: int = 16,
        width: int = 768,
        heads: int = 12,
        depth: int = 8,
        prototypes: int = 392,
        table: int = 14,
        share: float = 0.1,
        boundaries: bool = True,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        _check({"patch": patch, "depth": depth, "prototypes": prototypes, "table": table}, width, heads, weight)
        self.patch = self.multiple = patch
        self.weight = weight
        self.high = HighPass("dct", share)
        self.colours, self.frequencies = (Patches(patch, width, table) for _ in range(KINDS))
        self.layers = nn.ModuleList(Layer(width, heads, prototypes, boundaries) for _ in range(depth))
        self.norm = nn.LayerNorm(width, 1e-6)
        half, quarter = width // 2, width // 4
        self.head = nn.Sequential(
            nn.ConvTranspose2d(KINDS * width, half, 2, 2),
            LayerNorm2d(half, 1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
            LayerNorm2d(quarter, 1e-6),
            nn.GELU(),
            nn.Conv2d(quarter, 1, 1),
        )
        self.score = nn.Linear(KINDS * width, 1)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W) and `score` (B,).

        Args:
            image: (B, 3, H, W) in [0, 1]; sides are multiples of a patch.
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        seen = None if valid is None else F.max_pool2d(valid.float(), self.patch)[:, 0] > 0
        x = self.tokens(image, valid)
        for layer in self.layers:
            x = layer(x, seen)
        planes = self.norm(x).permute(0, 1, 4, 2, 3).flatten(1, 2)
        counted = torch.ones_like(planes[:, :1]) if seen is None else seen[:, None].to(planes)
        mean = (planes * counted).sum((2, 3)) / counted.sum((2, 3)).clamp(min=1)
        return {"mask": resized(self.head(planes), image.shape[-2:]), "score": self.score(mean)[:, 0]}

    def tokens(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the patches (B, 2, h, w, width) of colours and of high frequencies; see `forward`."""
        image = filled(image, valid)
        with torch.autocast(image.device.type, enabled=False):
            # Traces are a hundredth of the colours they are taken from; bfloat16 does not keep the difference.
            normalized, high = self.normalized(image.float()), self.high(255 * image.float()) / LEVELS
        return torch.stack([self.colours(image, normalized), self.frequencies(image, high)], 1)

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the cross-entropies `mask` and `score`: means over pictures, which know nothing of each other.

        Pictures of unknown label (below 0) teach the score nothing.
        """
        score = outputs["score"]
        label = batch.get("label", torch.full(score.shape, -1, device=score.device))
        return {"mask": map_bce(outputs, batch), "score": self.weight * losses.label_bce(score, label)}


class Layer(nn.Module):
    """Object encoder and patch decoder: learned prototypes ask all patches, then every patch asks these prototypes.

    Args:
        width: Of a token.
        heads: Of both attentions.
        prototypes: Number of them.
        boundaries: Whether incoherence with neighbouring patches is added.
    """

    def __init__(self, width: int, heads: int, prototypes: int, boundaries: bool = True) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(nn.init.normal_(torch.empty(prototypes, width), std=0.02))
        self.encode, self.decode = (nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(2))
        # Of the patches for the one attention and for the other, of the prototypes for both, and of the perceptron.
        self.given, self.asking, self.asked, self.heard = (nn.LayerNorm(width, 1e-6) for _ in range(4))
        self.learned = nn.LayerNorm(width, 1e-6)
        self.mlp = Mlp(width, 4 * width)
        self.direction = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02)) if boundaries else None

    def objects(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return what the prototypes are (B, prototypes, width) after they looked at patches (B, N, width).

        Args:
            x: Patches, in any order: their places are told by nothing but what they are.
            seen: (B, N) bool, patches that may be looked at, one at least; None = all.
        """
        learned, given = self.prototypes.expand(len(x), -1, -1), self.given(x)
        hidden = None if seen is None else ~seen
        got, _ = self.encode(self.learned(learned), given, given, key_padding_mask=hidden, need_weights=False)
        return learned + got

    def answered(self, x: Tensor, objects: Tensor) -> Tensor:
        """Return patches (B, N, width) after they looked at the prototypes (B, prototypes, width)."""
        asked = self.asked(objects)
        x = x + self.decode(self.asking(x), asked, asked, need_weights=False)[0]
        return x + self.mlp(self.heard(x))

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return (B, K, h, w, width).

        Args:
            x: (B, K, h, w, width), K kinds of tokens at each place.
            seen: (B, h, w) bool, places that are the picture's; None = all.
        """
        flat, kinds = x.flatten(1, 3), x.shape[1]
        places = shown = None
        if seen is not None:
            places = seen[:, None].expand(-1, kinds, -1, -1)
            shown = places.flatten(1)
            # Attention over nothing, where a picture has none of them, would not be finite.
            shown = shown | ~shown.any(1, keepdim=True)
        x = self.answered(flat, self.objects(flat, shown)).view_as(x)
        if self.direction is None:
            return x
        unlike = incoherence(x.flatten(0, 1), None if places is None else places.flatten(0, 1))
        return x + unlike.unflatten(0, (-1, kinds))[..., None].to(x) * self.direction


def incoherence(x: Tensor, seen: Tensor | None = None) -> Tensor:
    """Return how little each place is like its neighbours: 1 less the mean cosine in a 3 x 3 window (BCIM).

    Args:
        x: (B, h, w, C), of any length.
        seen: (B, h, w) bool, places that are neighbours; None = all. What lies beyond the plane is none.

    Returns:
        (B, h, w), 0 where all are alike or nobody is near, to 2; 0 as well where a place is not seen.
    """
    with torch.autocast(x.device.type, enabled=False):
        there = torch.ones_like(x[..., 0], dtype=torch.float32) if seen is None else seen.float()
        unit = F.normalize(x.float(), dim=-1).permute(0, 3, 1, 2) * there[:, None]
        count = _around(there[:, None])[:, 0]
        # The sum of cosines is the product with the sum of unit vectors.
        alike = (unit * _around(unit)).sum(1)
        return there * (count > 0) * (1 - alike / count.clamp(min=1))


def _around(planes: Tensor) -> Tensor:
    """Return the sums over the eight neighbours, where there are any, of (B, C, h, w)."""
    return 9 * F.avg_pool2d(planes, 3, 1, 1) - planes


def _check(counts: Mapping[str, int], width: int, heads: int, weight: float) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InvalidValueError(f"object_former.{name}: expected at least 1, found {value}")
    if heads < 1 or width < 4 or width % heads:
        raise InvalidValueError(
            f"object_former.width: expected at least 4, shared by heads from 1, found {width}, {heads}"
        )
    if weight < 0:
        raise InvalidValueError(f"object_former.weight: expected at least 0, found {weight}")


def build(size: Size = "tiny", **settings: Any) -> ObjectFormer:
    """Return ObjectFormer: eight layers of 392 prototypes in full, three of 8 prototypes in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `ObjectFormer`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {
            "patch": 8,
            "width": 64,
            "heads": 4,
            "depth": 3,
            "prototypes": 8,
            "table": 16,
        },
    }
    return ObjectFormer(**(sizes[size] | settings))
