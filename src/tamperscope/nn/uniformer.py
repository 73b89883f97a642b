"""UniFormer (Li et al., 2022): convolutions, then attention, which may be sparse: over every n-th token alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.nn.attention import Attention, DropPath, Mlp
from tamperscope.nn.heads import LayerNorm2d

PATCHES = (4, 2, 2, 2)
"""Sides of what becomes one place of the next stage, places of the one before it."""
STRIDES = (4, 8, 16, 32)
"""Of the stages, pixels of the picture."""
# The classifier, and the norm before it.
_LEFT_OUT = ("head.", "norm.", "pre_logits.")


class Embed(nn.Module):
    """Patches as places: a convolution without overlap, then layer norm.

    Args:
        inputs: Channels in.
        width: Channels out.
        patch: Side of a patch.
    """

    def __init__(self, inputs: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, width, patch, patch)
        self.norm = LayerNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, h, w)."""
        return self.norm(self.proj(x))


class ConvBlock(nn.Module):
    """Local block: places by 3 x 3, neighbours by 5 x 5 between two 1 x 1, a feed-forward part; each is added.

    Args:
        width: In and out.
        drop_path: Rate of stochastic depth.
        ratio: Of the inner width of the feed-forward part.
    """

    def __init__(self, width: int, drop_path: float = 0.0, ratio: float = 4.0) -> None:
        super().__init__()
        self.place = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.near = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.fc1, self.fc2 = nn.Conv2d(width, int(width * ratio), 1), nn.Conv2d(int(width * ratio), width, 1)
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, h, w)."""
        x = x + self.place(x)
        x = x + self.drop(self.conv2(self.near(self.conv1(self.norm1(x)))))
        return x + self.drop(self.fc2(F.gelu(self.fc1(self.norm2(x)))))


class SparseBlock(nn.Module):
    """Global block: places by 3 x 3, attention over every `sparsity`-th token of both directions, a feed-forward part.

    Args:
        width: In and out.
        heads: Of the attention.
        sparsity: Distance of the tokens that see each other, in both directions; with 1 all do.
        drop_path: Rate of stochastic depth.
        ratio: Of the inner width of the feed-forward part.
        scale: What the learned factor of every channel of both parts begins as.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        sparsity: int = 1,
        drop_path: float = 0.0,
        ratio: float = 4.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.sparsity = sparsity
        self.place = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attention = Attention(width, heads)
        self.mlp = Mlp(width, int(width * ratio))
        self.scale1, self.scale2 = (nn.Parameter(torch.full((width,), scale)) for _ in range(2))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, width, h, w).

        Args:
            x: (B, width, h, w).
            valid: (B, h, w) bool, tokens that may be looked at; where a group has none, all are.
        """
        tokens = (x + self.place(x)).permute(0, 2, 3, 1)
        tokens = tokens + self.drop(self.scale1 * self.attended(self.norm1(tokens), valid))
        tokens = tokens + self.drop(self.scale2 * self.mlp(self.norm2(tokens)))
        return tokens.permute(0, 3, 1, 2)

    def attended(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return what the tokens (B, h, w, width) see of their groups."""
        height, width = tokens.shape[1:3]
        seen = torch.ones_like(tokens[..., 0], dtype=torch.bool) if valid is None else valid
        parts, seen = apart(tokens, self.sparsity), apart(seen[..., None], self.sparsity).flatten(1)
        seen = seen | ~seen.any(1, keepdim=True)
        found = self.attention(parts.flatten(1, 2), None, seen).unflatten(1, parts.shape[1:3])
        return together(found, self.sparsity, (height, width))


def apart(x: Tensor, sparsity: int) -> Tensor:
    """Return a plane as groups of tokens whose rows and columns leave the same remainder, each a small plane.

    Args:
        x: (B, h, w, C); where sides are no multiples, zeros (False) fill the groups up.
        sparsity: What rows and columns are divided by.

    Returns:
        (B x sparsity^2, rows, columns, C), by the remainder of the row, then by that of the column.
    """
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % sparsity, 0, -height % sparsity))
    x = x.unflatten(2, (-1, sparsity)).unflatten(1, (-1, sparsity))
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def together(parts: Tensor, sparsity: int, size: tuple[int, int]) -> Tensor:
    """Return the plane (B, h, w, C) of the groups that `apart` made of it."""
    x = parts.unflatten(0, (-1, sparsity, sparsity)).permute(0, 3, 1, 4, 2, 5)
    return x.flatten(3, 4).flatten(1, 2)[:, : size[0], : size[1]]


