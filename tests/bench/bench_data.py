"""A small labelled set on disk, and a detector of another package."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

PLUGIN = '''"""Calls bright pixels forged."""

import numpy as np

from tamperscope.detectors.base import Detector, Guide
from tamperscope.types import Prediction


class Bright(Detector):
    family = "noise"
    min_side = 1
    guide = Guide("Brightness.", "Bright is suspicious.", "Always.")

    @property
    def name(self):
        return "bright"

    def analyze(self, sample):
        heat = (sample.rgb.mean(axis=2) / 255).astype(np.float32)
        return Prediction("bright", sample.size, float(heat.max()), heat)
'''


def make_set(folder: Path, n: int = 8, corrupt: bool = False) -> Path:
    """Write n JPEGs, every second one with a bright square that its mask marks, and return the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(n):
        rng = np.random.default_rng(i)
        size = (64 + 8 * (i % 3), 80)
        rgb = cv2.GaussianBlur(rng.integers(20, 120, (*size, 3), dtype=np.uint8), (0, 0), 1.5)
        mask = np.zeros(size, np.uint8)
        if i % 2:
            mask[16:40, 24:56] = 255
            rgb[mask > 0] = 235
        cv2.imwrite(str(folder / f"p{i}.jpg"), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92 if i % 2 else 80])
        cv2.imwrite(str(folder / f"p{i}_mask.png"), mask)
        kind = "night" if i % 4 < 2 else "day"
        line = {"image": f"p{i}.jpg", "label": i % 2, "split": "test", "group": f"g{i // 2}", "domain": kind}
        lines.append(line | ({"mask": f"p{i}_mask.png"} if i % 2 else {}))
    if corrupt:
        (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture at all")
        lines.insert(2, {"image": "broken.jpg", "label": 0, "split": "test"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


def install_plugin(site: Path) -> Path:
    """Write a package with one detector file and its entry point, as pip would leave it."""
    site.mkdir(parents=True, exist_ok=True)
    (site / "bright_package.py").write_text(PLUGIN)
    info = site / "bright_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bright-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tamperscope.detectors]\nbright = bright_package:Bright\n")
    return site
