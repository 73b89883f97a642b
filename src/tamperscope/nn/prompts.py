"""Prompts that tune a frozen transformer by frequencies: of the picture (FInP), and of the features (FFrP) (MFPT).

Planes of tokens are (B, h, w, width). Every prompter's last layer begins as 0: untrained prompts change nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.attention import together, windows
from tamperscope.nn.filters import HighPass

Band = Literal["high", "low"]


class InputPrompter(nn.Module):
    """FInP: one band of the picture's frequencies and its embedded patches make prompts, added before each layer.

    With p = Linear(patches of the band) + Linear(embedded patches) the prompt of layer l is up(GELU(W_l p)); `up` is
    shared by all layers (EVP, Liu et al., CVPR 2023).

    Args:
        width: Of a token.
        patch: Side of a patch, pixels.
        layers: Number of prompted layers.
        inner: Width of p.
        share: Where the high band begins, as a share of the highest frequency.
        band: `high` as published; `low` is the control that shows what the high band is worth.
    """

    def __init__(
        self, width: int, patch: int, layers: int, inner: int, share: float = 0.25, band: Band = "high"
    ) -> None:
        super().__init__()
        if band not in ("high", "low"):
            raise InvalidValueError(f"InputPrompter.band: expected high or low, found '{band}'")
        self.high_pass, self.band = HighPass("fft", share), band
        self.patches = nn.Conv2d(3, inner, patch, patch)
        self.embedded = nn.Linear(width, inner)
        self.each = nn.ModuleList(nn.Linear(inner, inner) for _ in range(layers))
        self.up = _silent(nn.Linear(inner, width))

    def forward(self, image: Tensor, embedded: Tensor) -> list[Tensor]:
        """Return what is added before each layer, each (B, h, w, width).

        Args:
            image: (B, 3, h x patch, w x patch), normalized.
            embedded: (B, h, w, width), the tokens before the first layer.
        """
        high = self.high_pass(image)
        seen = high if self.band == "high" else image - high
        prompt = self.patches(seen).permute(0, 2, 3, 1) + self.embedded(embedded)
        return [self.up(F.gelu(layer(prompt))) for layer in self.each]


class FeaturePrompter(nn.Module):
    """FFrP: attention to low and to high frequencies of a layer's features, apart, beside the layer (as HiLo).

    Heads of the low part look from every place at means over windows; heads of the high part look within a window at
    what these means leave.

    Args:
        width: Of a token.
        inner: Width of the attention.
        heads: Of both parts together, at least 2.
        low: Share of the heads that look at low frequencies.
        window: Side, in tokens.
    """

    def __init__(self, width: int, inner: int, heads: int = 4, low: float = 0.5, window: int = 2) -> None:
        super().__init__()
        lows = round(low * heads)
        if inner % heads or not 0 < lows < heads or window < 1:
            expected = "a width that the heads share, and heads for both parts"
            raise InvalidValueError(f"FeaturePrompter: expected {expected}, found {inner}, {heads}, {low}, {window}")
        self.size, self.window = inner // heads, window
        self.norm, self.down = nn.LayerNorm(width), nn.Linear(width, inner)
        split = (lows * self.size, (heads - lows) * self.size)
        self.low_query, self.low_rest = nn.Linear(inner, split[0]), nn.Linear(inner, 2 * split[0])
        self.high = nn.Linear(inner, 3 * split[1])
        self.up = _silent(nn.Linear(inner, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what is added to tokens (B, h, w, width)."""
        x = self.down(self.norm(tokens))
        pooled = F.avg_pool2d(x.permute(0, 3, 1, 2), self.window, ceil_mode=True)
        means = pooled.permute(0, 2, 3, 1)
        rows, columns = x.shape[1:3]
        spread = means.repeat_interleave(self.window, 1).repeat_interleave(self.window, 2)[:, :rows, :columns]
        low = self._attended(self.low_query(x).flatten(1, 2), *self.low_rest(means).flatten(1, 2).chunk(2, -1))
        parts = windows(x - spread, self.window)
        local = self._attended(*self.high(parts.flatten(1, 2)).chunk(3, -1))
        high = together(local.unflatten(1, parts.shape[1:3]), self.window, (rows, columns))
        return self.up(torch.cat([low.unflatten(1, (rows, columns)), high], -1))

    def _attended(self, *qkv: Tensor) -> Tensor:
        """Return (B, N, heads x size) of queries (B, N, heads x size), keys and values (B, M, heads x size)."""
        q, k, v = (x.unflatten(-1, (-1, self.size)).transpose(1, 2) for x in qkv)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _silent(layer: nn.Linear) -> nn.Linear:
    """Return a layer whose results are 0 until it has learnt."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