class UniFormer(nn.Module):
    """Four stages: two of convolutions, two of attention whose sparsity changes from run to run of blocks.

    Args:
        widths: Of the stages.
        depths: Blocks of the stages.
        sparsities: Of the runs of the third stage and of the fourth, which share its blocks as evenly as they can, the
            first ones getting those that are left over.
        head: Length of a head.
        drop_path: Rate of stochastic depth in the last block; the others have less, linearly.
        scale: See `SparseBlock`.

    Attributes:
        channels: Of the result, one for each run.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (5, 8, 20, 7),
        sparsities: Sequence[Sequence[int]] = ((1,), (1,)),
        head: int = 64,
        drop_path: float = 0.1,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        _check(widths, depths, sparsities, head, drop_path)
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        self.embeds = nn.ModuleList(Embed(*at) for at in zip((3, *widths[:3]), widths, PATCHES, strict=True))
        self.local = nn.ModuleList(
            nn.Sequential(*(ConvBlock(width, next(rates)) for _ in range(depth)))
            for width, depth in zip(widths[:2], depths[:2], strict=True)
        )
        self.wide = nn.ModuleList()
        for width, depth, each in zip(widths[2:], depths[2:], sparsities, strict=True):
            spread = shared(depth, each)
            self.wide.append(nn.ModuleList(SparseBlock(width, width // head, s, next(rates), 4, scale) for s in spread))
        self.ends = tuple(_ends(depth, len(each)) for depth, each in zip(depths[2:], sparsities, strict=True))
        self.channels = tuple(w for w, each in zip(widths[2:], sparsities, strict=True) for _ in each)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """Return the maps (B, C, h, w) after each run of the third stage, then of the fourth.

        Args:
            image: (B, 3, H, W), normalized; sides are multiples of 32.
            valid: (B, 1, H, W) bool, which pixels are the picture's; attention does not look at places without any.
        """
        x, found = image, []
        for embed, blocks in zip(self.embeds, self.local, strict=False):
            x = blocks(embed(x))
        wide: Any
        for stage, (wide, ends) in enumerate(zip(self.wide, self.ends, strict=True), 2):
            seen = None if valid is None else F.max_pool2d(valid.float(), STRIDES[stage])[:, 0] > 0
            x = self.embeds[stage](x)
            for i, block in enumerate(wide):
                x = block(x, seen)
                if i + 1 in ends:
                    found.append(x)
        return found


def shared(depth: int, sparsities: Sequence[int]) -> list[int]:
    """Return the sparsity of each block of a stage: runs of blocks, as even as they can be."""
    ends = (0, *_ends(depth, len(sparsities)))
    return [s for s, first, last in zip(sparsities, ends, ends[1:], strict=False) for _ in range(first, last)]


def _ends(depth: int, runs: int) -> tuple[int, ...]:
    return tuple(-(-depth * (i + 1) // runs) for i in range(runs))


def load(path: str | Path, net: UniFormer) -> None:
    """Fill a network from a safetensors file that names its weights as the released ones of UniFormer are named.

    Args:
        path: The file; what it has of a classifier is left out. Without factors of channels (`gamma_1`) these are 1.
        net: Filled.

    Raises:
        InputError: There is no such file, or it is no safetensors file.
        InvalidValueError: A weight is missing, one too many, or of another shape.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"'{path}': expected a safetensors file, found none: {error}") from error
    wanted = net.state_dict()
    given = {_renamed(name): value for name, value in found.items() if not name.startswith(_LEFT_OUT)}
    if not any("scale" in name for name in given):
        given |= {name: torch.ones_like(value) for name, value in wanted.items() if "scale" in name}
    wrong = sorted(wanted.keys() ^ given.keys()) or [n for n, v in wanted.items() if v.shape != given[n].shape]
    if wrong:
        shapes = [tuple(x[wrong[0]].shape) if wrong[0] in x else "none" for x in (wanted, given)]
        raise InvalidValueError(f"'{path}': expected {wrong[0]} as {shapes[0]}, found {shapes[1]}; {len(wrong)} such")
    net.load_state_dict(given)


def _renamed(name: str) -> str:
    """Return what a weight of the release is called here: `wide.0.0.place.bias` for `blocks3.0.pos_embed.bias`."""
    first, _, rest = name.partition(".")
    if first.startswith("patch_embed") and first[11:].isdigit():
        return f"embeds.{int(first[11:]) - 1}.{rest}"
    if not (first.startswith("blocks") and first[6:].isdigit()):
        return name
    stage = int(first[6:]) - 1
    rest = rest.replace(".pos_embed.", ".place.").replace(".gamma_", ".scale")
    if stage < 2:
        return f"local.{stage}." + rest.replace(".attn.", ".near.").replace(".mlp.", ".")
    return f"wide.{stage - 2}." + rest.replace(".attn.", ".attention.")


def _check(
    widths: Sequence[int], depths: Sequence[int], sparsities: Sequence[Sequence[int]], head: int, drop_path: float
) -> None:
    if len(widths) != 4 or min(widths) < 1 or head < 1 or any(w % head for w in widths[2:]):
        raise InvalidValueError(
            f"UniFormer.widths: expected four, the last two multiples of head, found {list(widths)} and {head}"
        )
    if len(depths) != 4 or min(depths) < 1:
        raise InvalidValueError(f"UniFormer.depths: expected four numbers from 1, found {list(depths)}")
    runs = [len(each) for each in sparsities]
    if (
        len(runs) != 2
        or any(min(each, default=0) < 1 for each in sparsities)
        or runs[0] > depths[2]
        or runs[1] > depths[3]
    ):
        expected = f"at most {depths[2]} and {depths[3]} numbers from 1"
        raise InvalidValueError(
            f"UniFormer.sparsities: expected {expected}, found {[list(each) for each in sparsities]}"
        )
    if not 0 <= drop_path < 1:
        raise InvalidValueError(f"UniFormer.drop_path: expected [0, 1), found {drop_path}")
