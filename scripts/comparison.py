"""Train every system on the same forgeries for the same number of pictures, and measure all alike.

    python scripts/comparison.py forge --manifest DATA/manifest.jsonl --work out/comparison
    python scripts/comparison.py train --work out/comparison --seeds 0 1 2
    python scripts/comparison.py speed --work out/comparison
    python scripts/comparison.py table --work out/comparison --casia DATA/manifest.jsonl --out results/comparison

`forge` parts the authentic pictures of the `train` split by group, and gives a region of each another noise, JPEG grid
or JPEG quality than the rest, its content unchanged; each forgery has its authentic twin. `train` gives each system the
same `RECIPE` but its own network and loss, and each seed the same pictures in the same order for all systems; the last
network is taken, so that nothing is chosen. It goes on where it stopped. `speed` measures all systems in turn, alone on
the machine. `table` measures held-out forgeries and CASIA v1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import measured
import numpy as np
import torch

from tamperscope.bench import baselines
from tamperscope.data import manifest as manifests
from tamperscope.data.manifest import Manifest
from tamperscope.engine import predict, recipe
from tamperscope.engine.cost import macs
from tamperscope.engine.train import train
from tamperscope.files import write_atomic
from tamperscope.forging import recipe as forging
from tamperscope.forging.run import forge as make
from tamperscope.geometry import PIECE, PIECES
from tamperscope.networks import catalog
from tamperscope.networks.base import parameters
from tamperscope.types import Prediction, Sample

SEED, SIDE, BATCH, STEPS = 20261201, 96, 8, 800
FORGERIES = {"train": 900, "held": 150}
# Of the held-out forgeries and twins so many, of CASIA v1 every so many-th picture: it is a matter of hours otherwise.
HELD, EVERY = 120, 6
FOLDERS = ("camera", "web", "objects", "people")
# Strong traces on small pictures: with `casia_like` forgeries no system found anything after as many steps.
FORGED = (
    "operations={trace_noise: 1, trace_grid: 1, trace_quality: 1}",
    "ranges={trace_noise: {sigma: [4, 8]}, trace_grid: {quality: [50, 75]}}",
    "hosts={min_side: 96, max_side: 256, recompressed: 0.0}",
)
RATE = 2e-3
RECIPE: dict[str, Any] = {
    "title": "Comparison",
    "data": {
        "side": SIDE,
        "focus": 0.5,
        "augment": {"flip:axis=horizontal": 0.5, "rotate:angle=-90/90/180": 0.5},
    },
    "batch": BATCH,
    "steps": STEPS,
    "optimizer": {"name": "adamw", "lr": RATE, "weight_decay": 0.01, "clip": 1.0, "ema": 0.99},
    "schedule": {"name": "cosine", "warmup": 50, "least": 0.01},
    "validation": {"metric": "pixel_f1"},
}
# What a system needs to take part: a number of classes, a phase that trains all of its outputs.
SETTINGS: dict[str, dict[str, Any]] = {"diffseg": {"editors": 1}, "mmfusion": {"phase": "both"}}


def part(group: str) -> str:
    """Return `held` for a fifth of the groups; it follows from the name."""
    return "held" if int(hashlib.sha256(group.encode()).hexdigest(), 16) % 5 == 0 else "train"


def forge(args: argparse.Namespace) -> None:
    args.work.mkdir(parents=True, exist_ok=True)
    known = Manifest(args.manifest)
    entries = [
        manifests.moved(entry, known.path.parent, args.work)
        for entry in known.where(split="train")
        if entry.label == 0 and any(f"train/{folder}/" in entry.image for folder in FOLDERS)
    ]
    chosen = forging.load("trace_pairs", FORGED)
    for name, count in FORGERIES.items():
        listed = args.work / f"photos_{name}.jsonl"
        print(name, manifests.write(listed, (e for e in entries if part(e.source_group) == name)), "photographs")
        made = make(str(listed), chosen, count, SEED, args.work / name, args.workers)
        print(name, made)


def runs(args: argparse.Namespace) -> list[tuple[str, int]]:
    return [(name, seed) for seed in args.seeds for name in args.systems]


def learn(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    for name, seed in runs(args):
        out = args.work / "runs" / f"{name}-{seed}"
        if (out / "done.json").is_file():
            continue
        stated = RECIPE | {
            "network": {"name": name, "settings": SETTINGS.get(name, {})},
            "train_on": [{"manifest": str(args.work / "train" / "manifest.jsonl")}],
            "seed": seed,
            "checkpoint": 100,
        }
        begun = time.process_time()
        found = train(recipe.Recipe.model_validate(stated), out, resume=(out / "run.json").is_file())
        spent = {
            "system": name,
            "seed": seed,
            "steps": found.progress.step,
            "processor_seconds": time.process_time() - begun,
        }
        write_atomic(out / "done.json", json.dumps(spent).encode())
        print(name, seed, f"{spent['processor_seconds']:.0f} s", flush=True)


def speed(args: argparse.Namespace) -> None:
    """Seconds of a training step on canvases in memory, and multiply-accumulates of a forward pass; in turns."""
    torch.set_num_threads(1)
    networks = {name: catalog.build(name, **SETTINGS.get(name, {})) for name in args.systems}
    best = dict.fromkeys(networks, math.inf)
    costs = {}
    for turn in range(args.turns + 1):
        for name, network in networks.items():
            side = -(-SIDE // network.multiple) * network.multiple
            batch = _drawn(side)
            told = {key: batch[key] for key in network.needs}
            network.train()
            begun = time.process_time()
            sum(network.loss(network(batch["image"], **told), batch, 0.5).values()).backward()
            if turn:  # the first one warms up
                best[name] = min(best[name], time.process_time() - begun)
            if not turn:
                one = {key: value[:1] for key, value in told.items()}
                cost = macs(network.eval(), lambda n=network, i=batch["image"][:1], o=one: n(i, **o))[0]
                counts = (parameters(network), parameters(network, trainable=True))
                costs[name] = {"parameters": counts[0], "trained": counts[1], "mmacs": cost / 1e6}
    rows = {name: {**costs[name], "images_per_second": BATCH / best[name]} for name in networks}
    write_atomic(args.work / "speed.json", json.dumps(rows, indent=1).encode())
    for name, row in rows.items():
        print(name, {key: round(value, 1) for key, value in row.items()})


def _drawn(side: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(BATCH, 1, side, side)
    mask[: BATCH // 2, :, 20:60, 20:60] = 1
    image = torch.rand(BATCH, 3, side, side, generator=generator)
    valid = torch.ones(BATCH, 1, side, side, dtype=torch.bool)
    return {
        "image": image,
        "mask": mask,
        "valid": valid,
        "label": mask.amax((1, 2, 3)).long(),
        "classes": mask[:, 0].long(),
        "qtables": torch.ones(BATCH, 2, 8, 8),
        "mosaic": torch.rand(BATCH, 3, PIECES * PIECE, PIECES * PIECE, generator=generator),
    }


def measure(args: argparse.Namespace) -> None:
    """Write what each run answers for each picture."""
    torch.set_num_threads(1)
    held, casia = Manifest(args.work / "held" / "manifest.jsonl"), Manifest(args.casia).where("dev", under="casia_v1")
    sets = {"held": (held, list(held)[:HELD]), "casia": (casia, list(casia)[::EVERY])}
    for name, seed in [*runs(args), (baselines.CENTRE_BLOB, 0)]:
        path = args.work / "answers" / f"{name}-{seed}.json"
        if path.is_file():
            continue
        if name in catalog.names():
            folder = args.work / "runs" / f"{name}-{seed}"
            if not (folder / "done.json").is_file():
                continue
            ask: Callable[[Sample], Prediction] = predict.load(folder / "best.pt")
        else:
            ask = partial(baselines.predict, name)
        found = {key: measured.rows(ask, *told, f"{name} {seed} {key}") for key, told in sets.items()}
        write_atomic(path, json.dumps(found).encode())


def table(args: argparse.Namespace) -> None:
    """Write OUT.md, OUT.json, and OUT_rows.json, which a later call with other runs goes on with."""
    measure(args)
    kept = args.out.with_name(f"{args.out.name}_rows.json")
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {"cost": {}, "runs": {}}
    cost = args.work / "speed.json"
    if cost.is_file():
        known["cost"] |= json.loads(cost.read_text())
    known["runs"] |= {p.stem: json.loads(p.read_text()) for p in sorted((args.work / "answers").glob("*.json"))}
    found: dict[str, list[Any]] = {}
    for run in sorted(known["runs"]):
        found.setdefault(run.rpartition("-")[0], []).append(known["runs"][run])
    result = {name: {key: measured.summary([a[key] for a in seeds]) for key in SETS} for name, seeds in found.items()}
    write_atomic(kept, (json.dumps(known) + "\n").encode())
    held = {"measured": result, "cost": known["cost"]}
    write_atomic(args.out.with_suffix(".json"), (json.dumps(held, indent=1) + "\n").encode())
    write_atomic(args.out.with_suffix(".md"), _page(result, known["cost"]).encode())


def _page(result: dict[str, Any], costs: dict[str, Any]) -> str:
    order = sorted(result, key=lambda name: -np.mean(result[name]["held"]["pixel_auc"]["seeds"]))
    shown = [(key, metric) for key in SETS for metric in measured.METRICS]
    head = ["system", "seeds", "parameters", "MMAC", "images/s", *(f"{SETS[key]}: {metric}" for key, metric in shown)]
    lines = []
    for name in order:
        cost = costs.get(name, {})
        size = ["–"] * 3
        if cost:
            size = [f"{cost['parameters'] / 1e6:.2f} M", f"{cost['mmacs']:.0f}", f"{cost['images_per_second']:.0f}"]
        numbers = [measured.shown(result[name][key][metric]) for key, metric in shown]
        seeds = str(len(result[name]["held"]["image_auc"]["seeds"]))
        lines.append([name, seeds, *size, *numbers])
    bar = result.get(baselines.CENTRE_BLOB, {}).get("held", {}).get("pixel_auc", {"high": 1.0})["high"]
    clear = [name for name in order if result[name]["held"]["pixel_auc"]["low"] > bar]
    one = result[order[0]]
    counts = "; ".join(f"{SETS[key]}: {one[key]['forged']} forged, {one[key]['pristine']} pristine" for key in SETS)
    return TEXT.format(counts=counts, clear=", ".join(clear) or "none", table=measured.markdown(head, lines))


SETS = {"held": "held-out forgeries", "casia": "CASIA v1"}
TEXT = f"""# All systems on one budget

