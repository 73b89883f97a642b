"""Frozen towers: what knows pictures tells one vector of one, and never learns from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch
from safetensors import safe_open
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.nn import backbones
from tamperscope.nn.efficientnet_lite import EfficientNetLite0

Colours = tuple[tuple[float, float, float], tuple[float, float, float]]
COLOURS: dict[str, Colours] = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "vit": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "dinov2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "lite": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and deviation of the colours that each family was trained on, of red, green and blue in [0, 1]."""
PROJECTED = {"tiny": 64, "b32": 512, "b16": 512, "l14": 768}
"""Length of the vector that CLIP compares with texts, of each size; `tiny` is ours."""
_STAGES = 6
SEED = 0
"""Of weights that are drawn: always the same ones, so that what was learned on top of them may be kept alone."""
_PROJECTION = "visual_projection.weight"


class Frozen(nn.Module):
    """What tells one vector of a whole picture, of which nothing trains: no gradient, always in evaluation mode.

    Attributes:
        features: Length of the vector.
        multiple: Sides of pictures are best multiples of it, for others are padded.
    """

    features: int
    multiple: int

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the mode of what is around it."""
        return super().train(False)

    def digest(self) -> str:
        """Return the SHA-256 of the weights: the same before and after training."""
        state = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            state.update(name.encode())
            state.update(value.detach().cpu().contiguous().numpy().tobytes())
        return state.hexdigest()


class Pooled(Frozen):
    """What EfficientNet-Lite0 tells of a whole picture: mean and deviation of the channels of six of its stages.

    Sides are multiples of 32; the last stage, which is a quarter of its weights, is left out.

    Args:
        weights: File, see `EfficientNetLite0.load`; None = as drawn.
    """

    multiple = 32

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0(_STAGES)
        if weights is not None:
            self.backbone.load(weights)
        self.features = 2 * sum(self.backbone.each_width)
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, features) of pictures (B, 3, H, W) in [0, 1]."""
        maps = [found.flatten(2) for found in self.backbone.each(image)]
        return torch.cat([torch.cat([x.mean(2), x.std(2, correction=0)], 1) for x in maps], 1)


class Tower(Frozen):
    """What a frozen transformer tells of a whole picture: its class token, of CLIP projected to where texts are.

    Args:
        backbone: Of a family of tokens.
        projection: Of the class token (width to features), without bias; None leaves it.
    """

    def __init__(self, backbone: backbones.Tokens, projection: nn.Linear | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Identity() if projection is None else projection
        self.multiple = backbone.multiple
        self.features = backbone.channels[-1] if projection is None else projection.out_features
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, features) of pictures (B, 3, H, W) of any size, less the mean of their family over its deviation.

        Places that the weights do not know are interpolated.
        """
        found = self.backbone.body(self.backbone.padded(image), **self.backbone.told)
        # CLIP norms its class token only where it pools.
        clip = self.backbone.norm == "post_layernorm"
        return self.projection(found.pooler_output if clip else found.last_hidden_state[:, 0])


def build(family: str = "clip", size: str = "tiny", weights: str | Path | None = None) -> Frozen:
    """Return a tower with the user's weights, or with random ones that are the same each time; torch's draws go on.

    Args:
        family: `clip`, `vit`, `dinov2`, or `lite` for EfficientNet-Lite0.
        size: One of `backbones.families()[family]`; `lite` has one alone, whatever is said.
        weights: Folder as `backbones.build` reads it; that of a CLIP also holds its projection of pictures. Of `lite` a
            file, see `EfficientNetLite0.load`.

    Raises:
        InputError: The file of `lite` cannot be read.
        InvalidValueError: The folder is none of the kind, holds another network, or lacks the projection.
        UnknownNameError: There is no such family or size.
    """
    if family not in COLOURS:
        raise unknown_name("family of towers", family, COLOURS)
    if family != "lite":
        return tokens(family, size, weights)
    with _seeded():
        return Pooled(weights)


def tokens(family: str, size: str, weights: str | Path | None = None) -> Tower:
    """Return a tower that is a transformer; see `build`."""
    with _seeded():
        backbone = backbones.build(family, size, weights=weights)
        assert isinstance(backbone, backbones.Tokens)
        if family != "clip":
            return Tower(backbone)
        return Tower(backbone, _projection(backbone.channels[-1], PROJECTED[size], weights))


def _projection(width: int, features: int, folder: str | Path | None) -> nn.Linear:
    """Return CLIP's last layer, of a folder or drawn."""
    if folder is None:
        made = nn.Linear(width, features, bias=False)
        nn.init.normal_(made.weight, std=width**-0.5)
        return made
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            if _PROJECTION not in file.keys():  # noqa: SIM118 - the file itself is no mapping
                continue
            weight: Tensor = file.get_tensor(_PROJECTION).float()
        if weight.ndim != 2 or weight.shape[1] != width:
            raise InvalidValueError(f"'{path}': expected {_PROJECTION} (n, {width}), found {tuple(weight.shape)}")
        made = nn.Linear(width, len(weight), bias=False)
        made.weight = nn.Parameter(weight)
        return made
    raise InvalidValueError(f"weights: expected {_PROJECTION} in a file of '{folder}', found none")


@contextmanager
def _seeded() -> Iterator[None]:
    """Draw from `SEED`, and leave torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        yield
