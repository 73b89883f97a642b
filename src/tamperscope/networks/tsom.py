"""TSOM and TSOM++: ordered edits of a face, told last one first, from its texture and by its shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Size
from tamperscope.networks.seqfakeformer import EDITS, Backbone, Ordered
from tamperscope.nn import losses, sequences
from tamperscope.nn.attention import Mlp
from tamperscope.nn.differences import KINDS, Difference
from tamperscope.nn.heads import resized
from tamperscope.nn.hrnet import conv
from tamperscope.nn.sequences import CELLS, Decoder, EncoderLayer, Memory, SeveralLayer, attended

ABOUT = About(
    title="TSOM",
    source="arXiv 2404.13873, WACV 2025 (sequential face manipulations by texture, shape and inverted order; its "
    "extension is TSOM++, `contrast` 0.01 here); github.com/OUC-VAS/TSOM",
    departures=(
        "The published code mixes tokens of different pictures where it shapes them into maps, and its contrastive "
        "loss cannot be run: here a map holds the tokens of one picture, and the loss is that of Khosla et al. (2020) "
        "for each step by itself, a mean over pictures and steps in place of a sum over 32.",
        "Plain and difference attention are two streams from the first layer on, which meet behind the last one: where "
        "they meet is not known to us.",
        "Keys and values are the same sum of difference convolutions: whether each has its own is not known to us.",
        "The shares of the differences follow from a map of 8 x 8 tokens, 192 numbers; published are 588. Maps of "
        "other sizes are resized to it, and pictures to what the shape is learned from.",
        "Beyond an edge, difference convolutions see its last row or column again, and what is not the picture's is 0. "
        "The centre of a difference convolution has no weight of its own, for it would do nothing.",
        "A step's Gaussian lies in the picture from -1 to 1 and is told by its mean and variance, the latter in [e^-6, "
        "e^6]; the units of the published one are not known to us. The shape's layers have batch norm and ReLU.",
        "Words are told, and scores given, as by our SeqFakeFormer.",
        "`tiny` has a residual network of eight layers, which makes a token of 8 pixels, one layer of 96 channels, and "
        "a shape of 64 pixels with 16 to 64 channels.",
    ),
)
COLOURS = ((0.5,) * 3, (0.5,) * 3)
_LIMIT = 6.0


class DifferenceAttention(nn.Module):
    """Attention whose keys and values are textures: differences of tokens, of three kinds, as a picture weighs them.

    Args:
        width: Of a token.
        heads: Number of heads.
        dropout: Of weights of attention.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Conv2d(width, width, 3, padding=1)
        self.kinds = nn.ModuleList(Difference(kind, width, width) for kind in KINDS)
        widths = (width, width // 2, width // 4, width // 8, len(KINDS))
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        self.factor = nn.Sequential(*layers[:-1])
        self.share = nn.Linear(len(KINDS) * CELLS * CELLS, len(KINDS))
        self.proj = nn.Linear(width, width)

    def shares(self, plane: Tensor) -> Tensor:
        """Return how much each kind counts, (B, 3), which add to 1."""
        return self.share(resized(self.factor(plane), (CELLS, CELLS)).flatten(1)).softmax(1)

    def forward(self, plane: Tensor, bias: Tensor) -> Tensor:
        """Return (B, h x w, width) of (B, width, h, w).

        Args:
            plane: Tokens.
            bias: Added to the logits, see `nn.sequences.hidden`.
        """
        shares = self.shares(plane)[..., None, None, None].unbind(1)
        parts = [share * layer(plane) for share, layer in zip(shares, self.kinds, strict=True)]
        query, seen = self.query(plane), torch.stack(parts).sum(0)
        q, kv = (x.flatten(2).transpose(1, 2) for x in (query, seen.to(query.dtype)))
        return self.proj(attended(q, kv, kv, self.heads, bias, self.dropout if self.training else 0.0))


class DifferenceLayer(nn.Module):
    """Difference attention, then two layers for each token; both are normed before and added to what was there.

    Args:
        width: Of a token.
        heads: Number of heads.
        inner: Width between the two layers.
        dropout: Of what is added, and of weights of attention.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = DifferenceAttention(width, heads, dropout), Mlp(width, inner)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Tensor, bias: Tensor) -> Tensor:
        """Return (B, h x w, width).

        Args:
            x: (B, h x w, width).
            inside: (B, 1, h, w), 0 outside of the picture.
            bias: See `DifferenceAttention.forward`.
        """
        plane = self.norm1(x).transpose(1, 2).unflatten(2, inside.shape[-2:]) * inside
        x = x + self.drop(self.attention(plane, bias))
        return x + self.drop(self.mlp(self.norm2(x)))


class Shape(nn.Module):
    """A small variational auto-encoder of pictures, whose latents are a Gaussian in the picture for each step.

    Args:
        side: Of the picture.
        widths: Channels of the convolutions, each of which halves it.
        steps: Number of Gaussians.
    """

    def __init__(
        self, side: int = 256, widths: Sequence[int] = (32, 64, 128, 256, 256), steps: int = EDITS + 1
    ) -> None:
        super().__init__()
        self.side, self.small = side, (widths[-1], side >> len(widths), side >> len(widths))
        before = (3, *widths[:-1])
        self.down = nn.Sequential(*(conv(a, b, stride=2) for a, b in zip(before, widths, strict=True)))
        count = math.prod(self.small)
        self.mean, self.spread = nn.Linear(count, 2 * steps), nn.Linear(count, 2 * steps)
        self.large = nn.Linear(2 * steps, count)
        up: list[nn.Module] = []
        for a, b in zip(widths[::-1], before[::-1], strict=True):
            up += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU()]
        self.up = nn.Sequential(*up[:-2], nn.Tanh())

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (B, steps, 2) as (x, y) and logarithms of variances of (B, 3, side, side)."""
        found = self.down(picture).flatten(1)
        mean, spread = self.mean(found).float(), self.spread(found).float().clamp(-_LIMIT, _LIMIT)
        return mean.unflatten(1, (-1, 2)), spread.unflatten(1, (-1, 2))

    def drawn(self, mean: Tensor, spread: Tensor) -> Tensor:
        """Return a picture (B, 3, side, side) from -1 to 1, made of numbers that are drawn from the Gaussians."""
        latents = mean + (spread / 2).exp() * torch.randn_like(mean)
        return self.up(self.large(latents.flatten(1)).unflatten(1, self.small))


def density(mean: Tensor, spread: Tensor, where: Tensor) -> Tensor:
    """Return the logarithms of Gaussians' densities in places, (B, T, N).

    Args:
        mean: (B, T, 2), from -1 to 1 within the picture.
        spread: (B, T, 2), logarithms of variances.
        where: (B, N, 2), from 0 to 1 within the picture.
    """
    away = (2 * where - 1)[:, None] - mean[:, :, None]
    return -0.5 * (away.square() / spread.exp()[:, :, None] + spread[:, :, None] + math.log(2 * math.pi)).sum(-1)


class Tsom(Ordered):
    """Plain and texture-seeking encoders, and a decoder that looks at both and at what they make together.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        backbone: See `Ordered`, as for the next three.
        width: Of a token.
        inverted: Whether the last edit is told first.
        weights: Folder of the backbone's.
        layers: Of encoder and decoder, each.
        heads: Of attention.
        inner: Width of feed-forward parts.
        hidden: Of the layers that join both streams, and of those that words are told by.
        dropout: In encoder and decoder.
        shape: Side of the picture that a shape is learned from.
        widths: Of the shape's convolutions.
        alpha: Of the shape's prior where the decoder looks.
        weigh: Of the losses of the shape: that of the picture that is drawn, and that of how its numbers lie.
        contrast: Of the contrastive loss of TSOM++; 0 = TSOM.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such backbone.
    """

    def __init__(
        self,
        backbone: Backbone = "50",
        width: int = 256,
        inverted: bool = True,
        weights: str | Path | None = None,
        layers: int = 2,
        heads: int = 4,
        inner: int = 512,
        hidden: int = 512,
        dropout: Sequence[float] = (0.2, 0.4),
        shape: int = 256,
        widths: Sequence[int] = (32, 64, 128, 256, 256),
        alpha: float = 0.005,
        weigh: Sequence[float] = (0.1, 0.01),
        contrast: float = 0.0,
    ) -> None:
        if layers < 1 or width % 8 or len(dropout) != 2 or not all(0 <= rate < 1 for rate in dropout):
            found = f"{layers}, {width}, {dropout}"
            raise InvalidValueError(
                f"tsom: expected layers from 1, a width of whole eights, and two dropouts in [0, 1), found {found}"
            )
        if shape % (1 << len(widths)) or shape < 1 or min(alpha, contrast, *weigh) < 0 or len(weigh) != 2:
            found = f"{shape}, {alpha}, {contrast}, {weigh}"
            raise InvalidValueError(
                f"tsom: expected a shape of whole {1 << len(widths)}s and weights from 0, two of the shape's, "
                f"found {found}"
            )
        super().__init__(backbone, width, inverted, weights, COLOURS)
        self.alpha, self.weigh, self.contrast = alpha, tuple(weigh), contrast
        self.plain = nn.ModuleList(EncoderLayer(width, heads, inner, dropout[0]) for _ in range(layers))
        self.texture = nn.ModuleList(DifferenceLayer(width, heads, inner, dropout[0]) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.fused = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.shape = Shape(shape, widths)
        decoding = [SeveralLayer(width, heads, inner, dropout[1]) for _ in range(layers)]
        self.decoder = Decoder(decoding, width, hidden, EDITS, EDITS + 1, dropout[1])

    def remembered(self, seen: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Return `tokens` (B, 3, N, width), `mean` and `spread` (B, 6, 2), and while training the picture `drawn`."""
        inside = self.inside(valid)
        plain = texture = self.plane(seen, inside).flatten(2).transpose(1, 2)
        position, bias = sequences.sine(sequences.places(inside), plain.shape[-1]), sequences.hidden(inside)
        layer: Any
        for layer in self.plain:
            plain = layer(plain, position, bias)
        for layer in self.texture:
            texture = layer(texture, inside, bias)
        both = [norm(x) for norm, x in zip(self.norms, (plain, texture), strict=True)]
        mean, spread = self.shape(self.small(seen))
        found = {"tokens": torch.stack([self.fused(torch.cat(both, -1)), *both], 1), "mean": mean, "spread": spread}
        return found | ({"drawn": self.shape.drawn(mean, spread)} if self.training else {})

    def small(self, seen: Tensor) -> Tensor:
        """Return a normalized picture (B, 3, H, W) in the size of shapes."""
        side = self.shape.side
        return seen if seen.shape[-2:] == (side, side) else resized(seen, (side, side))

    def memory(self, found: Mapping[str, Tensor], valid: Tensor) -> Memory:
        """Return the three streams, and where each step is to look."""
        inside = self.inside(valid)
        where = sequences.places(inside)
        prior = self.alpha * density(found["mean"], found["spread"], where) if self.alpha else None
        return Memory(tuple(found["tokens"].unbind(1)), where, sequences.hidden(inside), prior)

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `words`, and while training `drawn` and `latents` of the shape, and `contrast` of TSOM++."""
        terms, states, words = self.terms(outputs, batch)
        if states is None:
            return terms
        mean, spread = outputs["mean"].float(), outputs["spread"].float()
        picture = self.small(self.normalized(batch["image"]) * batch["valid"])
        shown = self.small(batch["valid"].float())
        apart = (outputs["drawn"].float() - picture).square() * shown
        terms["drawn"] = self.weigh[0] * (apart.sum((1, 2, 3)) / (3 * shown.sum((1, 2, 3)).clamp(min=1))).mean()
        latents = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum((1, 2))
        terms["latents"] = self.weigh[1] * latents.mean()
        if self.contrast:
            terms["contrast"] = self.contrast * self.contrasted(states, words)
        return terms

    def contrasted(self, states: Tensor, words: Tensor) -> Tensor:
        """Return how far states of one word are from each other, beside those of others at the same step.

        Args:
            states: (B, 6, width), of the decoder.
            words: (B, 6), the true ones; what fills up does not count.
        """
        found = states.float().sum() * 0
        for step in range(words.shape[1]):
            said = words[:, step] < self.edits + 2
            if int(said.sum()) > 1:
                found = found + losses.info_nce(states[said, step], words[said, step])
        return found / words.shape[1]


def build(size: Size = "tiny", **settings: Any) -> Tsom:
    """Return TSOM: on a ResNet-50 in full, on eight layers in tiny; with `contrast` it is TSOM++.

    Args:
        size: `full` or `tiny`.
        settings: Of `Tsom`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such backbone.
    """
    tiny: dict[str, Any] = {"backbone": "small", "width": 96, "layers": 1, "inner": 192, "hidden": 192}
    tiny |= {"shape": 64, "widths": (16, 32, 64)}
    return Tsom(**((tiny if size == "tiny" else {}) | settings))
