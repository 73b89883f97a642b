"""Train and measure the small auto-encoder that re-encodes regions.

    python scripts/train_autoencoder.py prepare --manifest DATA/manifest.jsonl --work out/autoencoder
    python scripts/train_autoencoder.py train --work out/autoencoder --minutes 10
    python scripts/train_autoencoder.py ship --work out/autoencoder --out src/tamperscope/weights/autoencoder

`prepare` cuts pieces out of pictures of the `train` split; some pictures, whole groups, are kept for measuring. `train`
goes on where it was stopped; `--minutes` is processor time in all. `ship` measures what there is and writes it with a
card; `--compare FOLDER` measures TAEF2 on the same pieces.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.metrics import intervals
from tamperscope.nn import autoencoders
from tamperscope.nn.restoring import restore

SEED = 20261128
LICENCES = {
    "camera": "drewnoakes/metadata-extractor-images and others: no licence stated, research use",
    "web": "EliSchwartz/imagenet-sample-images: research use",
    "objects": "google/dreambooth: CC BY 4.0 / Unsplash",
    "people": "VikramShenoy97/Human-Segmentation-Dataset: none stated",
    "portraits": "djbielejeski/Stable-Diffusion-Regularization-Images-man_unsplash and others: Unsplash",
    "documents": "zzzDavid/ICDAR-2019-SROIE: MIT / ICDAR terms",
}
MOST, PIECES, PIECE, CROP = 80, 6, 160, 128
BATCH, RATE, GRADIENT, HELD_OUT = 4, 2e-3, 0.5, 0.12

LICENCE = (
    "weights: Apache-2.0, as the code; they were trained on the pictures of the sources listed here, under the terms "
    "stated there, and hold none of them"
)


def folder(entry: Entry) -> str:
    return entry.image.split("/")[1]


def held_out(entry: Entry) -> bool:
    """Return whether a picture is kept for measuring; it follows from the name of its group."""
    # Several photographs show one object; they are numbered.
    name = re.sub(r"__\d+\.jpg$", "", entry.source_group)
    return int(hashlib.sha256(f"{SEED}/{name}".encode()).hexdigest(), 16) % 1000 < 1000 * HELD_OUT


def pieces(rgb: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return squares of a picture; of four drawn places each is the one with the most detail."""
    found = []
    for _ in range(PIECES):
        places = [[int(rng.integers(n - PIECE + 1)) for n in rgb.shape[:2]] for _ in range(3)]
        squares = [rgb[y : y + PIECE, x : x + PIECE] for y, x in places]
        found.append(max(squares, key=lambda s: float(np.abs(np.diff(s.astype(np.int16), axis=1)).mean())))
    return found


def prepare(args: argparse.Namespace) -> None:
    manifest, work = Manifest(args.manifest), Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    kept: dict[bool, list[np.ndarray]] = {False: [], True: []}
    used: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    for name in LICENCES:
        entries = list(manifest.where(split="train", under=f"train/{name}/"))
        rng = np.random.default_rng([SEED, len(entries)])
        for i in track(rng.permutation(len(entries))[:MOST].tolist(), description=name):
            entry = entries[i]
            try:
                rgb = manifest.open(entry).rgb
            except TamperscopeError:
                continue
            if min(rgb.shape[:2]) < PIECE:
                continue
            part = held_out(entry)
            kept[part] += pieces(rgb, rng)
            used[part][folder(entry)] += 1
    for part, squares in kept.items():
        np.save(work / f"{'held_out' if part else 'train'}.npy", np.stack(squares))
    text = {("held_out" if part else "train"): dict(counter) for part, counter in used.items()}
    (work / "used.json").write_text(json.dumps(text))


def batch(squares: np.ndarray, step: int) -> Tensor:
    """Return the crops of a step, (B, 3, 128, 128) in [0, 1]; they follow from its number."""
    rng = np.random.default_rng([SEED, step])
    crops = []
    for i in rng.integers(len(squares), size=BATCH):
        y, x = rng.integers(PIECE - CROP + 1, size=2)
        crop = squares[i, y : y + CROP, x : x + CROP]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return tensor(np.stack(crops))


def tensor(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))).float() / 255


def loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute error, and that of the gradients at two scales, so that edges stay sharp."""
    error = found - wanted
    total = error.abs().mean()
    for _ in range(2):
        total = total + GRADIENT * (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean())
        error = functional.avg_pool2d(error, 2)
    return total


def train(args: argparse.Namespace) -> None:
    work = Path(args.work)
    squares = np.load(work / "train.npy", mmap_mode="r")
    torch.manual_seed(SEED)
    net = autoencoders.Tiny()
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0}
    path = work / "checkpoint.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
    limit, begin, saved = 60 * args.minutes, time.process_time() - state["seconds"], time.process_time()
    step = state["step"]
    while (spent := time.process_time() - begin) < limit:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * spent / limit)) / 2)
        wanted = batch(squares, step)
        value = loss(net(wanted), wanted)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        if time.process_time() - saved > 20:
            saved = time.process_time()
            keep(path, net, optimizer, step, saved - begin)
            print(f"{step} steps, {spent:.0f} s, loss {value.item():.4f}", flush=True)
    keep(path, net, optimizer, step, limit)


def keep(path: Path, net: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    part = path.with_suffix(".part")
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    torch.save(state, part)
    part.replace(path)


def psnr(net: autoencoders.AutoEncoder, squares: np.ndarray) -> np.ndarray:
    """Return the PSNR of every picture's round trip in dB; pieces of one picture are taken together."""
    errors = [np.mean((net.passed(s).astype(float) - s) ** 2) for s in squares]
    return 10 * np.log10(255**2 / np.maximum(np.reshape(errors, (-1, PIECES)).mean(1), 0.01))


def ship(args: argparse.Namespace) -> None:
    work = Path(args.work)
    state = torch.load(work / "checkpoint.pt", weights_only=True)
    weights = save({name: value.half().contiguous() for name, value in state["net"].items()})
    net = autoencoders.Tiny()
    restore(net, weights, "checkpoint")
    squares = np.load(work / "held_out.npy")
    with torch.inference_mode():
        spread = float(net.encode(tensor(squares[:64])).std())
    found = psnr(net, squares)
    interval = intervals.bootstrap(found, seed=SEED)
    used = json.loads((work / "used.json").read_text())
    card = {
        "licence": LICENCE,
        "what": "auto-encoder, 4 x down, 16 channels, for regions that pass what a generator's decoder leaves behind",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "parameters": sum(p.numel() for p in net.parameters()),
        "spread": round(spread, 4),
        "training": {
            "pictures": used["train"],
            "licences": LICENCES,
            "loss": "absolute error + 0.5 x that of gradients at two scales",
            "steps": state["step"],
            "batch": BATCH,
            "crop": CROP,
            "processor_minutes": round(state["seconds"] / 60, 1),
            "seed": SEED,
        },
        "measured": {"pictures": used["held_out"], "psnr_db": str(interval)},
        "limits": "softer than TAEF2: fine texture and colours of small details are lost; it is no editor's own",
    }
    if args.compare:
        other = autoencoders.Taef2.from_folder(args.compare)
        theirs = psnr(other, squares)
        print(f"TAEF2 on the same pieces: {theirs.mean():.2f} dB, median {np.median(theirs):.2f}")
    print(json.dumps(card["measured"]), f"5 % {np.quantile(found, 0.05):.2f}, median {np.median(found):.2f} dB")
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
    commands.choices["train"].add_argument("--minutes", type=float, default=10)
    commands.choices["ship"].add_argument("--compare", help="folder with the weights of TAEF2")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    main()
