"""Whether the order of edits is told: where they overlap, where they do not, and whichever is asked first.

    python scripts/ordered_edits.py --work out/ordered --out results/ordered_edits

Each system is trained with three seeds on pictures of `ordered_scenes.py`, new ones at every step. It goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measured
import numpy as np
import torch
from ordered_scenes import Accuracy, accuracies, trained

from tamperscope.files import write_atomic
from tamperscope.networks import seqfakeformer, tsom

STEPS, PICTURES, SEEDS = 240, 600, (0, 1, 2)
LIGHT = (0.1, 0.1)
ORDER = Accuracy._fields.index("order")
SYSTEMS: dict[str, tuple[Callable[..., Any], int, dict[str, Any]]] = {
    "seqfakeformer": (seqfakeformer.build, STEPS, {"inverted": True}),
    "seqfakeformer, first edit first": (seqfakeformer.build, STEPS, {"inverted": False}),
    "tsom": (tsom.build, 2 * STEPS, {"dropout": LIGHT}),
    "tsom_pp": (tsom.build, 2 * STEPS, {"dropout": LIGHT, "contrast": 0.01}),
}
TEXT = f"""# The order of edits

Soft pictures of 32 pixels with one to three edits (blur, noise, few grey levels) in a drawn order; over each other by a
few pixels, or apart. Each tiny network after {STEPS} steps of 32 new pictures, asked about {PICTURES} others; TSOM
after {2 * STEPS}, with a dropout of {LIGHT[0]}, for with its own it had not learned to name the edits. Of three seeds
the mean, then the least and the most. Named: the share of pictures whose edits were told, in whatever order. In order:
of those, the share in the right one, in seeds that name any; by chance it is .5 for two edits and .167 for three. Fixed
and adaptive: accuracy over five places, and over the longer sequence (Seq-DeepFake). Made by
`scripts/ordered_edits.py`.

{{table}}

Where edits lie apart their order is not in the pixels, so that whatever is told there beyond chance would be a leak.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines, told = [], {}
    for name in SYSTEMS:
        for overlap in (True, False):
            seeds = [_run(args.work, name, overlap, seed) for seed in SEEDS]
            told[f"{name}, {'over' if overlap else 'apart'}"] = seeds
            for edits in ("2", "3"):
                named = [one[edits] for one in seeds]
                # Who names no picture's edits has no order.
                cells = [_shown([n[i] for n in named if i != ORDER or n[0]]) for i in range(len(Accuracy._fields))]
                lines.append([name, "over each other" if overlap else "apart", edits, *cells])
    head = ["system", "edits lie", "edits", "named", "in order", "fixed", "adaptive"]
    write_atomic(args.out.with_suffix(".md"), TEXT.format(table=measured.markdown(head, lines)).encode())
    write_atomic(args.out.with_suffix(".json"), (json.dumps(told, indent=1) + "\n").encode())


def _run(work: Path, name: str, overlap: bool, seed: int) -> dict[str, list[float]]:
    path = work / f"{name.replace(', ', '-').replace(' ', '_')}-{overlap:d}-{seed}.json"
    if not path.is_file():
        build, steps, settings = SYSTEMS[name]
        found = accuracies(trained(build, overlap, steps, seed, **settings), overlap, PICTURES)
        write_atomic(path, json.dumps(found).encode())
        print(name, overlap, seed, found, flush=True)
    known: dict[str, list[float]] = json.loads(path.read_text())
    return known


def _shown(values: list[float]) -> str:
    return f"{np.mean(values):.3f}; {min(values):.3f}–{max(values):.3f}"


if __name__ == "__main__":
    main()
