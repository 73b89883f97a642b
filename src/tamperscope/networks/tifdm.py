"""TIFDM: coarse maps and fine ones agree on what both see, and all places compete for one attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.bands import filled
from tamperscope.nn.cut_residuals import CutResiduals
from tamperscope.nn.heads import resized
from tamperscope.nn.hrnet import conv

ABOUT = About(
    title="TIFDM",
    source="Dong et al., 2024 (Robust text image tampering localization via forgery traces enhancement and multiscale "
    "attention), by its abstract; layers and sizes as in ForensicHub's copy, whose fusion is F3Net's (Wei et al., AAAI "
    "2020)",
    departures=(
        "No code of the authors and no count of parameters is public: layers and sizes are those of ForensicHub's "
        "copy, a ResNet-50 and 64 channels.",
        "The module that enhances traces of several domains, and the restoration that is learnt beside, are known by "
        "name alone and are not in the copy, nor here; with `limit` SRM residuals stand beside the colours instead.",
        "What each place attends to comes back to that place; the copy takes the result apart along the wrong axis, "
        "which mixes places with channels.",
        "The fine result of a block of fusion, which the copy makes and does not use, is made only where a further "
        "round uses it: with `rounds=2`, F3Net's feedback, which the copy leaves off. Its last result is taught.",
        "Places of what fills a canvas up neither ask nor answer, and it has the picture's mean colour: how the copy "
        "fills up is not known to us.",
        "The two logits of the copy are one, their difference, with the same cross-entropy, picture by picture.",
        "Convolutions before batch norms have no offsets, which these would take away.",
        "`tiny` has a ResNet-10 that sees SRM residuals beside the colours, and 32 channels.",
    ),
)


class TwoWay(nn.Module):
    """LHSE: a fine map of details and a coarse one of meanings, each mended by what both of them see.

    Both pass two convolutions; the product of the results, which is there only where both are, is added to either by a
    convolution of its own, and a last one follows.

    Args:
        channels: Of all maps.
        both: Whether the fine map is mended, too; else only the coarse one.
    """

    def __init__(self, channels: int, both: bool = True) -> None:
        super().__init__()
        self.fine = nn.ModuleList(conv(channels, channels) for _ in range(4 if both else 2))
        self.coarse = nn.ModuleList(conv(channels, channels) for _ in range(4))
        self.both = both

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return both maps, mended, at the fine one's size; None for the fine one where it is not asked for.

        Args:
            fine: (B, C, h, w).
            coarse: (B, C, any size).
        """
        if coarse.shape[-2:] != fine.shape[-2:]:
            coarse = resized(coarse, fine.shape[-2:])
        fine, coarse = self.fine[0](fine), self.coarse[0](coarse)
        shared = self.fine[1](fine) * self.coarse[1](coarse)
        mended = self.fine[3](self.fine[2](shared) + fine) if self.both else None
        return mended, self.coarse[3](self.coarse[2](shared) + coarse)


