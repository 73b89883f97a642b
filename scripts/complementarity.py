"""Measure which filter of MMFusion answers to which trace, and what is left of the fused network without one of them.

    python scripts/complementarity.py train --manifest DATA/manifest.jsonl --work out/filters --seeds 0 1
    python scripts/complementarity.py report --work out/filters --out results/mmfusion_filters

`train` makes one network for each set of filters and seed, measures it, and passes over those that are measured.
Pictures of the `train` split are made two or four times smaller, so that little history of their own is left, and get
one of three traces, or none: `noise` (a region with more of it), `jpeg` (the host's first compression on its grid, the
region's on another, then one for both) or `resampling`. Groups of pictures are either for training or for measuring.
The null is the same mask with the trace off: the region goes the way of the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from tamperscope.data.manifest import Manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.metrics import intervals, ranking
from tamperscope.networks import mmfusion
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.traces import grid, noise, resampling
from tamperscope.types import Sample

SEED = 20261130
TRACES = ("noise", "jpeg", "resampling")
SETS: dict[str, tuple[str, ...]] = {
    "srm": ("srm",),
    "bayar": ("bayar",),
    "residual": ("residual",),
    "fused": mmfusion.FILTERS,
}
SIDE, BATCH, RATE, MEASURED = 96, 8, 2e-3, 48
FOLDERS = ("camera", "objects", "portraits", "people", "web")


def planted(rgb: np.ndarray, trace: str, rng: np.random.Generator, on: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (S, S, 3) uint8 in which a region bears a trace, or with `on` false does not, and the region."""
    blob = shapes.blob(rgb.shape[:2], shapes.area((0.08, 0.3), rng), rng)
    # Wherever it was drawn, it may lie anywhere: else places alone would tell something, and the null not be chance.
    mask = np.roll(blob, rng.integers(rgb.shape[:2]), (0, 1))
    noisy = noise.Noise.passed(Sample(rgb), _noise(rng.uniform(1, 2), rng))
    rest = inside = Sample(noisy)
    if trace == "noise":
        values = _noise(rng.uniform(4, 8), rng)
        inside = Sample(noise.Noise.passed(rest, values)) if on else rest
    elif trace == "jpeg":
        quality, shift = int(rng.integers(50, 75)), rng.integers(1, 8, size=2)
        rest = grid.compressed(rest, quality)
        inside = grid.compressed(inside, quality, int(shift[0]), int(shift[1])) if on else rest
    elif on:
        values = resampling.Resampling().draw(rng)
        inside = Sample(resampling.Resampling.passed(rest, values))
    out = Sample(np.where(mask[..., None], inside.rgb, rest.rgb))
    if trace == "jpeg":
        out = grid.compressed(out, int(rng.integers(92, 98)))
    return out.rgb, mask


def _noise(sigma: float, rng: np.random.Generator) -> dict[str, Any]:
    return {"sigma": float(sigma), "first": "keep", "seed": int(rng.integers(2**31))}


def batch(pieces: np.ndarray, rng: np.random.Generator, count: int, **fixed: Any) -> dict[str, Tensor]:
    """Return `count` pictures with their truth; one of five bears no trace.

    Args:
        pieces: (N, S, S, 3) uint8.
        rng: Draws everything.
        count: Number of pictures.
        fixed: `trace` and `on`, where they are not drawn; then `mask` is the region also where the trace is off.
    """
    images, masks, labels = [], [], []
    for i in rng.integers(len(pieces), size=count):
        trace, on = fixed.get("trace", rng.choice(TRACES)), fixed.get("on", rng.random() > 0.2)
        rgb = pieces[i][:, ::-1] if rng.random() < 0.5 else pieces[i]
        image, mask = planted(np.ascontiguousarray(rgb), trace, rng, on)
        images.append(image)
        masks.append(mask if on or fixed else np.zeros_like(mask))
        labels.append(int(on))
    return {
        "image": torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float() / 255,
        "mask": torch.from_numpy(np.stack(masks)[:, None]).float(),
        "label": torch.tensor(labels),
    }


