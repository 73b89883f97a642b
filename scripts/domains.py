"""Make the sets of the protocol `domains`, one of each of four domains, of groups that no shipped part was trained on.

    TAMPERSCOPE_TAEF2=WEIGHTS python scripts/domains.py --manifest DATA/manifest.jsonl --work out/domains --workers 2
    tamperscope bench domains --data out/domains --out results/bench_domains

Photographs are parted by group as scripts/localizer.py parts them. It goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from documents import PAGES, untouched
from generated import DECODERS, changes
from localizer import SEED, SETS, SHARES

from tamperscope.data.manifest import Manifest, moved, write
from tamperscope.data.splitting import split
from tamperscope.forging import recipe as forging
from tamperscope.forging.run import forge as make

GENERATORS = [name for name in DECODERS if name != "upscaled"]  # that one needs networks of others
DOMAINS: dict[str, tuple[str, tuple[str, ...], int, bool]] = {
    "manipulated": (*SETS["small"], 60, False),
    "faces": ("face", ("hosts.max_side=640", "donors.max_side=640"), 60, False),
    "documents": ("document", ("hosts.max_side=1024",), 60, True),
    **{f"generated_{name}": ("generated", changes(name, "measure", {}), 20, False) for name in GENERATORS},
}
"""Recipe, what differs from it, how many, and whether the photographs are pages; of the others none is."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print(split(Manifest(args.manifest).where(split="train"), args.work / "photos", SHARES, SEED))
    parts = [Manifest(args.work / "photos" / f"{part}.jsonl") for part in ("choose", "measure")]
    untrained = [entry for part in parts for entry in part]
    listed = {pages: args.work / "photos" / f"untrained{'_pages' * pages}.jsonl" for pages in (False, True)}
    for pages, path in listed.items():
        write(path, (e for e in untrained if (untouched(e) if pages else PAGES not in e.image)))
    for name, (stated, change, count, pages) in DOMAINS.items():
        found = make(str(listed[pages]), forging.load(stated, change), count, SEED, args.work / name, args.workers)
        print(name, found, flush=True)
    made = [Manifest(args.work / name / "manifest.jsonl") for name in DOMAINS if name.startswith("generated_")]
    out = args.work / "generated"
    out.mkdir(exist_ok=True)
    count = write(out / "manifest.jsonl", (moved(entry, one.path.parent, out) for one in made for entry in one))
    print(json.dumps({"generated": count}))


if __name__ == "__main__":
    main()
