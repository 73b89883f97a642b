"""Train and measure the extractor of noise residuals that MMFusion looks through.

    python scripts/train_residuals.py prepare --manifest DATA/manifest.jsonl --work out/residuals
    python scripts/train_residuals.py train --work out/residuals --minutes 8
    python scripts/train_residuals.py ship --work out/residuals --out src/tamperscope/weights/residuals

`prepare` cuts pieces on the JPEG grid out of camera pictures of the `train` split; some pictures, whole groups, are
kept for measuring. `train` compares patches: of one identity are those of one picture that went through one planted
pipeline and lie alike on its grid. The patches of a picture's other pipelines show the same content, so content does
not help. `--minutes` is processor time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save
from torch import Tensor

from tamperscope.data.manifest import Manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.metrics import intervals
from tamperscope.metrics.ranking import auc
from tamperscope.nn import residuals
from tamperscope.ops.forge.traces import cfa, grid, noise, resampling
from tamperscope.types import Sample

SEED = 20261129
SOURCES = {
    "drewnoakes/metadata-extractor-images": "no licence stated, research use",
    "ianare/exif-samples": "no licence stated, research use",
    "elementary/wallpapers (git history)": "no licence stated, research use",
    "csjunxu/PolyU-Real-World-Noisy-Images-Dataset OriginalImages": "no licence stated, research use",
    "alicevision/dataset_monstree": "no licence stated, research use",
}
LICENCE = (
    "weights: Apache-2.0, as the code; they were trained on the pictures of the sources listed here, under the terms "
    "stated there, and hold none of them"
)
PIECES, PIECE, PATCH = 16, 128, 48
PICTURES, PIPELINES, PATCHES = 4, 4, 3
LAYERS, WIDTH, RATE, HELD_OUT = 7, 32, 2e-3, 0.2


def prepare(args: argparse.Namespace) -> None:
    manifest, work = Manifest(args.manifest), Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    kept: dict[bool, list[np.ndarray]] = {False: [], True: []}
    used: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    for number, entry in enumerate(track(list(manifest.where(split="train", under="train/camera/")))):
        rng = np.random.default_rng([SEED, number])
        try:
            rgb = manifest.open(entry).rgb
        except TamperscopeError:
            continue
        if min(rgb.shape[:2]) < 2 * PIECE:
            continue
        part = int(hashlib.sha256(f"{SEED}/{entry.source_group}".encode()).hexdigest(), 16) % 1000 < 1000 * HELD_OUT
        places = [[8 * int(rng.integers((n - PIECE) // 8 + 1)) for n in rgb.shape[:2]] for _ in range(PIECES)]
        kept[part].append(np.stack([rgb[y : y + PIECE, x : x + PIECE] for y, x in places]))
        used[part][entry.extra["source"]] += 1
    for part, squares in kept.items():
        np.save(work / f"{'held_out' if part else 'train'}.npy", np.stack(squares))
    text = {("held_out" if part else "train"): dict(counter) for part, counter in used.items()}
    (work / "used.json").write_text(json.dumps(text))


def pipeline(rng: np.random.Generator) -> list[Any]:
    """Return a way that a picture goes: steps with their drawn values, in the order of a camera and an editor."""
    steps: list[Any] = []
    if rng.random() < 0.4:
        steps.append((noise.Noise, {"sigma": float(rng.uniform(1, 7)), "first": str(rng.choice(["keep", "denoise"]))}))
    if rng.random() < 0.3:
        steps.append((cfa.Cfa, {"pattern": str(rng.choice(cfa.PATTERNS))}))
    if rng.random() < 0.4:
        steps.append((resampling.Resampling, resampling.Resampling().draw(rng)))
    if rng.random() < 0.6:
        shift = rng.integers(8, size=2) if rng.random() < 0.5 else (0, 0)
        values = {"quality": int(rng.integers(60, 98)), "dy": int(shift[0]), "dx": int(shift[1])}
        steps.append((grid.Grid, values | {"subsampling": "4:4:4"}))
    return steps


def passed(rgb: np.ndarray, steps: list[Any], rng: np.random.Generator) -> np.ndarray:
    sample = Sample(rgb)
    for trace, values in steps:
        seed = {"seed": int(rng.integers(2**31))} if trace is noise.Noise else {}
        sample = sample.with_pixels(trace.passed(sample, values | seed))
    return sample.rgb


def batch(squares: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return patches (N, 3, 48, 48) in [0, 1], their identities, and their pictures."""
    patches: list[np.ndarray] = []
    groups: list[int] = []
    pictures: list[int] = []
    for picture in rng.choice(len(squares), PICTURES, replace=False):
        shift = rng.integers(8, size=2)
        chosen = rng.choice(PIECES, PATCHES, replace=False)
        places = [8 * rng.integers(1, (PIECE - PATCH) // 8, size=2) + shift for _ in chosen]
        for _ in range(PIPELINES):
            steps = pipeline(rng)
            for piece, (y, x) in zip(chosen, places, strict=True):
                patches.append(passed(squares[picture, piece], steps, rng)[y : y + PATCH, x : x + PATCH])
            groups += [groups[-1] + 1 if groups else 0] * PATCHES
            pictures += [int(picture)] * PATCHES
    return tensor(np.stack(patches)), torch.tensor(groups), torch.tensor(pictures)


def tensor(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))).float() / 255


