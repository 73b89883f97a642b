"""Make what the shipped localizer is trained, chosen and measured on, and compare designs of it.

    python scripts/localizer.py forge --manifest DATA/manifest.jsonl --work out/localizer --workers 2
    python scripts/localizer.py designs --work out/localizer --steps 800 --out results/localizer_designs

`forge` parts the authentic pictures of the `train` split by group into 70 % to train on, 15 % to choose by and 15 % to
measure with, and forges each part: `small` pictures with a known JPEG history, `every` operation in all deliveries,
`native` ones cut out of large originals, and to measure with, each operation alone. It goes on where it stopped.
`designs` trains each design for the same number of steps, then measures it, and adds it to the table; it passes over
those that are done, and goes on with one that was stopped. Some differ in the network, some in what it learns from.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measured
import torch

from tamperscope.data.manifest import Manifest
from tamperscope.data.splitting import split
from tamperscope.engine import predict, recipe
from tamperscope.engine.train import train
from tamperscope.files import write_atomic
from tamperscope.forging import recipe as forging
from tamperscope.forging.run import forge as make
from tamperscope.networks.base import parameters
from tamperscope.ops.forge.delivery import COMMON

SEED = 20261202
_LAST = re.compile(r"(^|\|)jpeg:[^|>]*$")
SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "small": (
        "casia_like",
        (
            "operations={splice: 3, copy_move: 2, removal: 1}",
            "hosts={min_side: 96, max_side: 512, recompressed: 0.9, qualities: [60, 98]}",
            "donors={min_side: 96, max_side: 512, recompressed: 0.6, qualities: [60, 98]}",
            'deliveries={"jpeg:quality=75,subsampling=4:2:0": 1, "jpeg:quality=60..98,subsampling=4:2:0/4:4:4": 3}',
        ),
    ),
    "every": ("everything", ("hosts.max_side=768", "donors.max_side=768")),
    "native": ("camera", ("hosts.max_side=640", "hosts.cut=1", "donors.max_side=640", "donors.cut=1")),
}
OTHERS = "tables=1..2147483646"
"""The last compression's tables are none of the IJG's, but such as other software writes."""
HISTORIES = ("hosts.other_tables=0.4", "donors.other_tables=0.4")
SETS |= {
    "small_others": (
        "casia_like",
        (
            *SETS["small"][1][:-1],
            *HISTORIES,
            'deliveries={"jpeg:quality=75,subsampling=4:2:0": 1, "jpeg:quality=60..98,subsampling=4:2:0/4:4:4": 2, '
            f'"jpeg:quality=60..98,subsampling=4:2:0/4:4:4,{OTHERS}": 3}}',
        ),
    ),
    "every_others": (
        "everything",
        (
            *SETS["every"][1],
            *HISTORIES,
            "deliveries="
            + json.dumps(
                dict(COMMON) | {f"{text},{OTHERS}": share for text, share in COMMON.items() if _LAST.search(text)}
            ),
        ),
    ),
}
COUNTS = {
    "train": {"small": 2500, "every": 2500, "native": 500, "small_others": 1500, "every_others": 1200},
    "choose": {"small": 100, "every": 100, "native": 60, "small_others": 100},
    "measure": {"small": 150, "native": 100, "small_others": 150},
}
"""Those with `others` train the designs, and what was tried after the shipped network."""
MORE = {"small": (1000, 20261301), "every": (500, 20261302)}
"""Further forgeries of the fourth part of the training, which was not shipped: how many, and with which seed."""
ALONE = ("splice", "copy_move", "removal", "jitter", "upsampled", "reencoded")
EACH = 50
SHARES = {"measure": 0.15, "choose": 0.15, "train": 0.7}

ALL = "[rgb, srm, dct, lite0]"


@dataclass(frozen=True)
class Design:
    """One row of the comparison: what differs from the recipe, and from its pictures."""

    changes: tuple[str, ...] = ()
    without: str = ""
    hard: bool = False


DESIGNS: dict[str, Design] = {
    "braid": Design(),
    "wider and deeper": Design(("network.settings={width: 128, blocks: 6}",)),
    "without the mosaic": Design(("network.settings={relay: false}",)),
    "without frequencies": Design(("network.settings={streams: [rgb, srm]}",)),
    "without residuals": Design(("network.settings={streams: [rgb, dct]}",)),
    "without colours": Design(("network.settings={streams: [srm, dct]}",)),
    "frequencies alone": Design(("network.settings={streams: [dct]}",)),
    "with EfficientNet-Lite0 from scratch": Design((f"network.settings={{streams: {ALL}}}",)),
    "with EfficientNet-Lite0 from ImageNet": Design((f"network.settings={{streams: {ALL}, weights: LITE}}",)),
    "unet": Design(("network={name: unet, size: tiny}",)),
    "segformer": Design(("network={name: segformer, size: tiny}",)),
    "with hard negatives": Design(hard=True),
    **{f"trained without {operation}": Design(without=operation) for operation in ALONE},
}
LEARNED = ("small_others", "every_others", "native")
MEASURED = ("small_others", "native", *ALONE)
SIDE = 128


def forge(args: argparse.Namespace) -> None:
    print(split(Manifest(args.manifest).where(split="train"), args.work / "photos", SHARES, SEED))
    for name in COUNTS:
        listed = args.work / "photos" / f"{name}.jsonl"
        for label, stated, changes, number in wanted(name):
            found = make(
                str(listed), forging.load(stated, changes), number, SEED, args.work / name / label, args.workers
            )
            print(name, label, found, flush=True)
    for label, (number, seed) in MORE.items():
        stated, changes = SETS[label]
        out = args.work / "train" / f"{label}_more"
        print(
            make(str(args.work / "photos/train.jsonl"), forging.load(stated, changes), number, seed, out, args.workers)
        )


def wanted(name: str) -> Iterator[tuple[str, str, tuple[str, ...], int]]:
    """Yield name, recipe, its changes and the number of forgeries of each set of a part."""
    for label, number in COUNTS[name].items():
        yield label, *SETS[label], number
    if name == "measure":
        for operation in ALONE:
            yield operation, "everything", (*SETS["every"][1], f"operations={{{operation}: 1}}", "steps=[1, 1]"), EACH


def designs(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    for name in args.designs:
        out, design = args.work / "designs" / name.replace(" ", "_"), DESIGNS[name]
        if not (out / "done.json").is_file():
            changes = [change.replace("LITE", args.lite) for change in design.changes]
            pictures = [{"manifest": str(path)} for path in _pictures(args.work / "train", design)]
            fixed = [f"steps={args.steps}", f"data.side={SIDE}", f"train_on={json.dumps(pictures)}"]
            fixed += ["validation.every=0", "data.workers=0"]
            stated = recipe.load("shipped_localizer", [*fixed, *changes])
            begun = time.process_time()
            done = train(stated, out, resume=(out / "run.json").is_file())
            told = {"parameters": parameters(done.network), "seconds": time.process_time() - begun}
            write_atomic(out / "done.json", json.dumps(told).encode())
        if not (out / "rows.json").is_file():
            write_atomic(out / "rows.json", json.dumps(_answers(args.work, out, name)).encode())
    _table(args)


def _pictures(made: Path, design: Design) -> list[Path]:
    """Return the manifests that a design is trained on; those that lack an operation are written beside the whole."""
    whole = [made / label / "manifest.jsonl" for label in (*LEARNED, *(("hard",) if design.hard else ()))]
    return [_without(path, design.without) for path in whole] if design.without else whole


def _without(path: Path, operation: str) -> Path:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    gone = [line for line in lines if operation in line.get("editors", ())]
    names = {line["image"] for line in gone} | {line["twin"] for line in gone if line.get("twin")}
    kept = [line for line in lines if line["image"] not in names]
    less = path.with_name(f"without_{operation}.jsonl")
    write_atomic(less, "".join(json.dumps(line) + "\n" for line in kept).encode())
    return less


def _answers(work: Path, out: Path, name: str) -> dict[str, list[measured.Row]]:
    ask = predict.load(out / "best.pt", how="tile", side=768, overlap=64)
    sets = {label: Manifest(work / "measure" / label / "manifest.jsonl") for label in MEASURED}
    return {label: measured.rows(ask, found, list(found), f"{name}: {label}") for label, found in sets.items()}


def _table(args: argparse.Namespace) -> None:
    """Add the designs that were measured here to those of earlier runs, and write all."""
    path = args.out.with_suffix(".json")
    result = json.loads(path.read_text()) if path.is_file() else {}
    for name in DESIGNS:
        out = args.work / "designs" / name.replace(" ", "_")
        if (out / "rows.json").is_file():
            told, rows = (json.loads((out / file).read_text()) for file in ("done.json", "rows.json"))
            found = {label: measured.summary([rows[label]]) for label in MEASURED}
            result[name] = told | {"steps": args.steps, "measured": found}
    write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    head = ["design", "parameters", "seconds", *(f"{label}: {m}" for label in MEASURED for m in measured.METRICS)]
    lines = [
        [name, f"{told['parameters'] / 1e6:.2f} M", f"{told['seconds']:.0f}", *_numbers(told["measured"])]
        for name in DESIGNS
        if (told := result.get(name))
    ]
    text = TEXT.format(steps=args.steps, side=SIDE, table=measured.markdown(head, lines))
    write_atomic(args.out.with_suffix(".md"), text.encode())


def _numbers(found: dict[str, Any]) -> list[str]:
    return [measured.shown(found[label][metric]) for label in MEASURED for metric in measured.METRICS]


TEXT = """# Designs of the shipped localizer on one budget

Each was trained once, {steps} steps of 8 windows of {side} pixels, and nothing was chosen. Networks saw the same
windows in the same order; the last rows differ in what `braid` learned from: with hard negatives among the rest, or
without the forgeries that an operation had a part in, and without their twins. Measured on forgeries of pictures of
other groups; pixel numbers are means over forged pictures at their own resolution, F1 at 0.5, with a 95 % bootstrap by
group; image AUC against the authentic twins. Seconds: processor time of the training, on machines that differ and had
other work. Made by `scripts/localizer.py designs`.

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, work in (("forge", forge), ("designs", designs)):
        verb = verbs.add_parser(name)
        verb.add_argument("--work", type=Path, required=True)
        verb.set_defaults(run=work)
    verbs.choices["forge"].add_argument("--manifest", type=Path, required=True)
    verbs.choices["forge"].add_argument("--workers", type=int, default=2)
    more = verbs.choices["designs"]
    more.add_argument("--steps", type=int, default=800)
    more.add_argument("--out", type=Path, required=True)
    more.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    more.add_argument("--lite", default="lite0.pth", help="weights of EfficientNet-Lite0")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
