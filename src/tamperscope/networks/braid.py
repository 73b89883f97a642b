"""Braid: our own localizer; colours, noise residuals and quantized frequencies, seen against the whole picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.geometry import PIECE
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.coefficients import CELL, CLIP, Coefficients
from tamperscope.nn.efficientnet_lite import EfficientNetLite0
from tamperscope.nn.heads import resized
from tamperscope.nn.plain import Factors, Score
from tamperscope.nn.stems import Stem

ABOUT = About(
    title="Braid",
    source="of this project; after CAT-Net (quantized frequencies), TruFor (confidence) and RelayFormer (relay tokens)",
    departures=(
        "Frequencies are found from the pixels and the file's table, so that windows of any picture have them; in "
        "files whose steps begin at 3, 98 to 100 % of those that are not 0 equal the file's.",
        "What the whole picture is like is told by a mosaic of pieces at full resolution, not by a thumbnail, for "
        "traces do not outlive being made smaller.",
    ),
)
STREAMS = ("rgb", "srm", "dct")
KNOWN = (*STREAMS, "lite0")


class Block(nn.Module):
    """Wide depthwise convolution, two layers for each place, added: a ConvNeXt block with batch norm.

    Args:
        channels: In and out.
        side: Of the depthwise kernel.
        dilation: Of it.
    """

    def __init__(self, channels: int, side: int = 7, dilation: int = 1) -> None:
        super().__init__()
        reach = dilation * (side // 2)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, side, padding=reach, dilation=dilation, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.ReLU(),
            nn.Conv2d(2 * channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, h, w)."""
        return x + self.layers(x)


class Frequencies(nn.Module):
    """Quantized frequencies of each block of 8 x 8, and what the table makes of them, at an eighth of the resolution.

    Every frequency and magnitude up to 20 has a learned vector; sums of these over many blocks are functionals of
    the histograms that betray a second compression. The table scales and shifts what comes of them, for what a
    magnitude means depends on the step.

    Args:
        width: Of the features.
        each: Length of the vectors.
    """

    offsets: Tensor

    def __init__(self, width: int, each: int = 4) -> None:
        super().__init__()
        self.quantized = Coefficients()
        self.register_buffer("offsets", (CLIP + 1) * torch.arange(64)[:, None, None], persistent=False)
        self.vectors = nn.Embedding(64 * (CLIP + 1), each)
        self.mix = nn.Sequential(nn.Conv2d(64 * each, width, 1, bias=False), nn.BatchNorm2d(width))
        self.table = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 2 * width))
        self.blocks = nn.Sequential(nn.ReLU(), Block(width), Block(width))

    def forward(self, image: Tensor, tables: Tensor) -> Tensor:
        """Return features (B, width, H / 8, W / 8).

        Args:
            image: (B, 3, H, W) in [0, 1], whose blocks begin at its corner.
            tables: (B, 2, 8, 8), of luma and chroma.
        """
        with torch.no_grad():
            known = self.quantized(image, tables).abs().clamp(max=CLIP).long() + self.offsets
        vectors = self.vectors(known).permute(0, 1, 4, 2, 3).flatten(1, 2)
        steps = tables[:, 0].flatten(1).float().clamp(min=1).log2() / 4
        scale, shift = self.table(steps)[..., None, None].chunk(2, 1)
        return self.blocks(self.mix(vectors) * (1 + scale) + shift)