def inner(maps: Tensor) -> Tensor:
    """Return maps without the pixels that saw beyond the border."""
    return maps[..., LAYERS + 1 : -LAYERS - 1, LAYERS + 1 : -LAYERS - 1]


def train(args: argparse.Namespace) -> None:
    work = Path(args.work)
    squares = np.load(work / "train.npy", mmap_mode="r")
    torch.manual_seed(SEED)
    net = residuals.Residuals(LAYERS, WIDTH)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    limit, begin, step, shown = 60 * args.minutes, time.process_time(), 0, 0.0
    while (spent := time.process_time() - begin) < limit:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 10) * (0.02 + 0.98 * (1 + math.cos(math.pi * spent / limit)) / 2)
        patches, groups, _ = batch(squares, np.random.default_rng([SEED, step]))
        value = residuals.contrast(inner(net(patches)), groups)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        shown += value.item()
        step += 1
        if step % 20 == 0:
            print(f"{step} steps, {spent:.0f} s, loss {shown / 20:.3f}", flush=True)
            shown = 0.0
    state = {"net": net.state_dict(), "step": step, "seconds": time.process_time() - begin}
    torch.save(state, work / "checkpoint.pt")


def pairs(maps: Tensor, groups: Tensor, pictures: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of every pair of patches: nearness, whether of one identity, whether of one picture."""
    flat = residuals.folded(inner(maps))
    rows, columns = torch.triu_indices(len(flat), len(flat), 1)
    near = -(flat[rows] - flat[columns]).square().mean(1)
    one, picture = groups[rows] == groups[columns], pictures[rows] == pictures[columns]
    return near.numpy(), one.numpy(), picture.numpy()


def measured(net: torch.nn.Module, squares: np.ndarray, batches: int = 24) -> dict[str, str]:
    """Return how often a pair of one identity is nearer than one of two: of any two pictures, and of the same one."""
    rows: dict[str, list[float]] = {"any": [], "same_picture": []}
    for number in range(batches):
        patches, groups, pictures = batch(squares, np.random.default_rng([SEED, 10**6 + number]))
        with torch.inference_mode():
            near, one, picture = pairs(net(patches), groups, pictures)
        rows["any"].append(auc(near, one))
        rows["same_picture"].append(auc(near[picture], one[picture]))
    return {name: str(intervals.bootstrap(np.array(values), seed=SEED)) for name, values in rows.items()}


class HighPass(torch.nn.Module):
    """What there is without learning: a picture less its local mean."""

    def forward(self, image: Tensor) -> Tensor:
        grey = image.mean(1, keepdim=True)
        return grey - torch.nn.functional.avg_pool2d(grey, 3, 1, 1)


def ship(args: argparse.Namespace) -> None:
    work = Path(args.work)
    state = torch.load(work / "checkpoint.pt", weights_only=True)
    # Variances of a batch norm can be too small for half floats.
    weights = save(
        {k: (v.half() if k.endswith(("weight", "bias")) else v).contiguous() for k, v in state["net"].items()}
    )
    card: dict[str, Any] = {
        "what": "noise residual of a picture, one map: DnCNN taught to tell camera pipelines apart, patch by patch",
        "licence": LICENCE,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "layers": LAYERS,
        "width": WIDTH,
    }
    net = residuals.Residuals.from_bytes(weights, json.dumps(card).encode())
    squares = np.load(work / "held_out.npy")
    torch.manual_seed(SEED + 1)
    untrained = residuals.Residuals(LAYERS, WIDTH).eval()
    used = json.loads((work / "used.json").read_text())
    card |= {
        "parameters": sum(p.numel() for p in net.parameters()),
        "training": {
            "pictures": used["train"],
            "licences": {name: SOURCES[name] for name in used["train"]},
            "loss": "distances of residuals averaged over JPEG cells; patches of one picture and pipeline attract",
            "pipelines": "noise .4, demosaicing .3, resampling .4, JPEG 60-97 on any grid .6, each as drawn",
            "steps": state["step"],
            "batch": f"{PICTURES} pictures x {PIPELINES} pipelines x {PATCHES} patches of {PATCH} pixels",
            "processor_minutes": round(state["seconds"] / 60, 1),
            "seed": SEED,
        },
        "measured": {
            "pictures": used["held_out"],
            "pair_auc": measured(net, squares),
            "pair_auc_untrained": measured(untrained, squares),
            "pair_auc_high_pass": measured(HighPass(), squares),
        },
        "units": "pair AUC: how often two patches of one identity are nearer than two that are not; chance .5",
        "limits": [
            "pipelines are planted by this package's own operations on few cameras; it is no Noiseprint++, and no "
            "camera model is recognized with it",
        ],
    }
    print(json.dumps(card["measured"], indent=1), len(weights), "bytes")
    write_atomic(f"{args.out}.safetensors", weights)
    write_atomic(f"{args.out}.json", (json.dumps(card, indent=1) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run, needs in (("prepare", prepare, ["manifest"]), ("train", train, []), ("ship", ship, ["out"])):
        part = commands.add_parser(name)
        for need in ("work", *needs):
            part.add_argument(f"--{need}", required=True)
        part.set_defaults(run=run)
    commands.choices["train"].add_argument("--minutes", type=float, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    main()
