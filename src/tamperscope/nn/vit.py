"""What plain vision transformers begin with: patches with places, residuals beside the colours, weights from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.nn.filters import Srm

Stem = Literal["rgb", "srm"]
# A masked auto-encoder's own parts, which nothing is made of afterwards.
_LEFT_OUT = ("decoder", "mask_token", "head.", "fc_norm.")


class Residuals(nn.Module):
    """Three SRM residuals of the grey levels, clipped to two levels, and the logarithms of their magnitudes.

    A transformer that learns from scratch finds neither by itself: the first tell the pattern of a trace, the others
    its strength, on a scale where a factor is a step.
    """

    channels = 6

    def __init__(self) -> None:
        super().__init__()
        self.srm = Srm("sum3", clip=None)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 6, H, W) of pictures (B, 3, H, W) in [0, 1]."""
        residuals = self.srm(255 * image) / 3
        return torch.cat([residuals.clamp(-2, 2), residuals.abs().log1p()], 1)


class Patches(nn.Module):
    """Patches as tokens, with a learned table of places that is resized bicubically to any plane.

    Args:
        patch: Side of a patch, pixels.
        width: Of a token.
        side: Of the square table, tokens.
        stem: `rgb`, or `srm` for `Residuals` beside the colours.

    Raises:
        InvalidValueError: There is no such stem.
    """

    def __init__(self, patch: int, width: int, side: int, stem: Stem = "rgb") -> None:
        super().__init__()
        if stem not in ("rgb", "srm"):
            raise InvalidValueError(f"stem: expected rgb or srm, found '{stem}'")
        self.residuals = Residuals() if stem == "srm" else None
        self.project = nn.Conv2d(3 + (Residuals.channels if self.residuals else 0), width, patch, patch)
        self.places = nn.Parameter(nn.init.trunc_normal_(torch.empty(side, side, width), std=0.02))

    def forward(self, image: Tensor, normalized: Tensor) -> Tensor:
        """Return (B, h, w, width).

        Args:
            image: (B, 3, H, W) in [0, 1], of which residuals are taken.
            normalized: The same, as the colours are seen.
        """
        seen = normalized if self.residuals is None else torch.cat([normalized, self.residuals(image)], 1)
        tokens = self.project(seen).permute(0, 2, 3, 1)
        return tokens + table(self.places, tokens.shape[1:3])


def table(places: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return a table of places (h, w, C) at another size, bicubic."""
    if places.shape[:2] == size:
        return places
    planes = F.interpolate(places.permute(2, 0, 1)[None], tuple(size), mode="bicubic", align_corners=False)
    return planes[0].permute(1, 2, 0)


def load_mae(path: str | Path, patches: Patches, blocks: nn.ModuleList, norm: nn.Module | None = None) -> Tensor | None:
    """Fill patches and blocks from a safetensors file that names its weights as MAE and timm do.

    Args:
        path: The file, with `patch_embed.proj`, `pos_embed`, `blocks.N...` and maybe `cls_token` and `norm`.
        patches: Filled; its table of places is the file's, resized.
        blocks: Filled, plain blocks; relative places, which the file does not know, stay.
        norm: The last norm, filled where the file has one.

    Returns:
        The class token (C,) with its own place added, or None where there is none.

    Raises:
        InputError: There is no such file, or it is no safetensors file.
        InvalidValueError: A weight is missing, one too many, or of another shape.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"'{path}': expected a safetensors file, found none: {error}") from error
    found = {name: value.float() for name, value in found.items() if not name.startswith(_LEFT_OUT)}
    if "pos_embed" not in found:
        raise InvalidValueError(f"'{path}': expected weights named as MAE's, found no 'pos_embed'")
    first, places = _places(found.pop("pos_embed"), found.pop("cls_token", None), patches.places)
    _fill(nn.ModuleDict({"patch_embed": nn.ModuleDict({"proj": patches.project})}), _part(found, "patch_embed."), path)
    _fill(nn.ModuleDict({"blocks": blocks}), _part(found, "blocks."), path, spared="relative")
    if norm is not None and "norm.weight" in found:
        _fill(nn.ModuleDict({"norm": norm}), _part(found, "norm."), path)
    with torch.no_grad():
        patches.places.copy_(places)
    return first


def _places(position: Tensor, token: Tensor | None, like: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return the class token with its place, and the table of places at the size of another one."""
    rows = position.flatten(0, -2)
    side = int(len(rows) ** 0.5)
    extra = len(rows) - side * side
    if extra not in (0, 1) or rows.shape[1] != like.shape[2]:
        expected = f"a square table of {like.shape[2]} numbers a place"
        raise InvalidValueError(f"pos_embed: expected {expected}, found {tuple(position.shape)}")
    first = None if token is None else token.flatten() + (rows[0] if extra else 0)
    return first, table(rows[extra:].unflatten(0, (side, side)), like.shape[:2])


def _part(found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.replace(".attn.", ".attention."): v for name, v in found.items() if name.startswith(prefix)}


def _fill(module: nn.Module, found: Mapping[str, Tensor], path: str | Path, spared: str = "\0") -> None:
    wanted = {name: value for name, value in module.state_dict().items() if spared not in name}
    wrong = sorted(wanted.keys() ^ found.keys()) or [n for n, v in wanted.items() if v.shape != found[n].shape]
    if wrong:
        shapes = [tuple(x[wrong[0]].shape) if wrong[0] in x else "none" for x in (wanted, found)]
        raise InvalidValueError(f"'{path}': expected {wrong[0]} as {shapes[0]}, found {shapes[1]}; {len(wrong)} such")
    module.load_state_dict(found, strict=False)
