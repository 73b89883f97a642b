"""MFPT: a frozen vision transformer that prompts of high and low frequencies tune to find edits (DEAL-300K)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses
from tamperscope.nn.attention import Block
from tamperscope.nn.heads import resized
from tamperscope.nn.pooling import top_mean
from tamperscope.nn.prompts import Band, FeaturePrompter, InputPrompter

ABOUT = About(
    title="MFPT",
    source="Zhang et al., 2025 (arXiv 2511.23377, DEAL-300K); neither code nor weights are public",
    departures=(
        "Only the outline is published: the form of FInP follows EVP (Liu et al., CVPR 2023) and that of FFrP follows "
        "HiLo attention (Pan et al., NeurIPS 2022); widths, losses, decoder and backbone are inferred.",
        "The image score is the mean of the map's top 0.5 %; the paper's is not known.",
        "`tiny` freezes a small transformer of our own; it is random unless weights are loaded into `backbone`.",
    ),
)
Change = Callable[[int, Tensor], Tensor]
"""From the number of a layer and its input (B, h, w, width) to what the layer is given instead."""
TOP = 0.005
"""Share of a map whose mean is the score."""


class Vit(nn.Module):
    """A plain transformer for any size of picture: patches, sine places, blocks over the whole plane.

    Args:
        patch: Side of a patch, pixels.
        width: Of a token.
        depth: Number of blocks.
        heads: Of each.
    """

    def __init__(self, patch: int = 8, width: int = 96, depth: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.patch, self.width, self.depth = patch, width, depth
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))

    def forward(self, image: Tensor, change: Change) -> list[Tensor]:
        """Return the results of all layers, each (B, h, w, width).

        Args:
            image: (B, 3, h x patch, w x patch), normalized.
            change: Applied to what each layer is given.
        """
        x = self.embed(image).permute(0, 2, 3, 1)
        x = x + _sines(x.shape[1], x.shape[2], self.width).to(x)
        planes = []
        for place, block in enumerate(self.blocks):
            x = block(change(place, x))
            planes.append(x)
        return planes


class Dino(nn.Module):
    """DINOv2 with its class token kept out of sight of what changes the layers' inputs.

    Args:
        backbone: Of `backbones.build("dinov2", ...)`.
    """

    def __init__(self, backbone: backbones.Backbone) -> None:
        super().__init__()
        self.body = backbone.body
        config = self.body.config
        self.patch, self.width, self.depth = config.patch_size, config.hidden_size, config.num_hidden_layers

    def forward(self, image: Tensor, change: Change) -> list[Tensor]:
        """Return the normed results of all layers, as `Vit.forward` does."""
        size = [n // self.patch for n in image.shape[-2:]]
        x, planes = self.body.embeddings(image), []
        for place, layer in enumerate(self.body.encoder.layer):
            plane = change(place, x[:, 1:].unflatten(1, size))
            x = layer(torch.cat([x[:, :1], plane.flatten(1, 2)], 1))
            planes.append(self.body.layernorm(x)[:, 1:].unflatten(1, size))
        return planes


class Mfpt(Network):
    """A frozen backbone, prompts before each of its layers, and a small decoder; only prompts and decoder learn.

    Args:
        backbone: Called as `Vit.forward`, with its attributes `patch`, `width` and `depth`. It is frozen here.
        inner: Width of the prompters.
        decoder: Width of the decoder.
        input_prompts: Whether there are prompts of the picture's high frequencies (FInP).
        feature_prompts: Whether there are prompts of the features' frequencies (FFrP).
        share: Where FInP's high frequencies begin, as a share of the highest.
        band: `low` gives FInP the low frequencies instead: the control.
    """

    def __init__(
        self,
        backbone: nn.Module,
        inner: int,
        decoder: int,
        input_prompts: bool = True,
        feature_prompts: bool = True,
        share: float = 0.25,
        band: Band = "high",
    ) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise InvalidValueError(f"mfpt.share: expected a share from 0 to 1, found {share}")
        width, depth, patch = (int(getattr(backbone, key)) for key in ("width", "depth", "patch"))
        self.multiple = patch
        self.backbone = backbone.requires_grad_(False)
        # Drawn first, so that networks with and without prompts have the same decoder from the same seed.
        self.decoder = _Decoder(width, min(4, depth), decoder)
        self.input = InputPrompter(width, patch, depth, inner, share, band) if input_prompts else None
        self.features = nn.ModuleList(FeaturePrompter(width, inner) for _ in range(depth)) if feature_prompts else None

    def train(self, mode: bool = True) -> Mfpt:
        """Set the mode of what learns; the backbone always stays as in use."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        """Return `mask` (B, 1, H, W) and `score` (B,) logits of (B, 3, H, W) in [0, 1]."""
        seen = self.normalized(image)
        prompts: list[Tensor] = []

        def changed(layer: int, plane: Tensor) -> Tensor:
            if self.input is not None:
                if not prompts:
                    prompts.extend(self.input(seen, plane))
                plane = plane + prompts[layer]
            return plane if self.features is None else plane + self.features[layer](plane)

        mask = resized(self.decoder(self.backbone(seen, changed)), image.shape[-2:])
        return {"mask": mask, "score": torch.logit(top_mean(mask.float().sigmoid(), TOP), 1e-6)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `bce` and `dice` of the mask."""
        mask, truth, valid = outputs["mask"], batch["mask"], batch.get("valid")
        return {"bce": losses.bce(mask, truth, valid), "dice": losses.dice(mask, truth, valid, smooth=1.0)}

    def frozen_digest(self) -> str:
        """Return the SHA-256 of the backbone's weights: the same before and after training."""
        state = hashlib.sha256()
        for name, value in sorted(self.backbone.state_dict().items()):
            state.update(name.encode())
            state.update(value.detach().cpu().contiguous().numpy().tobytes())
        return state.hexdigest()