class Pixels(nn.Module):
    """Colours and residuals of the pixels, at a quarter and an eighth of the resolution.

    Args:
        maps: Of `nn.stems.Stem`.
        widths: At a half, a quarter and an eighth.
    """

    def __init__(self, maps: Sequence[str], widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = Stem(maps)
        inputs = [self.stem.channels, *widths]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), *(Block(o, 5) for _ in range(n))
            )
            for i, o, n in zip(inputs, widths, (0, 2, 1), strict=False)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps at a quarter and at an eighth."""
        half, quarter, eighth = self.stages
        finer = quarter(half(self.stem(image)))
        return finer, eighth(finer)


class Objects(nn.Module):
    """What EfficientNet-Lite0 sees, at an eighth of the resolution; its colours may begin with those of ImageNet.

    Args:
        width: Of the features.
        weights: File of weights, see `EfficientNetLite0.load`; none = random ones.
    """

    def __init__(self, width: int, weights: str | Path | None) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0()
        if weights is not None:
            self.backbone.load(weights)
        self.narrow = nn.Sequential(
            nn.Conv2d(sum(self.backbone.channels[2:4]), width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return features (B, width, H / 8, W / 8) of (B, 3, H, W) in [0, 1], sides multiples of 16."""
        eighth, sixteenth = self.backbone(image)[2:4]
        return self.narrow(torch.cat([eighth, resized(sixteenth, eighth.shape[-2:])], 1))


class Whole(nn.Module):
    """What the mosaic tells the cells: how unusual each is in this picture, and a token of each piece.

    Args:
        channels: Of the cells and the tokens.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.usual = nn.Conv2d(channels, channels, 1)
        self.summary = nn.Linear(2 * channels, channels)

    def forward(self, cells: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, channels, h, w) and tokens (B, N, channels).

        Args:
            cells: Of the canvas.
            others: Of the mosaic.
        """
        mean = others.mean((2, 3), keepdim=True)
        spread = (others - mean).square().mean((2, 3), keepdim=True)
        unusual = (cells - mean) / (spread + 1e-2).sqrt()
        each = PIECE // CELL
        pieces = F.pixel_unshuffle(others, each).reshape(len(others), cells.shape[1], each**2, -1)
        summary = torch.cat([pieces.mean(2), (pieces.var(2, unbiased=False) + 1e-4).sqrt()], 1)
        return cells + self.usual(unusual), self.summary(summary.transpose(1, 2))


class Relay(nn.Module):
    """Let every cell ask the pieces of the mosaic.

    Args:
        channels: Of the cells and the pieces.
        heads: Of the attention.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Conv2d(channels, channels, 1)
        self.told = nn.Linear(channels, 2 * channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Return cells (B, channels, h, w) that know of tokens (B, N, channels)."""
        batch, channels, height, width = x.shape
        each = channels // self.heads
        query = self.ask(x).reshape(batch, self.heads, each, height * width)
        key, value = self.told(tokens).reshape(batch, -1, 2, self.heads, each).permute(2, 0, 3, 1, 4)
        weights = (key @ query / math.sqrt(each)).softmax(2)
        answer = value.transpose(2, 3) @ weights
        return x + self.out(answer.reshape(batch, channels, height, width))


