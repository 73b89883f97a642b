"""A small set with a planted trace, a network that can learn it, and recipes for both."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tamperscope.engine.recipe import Recipe
from tamperscope.networks.base import Network
from tamperscope.nn import losses

SIDE = 32


class TinyNet(Network):
    """Two convolutions, dropout between them; no batch norm, so that batches are independent of each other."""

    multiple = 8

    def __init__(self, drop: float = 0.0, width: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 1, 7, padding=3)
        self.norm, self.drop = nn.GroupNorm(1, width), nn.Dropout(drop)

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        residual = image - functional.avg_pool2d(image, 3, 1, 1)
        mask = self.second(self.drop(self.norm(self.first(8 * residual)).relu()))
        return {"mask": mask, "score": mask.amax((1, 2, 3))}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        return {"bce": losses.bce(outputs["mask"], batch["mask"], batch["valid"])}


class LabelNet(TinyNet):
    """The same, from labels alone."""

    supervision = "label"

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        assert "mask" not in batch
        assert "classes" not in batch
        return {"bce": losses.bce(outputs["score"], batch["label"])}


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_set(folder: Path, count: int = 12, split: str = "train", seed: int = 0, smallest: int = 24) -> Path:
    """Write pictures of different sizes, every second one with a square of strong noise, and their manifest."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        height, width = (int(n) for n in rng.integers(smallest, 56, 2))
        rgb = np.full((height, width, 3), rng.integers(60, 190, 3)) + rng.normal(0, 2, (height, width, 3))
        line: dict[str, Any] = {"image": f"{split}{number}.png", "split": split, "label": number % 2}
        if number % 2:
            mask = np.zeros((height, width), np.uint8)
            top, left = (int(rng.integers(0, n - 15)) for n in (height, width))
            mask[top : top + 14, left : left + 14] = 255
            rgb = rgb + (mask > 0)[..., None] * rng.normal(0, 40, rgb.shape)
            line["mask"] = f"{split}{number}_mask.png"
            (folder / line["mask"]).write_bytes(png(mask))
        (folder / line["image"]).write_bytes(png(np.clip(rgb, 0, 255).astype(np.uint8)))
        lines.append(line)
    path = folder / f"{split}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recipe(path: Path, **fields: Any) -> Recipe:
    """Return a recipe on a manifest that takes a second."""
    stated: dict[str, Any] = {
        "title": "Tiny",
        "network": {"name": "unet"},
        "train_on": [{"manifest": str(path)}],
        "data": {"side": SIDE, "augment": {"flip:axis=horizontal": 0.5}},
        "batch": 4,
        "steps": 6,
        "optimizer": {"lr": 0.01, "ema": 0.9},
        "validation": {"side": SIDE, "overlap": 8},
        "log": 1,
    }
    return Recipe.model_validate(stated | fields)


def weights(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def log(out: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]
