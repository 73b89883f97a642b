"""Make what the shipped detector of edited pages learns, is chosen by and measured on.

    python scripts/documents.py forge --manifest DATA/manifest.jsonl --work out/documents --workers 2

`forge` parts the authentic pictures of the `train` split by group, as scripts/localizer.py does, takes the scanned
pages of each part, and changes words of them: at their own size and at 1024 pixels in all deliveries, and as scans that
were compressed before they were edited. It goes on where it stopped. `tamperscope bench pages` measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from localizer import SEED, SHARES

from tamperscope.data.manifest import Entry, Manifest, write
from tamperscope.data.splitting import split
from tamperscope.forging import recipe as forging
from tamperscope.forging.run import forge as make

PAGES = "train/documents/"
_SCANNED = "hosts={max_side: %d, recompressed: %s, qualities: [50, 95]}"
SETS: dict[str, tuple[str, ...]] = {
    "whole": (_SCANNED % (2048, 0.5),),
    "small": (_SCANNED % (1024, 0.5),),
    "scanned": (
        "hosts={max_side: 1024, recompressed: 1.0, qualities: [50, 85]}",
        'deliveries={"": 1, "jpeg:quality=75..98,subsampling=4:2:0/4:4:4": 3}',
    ),
}
"""What differs from the recipe `document`."""
OVERLAID = ("003", "004", "074", "315", "316", "319")
"""Receipts on whose scans an archive typed a name or number: no pictures of an untouched page."""
COUNTS = {
    "train": {"whole": 300, "small": 600, "scanned": 500},
    "choose": {"whole": 40, "small": 40, "scanned": 40},
    "measure": {"whole": 60, "small": 60, "scanned": 60},
}


def untouched(entry: Entry) -> bool:
    """Return whether an authentic picture is a page as it was scanned."""
    return PAGES in entry.image and Path(entry.image).stem not in OVERLAID


def forge(args: argparse.Namespace) -> None:
    """Write the pages' parts and their forgeries."""
    print(split(Manifest(args.manifest).where(split="train"), args.work / "photos", SHARES, SEED))
    for part, counts in ((part, COUNTS[part]) for part in args.parts):
        listed = args.work / "photos" / f"{part}_pages.jsonl"
        photos = Manifest(args.work / "photos" / f"{part}.jsonl")
        print(part, write(listed, (entry for entry in photos if untouched(entry))), "pages")
        for name, number in counts.items():
            stated = forging.load("document", SETS[name])
            print(name, make(str(listed), stated, number, SEED, args.work / part / name, args.workers), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("forge")
    verb.set_defaults(run=forge)
    verb.add_argument("--manifest", type=Path, required=True)
    verb.add_argument("--work", type=Path, required=True)
    verb.add_argument("--parts", nargs="+", choices=COUNTS, default=list(COUNTS))
    verb.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
