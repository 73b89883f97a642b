"""By how much do shipped networks with cards of their own raise the false alarms that the scan's card states?

    python scripts/calibrate_added.py --manifest DATA/manifest.jsonl --work out/added --workers 2 \\
        --listed out/invented/photos/choose.jsonl out/invented/photos/measure.jsonl --out results/calibration_added

The thresholds of `calibration.json` were measured without `pages` and `invented`. This asks both for the pictures of
that calibration, as they are and re-saved (scripts/calibrate.py). Only where one of them gives evidence of an
alteration can the level rise: there all detectors of the card are asked, too, and the level told with the networks and
without. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import measured
import resumable
from calibrate import Task, observe, tasks
from documents import PAGES, untouched

from tamperscope import registry
from tamperscope.data import manifest
from tamperscope.files import write_atomic
from tamperscope.types import Prediction
from tamperscope.verdict.card import LEVELS, CalibrationCard, shipped_card
from tamperscope.verdict.fusion import decide

ADDED = ("pages", "invented")


def completed(card: CalibrationCard) -> CalibrationCard:
    """Return a card that knows the networks, too, as a scan completes it."""
    for name in ADDED:
        network = registry.load(name)
        card = card.with_network(name, network.family, network.artifact.card.calibration)
    return card


def level(scores: Mapping[str, float], card: CalibrationCard) -> str:
    """Return the level that scores lead to."""
    return decide([Prediction(name, (1, 1), score) for name, score in scores.items()], [], card).level


def table(kinds: Mapping[str, int], moved: list[tuple[str, str, str]]) -> list[list[str]]:
    """Return lines of each level and kind of file.

    Args:
        kinds: How many files of a kind were asked about.
        moved: (kind, level without, level with) of each file that the networks speak up about.
    """
    lines = []
    for least in LEVELS[1:]:
        for kind, count in kinds.items():
            raised = [
                one
                for one in moved
                if one[0] == kind and LEVELS.index(one[1]) < LEVELS.index(least) <= LEVELS.index(one[2])
            ]
            lines.append([least, kind, str(count), f"{len(raised)}", f"{len(raised) / count:.2%}"])
    return lines


TEXT = """# What networks with cards of their own add to the stated false alarms

Files of the calibration on which no network was trained ({pictures} pictures, as they are and re-saved; without
receipts onto which an archive typed something) that reach a level of the scan's verdict with `pages` and `invented` and
not without them. {spoke} of all get evidence of an alteration from one of the two. Made by
`scripts/calibrate_added.py`.

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--manifest", "--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--listed", type=Path, nargs="+", required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    listed = {(path.parent / entry.image).resolve() for path in args.listed for entry in manifest.read(path)}
    authentic = (task for task in tasks(args.manifest, ADDED, listed) if task.kind != "forged")
    asked = [task for task in authentic if PAGES not in task.entry.image or untouched(task.entry)]
    resumable.run([(t.key, t) for t in asked], observe, args.work / "added.jsonl", args.workers, "the networks")
    keys = {task.key for task in asked}
    told = {row["key"]: row for row in resumable.read_rows(args.work / "added.jsonl") if row["key"] in keys}
    usual = shipped_card()
    whole = completed(usual)

    def speaks(task: Task) -> bool:
        return any(whole.detectors[name].at(score).llr > 0 for name, score in told[task.key]["scores"].items())

    raised = [replace(task, detectors=tuple(usual.detectors)) for task in asked if speaks(task)]
    resumable.run([(t.key, t) for t in raised], observe, args.work / "others.jsonl", args.workers, "all others")
    moved = []
    for row in (row for row in resumable.read_rows(args.work / "others.jsonl") if row["key"] in keys):
        kind = "receipts" if row["stratum"] == "documents" else "photographs"
        scores: dict[str, Any] = row["scores"]
        moved.append((kind, level(scores, usual), level({**scores, **told[row["key"]]["scores"]}, whole)))
    kinds = {"photographs": 0, "receipts": 0}
    for row in told.values():
        kinds["receipts" if row["stratum"] == "documents" else "photographs"] += 1
    head = ["level or stronger", "files", "of them", "raised to it", "share"]
    shown = measured.markdown(head, table(kinds, moved))
    text = TEXT.format(pictures=len(told) // 2, spoke=len(moved), table=shown)
    write_atomic(args.out.with_suffix(".md"), text.encode())
    write_atomic(
        args.out.with_suffix(".json"), (json.dumps({"files": kinds, "moved": moved}, indent=1) + "\n").encode()
    )


if __name__ == "__main__":
    main()