class _Decoder(nn.Module):
    """Layers at even distances, normed and brought to one width, joined, and twice doubled."""

    def __init__(self, width: int, scales: int, inner: int) -> None:
        super().__init__()
        self.lines = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner)) for _ in range(scales))
        self.join = _normed(scales * inner, inner)
        self.finer = nn.ModuleList(_normed(inner, inner) for _ in range(2))
        self.last = nn.Conv2d(inner, 1, 1)

    def forward(self, planes: list[Tensor]) -> Tensor:
        """Return logits (B, 1, 4 h, 4 w) of planes (B, h, w, width), one a layer."""
        chosen = [planes[(place + 1) * len(planes) // len(self.lines) - 1] for place in range(len(self.lines))]
        lines = [line(x).permute(0, 3, 1, 2) for line, x in zip(self.lines, chosen, strict=True)]
        x = self.join(torch.cat(lines, 1))
        for layer in self.finer:
            x = layer(resized(x, [2 * n for n in x.shape[-2:]]))
        return self.last(x)


def _normed(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.GELU())


def _sines(height: int, width: int, size: int) -> Tensor:
    """Return sine and cosine codes of the places of a plane (height, width, size): rows, then columns."""
    speeds = 10_000.0 ** (-torch.arange(size // 4) / (size // 4))
    rows, columns = (torch.arange(n)[:, None] * speeds for n in (height, width))
    down, across = (torch.cat([a.sin(), a.cos()], 1) for a in (rows, columns))
    return torch.cat([down[:, None].expand(-1, width, -1), across[None].expand(height, -1, -1)], -1)


def build(size: Size = "tiny", weights: str | None = None, **settings: Any) -> Mfpt:
    """Return MFPT around DINOv2 base in full, or around a small transformer in tiny.

    Args:
        size: `full` or `tiny`.
        weights: Folder of a DINOv2 base, as `backbones.build` reads it; None draws a backbone, which is of little use.
        settings: `input_prompts`, `feature_prompts`, `share`, `band` of `Mfpt`.

    Raises:
        InvalidValueError: A setting is out of range, `tiny` is given a folder, or the folder holds another network.
    """
    if size == "full":
        return Mfpt(Dino(backbones.build("dinov2", "b14", weights=weights)), inner=96, decoder=64, **settings)
    if weights is not None:
        raise InvalidValueError(f"mfpt.weights: expected none for tiny, found '{weights}'; use size full")
    return Mfpt(Vit(), inner=32, decoder=32, **settings)