class Braid(Network):
    """Three streams, joined at an eighth of the resolution and compared with a mosaic of the whole picture.

    The mosaic goes through the same streams as the canvas. Its pieces become tokens that the cells attend to, and the
    mean and deviation of its cells bring those of the canvas to what is usual in this picture. The map is made at a
    quarter of the resolution, with the pixels' finer maps beside it, and enlarged.

    Args:
        width: Of the cells.
        widths: Of the pixels' maps at a half and a quarter of the resolution; the latter is the map's, too.
        blocks: Of the body, at least 1.
        streams: Which of `rgb`, `srm`, `dct` and `lite0` (objects, by EfficientNet-Lite0) there are.
        relay: Whether the whole picture is looked at.
        bce: Weight of the map's cross-entropy.
        dice: Weight of the map's Dice loss.
        score: Weight of the score's cross-entropy.
        confidence: Weight of the confidence's squared error.
        weights: File of weights of EfficientNet-Lite0; none = random ones.

    Raises:
        InputError: The weights cannot be read.
        InvalidValueError: A setting is out of range.
        UnknownNameError: A stream is not known.
    """

    multiple = CELL
    grid = CELL
    any_size = True
    needs = ("qtables", "mosaic", "valid")

    def __init__(
        self,
        width: int = 96,
        widths: Sequence[int] = (24, 48),
        blocks: int = 4,
        streams: Sequence[str] = STREAMS,
        relay: bool = True,
        bce: float = 1.0,
        dice: float = 1.0,
        score: float = 0.2,
        confidence: float = 0.5,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        for name in streams:
            if name not in KNOWN:
                raise unknown_name("stream", name, KNOWN)
        if width < 4 or width % 4 or len(widths) != 2 or min(widths) < 1 or blocks < 1 or not streams:
            expected = "a width of 4 n, two widths, blocks and streams"
            raise InvalidValueError(f"braid: expected {expected}, found {width}, {widths}, {blocks}, {streams}")
        self.factors, self.weight = Factors(bce, dice, score), confidence
        maps = [name for name in STREAMS[:2] if name in streams]
        self.pixels = Pixels(maps, (*widths, width)) if maps else None
        self.frequencies = Frequencies(width) if "dct" in streams else None
        self.objects = Objects(width, weights) if "lite0" in streams else None
        if self.objects is not None:
            self.multiple = 2 * CELL
        count = sum(stream is not None for stream in (self.pixels, self.frequencies, self.objects))
        self.join = nn.Sequential(nn.Conv2d(count * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.whole = Whole(width) if relay else None
        self.relays = nn.ModuleDict({str(i): Relay(width) for i in range(0, blocks, 3) if relay})
        self.body = nn.ModuleList(Block(width, dilation=1 + i % 2) for i in range(blocks))
        fine = widths[1]
        self.rise = nn.Sequential(
            nn.Conv2d(width + fine * (self.pixels is not None), fine, 1, bias=False),
            nn.BatchNorm2d(fine),
            nn.ReLU(),
            Block(fine, 5),
            Block(fine, 5),
        )
        self.last = nn.Conv2d(fine, 2, 1)
        self.score = Score()

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return logits of pictures (B, 3, H, W) in [0, 1] whose 8 x 8 blocks begin at the corner.

        Args:
            image: The pictures.
            needs: `qtables` (B, 2, 8, 8), `mosaic` (B, 3, S, S) as `inference.needs` makes it, `valid` (B, 1, H, W).

        Returns:
            `mask` and `confidence` (B, 1, H, W), `score` (B,).
        """
        inside = F.max_pool2d(needs["valid"].to(image.dtype), CELL)
        cells, finer = self._cells(image, needs["qtables"])
        tokens = None
        if self.whole is not None:
            cells, tokens = self.whole(cells, self._cells(needs["mosaic"], needs["qtables"])[0])
        for number, block in enumerate(self.body):
            if tokens is not None and str(number) in self.relays:
                cells = self.relays[str(number)](cells, tokens)
            cells = block(cells * inside)
        cells = F.interpolate(cells, scale_factor=2.0, mode="bilinear", align_corners=False)
        coarse = self.last(self.rise(cells if finer is None else torch.cat([cells, finer], 1)))
        mask, confidence = resized(coarse, image.shape[-2:]).split(1, 1)
        return {"mask": mask, "confidence": confidence, "score": self.score(coarse[:, :1])}

    def _cells(self, image: Tensor, tables: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the joined features at an eighth of the resolution, and the pixels' at a quarter, if there are any."""
        found, finer = [], None
        if self.pixels is not None:
            finer, coarse = self.pixels(image)
            found.append(coarse)
        if self.frequencies is not None:
            found.append(self.frequencies(image, tables))
        if self.objects is not None:
            found.append(self.objects(image))
        return self.join(torch.cat(found, 1)), finer

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the weighted terms `bce`, `dice`, `score` and `confidence`."""
        terms = self.factors.loss(outputs, batch)
        sure = losses.confidence(outputs["mask"], outputs["confidence"], batch["mask"], batch["valid"])
        return terms | {"confidence": self.weight * sure}


def build(size: Size = "tiny", **settings: Any) -> Braid:
    """Return a Braid: 96 wide with four blocks in full, 32 with two in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Braid`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: A stream is not known.
    """
    sizes: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"width": 32, "widths": (8, 16), "blocks": 2}}
    return Braid(**(sizes[size] | settings))
