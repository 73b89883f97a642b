"""HiDA-Net: whether and where a picture is generated, from its thumbnail and all of its tiles at full resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import cover, losses, towers
from tamperscope.nn.filters import srm3
from tamperscope.nn.qualities import luma_quality

TILES = (4, 8, 2, 12, 4, 3, 6, 4, 16, 6, 4, 1, 6, 8, 10, 6)
"""Tiles of each picture that a step of the training looks at, step by step, over and over."""
ENCODERS = ("clip", "residual")
DROPOUT = 0.1
ABOUT = About(
    title="HiDA-Net",
    source="'No Pixel Left Behind', ICLR 2026 (arXiv 2508.17346); facts of github.com/Mu437/HiDA-Net, which has no "
    "licence: nothing of it is used but its numbers",
    departures=(
        "Tokens are labelled 1 where the picture is forged: the published code labels the real ones 1.",
        "The quality that QFE learns is that of the file's own luma table, by the nearest of the IJG's, not what FBCNN "
        "says; a picture without a table teaches it nothing, also where it was compressed before it was changed.",
        "Random patch swap (`data.swap`) is between a picture and its reconstruction, which have one size; published "
        "real pictures are resized to the fake's, and the kernel of its cells is 16 or 32 pixels.",
        "Training draws its tiles at random, at the same shares of the room in all pictures of a batch; where the list "
        "has as many as cover the canvas, these are taken. Labels of pictures stand, whether a tile shows the forgery "
        "or not. What is meant by 'aligned' crops is not known to us.",
        "A picture with a side below a tile is mirrored along it; the original enlarges it.",
        "The thumbnail is made by Lanczos' kernel and loses the picture's shape; one token transformer serves it and "
        "the tiles, and the head of tokens is told what it makes of them: the facts at hand do not say. Nor do they "
        "say the dropout of the head (here 0.1) and how tokens begin (normal, 0.02).",
        "Two logits of the picture are given as their difference, which is the same cross-entropy.",
        "A token's logit holds for all of its pixels; where tiles overlap, their mean. There is no map in training.",
        "CLIP's weights come from a folder that the user names. Without one they are drawn, always the same ones, and "
        "know nothing of pictures.",
        "Schedule, betas and the window of training are not known to us: see the recipe.",
        "`tiny` has tiles of 64 pixels, and in place of CLIP a small network that learns, on magnitudes of the KV "
        "residual and their logarithms: a first layer that is learned finds nothing in so short a training.",
    ),
)


class HidaNet(Network):
    """Tokens of a thumbnail and of tiles, a transformer over each view, and one over the tiles' class tokens (FAM).

    Tiles have no places there, so that their order tells nothing. Each token of a tile says whether it is forged (TFL),
    and all tiles together say how strongly the picture was compressed (QFE). In use every pixel is in a tile; the tiles
    pass a few at a time, so that memory grows with the picture by little but its map. It differs from the published
    system as `ABOUT.departures` tells.

    Args:
        encoder: `clip`, frozen, or `residual`, which is small, built in, and learns.
        backbone: Size of the CLIP, see `nn.backbones.families`.
        weights: Folder of its weights, see `nn.towers.build`; None draws them, always the same ones.
        tile: Side of tiles and thumbnail, pixels, a multiple of the encoder's patches.
        width: Of a token of `residual`, a multiple of 8.
        heads: Of all attention.
        inner: Width within the transformers.
        layers: Of the transformer over a view.
        tiles: How many are looked at in training, in turn.
        chunk: Tiles that pass at once in use.
        qfe: Weight of the loss of the quality.
        tfl: Weight of the loss of the tokens.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: There is no such encoder or backbone.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid", "qtables")
    exported: ClassVar[tuple[str, ...]] = ("valid",)  # tables are what is learned, not what is looked at
    any_size = True

    turn: Tensor

    def __init__(
        self,
        encoder: str = "clip",
        backbone: str = "l14",
        weights: str | Path | None = None,
        tile: int = 224,
        width: int = 64,
        heads: int = 2,
        inner: int = 2048,
        layers: int = 2,
        tiles: Sequence[int] = TILES,
        chunk: int = 64,
        qfe: float = 1.0,
        tfl: float = 1.0,
    ) -> None:
        super().__init__(*towers.COLOURS["clip"])
        if encoder not in ENCODERS:
            raise unknown_name("encoder of tiles", encoder, ENCODERS)
        if not tiles or min(*tiles, chunk, layers, heads) < 1 or min(qfe, tfl) < 0:
            expected = "tiles, chunk, layers and heads from 1 and weights of losses from 0"
            found = f"{list(tiles)}, {chunk}, {layers}, {heads}, {qfe}, {tfl}"
            raise InvalidValueError(f"hida_net: expected {expected}, found {found}")
        self.multiple = self.tile = tile
        self.tiles, self.chunk, self.factors = tuple(tiles), chunk, (qfe, tfl)
        self.encoder = ClipTokens(tile, backbone, weights) if encoder == "clip" else ResidualTokens(tile, width)
        width, self.patch = self.encoder.width, self.encoder.patch
        if tile % self.patch or width % heads:
            expected = f"a tile of whole patches of {self.patch} and a width that all heads share"
            raise InvalidValueError(f"hida_net: expected {expected}, found {tile}, {width}, {heads}")
        self.view = nn.Sequential(*(_Layer(width, heads, inner) for _ in range(layers)))
        self.gathering = nn.Parameter(0.02 * torch.randn(width))
        self.across = _Layer(width, heads, inner)
        half, fourth, eighth = width // 2, width // 4, width // 8
        self.picture = nn.Sequential(nn.Linear(2 * width, half), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(half, 2))
        self.token = nn.Sequential(nn.Linear(width, half), nn.ReLU(), nn.Linear(half, 1))
        hidden = [nn.Linear(width, fourth), nn.Linear(fourth, eighth), nn.Linear(eighth, eighth)]
        self.quality = nn.Sequential(*(part for layer in hidden for part in (layer, nn.ReLU())), nn.Linear(eighth, 1))
        # In the file of weights, so that a training that goes on takes the next number of tiles.
        self.register_buffer("turn", torch.zeros((), dtype=torch.long))

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `score` (B,), `quality` (B,) of a hundredth of it, and `mask` (B, 1, H, W) but in training.

        And what the loss is made of: `tokens` (B, N, g, g), logits of the tiles, and their `places`, see `nn.cover`.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's, a rectangle; None = all. Nothing else is seen.
            needs: Not looked at.
        """
        known = torch.ones_like(image[:, :1], dtype=torch.bool) if valid is None else valid
        size = (image.shape[2], image.shape[3])
        extent = cover.extents(known)
        places = self._places(extent, size)
        classes, tokens = self._views(image, extent, places)
        detail = self.detail(classes[:, 1:], places[..., 0] >= 0)
        real, fake = self.picture(torch.cat([classes[:, 0], detail], 1)).unbind(1)
        outputs = {"score": fake - real, "quality": self.quality(detail)[:, 0], "tokens": tokens, "places": places}
        if not self.training:
            outputs["mask"] = cover.merged(tokens, extent, self.tile, size)
        return outputs

    def detail(self, classes: Tensor, there: Tensor) -> Tensor:
        """Return what all tiles tell together (B, width), in any order.

        Args:
            classes: (B, N, width), the class token of each tile.
            there: (B, N) bool, tiles that there are.
        """
        asking = self.gathering.expand(len(classes), 1, -1)
        return self.across(torch.cat([asking, classes], 1), F.pad(there, (1, 0), value=True), 1)[:, 0]

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `label` and `tokens`, cross-entropies, and `quality`, squares of what a hundredth of it is missed by.

        A token's truth is the share of its pixels that is forged. Of pictures whose label (-1) or table (of ones) is
        not known that term is 0, and the mean is over all.
        """
        mask, tokens, places = batch["mask"], outputs["tokens"], outputs["places"]
        valid = batch.get("valid")
        extent = cover.extents(torch.ones_like(mask, dtype=torch.bool) if valid is None else valid)
        cut = cover.cut(mask, extent, places, self.tile).flatten(0, 1)
        truth = F.avg_pool2d(cut, self.patch).view_as(tokens)
        there = (places[..., 0] >= 0)[..., None, None].expand_as(tokens)
        terms = {
            "label": losses.label_bce(outputs["score"], batch["label"]),
            "tokens": self.factors[1] * losses.bce(tokens, truth, there),
        }
        if "qtables" in batch:
            wanted, stated = luma_quality(batch["qtables"][:, 0])
            missed = outputs["quality"].float().sigmoid() - wanted / 100
            terms["quality"] = self.factors[0] * (missed.square() * stated).mean()
        return terms

    def _places(self, extent: Tensor, size: tuple[int, int]) -> Tensor:
        """Return where tiles begin: all, or in training as many as it is the turn of."""
        if self.training:
            count = self.tiles[int(self.turn) % len(self.tiles)]
            self.turn += 1
            if count < -(-size[0] // self.tile) * -(-size[1] // self.tile):
                return cover.drawn(extent, self.tile, torch.rand(count, 2, device=extent.device))
        return cover.every(extent, self.tile, size)

    def _views(self, image: Tensor, extent: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class tokens (B, 1 + N, width) of the thumbnail and the tiles, and the tiles' logits."""
        # The number of tiles is not known where a graph is written down, nor are gradients spared in training.
        whole = self.training or torch.compiler.is_exporting()
        parts = [places] if whole else places.split(max(1, self.chunk // len(image)), 1)
        first = cover.thumbnails(image, extent, self.tile)[:, None]
        classes, logits = [], []
        for number, part in enumerate(parts):
            views = cover.cut(image, extent, part, self.tile)
            views = views if number else torch.cat([first, views], 1)
            pixels = views.flatten(0, 1)
            found = self.view(self.encoder(pixels, self.normalized(pixels))).unflatten(0, (len(image), -1))
            classes.append(found[:, :, 0])
            logits.append(self.token(found[:, 0 if number else 1 :, 1:])[..., 0])
        side = self.tile // self.patch
        return torch.cat(classes, 1), torch.cat(logits, 1).unflatten(2, (side, side))


class ClipTokens(nn.Module):
    """Class token and patch tokens of CLIP's frozen picture tower, as they are before its last norm.

    Args:
        side: Of the pictures, pixels; places that the weights do not know are interpolated.
        backbone: Size of the tower.
        weights: Folder, see `nn.towers.build`.

    Attributes:
        patch: Pixels of a token.
        width: Of a token.
    """

    def __init__(self, side: int, backbone: str, weights: str | Path | None) -> None:
        super().__init__()
        found = towers.tokens("clip", backbone, weights).backbone
        self.tower = towers.Tower(found)  # without the projection, which is not asked
        self.patch, self.width = found.multiple, found.channels[-1]
        self.told = {} if found.body.config.image_size == side else found.told

    def forward(self, pixels: Tensor, normalized: Tensor) -> Tensor:
        """Return tokens (B, 1 + g x g, width), the class token first, of pictures with CLIP's colours."""
        found: Tensor = self.tower.backbone.body(normalized, **self.told).last_hidden_state
        return found


class ResidualTokens(nn.Module):
    """A small encoder that learns: magnitudes of the KV residual, four convolutions, a learned class token and places.

    Args:
        side: Of the pictures, pixels.
        width: Of a token.

    Attributes:
        patch: Pixels of a token.
        width: Of a token.

    Raises:
        InvalidValueError: The width is none that four convolutions reach by doubling.
    """

    kernel: Tensor
    patch = 8

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise InvalidValueError(f"hida_net.width: expected a multiple of 8, found {width}")
        self.width = width
        self.register_buffer("kernel", srm3()[1].expand(3, 1, 5, 5).clone(), persistent=False)
        widths = (6, width // 8, width // 4, width // 2, width)
        self.layers = nn.Sequential(*(_convolution(widths[i], widths[i + 1], 4 if i else 3) for i in range(4)))
        self.places = nn.Parameter(0.1 * torch.randn((side // self.patch) ** 2 + 1, width))

    def forward(self, pixels: Tensor, normalized: Tensor) -> Tensor:
        """Return tokens (B, 1 + g x g, width), the class token first, of pictures (B, 3, side, side) in [0, 1]."""
        with torch.autocast(pixels.device.type, enabled=False):
            # Half a grey level is what traces are made of; bfloat16 does not keep it.
            edged = F.pad(pixels.float(), (2,) * 4, mode="replicate")
            level = 255 * F.conv2d(edged, self.kernel, groups=3).abs()
            residuals = torch.cat([level / 25.5, torch.log1p(level)], 1)
        tokens = self.layers(residuals).flatten(2).transpose(1, 2)
        return F.pad(tokens, (0, 0, 1, 0)) + self.places


class _Layer(nn.Module):
    """A layer of a transformer as it was first made: norms after each part, ReLU, dropout.

    Args:
        width: Of a token.
        heads: Of the attention.
        inner: Between the two linear layers.
    """

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.proj.bias)
        self.feed = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(inner, width))
        self.norm1, self.norm2, self.drop = nn.LayerNorm(width), nn.LayerNorm(width), nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, there: Tensor | None = None, asked: int | None = None) -> Tensor:
        """Return what the first tokens become, (B, asked, width).

        Args:
            x: (B, N, width).
            there: (B, N) bool, tokens that are looked at; None = all.
            asked: How many; None = all. One alone costs no square of N.
        """
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = None if there is None else there[:, None, None]
        rate = DROPOUT if self.training else 0.0
        got = F.scaled_dot_product_attention(q[:, :, :asked], k, v, seen, rate)
        # Traced, the result is taken for contiguous, which it is not everywhere; a copy is.
        got = got.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2)
        own = self.norm1(x[:, :asked] + self.drop(self.proj(got)))
        return self.norm2(own + self.drop(self.feed(own)))


def _convolution(inputs: int, outputs: int, size: int) -> nn.Sequential:
    """Return a layer that keeps the size (3), or halves it (4, even: so each token lies in the middle of its patch)."""
    convolution = nn.Conv2d(inputs, outputs, size, size - 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def build(size: Size = "tiny", **settings: Any) -> HidaNet:
    """Return HiDA-Net: on CLIP ViT-L/14 with tiles of 224 pixels in full, on a small encoder with 64 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `HidaNet`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: There is no such encoder or backbone.
    """
    sizes: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"encoder": "residual", "tile": 64, "inner": 128}}
    return HidaNet(**(sizes[size] | settings))