Every system at its tiny size, each seed trained on the same {FORGERIES["train"]} forgeries with their twins: in
photographs of at most 256 pixels a region has stronger noise, or was compressed on another JPEG grid or with another
quality; its content is unchanged, so that nothing but the trace tells. {STEPS} steps of {BATCH} windows of {SIDE}
pixels, AdamW, rate {RATE}, the same windows in the same order. The last network counts; nothing was chosen. Groups of
source pictures are in one part only. {{counts}}. Pixel metrics are means over forged pictures at their own resolution
(F1 at the fixed threshold 0.5); image AUC is of the scores. In brackets: 95 % bootstrap by group of the mean over
seeds; then the least and the most of the seeds. Images a second: forward and backward of a training step, one core, the
best of several turns. Made by `scripts/comparison.py`.

{{table}}

Clear of `centre_blob` on held-out forgeries, by the intervals of pixel AUC: {{clear}}. The others have learned
little or nothing in so few steps; a longer training would tell what they can do.

**What the ranking means.** Which of these networks, made small and with one common recipe, learns most from
{STEPS * BATCH} windows without any pretrained weights.

**What it does not mean.** Nothing here ranks the published systems: those have 30 to 250 times the parameters, start
from large pretrained backbones, see a hundred times the pictures, and have recipes of their own. Differences that are
smaller than the spread of the seeds are none. `wscl` is told labels alone, `diffseg` one class of editor. CASIA v1 is
another world: its splices and copy-moves have passed strong JPEG, and none of these networks saw such a picture. On
pixels, whatever is not clear of `centre_blob`, which looks at nothing, has found nothing there. Its pristine and forged
pictures differ in their files' history, so that image AUC there is no measure of forgery alone.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, work in WORK.items():
        verb = verbs.add_parser(name)
        verb.set_defaults(run=work)
        verb.add_argument("--work", type=Path, required=True)
        if name == "forge":
            verb.add_argument("--manifest", type=Path, required=True)
            verb.add_argument("--workers", type=int, default=2)
            continue
        verb.add_argument("--systems", nargs="+", default=catalog.names(), choices=catalog.names())
        verb.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
        verb.add_argument("--turns", type=int, default=5)
        verb.add_argument("--casia", type=Path)
        verb.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.run(args)


WORK: dict[str, Callable[[argparse.Namespace], None]] = {
    "forge": forge,
    "train": learn,
    "speed": speed,
    "measure": measure,
    "table": table,
}

if __name__ == "__main__":
    main()
