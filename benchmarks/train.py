"""Where the time of a training goes: share outside of data, forward and backward, and how long the data are waited for.

    python benchmarks/train.py [--manifest M.jsonl] [--network unet] [--side 192] [--batch 8] [--steps 40] [--workers 1]

Without a manifest, pictures of noise with noisier squares are generated into a temporary folder. Shares are of the wall
clock of the loop, start of the worker processes included; validation and checkpoints are left out. The target is that
at most 5 % is spent outside of data, forward and backward, the optimizer's own step aside, which is shown apart.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tamperscope.engine.recipe import Recipe
from tamperscope.engine.train import train
from tamperscope.files import write_atomic

TARGET = 0.05


def generated(folder: Path, count: int = 32, side: int = 384) -> Path:
    """Write pictures and their manifest."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        rgb = cv2.GaussianBlur(rng.integers(0, 256, (side, side, 3), dtype=np.uint8), (0, 0), 2)
        mask = np.zeros((side, side), np.uint8)
        if number % 2:
            top, left = rng.integers(0, side - 96, 2)
            mask[top : top + 96, left : left + 96] = 255
            rgb[mask > 0] = rng.integers(0, 256, (int((mask > 0).sum()), 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), rgb)
        cv2.imwrite(str(folder / f"{number}_mask.png"), mask)
        lines.append({"image": f"{number}.png", "mask": f"{number}_mask.png", "label": number % 2, "split": "train"})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recipe(args: argparse.Namespace, manifest: Path) -> Recipe:
    fields: dict[str, Any] = {
        "title": "Speed",
        "network": {"name": args.network},
        "train_on": [{"manifest": str(manifest), "where": {"split": "train"}}],
        "data": {
            "side": args.side,
            "workers": args.workers,
            "augment": {"flip": 0.5, "rotate:angle=-90/90/180": 0.5, "jpeg:quality=70..100": 0.2},
        },
        "batch": args.batch,
        "steps": args.steps,
        "optimizer": {"ema": 0.99},
    }
    return Recipe.model_validate(fields)


def shares(seconds: dict[str, float]) -> dict[str, float]:
    """Return shares of the loop: data, forward, backward, update, and the rest."""
    loop = seconds["total"] - seconds.get("checkpoint", 0.0) - seconds.get("validation", 0.0)
    found = {name: seconds[name] / loop for name in ("data", "forward", "backward", "update")}
    return found | {"rest": 1 - sum(found.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--network", default="unet")
    for name, value in (("side", 192), ("batch", 8), ("steps", 40), ("workers", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path, help="Write the numbers as JSON.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifest = args.manifest or generated(Path(folder))
        seconds = train(recipe(args, manifest), Path(folder) / "run").seconds
    found = shares(seconds)
    load = os.getloadavg()[0]
    print(f"{args.network}, {args.batch} x {args.side} px, {args.steps} steps, {args.workers} workers, load {load:.1f}")
    for name, share in found.items():
        print(f"  {name:9} {100 * share:5.1f} %")
    print(
        f"  {seconds['total'] / args.steps:.3f} s a step; rest {'within' if found['rest'] <= TARGET else 'above'} 5 %"
    )
    if args.out:
        held = {
            "shares": found,
            "seconds": seconds,
            "load": load,
            "settings": {k: str(v) for k, v in vars(args).items()},
        }
        write_atomic(args.out, (json.dumps(held, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
