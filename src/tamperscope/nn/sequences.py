"""From a map of features to words in their order: places of tokens, attention with priors, a causal decoder.

Words are numbers: 0 begins a sequence, 1 to C are its classes, C + 1 ends it, C + 2 fills it up.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.attention import Mlp

BEGIN = 0
CELLS = 8
"""Tokens on a side of a map, in which distances are told: a picture of 256 pixels, 32 pixels a token."""
_HIDDEN = -1e4  # of a logit; 16 bits hold it, and its exponential is 0


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decoder looks at.

    Attributes:
        tokens: (B, N, width) each; several memories lie in the same places.
        places: (B, N, 2), where tokens lie (x, y), see `places`.
        hidden: (B, 1, 1, N), what is added to logits so that tokens outside of the picture are not looked at.
        prior: (B, T, N), what is added to logits of each step beside it; None = nothing.
    """

    tokens: tuple[Tensor, ...]
    places: Tensor
    hidden: Tensor
    prior: Tensor | None = None


def places(inside: Tensor) -> Tensor:
    """Return where the cells of maps lie in the picture, (B, h x w, 2) as (x, y), 0 to 1 from edge to edge.

    Args:
        inside: (B, 1, h, w) bool, a rectangle of cells that are the picture's.
    """
    axes = [inside.any(2).float(), inside.any(3).float()]
    across, down = ((n.cumsum(2) - 0.5) / n.sum(2, keepdim=True).clamp(min=1) for n in axes)
    height, width = inside.shape[-2:]
    grid = torch.stack([across.expand(-1, height, -1), down.transpose(1, 2).expand(-1, -1, width)], -1)
    return grid.flatten(1, 2)


def sine(where: Tensor, width: int) -> Tensor:
    """Return sine positions (B, N, width) of places (B, N, axes) in [0, 1], each axis for itself (DETR).

    Raises:
        InvalidValueError: The axes do not share the width in pairs.
    """
    axes = where.shape[-1]
    if width % (2 * axes):
        raise InvalidValueError(f"sine: expected a width that {axes} axes share in pairs, found {width}")
    each = width // axes
    speeds = 2 * math.pi / 10_000 ** (torch.arange(0, each, 2, device=where.device) / each)
    angles = where.float()[..., None] * speeds
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-3)


def hidden(inside: Tensor) -> Tensor:
    """Return what is added to logits of attention so that cells outside of the picture are not looked at.

    Args:
        inside: (B, 1, h, w) bool.

    Returns:
        (B, 1, 1, h x w).
    """
    return (~inside).flatten(2)[:, None].float() * _HIDDEN


class Attend(nn.Module):
    """Multi-head attention of one set of tokens to another.

    Args:
        width: Of a token.
        heads: Number of heads.
        dropout: Of weights of attention.

    Raises:
        InvalidValueError: The heads do not share the width.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise InvalidValueError(f"Attend: expected a width that {heads} heads share, found {width}")
        self.heads, self.dropout = heads, dropout
        self.q, self.v, self.proj = (nn.Linear(width, width) for _ in range(3))
        # What is added to every key changes no weight.
        self.k = nn.Linear(width, width, bias=False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return (B, T, width).

        Args:
            query: (B, T, width).
            key: (B, N, width).
            value: (B, N, width).
            bias: Added to the logits, shaped as (B, heads, T, N) or so that it is repeated.
        """
        q, k, v = self.q(query), self.k(key), self.v(value)
        return self.proj(attended(q, k, v, self.heads, bias, self.dropout if self.training else 0.0))


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Return the values (B, T, width) that queries (B, T, width) take from keys and values (B, N, width).

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        heads: Number of heads.
        bias: See `Attend.forward`.
        dropout: Of weights.
    """
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mask = None if bias is None else bias.to(q.dtype)
    got = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    # Traced, the result is taken for contiguous, which it is not everywhere; a copy is.
    return got.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2)


class EncoderLayer(nn.Module):
    """Self-attention, then two layers for each token; both are normed before and added to what was there.

    Args:
        width: Of a token.
        heads: Number of heads.
        inner: Width between the two layers.
        dropout: Of what is added, and of weights of attention.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attend(width, heads, dropout), Mlp(width, inner)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return (B, N, width).

        Args:
            x: (B, N, width).
            position: (B, N, width), added to queries and keys.
            bias: See `Attend.forward`.
        """
        normed = self.norm1(x)
        where = normed + position
        x = x + self.drop(self.attention(where, where, normed, bias))
        return x + self.drop(self.mlp(self.norm2(x)))


class DecoderLayer(nn.Module):
    """Self-attention to what was said before, a look at the memory, then two layers for each word.

    Args:
        width: Of a token.
        heads: Number of heads.
        inner: Width between the two layers.
        dropout: Of what is added, and of weights of attention.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.before, self.mlp = Attend(width, heads, dropout), Mlp(width, inner)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Memory, position: Tensor) -> Tensor:
        """Return (B, T, width); no step knows of later ones.

        Args:
            x: (B, T, width).
            memory: What is looked at.
            position: (B, N, width), added to keys of the memory.
        """
        count = x.shape[1]
        later = torch.full((count, count), _HIDDEN, device=x.device).triu(1)
        normed = self.norm1(x)
        x = x + self.drop(self.before(normed, normed, normed, later))
        x = self.looked(x, self.norm2(x), memory, position)
        return x + self.drop(self.mlp(self.norm3(x)))

    @abstractmethod
    def looked(self, x: Tensor, normed: Tensor, memory: Memory, position: Tensor) -> Tensor:
        """Return (B, T, width) after a look at the memory; `normed` is `x` after a norm."""


