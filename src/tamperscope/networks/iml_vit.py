"""IML-ViT: a plain vision transformer at the picture's own resolution, with a loss that looks at outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses
from tamperscope.nn.attention import Block
from tamperscope.nn.heads import PredictPyramid, SimplePyramid, resized
from tamperscope.nn.vit import Patches, Stem, load_mae

ABOUT = About(
    title="IML-ViT",
    source="Ma et al., 2023 (arXiv 2307.14863); github.com/SunnyHaze/IML-ViT",
    parameters=91.75e6,
    departures=(
        "Tokens of the padding are masked out of the attention, and its pixels are black whatever they hold; "
        "`mask_padding: false` lets them be seen, as published.",
        "Any size that is a multiple of two patches is taken, not 1024 alone: places are resized to its plane.",
        "`tiny` sees three SRM residuals and the logarithms of their magnitudes beside the colours, has patches of 8, "
        "windows of 8, six blocks of width 96 and a layer norm in its head: from scratch, colours alone teach it no "
        "trace (published F1 .071 without pretraining), and batch norm answers nothing after small batches.",
    ),
)


class ImlVit(Network):
    """A transformer over windows, some of its blocks over the whole plane; five scales of its last map; one head.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        patch: Side of a patch, pixels.
        width: Of a token.
        heads: Of the attention.
        depth: Blocks.
        window: Side of a window, tokens.
        wide: Blocks that look at the whole plane.
        table: Sides of the tables of absolute and of relative places, tokens; planes of other sizes take them resized.
        pyramid: Width of each scale, and of the head.
        norm: Of the head: `batch`, `layer` or `instance`.
        drop_path: Rate of stochastic depth in the last block; the others have less, linearly.
        factor: Weight of the outline's cross-entropy.
        mask_padding: Whether the padding stays unseen.
        stem: `rgb`, or `srm` for residuals beside the colours.
        weights: A safetensors file of a masked auto-encoder (MAE) of this width and depth.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)

    def __init__(
        self,
        patch: int,
        width: int,
        heads: int,
        depth: int,
        window: int,
        wide: Sequence[int],
        table: tuple[int, int],
        pyramid: int,
        norm: str = "batch",
        drop_path: float = 0.1,
        factor: float = 20.0,
        mask_padding: bool = True,
        stem: Stem = "rgb",
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        _check(depth, wide, norm, factor)
        self.patch, self.multiple = patch, 2 * patch
        self.factor, self.mask_padding = factor, mask_padding
        self.patches = Patches(patch, width, table[0], stem)
        self.blocks = nn.ModuleList(
            Block(width, heads, 0 if i in wide else window, (table[1],) * 2, drop_path * i / max(depth - 1, 1))
            for i in range(depth)
        )
        self.pyramid = SimplePyramid(width, pyramid)
        self.head = PredictPyramid(pyramid, width=pyramid, norm=norm)
        if weights is not None:
            load_mae(weights, self.patches, self.blocks)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1]; sides are multiples of two patches.
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        seen = None
        if valid is not None and self.mask_padding:
            image = image * valid
            seen = F.max_pool2d(valid.float(), self.patch)[:, 0] > 0
        x = self.patches(image, self.normalized(image))
        for block in self.blocks:
            x = block(x, seen)
        logits = self.head(self.pyramid(x.permute(0, 3, 1, 2)))
        return {"mask": resized(logits, image.shape[-2:])}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`: cross-entropy, and `factor` times that of the outline's band."""
        return {"mask": losses.edge_bce(outputs["mask"], batch["mask"], batch.get("valid"), self.factor)}


def _check(depth: int, wide: Sequence[int], norm: str, factor: float) -> None:
    if not all(0 <= i < depth for i in wide):
        raise InvalidValueError(f"iml_vit.wide: expected blocks 0 to {depth - 1}, found {list(wide)}")
    if norm not in ("batch", "layer", "instance"):
        raise InvalidValueError(f"iml_vit.norm: expected batch, layer or instance, found '{norm}'")
    if factor < 0:
        raise InvalidValueError(f"iml_vit.factor: expected at least 0, found {factor}")


def build(size: Size = "tiny", **settings: Any) -> ImlVit:
    """Return IML-ViT: ViT-B with windows of 14 in full, six blocks of width 96 with windows of 8 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `ImlVit`; they replace those of the size.

    Raises:
        InputError: The file of weights cannot be read.
        InvalidValueError: A setting is out of range, or the weights do not fit.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {
            "patch": 16,
            "width": 768,
            "heads": 12,
            "depth": 12,
            "window": 14,
            "wide": (2, 5, 8, 11),
            "table": (14, 64),
            "pyramid": 256,
        },
        "tiny": {
            "patch": 8,
            "width": 96,
            "heads": 3,
            "depth": 6,
            "window": 8,
            "wide": (2, 5),
            "table": (16, 16),
            "pyramid": 48,
            "norm": "layer",
            "drop_path": 0.05,
            "stem": "srm",
        },
    }
    return ImlVit(**(sizes[size] | settings))
