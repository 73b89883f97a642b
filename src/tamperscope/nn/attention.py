"""Attention and what plain transformers are built of: rotary places, relative places, windows, blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError

Turn = tuple[Tensor, Tensor]


def rotary(places: Tensor, size: int, axis_size: int = 0, theta: float = 10_000.0) -> Turn:
    """Return cosines and sines that turn queries and keys by their places (RoPE, Su et al., 2021), several axes apart.

    Args:
        places: (N, axes) or (B, N, axes) coordinates.
        size: Length of a head.
        axis_size: Numbers of a head that turn with each axis, even; 0 shares the head among the axes. What is left of
            the head does not turn.
        theta: Longest wave length over 2 pi.

    Returns:
        Two (..., N, size / 2); pairs are neighbours.

    Raises:
        InvalidValueError: The axes do not fit the head.
    """
    axes = places.shape[-1]
    each = axis_size or size // axes // 2 * 2
    if each % 2 or each < 2 or each * axes > size:
        raise InvalidValueError(f"rotary: expected axes of an even length that fit {size}, found {axes} of {each}")
    speeds = theta ** (-torch.arange(0, each, 2, device=places.device) / each)
    angles = (places.float()[..., None] * speeds).flatten(-2)
    angles = F.pad(angles, (0, size // 2 - angles.shape[-1]))
    return angles.cos(), angles.sin()


def turned(x: Tensor, turn: Turn) -> Tensor:
    """Return (B, heads, N, size) with every pair of neighbouring numbers turned."""
    cos, sin = (part[:, None] if part.ndim == 3 else part for part in turn)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: Of a token.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise InvalidValueError(f"Attention: expected a width that {heads} heads share, found {width}")
        self.heads, self.size = heads, width // heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        turn: Turn | None = None,
        valid: Tensor | None = None,
        relative: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return (B, N, width).

        Args:
            x: (B, N, width).
            turn: Of `rotary`.
            valid: (B, N) bool, tokens that may be looked at; None = all.
            relative: From queries (B, heads, N, size) to what is added to the logits (B, heads, N, N).
        """
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, self.size)).permute(2, 0, 3, 1, 4)
        if turn is not None:
            q, k = turned(q, turn), turned(k, turn)
        bias = None if relative is None else relative(q)
        if valid is not None:
            hidden = torch.zeros_like(valid, dtype=q.dtype).masked_fill(~valid, torch.finfo(q.dtype).min)
            bias = hidden[:, None, None] if bias is None else bias + hidden[:, None, None]
        got = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        # Traced, the result is taken for contiguous, which it is not everywhere; a copy is.
        return self.proj(got.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2))


class RelativePlaces(nn.Module):
    """Decomposed relative position biases (ViTDet): A += q R_h[dy] + q R_w[dx], tables that begin as 0.

    Args:
        size: Length of a head.
        height: Of the plane of tokens that the tables are made for; another one takes them resized.
        width: Of it.
    """

    def __init__(self, size: int, height: int, width: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.zeros(2 * height - 1, size))
        self.across = nn.Parameter(torch.zeros(2 * width - 1, size))

    def forward(self, queries: Tensor, height: int, width: int) -> Tensor:
        """Return (B, heads, N, N) of (B, heads, N, size), N = height x width in reading order."""
        planes = queries.unflatten(2, (height, width))
        rows = torch.einsum("bnhwc,hkc->bnhwk", planes, _offsets(self.down, height))
        columns = torch.einsum("bnhwc,wkc->bnhwk", planes, _offsets(self.across, width))
        return (rows[..., :, None] + columns[..., None, :]).flatten(4, 5).flatten(2, 3)


def _offsets(table: Tensor, count: int) -> Tensor:
    """Return the entries (count, count, size) of a table for every pair of places."""
    if len(table) != 2 * count - 1:
        table = F.interpolate(table.T[None], 2 * count - 1, mode="linear")[0].T
    place = torch.arange(count, device=table.device)
    return table[place[:, None] - place[None] + count - 1]


class DropPath(nn.Module):
    """Stochastic depth: leaves out a branch for some pictures of a batch, and scales it for the others.

    Args:
        rate: How often.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch, or 0, each picture for itself; unchanged when not training."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand((len(x), *(1,) * (x.ndim - 1)), device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


class Mlp(nn.Module):
    """Two layers with GELU between.

    Args:
        width: In and out.
        inner: Between.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Transformer block on a plane of tokens, over all of it or over windows.

    Args:
        width: Of a token.
        heads: Of the attention.
        window: Side of windows; 0 = the whole plane.
        plane: Height and width that relative places are made for; None = no relative places.
        drop_path: Rate of stochastic depth.
        ratio: Of the inner width of the feed-forward part.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        window: int = 0,
        plane: tuple[int, int] | None = None,
        drop_path: float = 0.0,
        ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attention = Attention(width, heads)
        side = (window, window) if window else plane
        self.relative = RelativePlaces(width // heads, *side) if plane and side else None
        self.mlp = Mlp(width, int(width * ratio))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, H, W, width).

        Args:
            x: (B, H, W, width).
            valid: (B, H, W) bool, tokens that may be looked at; where a window has none, all are.
        """
        x = x + self.drop(self._attended(self.norm1(x), valid))
        return x + self.drop(self.mlp(self.norm2(x)))

    def sequence(self, x: Tensor, turn: Turn | None = None, valid: Tensor | None = None) -> Tensor:
        """Return (B, N, width) of tokens that lie in no plane: no windows, no relative places.

        Args:
            x: (B, N, width).
            turn: Of `rotary`.
            valid: (B, N) bool, tokens that may be looked at.
        """
        x = x + self.drop(self.attention(self.norm1(x), turn, valid))
        return x + self.drop(self.mlp(self.norm2(x)))

    def _attended(self, x: Tensor, valid: Tensor | None) -> Tensor:
        height, width = x.shape[1:3]
        if not self.window:
            return self._over(x, valid)
        parts = windows(x, self.window)
        seen = None if valid is None else windows(valid[..., None], self.window)[..., 0]
        if seen is not None:
            seen = seen | ~seen.flatten(1).any(1)[:, None, None]
        return together(self._over(parts, seen), self.window, (height, width))

    def _over(self, x: Tensor, valid: Tensor | None) -> Tensor:
        height, width = x.shape[1:3]
        relative = None if self.relative is None else lambda q: self.relative(q, height, width)  # type: ignore[misc]
        seen = None if valid is None else valid.flatten(1)
        result = self.attention(x.flatten(1, 2), None, seen, relative)
        return result.unflatten(1, (height, width))


def windows(x: Tensor, side: int) -> Tensor:
    """Return the windows (B x N, side, side, C) of (B, H, W, C), in reading order; beyond the plane are zeros."""
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return x.permute(0, 1, 3, 2, 4, 5).flatten(0, 2)


def together(parts: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Return the plane (B, H, W, C) of its windows (B x N, side, side, C)."""
    height, width = size
    rows, columns = -(-height // side), -(-width // side)
    x = parts.unflatten(0, (-1, rows, columns)).permute(0, 1, 3, 2, 4, 5)
    return x.flatten(1, 2).flatten(2, 3)[:, :height, :width]