class SpatialLayer(DecoderLayer):
    """SeqFakeFormer's: each step says where it looks, as a Gaussian about a centre, and how closely.

    Every head predicts a centre in the picture and a scale from the step; to its logits -(scale x distance)^2 / 4 is
    added, distances in tokens of `CELLS` a side. Scales begin about 1/2, so that nothing in the picture is beyond
    reach.

    Args:
        width: Of a token.
        heads: Number of heads.
        inner: Width between the two layers.
        dropout: Of what is added, and of weights of attention.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__(width, heads, inner, dropout)
        self.attention = Attend(width, heads, dropout)
        self.centre, self.scale = nn.Linear(width, 2 * heads), nn.Linear(width, heads)
        nn.init.constant_(self.scale.bias, 0.5)

    def looked(self, x: Tensor, normed: Tensor, memory: Memory, position: Tensor) -> Tensor:
        """Return (B, T, width); the first memory alone is looked at."""
        (tokens, *_) = memory.tokens
        bias = memory.hidden + self.prior(normed, memory.places)
        return x + self.drop(self.attention(normed, tokens + position, tokens, bias))

    def prior(self, normed: Tensor, where: Tensor) -> Tensor:
        """Return the logarithm of the Gaussians, (B, heads, T, N), 0 at their centres.

        Args:
            normed: (B, T, width).
            where: (B, N, 2), see `places`.
        """
        centre = self.centre(normed).sigmoid().float().unflatten(2, (-1, 2)).transpose(1, 2)
        away = CELLS * (centre[:, :, :, None] - where[:, None, None])
        scale = self.scale(normed).float().transpose(1, 2)[..., None]
        return -away.square().sum(-1) * scale.square() / 4


class SeveralLayer(DecoderLayer):
    """TSOM's: each memory is looked at, all with the memory's own prior; what came of each is normed, and added.

    Args:
        width: Of a token.
        heads: Number of heads.
        inner: Width between the two layers.
        dropout: Of what is added, and of weights of attention.
        memories: Their number.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0, memories: int = 3) -> None:
        super().__init__(width, heads, inner, dropout)
        self.attentions = nn.ModuleList(Attend(width, heads, dropout) for _ in range(memories))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(memories))

    def looked(self, x: Tensor, normed: Tensor, memory: Memory, position: Tensor) -> Tensor:
        """Return (B, T, width)."""
        bias = memory.hidden
        if memory.prior is not None:
            bias = bias + memory.prior[:, None, : x.shape[1]]
        parts = [
            norm(x + self.drop(attention(normed, tokens + position, tokens, bias)))
            for attention, norm, tokens in zip(self.attentions, self.norms, memory.tokens, strict=True)
        ]
        return torch.stack(parts).sum(0)