def trained(pieces: np.ndarray, used: tuple[str, ...], seed: int, steps: int, rate: float = RATE) -> mmfusion.MMFusion:
    """Return a network that learned the three traces, in eval mode."""
    torch.manual_seed(seed)
    net = mmfusion.build("tiny", used=used)
    optimizer = torch.optim.AdamW((p for p in net.parameters() if p.requires_grad), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    begin = time.time()
    for step in range(steps):
        given = batch(pieces, np.random.default_rng([SEED, seed, step]), BATCH)
        terms = net.loss(net(given["image"]), given, step / steps)
        optimizer.zero_grad()
        total = sum(terms.values())
        assert isinstance(total, Tensor)
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            shown = {name: round(value.item(), 3) for name, value in terms.items()}
            print(f"{'+'.join(used)} {seed}: {step + 1} steps, {time.time() - begin:.0f} s, {shown}", flush=True)
    return net.eval()


@contextmanager
def without(net: mmfusion.MMFusion, name: str) -> Iterator[None]:
    """Put zeros in the place of one filter's output."""
    hook = net.filters[name].register_forward_hook(lambda module, given, out: torch.zeros_like(out))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def swapped(net: mmfusion.MMFusion) -> Iterator[None]:
    """Give each picture of a batch what the filters saw in the one before it."""
    assert net.mixer is not None
    hook = net.mixer.register_forward_hook(lambda module, given, out: out.roll(1, 0))
    try:
        yield
    finally:
        hook.remove()


def measured(net: mmfusion.MMFusion, given: dict[str, Tensor]) -> dict[str, list[float]]:
    """Return of every picture the pixel AUC, F1 at 0.5, and the AUC of the confidence against a right pixel."""
    with torch.inference_mode():
        parts = [net(image) for image in given["image"].split(12)]
    out = {name: torch.cat([part[name] for part in parts]).numpy() for name in ("mask", "confidence", "score")}
    truth = given["mask"].numpy() > 0.5
    rows: dict[str, list[float]] = {"auc": [], "f1": [], "confidence_auc": []}
    for mask, sure, true in zip(out["mask"], out["confidence"], truth, strict=True):
        found = mask > 0
        rows["auc"].append(ranking.auc(mask.ravel(), true.ravel()))
        rows["f1"].append(float(2 * (found & true).sum() / max(1, found.sum() + true.sum())))
        rows["confidence_auc"].append(ranking.auc(sure.ravel(), (found == true).ravel()))
    return rows | {"score": out["score"].tolist()}


def all_measured(net: mmfusion.MMFusion, pieces: np.ndarray, count: int = MEASURED) -> dict[str, Any]:
    """Return the rows of every trace, of the null, and of several filters without each of them and with all swapped."""
    found: dict[str, Any] = {}
    for number, trace in enumerate(TRACES):
        given = batch(pieces, np.random.default_rng([SEED, 10**6, number]), count, trace=trace, on=True)
        null = batch(pieces, np.random.default_rng([SEED, 10**6, number]), count, trace=trace, on=False)
        rows: dict[str, Any] = {"on": measured(net, given), "null": measured(net, null)}
        if len(net.filters) > 1:
            for name in net.filters:
                with without(net, name):
                    rows[f"without {name}"] = measured(net, given)
            with swapped(net):
                rows["swapped"] = measured(net, given)
        found[trace] = rows
    return found


def pieces(manifest: Manifest, side: int = SIDE, most: int = 90, each: int = 3) -> dict[bool, np.ndarray]:
    """Return squares of pictures made four times smaller (twice, where they are small): for measuring, and not."""
    kept: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for name in FOLDERS:
        entries = list(manifest.where(split="train", under=f"train/{name}/"))
        rng = np.random.default_rng([SEED, len(entries)])
        for i in rng.permutation(len(entries))[:most].tolist():
            try:
                rgb = manifest.open(entries[i]).rgb
            except TamperscopeError:
                continue
            factor = 4 if min(rgb.shape[:2]) >= 4 * side else 2
            size = (rgb.shape[1] // factor, rgb.shape[0] // factor)
            if min(size) < side:
                continue
            small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
            part = int(hashlib.sha256(f"{SEED}/{entries[i].source_group}".encode()).hexdigest(), 16) % 4 == 0
            for _ in range(each):
                y, x = (int(rng.integers(n - side + 1)) for n in small.shape[:2])
                kept[part].append(small[y : y + side, x : x + side].copy())
    return {part: np.stack(squares) for part, squares in kept.items()}


def train(args: argparse.Namespace) -> None:
    work = Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    path = work / "pieces.npz"
    if not path.exists():
        cut = pieces(Manifest(args.manifest))
        np.savez(path, train=cut[False], measure=cut[True])
    with np.load(path) as cut:
        squares, others = cut["train"], cut["measure"]
    print(len(squares), "pieces to train on,", len(others), "to measure with", flush=True)
    for seed in args.seeds:
        for name in args.sets:
            done = work / f"{name}_{seed}.json"
            if done.exists():
                continue
            net = trained(squares, SETS[name], seed, args.steps)
            write_atomic(done, json.dumps({"steps": args.steps, "rows": all_measured(net, others)}).encode())


def report(args: argparse.Namespace) -> None:
    runs: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(Path(args.work).glob("*_*.json")):
        runs.setdefault(path.stem.rpartition("_")[0], []).append(json.loads(path.read_text()))
    found: dict[str, Any] = {
        "seeds": {k: len(v) for k, v in runs.items()},
        "steps": sorted({r["steps"] for v in runs.values() for r in v}),
    }
    for name, several in runs.items():
        found[name] = {
            trace: {
                kind: {
                    m: _interval([r["rows"][trace][kind][m] for r in several]) for m in ("auc", "f1", "confidence_auc")
                }
                for kind in several[0]["rows"][trace]
            }
            for trace in TRACES
        }
    write_atomic(f"{args.out}.json", (json.dumps(found, indent=1) + "\n").encode())
    write_atomic(f"{args.out}.md", page(found, runs).encode())


def _interval(seeds: list[list[float]]) -> str:
    """Return the mean over pictures and seeds, with a 95 % bootstrap over pictures."""
    return str(intervals.bootstrap(np.nanmean(np.array(seeds, float), 0), seed=SEED))


def page(found: dict[str, Any], runs: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    order = [name for name in SETS if name in runs]
    head = "| {} | " + " | ".join(TRACES) + " |\n|---|" + "---|" * len(TRACES) + "\n"

    def table(title: str, rows: list[tuple[str, str, str, str]]) -> str:
        lines = [
            f"| {label} | " + " | ".join(found[name][t][kind][metric] for t in TRACES) + " |"
            for label, name, kind, metric in rows
        ]
        return head.format(title) + "\n".join(lines) + "\n"

    parts = [
        "# Which filter answers to which trace\n",
        f"MMFusion, tiny, windows of {SIDE} pixels, {', '.join(map(str, found['steps']))} steps; networks of each set "
        f"of filters: {', '.join(f'{name} {count}' for name, count in found['seeds'].items())}. {MEASURED} held-out "
        "pictures a trace, of groups that none was trained on. Null: the same pictures and masks, the trace off. In "
        "brackets: 95 % bootstrap over pictures, which does not know of the draw of the weights. Made by "
        "`scripts/complementarity.py`.\n",
        "## Pixel AUC\n",
        table(
            "filters",
            [(n, n, "on", "auc") for n in order] + [(f"{n}, trace off (null)", n, "null", "auc") for n in order],
        ),
        "## Pixel F1 at 0.5\n",
        table("filters", [(n, n, "on", "f1") for n in order]),
    ]
    if "fused" in runs:
        kinds = ["on", *(f"without {n}" for n in mmfusion.FILTERS), "swapped"]
        parts += [
            "## The fused network with one filter's output set to zero, and with another picture's filters\n",
            table("F1", [(k, "fused", k, "f1") for k in kinds]),
            table("pixel AUC", [(k, "fused", k, "auc") for k in kinds]),
            "## Confidence: AUC against a pixel being right\n",
            table("filters", [(n, n, "on", "confidence_auc") for n in order]),
        ]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run, needs in (("train", train, ["manifest"]), ("report", report, ["out"])):
        part = commands.add_parser(name)
        for need in ("work", *needs):
            part.add_argument(f"--{need}", required=True)
        part.set_defaults(run=run)
    part = commands.choices["train"]
    part.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    part.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    part.add_argument("--steps", type=int, default=1200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    main()
