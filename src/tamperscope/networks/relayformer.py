"""RelayFormer: tiles that are looked at one by one, and a few tokens of each that carry word between them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import lora, losses
from tamperscope.nn.attention import Block, rotary
from tamperscope.nn.heads import GatedQueries, resized
from tamperscope.nn.tiles import Grid
from tamperscope.nn.vit import Patches, Stem, load_mae

ABOUT = About(
    title="RelayFormer",
    source="arXiv 2508.09459 (ICLR 2026); github.com/WenOOI/RelayFormer",
    departures=(
        "The first block has no `glo` difference, for the relay tokens never pass it in that mode: the differences are "
        "2.26 M parameters, not the published 2.36 M.",
        "A picture has as few tiles as cover it; the published count, ceil(side / canvas x grid), can have one more.",
        "Queries of the decoder do not look at tiles that are not there, and logits are divided by the root of their "
        "width, so that they begin near 0.",
        "`tiny` sees three SRM residuals and the logarithms of their magnitudes beside the colours (taken tile by "
        "tile), and has six blocks of width 96 with tiles of 80 pixels in patches of 8.",
    ),
)
NOTHING = -10.0
"""Logit of what no tile covers."""
_LAYERS = ("qkv", "proj", "fc1", "fc2")


@dataclass(frozen=True)
class Layout:
    """Where the tiles of a batch lie; they may stand in any order.

    Attributes:
        coordinates: (M, 4) int: picture or clip, frame, row and column of each tile.
        places: (M, P) int, where each token of a tile lies among the `size` places of all planes.
        size: Places of all planes.
        slots: (M,) int, the how-manieth of its picture or clip each tile is.
        number: Pictures or clips.
        length: Of the longest picture or clip, tiles.
    """

    coordinates: Tensor
    places: Tensor
    size: int
    slots: Tensor
    number: int
    length: int

    def together(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the planes (size, C) of tokens (M, P, C), means where tiles overlap, and how many lie there."""
        places = self.places.flatten()
        count = torch.zeros(self.size, device=tokens.device).index_add_(0, places, tokens.new_ones(len(places)).float())
        total = tokens.new_zeros(self.size, tokens.shape[-1]).index_add(0, places, tokens.flatten(0, 1))
        return total / count.clamp(min=1)[:, None].to(total), count

    def shared(self, tokens: Tensor) -> Tensor:
        """Return tokens (M, P, C) put together to planes and cut again, so that tiles agree where they overlap."""
        return self.together(tokens)[0][self.places]

    def gathered(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (M, ...) by picture or clip (B, length, ...), and which are there (B, length)."""
        at = self.coordinates[:, 0], self.slots
        dense = values.new_zeros((self.number, self.length, *values.shape[1:])).index_put(at, values)
        there = torch.zeros((self.number, self.length), dtype=torch.bool, device=values.device)
        there[at] = True
        return dense, there


class RelayFormer(Network):
    """A plain transformer over overlapping tiles of a picture or clip of any size; no pixel is resized.

    After every block the tiles are put together and cut again; then the relay tokens of all tiles and frames pass the
    next block among themselves, told apart by `glo` low-rank differences where tiles have `loc`. It differs from the
    published system as `ABOUT.departures` tells.

    Args:
        patch: Side of a patch, pixels.
        tile: Side of a tile, tokens.
        overlap: Tokens that neighbouring tiles share.
        width: Of a token.
        heads: Of the attention.
        depth: Blocks.
        relays: Tokens of a tile that carry word; 0 = tiles are on their own.
        rank: Of the low-rank differences; their scale is 2.
        axis: Numbers of a head that turn with each of frame, token, row and column.
        decoder: Width, queries, layers and heads of `GatedQueries`; None = one linear layer, which looks at one place.
        drop_path: Rate of stochastic depth.
        factor: Weight of the outline's cross-entropy.
        frozen: Whether the transformer's own weights stay as they are.
        stem: `rgb`, or `srm` for residuals beside the colours.
        weights: A safetensors file of a masked auto-encoder (MAE) of this width and depth.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    clips: ClassVar[bool] = True
    exported: ClassVar[tuple[str, ...]] = ()  # a fixed graph has all tiles

    def __init__(
        self,
        patch: int,
        tile: int,
        overlap: int,
        width: int,
        heads: int,
        depth: int,
        relays: int = 2,
        rank: int = 8,
        axis: int = 8,
        decoder: tuple[int, int, int, int] | None = (256, 8, 3, 8),
        drop_path: float = 0.0,
        factor: float = 20.0,
        frozen: bool = False,
        stem: Stem = "rgb",
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if relays < 0 or factor < 0 or not 0 <= overlap < tile:
            expected = f"relays and factor of at least 0, overlap of 0 to {tile - 1}"
            raise InvalidValueError(f"relayformer: expected {expected}, found {relays}, {factor}, {overlap}")
        self.patch = self.multiple = patch
        self.tile, self.stride, self.axis, self.factor = tile, tile - overlap, axis, factor
        self.patches = Patches(patch, width, tile, stem)
        self.relays = nn.Parameter(0.02 * torch.randn(relays, width))
        blocks = nn.ModuleList(Block(width, heads, drop_path=drop_path * i / max(depth - 1, 1)) for i in range(depth))
        self.norm = nn.LayerNorm(width, 1e-6)
        if weights is not None:
            first = load_mae(weights, self.patches, blocks, self.norm)
            if first is not None and relays:
                self.relays.data[0] = first
        if frozen:
            for part in (self.patches, blocks, self.norm):
                lora.freeze(part)
        for i, block in enumerate(blocks):
            lora.adapt(block, _LAYERS, rank, 2.0 * rank, ("loc", "glo") if i and relays else ("loc",))
        self.blocks = blocks
        self.across: nn.ModuleList | None = None
        linear = decoder is None
        self.decoder = nn.Conv2d(width, 1, 1) if linear else GatedQueries(width, *decoder)  # type: ignore[misc]

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W), or (B, T, 1, H, W) of a clip; -10 where no tile lies.

        Args:
            image: (B, 3, H, W) or (B, T, 3, H, W) in [0, 1]; sides are multiples of a patch.
            valid: (B, 1, H, W) or (B, T, 1, H, W) bool, which pixels are the picture's, from its top left; None = all.
            needs: Not looked at.
        """
        clips = image if image.ndim == 5 else image[:, None]
        number, frames, _, height, width = clips.shape
        pictures = clips.flatten(0, 1)
        grid = Grid(height // self.patch, width // self.patch, self.tile, self.stride)
        tiles = Grid(height, width, self.tile * self.patch, self.stride * self.patch)
        if valid is None:
            # Nothing here follows from what the pixels are, so that it can be written down as a fixed graph.
            layout, pixels = every(number, frames, grid, image.device), tiles.split(pictures).flatten(0, 1)
        else:
            known = valid.reshape(-1, 1, height, width)
            there = present(known[:, 0], grid, self.patch)
            there[::frames, 0] = True  # what is empty throughout is answered, too
            layout, pixels = layout_of(there.unflatten(0, (number, frames)), grid), tiles.split(pictures * known)[there]
        planes, covered = self.planes(pixels, layout)
        shape = (number * frames, *grid.padded)
        logits = self._decoded(planes.unflatten(0, shape).permute(0, 3, 1, 2), covered.unflatten(0, shape))
        logits = logits[..., :height, :width]
        return {"mask": logits.unflatten(0, (number, frames)) if image.ndim == 5 else logits}

    def planes(self, pixels: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return the features (size, C) of all planes, and which places a tile covers (size,).

        Args:
            pixels: (M, 3, side, side), the tiles in [0, 1].
            layout: Where they lie.
        """
        tokens = self.patches(pixels, self.normalized(pixels)).flatten(1, 2)
        relays = self.relays.expand(len(tokens), -1, -1)
        count = len(self.relays)
        for i in range(len(self.blocks)):
            if i and count:
                relays = self.exchange(i, relays, layout)
            both = self._block(i, "loc").sequence(torch.cat([relays, tokens], 1))
            relays, tokens = both[:, :count], layout.shared(both[:, count:])
        planes, number = layout.together(self.norm(tokens))
        return planes, number > 0

    def exchange(self, index: int, relays: Tensor, layout: Layout) -> Tensor:
        """Return the relay tokens (M, n, C) after those of each picture or clip looked at one another.

        Args:
            index: Block whose weights they pass, in the mode `glo`.
            relays: (M, n, C).
            layout: Where the tiles lie.
        """
        count = relays.shape[1]
        tokens = torch.arange(count, device=relays.device).expand(len(relays), count)
        frame, row, column = (layout.coordinates[:, i, None].expand(-1, count) for i in (1, 2, 3))
        places, _ = layout.gathered(torch.stack([frame, tokens, row, column], -1))
        dense, there = layout.gathered(relays)
        block = self._block(index, "glo")
        turn = rotary(places.flatten(1, 2), block.attention.size, self.axis)
        mixed = block.sequence(dense.flatten(1, 2), turn, there.repeat_interleave(count, 1))
        return mixed.unflatten(1, (-1, count))[layout.coordinates[:, 0], layout.slots]

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`: cross-entropy, and `factor` times that of the outline's band; frames count as pictures."""
        logits, truth = (x.flatten(0, -4) for x in (outputs["mask"], batch["mask"]))
        valid = batch.get("valid")
        return {"mask": losses.edge_bce(logits, truth, None if valid is None else valid.flatten(0, -4), self.factor)}

    def merged(self) -> RelayFormer:
        """Return a copy for use, not for training, whose blocks are plain: one set for tiles, one for relay tokens."""
        plain = copy.deepcopy(self).eval()
        if self.across is None:
            blocks = list(self.blocks)
            plain.blocks = nn.ModuleList(lora.merged(block, "loc") for block in blocks)
            plain.across = nn.ModuleList(lora.merged(block, "glo") for block in blocks[1:] if len(self.relays))
        return plain

    def _block(self, index: int, mode: str) -> Block:
        block = self.blocks[index]
        if self.across is None:
            lora.use(block, mode)
        elif mode == "glo":
            block = self.across[index - 1]
        return block  # type: ignore[return-value]

    def _decoded(self, planes: Tensor, covered: Tensor) -> Tensor:
        """Return logits at the size of the pixels."""
        logits = self.decoder(planes, covered) if isinstance(self.decoder, GatedQueries) else self.decoder(planes)
        large = resized(logits, [n * self.patch for n in logits.shape[-2:]])
        seen = covered[:, None].repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3)
        return torch.where(seen, large, torch.full_like(large, NOTHING))


def present(valid: Tensor, grid: Grid, patch: int) -> Tensor:
    """Return which tiles (B, rows x columns) are needed to cover pictures that begin at the top left; none if empty.

    Args:
        valid: (B, H, W) bool.
        grid: Of the tokens.
        patch: Pixels of a token.
    """
    needed = []
    for axis, count in ((2, grid.shape[0]), (1, grid.shape[1])):
        along = valid.any(axis)
        ends = (along * torch.arange(1, along.shape[1] + 1, device=valid.device)).amax(1)
        covered = patch * (torch.arange(count, device=valid.device) * grid.stride + grid.tile - grid.stride)
        covered[0] = 0
        needed.append(ends[:, None] > covered)
    return (needed[0][:, :, None] & needed[1][:, None]).flatten(1)


def layout_of(there: Tensor, grid: Grid) -> Layout:
    """Return where the tiles of a batch lie.

    Args:
        there: (B, T, rows x columns) bool, tiles that there are; every picture or clip has one.
        grid: Of the tokens.
    """
    flat = there.flatten(1)
    slots = (flat.cumsum(1) - 1)[flat]
    return _layout(there.nonzero(as_tuple=True), slots, grid, there.shape[:2], int(flat.sum(1).max()))


def every(number: int, frames: int, grid: Grid, device: torch.device) -> Layout:
    """Return the layout of pictures or clips none of whose tiles is left out; the same as `layout_of` all True."""
    tiles = grid.shape[0] * grid.shape[1]
    where = torch.arange(number * frames * tiles, device=device)
    cells = (where // (frames * tiles), where // tiles % frames, where % tiles)
    return _layout(cells, where % (frames * tiles), grid, (number, frames), frames * tiles)


def _layout(cells: tuple[Tensor, ...], slots: Tensor, grid: Grid, clips: tuple[int, ...], length: int) -> Layout:
    """Return the layout of tiles, told by picture or clip, frame, and place in reading order."""
    sample, frame, cell = cells
    row, column = cell // grid.shape[1], cell % grid.shape[1]
    height, width = grid.padded
    step = torch.arange(grid.tile, device=cell.device)
    down = (row * grid.stride)[:, None] + step
    right = (column * grid.stride)[:, None] + step
    plane = (sample * clips[1] + frame) * height * width
    places = plane[:, None, None] + down[:, :, None] * width + right[:, None]
    size = clips[0] * clips[1] * height * width
    coordinates = torch.stack([sample, frame, row, column], 1)
    return Layout(coordinates, places.flatten(1), size, slots, clips[0], length)


def build(size: Size = "tiny", **settings: Any) -> RelayFormer:
    """Return RelayFormer: ViT-B with tiles of 528 pixels in full, six blocks of width 96 with tiles of 80 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `RelayFormer`; they replace those of the size.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {"patch": 16, "tile": 33, "overlap": 2, "width": 768, "heads": 12, "depth": 12},
        "tiny": {
            "patch": 8,
            "tile": 10,
            "overlap": 2,
            "width": 96,
            "heads": 3,
            "depth": 6,
            "rank": 4,
            "axis": 4,
            "decoder": (64, 4, 2, 4),
            "stem": "srm",
        },
    }
    return RelayFormer(**(sizes[size] | settings))