class Decoder(nn.Module):
    """Says one word after another: each from those before it and from what it sees in the memory.

    Args:
        layers: Of the decoder.
        width: Of a token.
        inner: Of the two hidden layers that words are told by.
        classes: Number of classes C.
        length: Most words of a sequence, its end among them.
        dropout: Of words that are told.
    """

    def __init__(
        self,
        layers: Sequence[DecoderLayer],
        width: int,
        inner: int = 512,
        classes: int = 5,
        length: int = 6,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.classes, self.length = classes, length
        self.words, self.steps = nn.Embedding(classes + 3, width), nn.Embedding(length, width)
        self.told, self.drop, self.norm = nn.LayerNorm(width), nn.Dropout(dropout), nn.LayerNorm(width)
        self.layers = nn.ModuleList(layers)
        self.last = nn.Sequential(
            nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, inner), nn.ReLU(), nn.Linear(inner, classes + 3)
        )

    def states(self, words: Tensor, memory: Memory) -> Tensor:
        """Return what is known at each step (B, T, width); `last` makes logits of it.

        Args:
            words: (B, T) int, the word before each step; the first one is `BEGIN`.
            memory: What is looked at.
        """
        x = self.drop(self.told(self.words(words) + self.steps.weight[: words.shape[1]]))
        position = sine(memory.places, x.shape[-1])
        for layer in self.layers:
            x = layer(x, memory, position)
        return self.norm(x)

    def forward(self, words: Tensor, memory: Memory) -> Tensor:
        """Return the logits (B, T, C + 3) of the word at each step, told the true ones before; see `states`."""
        return self.last(self.states(words, memory))

    def greedy(self, memory: Memory) -> Tensor:
        """Return the logits (B, length, C + 3), each told the likeliest words before it."""
        words = torch.full((len(memory.places), 1), BEGIN, device=memory.places.device)
        found: list[Tensor] = []
        for _ in range(self.length):
            found.append(self(words, memory)[:, -1])
            words = torch.cat([words, called(found[-1])[:, None]], 1)
        return torch.stack(found, 1)


def called(logits: Tensor) -> Tensor:
    """Return the likeliest of classes and end, 1 to C + 1; what begins and what fills up is never said.

    Args:
        logits: (..., C + 3).
    """
    return logits[..., 1:-1].argmax(-1) + 1


def score(first: Tensor) -> Tensor:
    """Return the logit that a sequence has a word, (B,), from the logits (B, C + 3) of its first step."""
    return first[:, 1:-2].logsumexp(1) - first[:, -2]


def told(truth: Tensor, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Return the words before each step and those to be said, both (B, L + 1): the classes, an end, then filling.

    Args:
        truth: (B, L) int, classes from 1 in their order, then 0.
        classes: Number of classes.
    """
    place = torch.arange(truth.shape[1] + 1, device=truth.device)
    count = (truth > 0).sum(1, keepdim=True)
    filled = F.pad(truth, (0, 1)).where(place < count, torch.full_like(place, classes + 2))
    words = filled.where(place != count, torch.full_like(place, classes + 1))
    return F.pad(words[:, :-1], (1, 0), value=BEGIN), words


def turned(truth: Tensor) -> Tensor:
    """Return sequences (B, L), 0 after their end, with the last class first."""
    return truth.gather(1, _backwards((truth > 0).sum(1, keepdim=True), truth.shape[1]))


def turned_logits(logits: Tensor) -> Tensor:
    """Return logits (B, T, C + 3) whose steps before the first end, at most T - 1, are in the other order."""
    ended = called(logits) == logits.shape[-1] - 2
    count = (ended.int().cumsum(1) == 0).sum(1, keepdim=True).clamp(max=logits.shape[1] - 1)
    back = _backwards(count, logits.shape[1])
    return logits.gather(1, back[..., None].expand_as(logits))


def _backwards(count: Tensor, length: int) -> Tensor:
    """Return places (B, length) that turn the first `count` (B, 1) steps around and leave the others."""
    place = torch.arange(length, device=count.device)
    return torch.where(place < count, count - 1 - place, place)
