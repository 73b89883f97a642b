"""Measure the masks that `tamperscope data annotate` makes, on pairs forged from photographs.

    python scripts/annotate_table.py measure --manifest DATA/manifest.jsonl --out out/annotate.jsonl --pairs 200
    python scripts/annotate_table.py table --rows out/annotate.jsonl --out results/annotate

`measure` takes web, object, people and camera pictures of the `train` split, at most 800 pixels a side. A pair has the
same canvas (a splice, removal, copy or jitter of the original) or shares an object (a piece of the original pasted into
another picture). Both files are saved as JPEG; before, the edited one is cropped by up to 3 % of its sides, resized and
given another tone curve, each about every second time. A third of the groups served to choose the constants and is left
out (`--part tuning` measures these). It can be stopped and started again. `table` writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np
import resumable
from scipy.stats import spearmanr

from tamperscope.data import masks
from tamperscope.data.annotating import judging
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import InvalidValueError, TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.metrics import confusion, intervals
from tamperscope.ops import attack, warps
from tamperscope.ops.forge.blending import Blend, Match
from tamperscope.ops.forge.copy_move import CopyMove
from tamperscope.ops.forge.jitter import Jitter
from tamperscope.ops.forge.removal import Removal
from tamperscope.ops.forge.splice import Splice
from tamperscope.types import Sample


class Looks(TypedDict):
    """How a paste may look."""

    blends: tuple[Blend, ...]
    matches: tuple[Match, ...]


SEED, SIDE = 20261128, 800
FOLDERS = ("web", "objects", "people", "camera")
LOOKS: Looks = {"blends": ("hard", "feathered", "poisson"), "matches": ("none", "reinhard", "gain")}
SAME = ("splice", "removal", "copy_move", "jitter")
NUISANCE = (
    ("crop:keep=0.97..0.995", 0.5),
    ("resize:factor=0.6..1.3", 0.6),
    ("gamma:gamma=0.8..1.25", 0.4),
    ("contrast:gain=0.85..1.15", 0.4),
    ("brightness:shift=-15..15", 0.4),
    ("jpeg:quality=50..95", 1.0),
)


def part(group: str) -> str:
    """Return `tuning` for a third of the groups, else `measuring`; it follows from the name."""
    return "tuning" if int(hashlib.sha256(group.encode()).hexdigest(), 16) % 3 == 0 else "measuring"


@dataclass(frozen=True)
class Task:
    """All that a worker needs for one pair: the originals of both pictures, and the number of the pair."""

    manifest: str
    original: Entry
    other: Entry
    number: int


def tasks(manifest: str, wanted: str, count: int) -> list[tuple[str, Task]]:
    """Return the pairs to make, each original once."""
    listed = [
        entry
        for folder in FOLDERS
        for entry in Manifest(manifest).where(split="train", under=f"train/{folder}/")
        if part(entry.source_group) == wanted
    ]
    rng = np.random.default_rng(SEED)
    order = [listed[i] for i in rng.permutation(len(listed))]
    found: list[tuple[str, Task]] = []
    for number, entry in enumerate(order[:count]):
        other = next(x for x in order[number + 1 :] + order if x.source_group != entry.source_group)
        found.append((str(number), Task(manifest, entry, other, number)))
    return found


def _opened(manifest: str, entry: Entry) -> tuple[Sample, np.ndarray | None]:
    """Return a picture of at most `SIDE` pixels, and its object where the manifest knows one."""
    known = entry.object_mask
    sample = Manifest(manifest).open(entry.model_copy(update={"label": 1 if known else 0, "mask": known}))
    factor = min(1.0, SIDE / max(sample.size))
    sample = warps.scaled(sample, warps.times(sample.size, factor), "area")
    return replace(sample, mask=None, label=0), sample.mask if known else None


def forge(task: Task, rng: np.random.Generator) -> tuple[Sample, Sample, str]:
    """Return original, edited picture with its truth, and what was done."""
    original, outline = _opened(task.manifest, task.original)
    other, other_outline = _opened(task.manifest, task.other)
    if task.number % 2:
        op = Splice(original, outline, share=(0.03, 0.25), seek=True, turn=(-20, 20), flip=0.2, **LOOKS)
        return original, op(replace(other, mask=None), rng), "shared object"
    name = SAME[task.number // 2 % len(SAME)]
    makers: dict[str, Callable[[], Any]] = {
        "splice": lambda: Splice(other, other_outline, share=(0.01, 0.2), seek=True, **LOOKS),
        "removal": lambda: Removal(mask=outline, share=(0.01, 0.1), seek=True),
        "copy_move": lambda: CopyMove(),
        "jitter": lambda: Jitter(outline),
    }
    return original, makers[name]()(original, rng), name


def nuisance(edited: Sample, rng: np.random.Generator) -> Sample:
    """Return the edited picture as it might come from the web: cropped, resized, with another tone, saved again."""
    for text, chance in NUISANCE:
        if rng.random() < chance:
            edited = attack.parse(text)(edited, rng)
    return edited


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the intersection over union."""
    return float(confusion.counts(mask.astype(np.float32), truth).iou)


def difference(original: Sample, edited: Sample) -> np.ndarray:
    """Return the plain difference as a mask, which is the bar: how `data prepare` reads sets without masks."""
    same = warps.scaled(original, edited.size, "bicubic")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "original.png"
        path.write_bytes(cv2.imencode(".png", same.rgb[..., ::-1])[1].tobytes())
        return masks.read(path, "original", picture=edited.rgb)


