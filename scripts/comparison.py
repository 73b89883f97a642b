"""Train every system of a domain on the same forgeries for the same number of pictures, and measure all alike.

    python scripts/comparison.py forge DOMAIN --manifest DATA/manifest.jsonl --work out/comparison
    python scripts/comparison.py train DOMAIN --work out/comparison --seeds 0 1 2
    python scripts/comparison.py speed DOMAIN --work out/comparison
    python scripts/comparison.py table DOMAIN --work out/comparison [--casia DATA/manifest.jsonl] --out results/…
    python scripts/comparison.py cross --work out/comparison --out results/comparison_domains

`contests.py` says what each domain's pictures and systems are. `forge` parts the authentic pictures of the `train`
split by group; each forgery has its authentic twin, delivered alike. `train` gives each system the same recipe but its
own network and loss, and each seed the same pictures in the same order for all systems; the last network is taken, so
that nothing is chosen. It goes on where it stopped. `speed` measures all systems in turn, alone on the machine. `table`
measures what was held out, and of localizers of photographs CASIA v1. `cross` asks the networks of each domain about
the forgeries of the others. Generated pictures need TAMPERSCOPE_TAEF2.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import contests
import measured
import pages
import torch
from contests import CONTESTS, SEED, Contest

from tamperscope.bench import baselines
from tamperscope.data import face_crops
from tamperscope.data import manifest as manifests
from tamperscope.data.manifest import Entry, Manifest
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

BATCH = 8
# Of CASIA v1 every so many-th picture, of each domain so many in `cross`: it is a matter of hours otherwise.
EVERY, ABROAD = 6, 30
RATE = 2e-3
OPTIMIZER: dict[str, Any] = {"name": "adamw", "lr": RATE, "weight_decay": 0.01, "clip": 1.0, "ema": 0.99}
SCHEDULE: dict[str, Any] = {"name": "cosine", "warmup": 50, "least": 0.01}
CASIA = "casia"


def forge(args: argparse.Namespace) -> None:
    """Write the forgeries of a domain, parted by group."""
    work = args.work / args.domain
    work.mkdir(parents=True, exist_ok=True)
    known, contest = Manifest(args.manifest), CONTESTS[args.domain]
    entries = [
        manifests.moved(entry, known.path.parent, work)
        for entry in known.where(split="train")
        if entry.label == 0 and any(f"train/{folder}/" in entry.image for folder in contest.folders)
    ]
    for name, (stated, change, count) in {"train": contest.train, **contest.own, **contest.held}.items():
        wanted = "held" if name in contest.held else "train"
        listed = work / f"photos_{wanted}.jsonl"
        chosen = (e for e in entries if contests.part(e.source_group, contest.out_of) == wanted)
        print(name, manifests.write(listed, chosen), "photos")
        if contest.faces:
            photos, listed = Manifest(listed), work / f"faces_{wanted}" / "manifest.jsonl"
            print(face_crops.crop(photos, photos, listed.parent, contest.faces))
        print(make(str(listed), forging.load(stated, change), count, SEED, work / name, args.workers), flush=True)


def runs(args: argparse.Namespace) -> list[tuple[str, int]]:
    return [(name, seed) for seed in args.seeds for name in args.systems or CONTESTS[args.domain].systems]


def learn(args: argparse.Namespace) -> None:
    """Train each system with each seed."""
    torch.set_num_threads(1)
    contest, work = CONTESTS[args.domain], args.work / args.domain
    for name, seed in runs(args):
        out = work / "runs" / f"{name}-{seed}"
        if (out / "done.json").is_file():
            continue
        begun = time.process_time()
        pictures = work / (name if name in contest.own else "train") / "manifest.jsonl"
        found = train(stated(contest, name, seed, pictures), out, (out / "run.json").is_file())
        spent = {
            "system": name,
            "seed": seed,
            "steps": found.progress.step,
            "processor_seconds": time.process_time() - begun,
        }
        write_atomic(out / "done.json", json.dumps(spent).encode())
        print(name, seed, f"{spent['processor_seconds']:.0f} s", flush=True)


def stated(contest: Contest, system: str, seed: int, pictures: Path) -> recipe.Recipe:
    """Return the recipe of a run."""
    network, settings = contests.network_of(system)
    fields: dict[str, Any] = {
        "title": "Comparison",
        "network": {"name": network, "settings": settings},
        "train_on": [{"manifest": str(pictures)}],
        "data": {"side": contest.side, **contest.data, **contests.DATA.get(system, {})},
        "batch": BATCH,
        "steps": contest.steps,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "validation": {"metric": contest.metric},
        "seed": seed,
        "checkpoint": 100,
    }
    return recipe.Recipe.model_validate(fields)


def speed(args: argparse.Namespace) -> None:
    """Seconds of a training step on canvases in memory, and multiply-accumulates of a forward pass; in turns."""
    torch.set_num_threads(1)
    contest = CONTESTS[args.domain]
    named = {name: contests.network_of(name) for name in args.systems or contest.systems}
    networks = {name: catalog.build(network, **settings) for name, (network, settings) in named.items()}
    best = dict.fromkeys(networks, math.inf)
    costs = {}
    for turn in range(args.turns + 1):
        for name, network in networks.items():
            side = -(-contest.side // network.multiple) * network.multiple
            batch = _drawn(side)
            told = {key: batch[key] for key in network.needs}
            network.train()
            begun = time.process_time()
            # A cast, and no name for the loss: its graph is taken down inside the time that is measured.
            cast(torch.Tensor, sum(network.loss(network(batch["image"], **told), batch, 0.5).values())).backward()
            if turn:  # the first one warms up
                best[name] = min(best[name], time.process_time() - begun)
            if not turn:
                one = {key: value[:1] for key, value in told.items()}
                cost = macs(network.eval(), partial(network, batch["image"][:1], **one))[0]
                counts = (parameters(network), parameters(network, trainable=True))
                costs[name] = {"parameters": counts[0], "trained": counts[1], "mmacs": cost / 1e6}
    rows = {name: {**costs[name], "images_per_second": BATCH / best[name]} for name in networks}
    write_atomic(args.work / args.domain / "speed.json", json.dumps(rows, indent=1).encode())
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
        "change": mask,
        "sequence": mask.amax((1, 2, 3)).long()[:, None] * torch.tensor([3, 1, 5, 0, 0]),
        "qtables": torch.ones(BATCH, 2, 8, 8),
        "mosaic": torch.rand(BATCH, 3, PIECES * PIECE, PIECES * PIECE, generator=generator),
    }


def measure(args: argparse.Namespace) -> None:
    """Write what each run answers for each picture."""
    torch.set_num_threads(1)
    work = args.work / args.domain
    contest = CONTESTS[args.domain]
    sets = {name: _held(work / name, contest.asked) for name in contest.held}
    if args.casia:
        casia = Manifest(args.casia).where("dev", under="casia_v1")
        sets[CASIA] = (casia, list(casia)[::EVERY])
    blob = [(baselines.CENTRE_BLOB, 0)] if contest.pixels else []
    for name, seed in [*runs(args), *blob]:
        path, run = work / "answers" / f"{name}-{seed}.json", work / "runs" / f"{name}-{seed}"
        ask = _asked(name, run)
        if path.is_file() or ask is None:
            continue
        found = {key: measured.rows(ask, *told, f"{name} {seed} {key}") for key, told in sets.items()}
        write_atomic(path, json.dumps(found).encode())


def _held(folder: Path, count: int) -> tuple[Manifest, list[Entry]]:
    found = Manifest(folder / "manifest.jsonl")
    return found, list(found)[:count]


def _asked(name: str, run: Path) -> Callable[[Sample], Prediction] | None:
    """Return what answers for a picture; None for a run that is not done."""
    if name == baselines.CENTRE_BLOB:
        return partial(baselines.predict, name)
    if not (run / "done.json").is_file():
        return None
    network = predict.load(run / "best.pt")
    network.edits = tuple(contests.DATA.get(name, {}).get("edits", ()))
    return network


def table(args: argparse.Namespace) -> None:
    """Write OUT.md, OUT.json, and OUT_rows.json, which a later call with other runs goes on with."""
    measure(args)
    work, contest = args.work / args.domain, CONTESTS[args.domain]
    kept = args.out.with_name(f"{args.out.name}_rows.json")
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {"cost": {}, "runs": {}}
    cost = work / "speed.json"
    if cost.is_file():
        known["cost"] |= json.loads(cost.read_text())
    known["runs"] |= {p.stem: json.loads(p.read_text()) for p in sorted((work / "answers").glob("*.json"))}
    found: dict[str, list[Any]] = {}
    for run in sorted(known["runs"]):
        found.setdefault(run.rpartition("-")[0], []).append(known["runs"][run])
    titles = contest.titles | ({CASIA: "CASIA v1"} if args.casia else {})
    result = {name: {key: measured.summary([a[key] for a in seeds]) for key in titles} for name, seeds in found.items()}
    write_atomic(kept, (json.dumps(known) + "\n").encode())
    held = {"measured": result, "cost": known["cost"]}
    write_atomic(args.out.with_suffix(".json"), (json.dumps(held, indent=1) + "\n").encode())
    write_atomic(args.out.with_suffix(".md"), pages.domain(contest, titles, result, known["cost"]).encode())


def cross(args: argparse.Namespace) -> None:
    """Write how well the networks of each domain tell the forgeries of every domain; known rows of others stay."""
    torch.set_num_threads(1)
    kept = args.out.with_suffix(".json")
    result: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else {}
    found: dict[str, dict[str, Any]] = {}
    for domain, name, seed in _done(args.work):
        if seed not in args.seeds:
            continue
        path = args.work / domain / "abroad" / f"{name}-{seed}.json"
        if not path.is_file():
            ask = predict.load(args.work / domain / "runs" / f"{name}-{seed}" / "best.pt")
            sets = {other: _held(args.work / other / "held", ABROAD) for other in CONTESTS}
            rows = {other: measured.rows(ask, *told, f"{name} {seed} {other}") for other, told in sets.items()}
            write_atomic(path, json.dumps(rows).encode())
        for other, rows in json.loads(path.read_text()).items():
            found.setdefault(f"{domain}/{name}", {}).setdefault(other, []).append(rows)
    result |= {run: {key: measured.summary(seeds) for key, seeds in sets.items()} for run, sets in found.items()}
    result = dict(sorted(result.items(), key=lambda item: (list(CONTESTS).index(item[0].partition("/")[0]), item[0])))
    write_atomic(kept, (json.dumps(result, indent=1) + "\n").encode())
    write_atomic(args.out.with_suffix(".md"), pages.cross(result, ABROAD).encode())


def _done(work: Path) -> Iterator[tuple[str, str, int]]:
    for domain in CONTESTS:
        for path in sorted((work / domain / "runs").glob("*/done.json")):
            name, _, seed = path.parent.name.rpartition("-")
            yield domain, name, int(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, work in WORK.items():
        verb = verbs.add_parser(name)
        verb.set_defaults(run=work)
        if name != "cross":
            verb.add_argument("domain", choices=CONTESTS)
        verb.add_argument("--work", type=Path, required=True)
        verb.add_argument("--manifest", type=Path)
        verb.add_argument("--workers", type=int, default=2)
        verb.add_argument("--systems", nargs="+")
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
    "cross": cross,
}

if __name__ == "__main__":
    main()
