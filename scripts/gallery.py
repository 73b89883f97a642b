"""Make `docs/gallery.md`: hits, misses and false alarms of the whole scan, chosen by a rule and not by hand.

    python scripts/gallery.py --photos out/localizer/photos/choose.jsonl out/localizer/photos/measure.jsonl \\
        --work out/gallery

Only pictures that may be given away are taken: the portraits under CC0 among the given ones, on which no network was
trained, and the pictures of the tests. Each is forged several times, and every forgery and its untouched twin scanned.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from tamperscope.bench import subjects
from tamperscope.bench.overlay import outlined
from tamperscope.bench.subjects import FUSED, Panel
from tamperscope.data.manifest import Entry, Manifest, relative
from tamperscope.files import write_atomic
from tamperscope.forging import recipe as forging
from tamperscope.forging.run import forge
from tamperscope.metrics import pixel
from tamperscope.report import imaging
from tamperscope.report.maps import quantized
from tamperscope.types import Sample, UInt8Array

ROOT = Path(__file__).parents[1]
PAGE, FOLDER = ROOT / "docs/gallery.md", ROOT / "docs/gallery"
TESTS = ("astronaut", "chelsea", "coffee")
CHANGES = ("hosts.max_side=640", "donors.max_side=640")
COUNT, SEED, SHOWN, SIDE = 60, 20261203, 3, 300


@dataclass(frozen=True)
class Seen:
    """A picture that was scanned."""

    entry: Entry
    sample: Sample
    heat: UInt8Array
    llr: float
    f1: float | None

    @property
    def forged(self) -> bool:
        return self.f1 is not None


def photographs(paths: list[Path], work: Path) -> Path:
    """Write the manifest of the pictures that may be given away and return its path."""
    found = [
        {"image": relative(path.parent / entry.image, work), "label": 0, "group": entry.source_group}
        for path in paths
        for entry in Manifest(path)
        if entry.extra.get("licence") == "CC0-1.0"
    ]
    found += [{"image": relative(ROOT / f"tests/data/{name}.png", work), "label": 0, "group": name} for name in TESTS]
    write_atomic(work / "photos.jsonl", "".join(json.dumps(line) + "\n" for line in found).encode())
    return work / "photos.jsonl"


def scanned(folder: Path) -> list[Seen]:
    """Return every picture of a manifest with what the scan makes of it."""
    panel, found = Panel([FUSED]), []
    pictures = Manifest(folder / "manifest.jsonl")
    for entry in track(list(pictures), "scanning"):
        sample = pictures.open(entry)
        answer = next(iter(panel.predict(sample)))
        heat = np.zeros(sample.size, np.float32) if answer.heatmap is None else answer.heatmap
        forged = sample.mask is not None and bool(sample.mask.any())
        f1 = float(pixel.measure(heat, sample.mask, ("f1",))["f1"]) if forged else None
        found.append(Seen(entry, sample, quantized(FUSED, heat, sample.size), answer.score, f1))
    return found


def chosen(seen: list[Seen]) -> dict[str, list[Seen]]:
    """Return what is shown: the rule of the page."""
    forged = sorted((s for s in seen if s.forged), key=lambda s: (-float(s.f1 or 0), s.entry.image))
    loud = sorted((s for s in seen if not s.forged), key=lambda s: (-s.llr, s.entry.image))
    middle = len(forged) // 2 - SHOWN // 2
    return {
        "Hits": apart(forged),
        "In the middle": apart(forged[middle:]),
        "Misses": apart(forged[::-1]),
        "Untouched, and the loudest": apart(loud),
    }


def apart(seen: list[Seen]) -> list[Seen]:
    """Return the first few of different photographs."""
    first: dict[str, Seen] = {}
    for one in seen:
        first.setdefault(one.entry.source_group, one)
    return list(first.values())[:SHOWN]


def strip(seen: Seen) -> bytes:
    """Return the picture, the outline of what was forged, and the fused map over it, side by side, as JPEG."""
    small = imaging.shrink(seen.sample.rgb, SIDE)
    mask = seen.sample.mask if seen.forged else np.zeros(seen.sample.size, bool)
    assert mask is not None
    truth = outlined(small, imaging.shrink(mask.astype(np.uint8) * 255, SIDE) > 127)
    over = imaging.overlay(small, imaging.shrink(seen.heat, SIDE))
    gap = np.full((small.shape[0], 6, 3), 255, np.uint8)
    return imaging.jpeg(np.concatenate([small, gap, truth, gap, over], 1), 88)


def line(seen: Seen, name: str) -> str:
    verdict = subjects.level(seen.llr).replace("_", " ")
    edits = ", ".join(seen.entry.extra["editors"]).replace("_", " ") if seen.forged else "untouched"
    measured = f"pixel F1 {seen.f1:.2f}, " if seen.f1 is not None else ""
    return f"![{edits}](gallery/{name})\n\n{edits}: {measured}evidence {seen.llr:+.1f}, verdict *{verdict}*\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    photos = photographs(args.photos, args.work)
    recipe = forging.load("everything", CHANGES)
    print(forge(str(photos), recipe, COUNT, SEED, args.work / "forged", 1).text())
    seen = scanned(args.work / "forged")
    levels = {
        truth: [subjects.level(s.llr) in ("suspicious", "strong_evidence") for s in seen if s.forged == truth]
        for truth in (True, False)
    }
    text = HEAD.format(
        count=COUNT,
        shown=SHOWN,
        hosts=len({s.entry.source_group for s in seen}),
        found=sum(levels[True]),
        alarms=sum(levels[False]),
        untouched=len(levels[False]),
    )
    for old in FOLDER.glob("*.jpg"):
        old.unlink()
    for title, part in chosen(seen).items():
        text += f"\n## {title}\n\n"
        for number, one in enumerate(part, 1):
            name = f"{title.split()[0].lower().strip(',')}_{number}.jpg"
            write_atomic(FOLDER / name, strip(one))
            text += line(one, name) + "\n"
    write_atomic(PAGE, text.rstrip().encode() + b"\n")


HEAD = """# Gallery

Made by `scripts/gallery.py`; nothing on it was chosen by hand. {count} pictures were forged with the recipe
`everything` out of pictures that may be given away and that no network was trained on (generated portraits under CC0,
and the pictures of the tests), and scanned with all detectors, as `tamperscope scan` does. Of the forged ones, the
verdict is `suspicious` or stronger for {found}; of their {untouched} untouched twins for {alarms}.

Shown are the {shown} forgeries with the highest pixel F1 at 0.5, the {shown} in the middle, the {shown} with the
lowest, and the {shown} untouched pictures with the most evidence against them, each of another photograph; there are
{hosts} photographs, too few for rates: [those](localizer.md) were measured elsewhere. Left: as scanned. Middle: the
outline of what was forged. Right: the fused map. Evidence is a natural-log likelihood ratio.
"""


if __name__ == "__main__":
    main()
