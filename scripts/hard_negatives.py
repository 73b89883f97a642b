"""Mine hard negatives: untouched pictures, treated as phones and people do, that a network takes for forged.

    python scripts/hard_negatives.py --photos out/localizer/photos/train.jsonl --network ARTIFACT \\
        --rows out/localizer/hard.jsonl --out out/localizer/train/hard --keep 1000 --workers 2

Every photograph is taken several times: whole and reduced, or cut at its own resolution; as it is, tone-mapped like a
phone's HDR, dark and denoised like its night mode, sharpened, or as a drawing; delivered in one of the common ways.
Those of which the network calls most pixels forged are written, with a manifest that says that nothing in them is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import resumable

from tamperscope import media, registry
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.ops.forge import delivery
from tamperscope.types import Sample, UInt8Array

SEED, SIDE, LEAST = 20261204, 640, 0.002


def _hdr(rgb: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    local = cv2.createCLAHE(float(rng.uniform(1.5, 4.0)), (8, 8))
    return np.asarray(cv2.cvtColor(np.dstack([local.apply(lab[..., 0]), lab[..., 1:]]), cv2.COLOR_LAB2RGB))


def _night(rgb: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    dark = 255 * (rgb / 255.0) ** rng.uniform(1.5, 2.5) * rng.uniform(0.3, 0.7)
    noisy = np.clip(dark + rng.normal(0, rng.uniform(3, 10), rgb.shape), 0, 255).astype(np.uint8)
    return np.asarray(cv2.bilateralFilter(noisy, 7, 30, 5))


def _sharp(rgb: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    smooth = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(0.8, 2.5)))
    amount = float(rng.uniform(0.5, 1.5))
    return np.asarray(cv2.addWeighted(rgb, 1 + amount, smooth, -amount, 0))


def _drawing(rgb: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    if rng.random() < 0.5:
        return np.asarray(cv2.pencilSketch(rgb, sigma_s=40, sigma_r=0.07, shade_factor=0.04)[1])
    return np.asarray(cv2.stylization(rgb, sigma_s=40, sigma_r=0.3))


LOOKS: dict[str, Callable[[UInt8Array, np.random.Generator], UInt8Array]] = {
    "plain": lambda rgb, rng: rgb,
    "hdr": _hdr,
    "night": _night,
    "sharp": _sharp,
    "drawing": _drawing,
}
SHARES = (0.4, 0.2, 0.15, 0.15, 0.1)


@dataclass(frozen=True, slots=True)
class Task:
    """One photograph, taken one way."""

    index: int
    draw: int
    entry: Entry
    root: str
    network: str

    @property
    def key(self) -> str:
        return f"{self.entry.image}|{self.draw}"


def taken(task: Task) -> tuple[bytes, str, str]:
    """Return the bytes of a file, its look and its delivery; all follow from the task's numbers."""
    rng = np.random.default_rng([SEED, task.index, task.draw])
    rgb = media.open(Path(task.root) / task.entry.image).sample.rgb
    height, width = rgb.shape[:2]
    if max(height, width) > SIDE and rng.random() < 0.5:
        scale = SIDE / max(height, width)
        size = max(16, round(width * scale)), max(16, round(height * scale))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    else:
        top, left = (8 * int(rng.integers(0, max(0, n - SIDE) // 8 + 1)) for n in (height, width))
        rgb = rgb[top : top + SIDE, left : left + SIDE]
    look = str(rng.choice(list(LOOKS), p=SHARES))
    shown = LOOKS[look](np.ascontiguousarray(rgb), rng)
    sent = delivery.choose(rng)
    return sent.deliver(Sample(shown), rng)[0], look, str(sent)


def looked_at(task: Task) -> dict[str, Any]:
    """Return how much of a picture the network calls forged."""
    cv2.setNumThreads(1)
    try:
        data, look, sent = taken(task)
        found = registry.load(task.network).predict(media.open(data).sample)
    except TamperscopeError as error:
        return {"key": task.key, "error": f"{type(error).__name__}: {error}"}
    alarm = 0.0 if found.heatmap is None else float((found.heatmap >= 0.5).mean())
    return {"key": task.key, "look": look, "delivery": sent, "alarm": round(alarm, 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--network", required=True, help="folder of an exported network, or `localizer`")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    pictures = [e for e in Manifest(args.photos) if e.label == 0]
    root = str(args.photos.parent)
    tasks = {
        task.key: task
        for index, entry in enumerate(pictures)
        for draw in range(args.draws)
        for task in [Task(index, draw, entry, root, args.network)]
    }
    resumable.run(list(tasks.items()), looked_at, args.rows, args.workers, "looking for false alarms")
    rows = [r for r in resumable.read_rows(args.rows) if r["key"] in tasks]
    alarming = sorted((r for r in rows if r.get("alarm", 0) >= LEAST), key=lambda r: (-r["alarm"], r["key"]))
    lines = []
    for number, row in enumerate(alarming[: args.keep]):
        task = tasks[row["key"]]
        data = taken(task)[0]
        ending = "png" if data.startswith(b"\x89PNG") else "jpg"
        name = f"images/{number:05d}.{ending}"
        write_atomic(args.out / name, data)
        told = {k: row[k] for k in ("look", "delivery", "alarm")}
        lines.append({"image": name, "label": 0, "split": "train", "group": task.entry.source_group, **told})
    write_atomic(args.out / "manifest.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    print(f"{len(rows)} pictures looked at, {len(alarming)} alarm, {len(lines)} written to {args.out}")


if __name__ == "__main__":
    main()