class JointAttention(nn.Module):
    """TFAM: position attention whose shares add to 1 over all pairs of places, not over the answers to each one.

    So places compete to ask, too: what is added to a place is large only where its pairs stand out among all. It takes
    (h w)^2 numbers a picture, 64 MiB for maps of 64 x 64.

    Args:
        channels: In and out.
        inner: Of queries and keys.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.key, self.query = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.value, self.last = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, C, h, w).

        Args:
            x: (B, C, h, w).
            valid: (B, 1, h, w) bool, which places ask and answer; None = all.
        """
        values = self.value(x).flatten(2).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            got = (self.shares(x, valid) @ values.float()).transpose(1, 2).unflatten(2, x.shape[-2:])
        found: Tensor = self.last(x + got.to(x.dtype))
        return found

    def shares(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the share of each pair, (B, h w, h w), asking place by answering place; all add to 1."""
        with torch.autocast(x.device.type, enabled=False):
            # Not over the root of the width, as published: exponentials of large sums.
            query, key = self.query(x.float()).flatten(2), self.key(x.float()).flatten(2)
            logits = query.transpose(1, 2) @ key
            if valid is not None:
                known = valid.flatten(2)
                logits = logits.masked_fill(~(known & known.transpose(1, 2)), torch.finfo(logits.dtype).min)
            return logits.flatten(1).softmax(1).unflatten(1, logits.shape[1:])


class Decoder(nn.Module):
    """Three blocks of fusion from the coarsest map to the finest.

    Args:
        channels: Of all maps.
        both: Whether fine maps are mended, too.
    """

    def __init__(self, channels: int, both: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TwoWay(channels, both) for _ in range(3))

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return the mended maps, finest first and the coarsest as it was, or none; and the result.

        Args:
            maps: Four (B, C, h, w), finest first.
        """
        mended, coarse = [maps[-1]], maps[-1]
        for block, fine in zip(self.blocks, maps[-2::-1], strict=True):
            fine, coarse = block(fine, coarse)
            mended.insert(0, fine)
        return mended, coarse


class Tifdm(Network):
    """A ResNet, four maps of one width, fusion from coarse to fine, and one attention over all pairs of places.

    It differs from the published system as `ABOUT.departures` tells.

    Args:
        backbone: Size of the ResNet: `tiny`, `18`, `34`, `50`, `101`, `152`.
        width: Of the maps.
        inner: Of the attention's queries and keys.
        rounds: Of the fusion; each further one begins with the mended maps and what the one before it found.
        limit: Grey levels at which SRM residuals beside the colours are cut; None leaves them out.
        weights: Folder of weights of the ResNet to begin with, see `nn.backbones.build`; None draws them.
        extra: How the first layer begins where such weights do not know a channel.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    any_size = True

    def __init__(
        self,
        backbone: str = "50",
        width: int = 64,
        inner: int = 16,
        rounds: int = 1,
        limit: float | None = None,
        weights: str | Path | None = None,
        extra: backbones.Extra = "kaiming",
    ) -> None:
        super().__init__()
        if min(width, inner, rounds) < 1:
            raise InvalidValueError(f"tifdm: expected width, inner and rounds from 1, found {width}, {inner}, {rounds}")
        self.residuals = None if limit is None else CutResiduals(limit)
        inputs = 3 if self.residuals is None else 3 + self.residuals.channels
        self.backbone = backbones.build("resnet", backbone, inputs, weights, extra)
        self.squeeze = nn.ModuleList(conv(c, width, 1) for c in self.backbone.channels)
        self.decoders = nn.ModuleList(Decoder(width, both=i < rounds - 1) for i in range(rounds))
        self.attention = JointAttention(width, inner)
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        for layer in (*self.decoders.modules(), *self.attention.modules()):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logits `mask` (B, 1, H, W).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. What the others hold changes nothing.
            needs: Not looked at.
        """
        maps = self.maps(image, valid)
        return {"mask": resized(self.located(maps, valid), image.shape[-2:])}

    def maps(self, image: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """Return four maps (B, width, h, w), finest first, not negative; see `forward`."""
        image = filled(image, valid)
        seen = self.normalized(image)
        if self.residuals is not None:
            seen = torch.cat([seen, self.residuals(image, valid)], 1)
        found = self.backbone(seen)
        return [squeeze(x) for squeeze, x in zip(self.squeeze, found, strict=True)]

    def located(self, maps: Sequence[Tensor], valid: Tensor | None = None) -> Tensor:
        """Return the logits (B, 1, H / 4, W / 4) of the maps."""
        result = maps[0]
        for place, decoder in enumerate(self.decoders):
            maps, result = decoder(maps if place == 0 else [x + resized(result, x.shape[-2:]) for x in maps])
        stride = self.backbone.strides[0]
        known = None if valid is None else F.max_pool2d(valid.float(), stride) > 0
        located: Tensor = self.last(self.attention(result, known))
        return located

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `mask`: the cross-entropy, picture by picture."""
        return {"mask": losses.map_bce(outputs, batch)}


def build(size: Size = "tiny", **settings: Any) -> Tifdm:
    """Return TIFDM: ResNet-50 and 64 channels in full, a ResNet-10, 32 channels and SRM residuals in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Tifdm`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"backbone": "tiny", "width": 32, "inner": 8, "limit": 20.0},
    }
    return Tifdm(**(sizes[size] | settings))
