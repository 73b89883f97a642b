"""Small labelled sets on disk, with defects planted by whoever builds them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 56


def view(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """(H, W, 3) uint8: smooth random content, another one for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def encoded(rgb: np.ndarray, fmt: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, fmt, **options)
    return buffer.getvalue()


def block(value: int = 255, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """(H, W) uint8 mask: a rectangle of `value` inside zeros."""
    mask = np.zeros(size, np.uint8)
    mask[8:20, 10:30] = value
    return mask


class SetBuilder:
    """Writes pictures and, at the end, the manifest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[dict[str, Any]] = []

    def add(self, name: str, data: bytes | None, label: int | None = 0, mask: Any = None, **fields: Any) -> None:
        """`mask` is bytes or an array of grey or RGB values; `data` None leaves the file out."""
        if data is not None:
            (self.root / name).write_bytes(data)
        line: dict[str, Any] = {"image": name, "label": label, "split": "train", "domain": "manipulation", **fields}
        if mask is not None:
            line["mask"] = f"{name}.mask.png"
            (self.root / line["mask"]).write_bytes(mask if isinstance(mask, bytes) else encoded(mask))
        self.lines.append(line)

    def write(self) -> Path:
        path = self.root / "manifest.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")
        return path
