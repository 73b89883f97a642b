"""Make what the shipped localizer is trained, chosen and measured on.

    python scripts/localizer.py forge --manifest DATA/manifest.jsonl --work out/localizer --workers 2

`forge` parts the authentic pictures of the `train` split by group into 70 % to train on, 15 % to choose by and 15 % to
measure with, and forges each part: `small` pictures with a known JPEG history, `every` operation in all deliveries,
`native` ones cut out of large originals, and to measure with, each operation alone. It goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from tamperscope.data.manifest import Manifest
from tamperscope.data.splitting import split
from tamperscope.forging import recipe as forging
from tamperscope.forging.run import forge as make

SEED = 20261202
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
COUNTS = {
    "train": {"small": 2500, "every": 2500, "native": 1000},
    "choose": {"small": 100, "every": 100, "native": 60},
    "measure": {"small": 150, "native": 100},
}
ALONE = ("splice", "copy_move", "removal", "jitter", "upsampled", "reencoded")
EACH = 50
SHARES = {"measure": 0.15, "choose": 0.15, "train": 0.7}


def forge(args: argparse.Namespace) -> None:
    print(split(Manifest(args.manifest).where(split="train"), args.work / "photos", SHARES, SEED))
    for name in COUNTS:
        listed = args.work / "photos" / f"{name}.jsonl"
        for label, stated, changes, number in wanted(name):
            found = make(
                str(listed), forging.load(stated, changes), number, SEED, args.work / name / label, args.workers
            )
            print(name, label, found, flush=True)


def wanted(name: str) -> Iterator[tuple[str, str, tuple[str, ...], int]]:
    """Yield name, recipe, its changes and the number of forgeries of each set of a part."""
    for label, number in COUNTS[name].items():
        yield label, *SETS[label], number
    if name == "measure":
        for operation in ALONE:
            yield operation, "everything", (*SETS["every"][1], f"operations={{{operation}: 1}}", "steps=[1, 1]"), EACH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("forge")
    verb.add_argument("--manifest", type=Path, required=True)
    verb.add_argument("--work", type=Path, required=True)
    verb.add_argument("--workers", type=int, default=2)
    verb.set_defaults(run=forge)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