def observe(task: Task) -> dict[str, Any]:
    """Return the row of one pair."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([SEED, task.number])
    row: dict[str, Any] = {"key": str(task.number), "source": task.original.source_group}
    try:
        original, edited, name = forge(task, rng)
        original = attack.parse("jpeg:quality=70..95")(original, rng)
        edited = nuisance(edited, rng)
        assert edited.mask is not None
        if not edited.mask.any():
            raise InvalidValueError("the edit was cut off")
        found = judging.judge(original.rgb, edited.rgb)
    except TamperscopeError as error:
        return row | {"error": f"{type(error).__name__}: {error}"}
    scores = {"iou": iou(found.mask, edited.mask), "truth": float(edited.mask.mean())}
    scores["bar"] = iou(difference(original, edited), edited.mask)
    return row | {"what": name, "reason": judging.reason(found.facts, judging.Limits())} | asdict(found.facts) | scores


def measure(args: argparse.Namespace) -> None:
    """Append a row a pair to the file of rows."""
    resumable.run(tasks(args.manifest, args.part, args.pairs), observe, args.out, args.workers, "annotating")


def _expected(row: dict[str, Any]) -> str:
    return "shared_object" if row["what"] == "shared object" else "same_canvas"


def _mean(rows: list[dict[str, Any]], name: str = "iou") -> str:
    return str(intervals.bootstrap([r[name] for r in rows], [r["source"] for r in rows]))


def cells(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the numbers of some pairs."""
    kept = [r for r in rows if not r["reason"]]
    scores = np.array([[r["qes"], r["iou"]] for r in rows], np.float64)
    rank = intervals.bootstrap(scores, [r["source"] for r in rows], lambda v: float(spearmanr(v[:, 0], v[:, 1])[0]))
    return {
        "pairs": len(rows),
        "relation": round(sum(r["relation"] == _expected(r) for r in rows) / len(rows), 3),
        "bar": _mean(rows, "bar"),
        "iou": _mean(rows),
        "qes_kept": sum(r["qes"] >= 0.5 for r in rows),
        "iou_qes": _mean([r for r in rows if r["qes"] >= 0.5]),
        "kept": len(kept),
        "iou_kept": _mean(kept),
        "poor": sum(r["iou"] < 0.5 for r in kept),
        "spearman": str(rank),
    }


TITLES = {
    "pairs": "pairs",
    "relation": "relation right",
    "bar": "IoU of the plain difference",
    "iou": "IoU, all",
    "qes_kept": "QES ≥ .5",
    "iou_qes": "IoU of these",
    "kept": "kept by all rules",
    "iou_kept": "IoU of the kept",
    "poor": "of these below IoU .5",
    "spearman": "Spearman(QES, IoU)",
}


def markdown(table: dict[str, Any]) -> str:
    """Return the table as a page."""
    lines = ["# Masks made of pairs", "", table["about"], "", f"| what was done | {' | '.join(TITLES.values())} |"]
    lines.append("|---" * (len(TITLES) + 1) + "|")
    lines += [f"| {name} | {' | '.join(str(found[key]) for key in TITLES)} |" for name, found in table["cells"].items()]
    reasons = ", ".join(f"{count} × {text}" for text, count in table["reasons"].items())
    return "\n".join([*lines, "", f"Turned away: {reasons or 'none'}.", ""])


def write_table(args: argparse.Namespace) -> None:
    """Write the table of a file of rows as JSON and Markdown."""
    every = resumable.read_rows(args.rows)
    rows = [row for row in every if "error" not in row]
    same = [r for r in rows if r["what"] in SAME]
    groups = {name: [r for r in rows if r["what"] == name] for name in SAME}
    groups |= {
        "same canvas, all": same,
        "shared object": [r for r in rows if r["what"] == "shared object"],
        "all": rows,
    }
    reasons: dict[str, int] = {}
    for row in rows:
        if row["reason"]:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    about = (
        f"`{COMMAND}`, then `… table`. {len(rows)} pairs of photographs, none of which served to choose a constant; "
        f"{len(every) - len(rows)} more could not be made. Original and edited picture are saved as JPEG, apart; "
        "before, the edited one was cropped, resized and given another tone curve, each about every second time. IoU "
        "is that of the mask with the truth at the edited picture's resolution; in brackets: 95 % bootstrap by source. "
        "Rules beside QES: a mask of .05 to 75 % of the picture, and agreement of at least .5 with the map of the "
        "mirrored pair. The truth of a jitter is the whole object, though only its edges and texture differ."
    )
    table = {"about": about, "seed": SEED, "cells": {k: cells(v) for k, v in groups.items() if v}, "reasons": reasons}
    write_atomic(f"{args.out}.json", (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomic(f"{args.out}.md", markdown(table).encode())
    print(markdown(table))


COMMAND = "python scripts/annotate_table.py measure --manifest DATA/manifest.jsonl --out ROWS --pairs 200"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("measure")
    one.add_argument("--manifest", required=True)
    one.add_argument("--out", required=True)
    one.add_argument("--pairs", type=int, default=200)
    one.add_argument("--part", choices=("measuring", "tuning"), default="measuring")
    one.add_argument("--workers", type=int, default=1)
    one.set_defaults(run=measure)
    one = commands.add_parser("table")
    one.add_argument("--rows", required=True)
    one.add_argument("--out", required=True)
    one.set_defaults(run=write_table)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
