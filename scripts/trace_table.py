"""Measure which detector answers to which trace: forgeries that differ from their authentic twin in one trace only.

    python scripts/trace_table.py measure --manifest DATA/manifest.jsonl --out out/traces.jsonl --pictures 60
    python scripts/trace_table.py table --rows out/traces.jsonl --out results/trace_table

`measure` takes camera and web pictures of the `train` split, reduced until no history of their own is left, and gives
them the history that the trace needs to be foreign to: a demosaicking, a JPEG compression, or none. Then a region
passes the trace's pipeline; forgery and twin are delivered alike. It can be stopped and started again. `table` writes
OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import resumable

from tamperscope import media, registry
from tamperscope.data import manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.metrics import intervals, ranking
from tamperscope.ops import warps
from tamperscope.ops.forge.delivery import Delivery
from tamperscope.ops.forge.traces import blur, cfa, grid, median, noise, nothing, quality, resampling, sharpening
from tamperscope.ops.forge.traces.base import Trace
from tamperscope.types import Prediction, Sample

SEED = 20261128
FOLDERS = ("camera", "web")
SIDE, LEAST_SIDE, REDUCTION = 512, 192, 0.75
LOSSLESS, LAST = Delivery(None), Delivery(95, "4:4:4")


def _plain(sample: Sample, rng: np.random.Generator) -> Sample:
    return sample


def _from_camera(sample: Sample, rng: np.random.Generator) -> Sample:
    return cfa.remosaicked(sample, "RGGB")


def _from_jpeg(sample: Sample, rng: np.random.Generator) -> Sample:
    return grid.compressed(sample, int(rng.integers(75, 96)))


@dataclass(frozen=True)
class Case:
    """A trace with the host's history, by which it is foreign, and the delivery that lets it be read.

    `expected` are the detectors that are meant to answer.
    """

    trace: Trace
    host: Callable[[Sample, np.random.Generator], Sample] = _plain
    delivery: Delivery = LOSSLESS
    expected: tuple[str, ...] = ()


CASES = {
    "noise": Case(noise.Noise(), expected=("noisesniffer", "splicebuster")),
    "cfa": Case(cfa.Cfa(pattern=["GRBG", "GBRG", "BGGR"]), _from_camera),
    "grid": Case(grid.Grid(), _from_jpeg, expected=("zero", "blk")),
    "quality": Case(quality.Quality(), _from_jpeg, LAST, expected=("dq", "jpeg_ghost")),
    "resampling": Case(resampling.Resampling()),
    "median": Case(median.Median()),
    "sharpening": Case(sharpening.Sharpening()),
    "blur": Case(blur.Blur()),
}


@dataclass(frozen=True)
class Task:
    """One picture; all that is drawn follows from its index."""

    index: int
    entry: manifest.Entry
    root: str
    detectors: tuple[str, ...]


def tasks(path: Path, count: int, detectors: tuple[str, ...]) -> Iterator[tuple[str, Task]]:
    """Yield `count` pictures, taking turns between the folders, in an order that does not depend on `count`."""
    order = np.random.default_rng(SEED)
    pools = []
    for folder in FOLDERS:
        pool = list(manifest.Manifest(path).where(split="train", under=f"train/{folder}/"))
        pools.append([pool[i] for i in order.permutation(len(pool))])
    turns = [entry for turn in zip(*pools, strict=False) for entry in turn]
    for index, entry in enumerate(turns[:count]):
        yield entry.image, Task(index, entry, str(path.parent), detectors)


def reduced(sample: Sample) -> Sample:
    """Return the picture without a history of its own: made smaller, at most `SIDE` pixels wide and high.

    Raises:
        TamperscopeError: It is too small for that.
    """
    size = warps.times(sample.size, min(REDUCTION, SIDE / max(sample.size)))
    if min(size) < LEAST_SIDE:
        raise TamperscopeError(f"expected {LEAST_SIDE} pixels a side after reduction, found {size}")
    return warps.scaled(sample, size, "lanczos")


def _delivered(sample: Sample, delivery: Delivery) -> Sample:
    return media.open(delivery.encode(sample.rgb)).sample


def _predictions(sample: Sample, names: tuple[str, ...]) -> dict[str, Prediction]:
    return {name: registry.load(name).predict(sample) for name in names}


def _pair(forged: Prediction, twin: Prediction, mask: np.ndarray) -> dict[str, float | None]:
    """Return both scores, and how well either map ranks the pixels of the forgery's region; None = says nothing."""
    row: dict[str, float | None] = {}
    for name, found in (("forged", forged), ("twin", twin)):
        speaks = found.status == "ok"
        row[name] = float(found.score) if speaks and not math.isnan(found.score) else None
        row[f"{name}_pixel"] = ranking.auc(found.heatmap, mask) if speaks and found.heatmap is not None else None
    return row


def observe(task: Task) -> dict[str, Any]:
    """Return the row of one picture: by trace and detector, what forgery and twin get."""
    cv2.setNumThreads(1)
    plain = reduced(media.open(Path(task.root) / task.entry.image).sample)
    twins: dict[Any, tuple[Sample, dict[str, Prediction]]] = {}
    row: dict[str, Any] = {"key": task.entry.image, "source": task.entry.source_group, "pairs": {}, "values": {}}
    for number, (name, case) in enumerate(CASES.items()):
        kind = (case.host, case.delivery)
        if kind not in twins:
            host = case.host(plain, np.random.default_rng([SEED, task.index]))
            twin = nothing.Nothing()(host, np.random.default_rng(0))
            twins[kind] = host, _predictions(_delivered(twin, case.delivery), task.detectors)
        host, clean = twins[kind]
        forged = case.trace(host, np.random.default_rng([SEED, task.index, number]))
        assert forged.mask is not None
        found = _predictions(_delivered(forged, case.delivery), task.detectors)
        row["pairs"][name] = {d: _pair(found[d], clean[d], forged.mask) for d in task.detectors}
        row["values"][name] = forged.meta["ops"][-1]
    return row


def _safely(task: Task) -> dict[str, Any]:
    try:
        return observe(task)
    except TamperscopeError as error:
        return {"key": task.entry.image, "error": f"{type(error).__name__}: {error}"}


def measure(args: argparse.Namespace) -> None:
    """Append a row a picture to the file of rows."""
    jobs = tasks(Path(args.manifest), args.pictures, tuple(registry.names()))
    resumable.run(jobs, _safely, args.out, args.workers, "measuring traces")


def pooled_auc(rows: np.ndarray) -> float:
    """Return the AUC of (N, 2) scores, forged against twins."""
    return ranking.auc(rows.T.ravel(), np.repeat([True, False], len(rows)))


def own_twin(rows: np.ndarray) -> float:
    """Return how often a forgery gets more than its own twin, ties counted half, of (N, 2) scores."""
    return float(np.mean((np.sign(rows[:, 0] - rows[:, 1]) + 1) / 2))


def cell(rows: list[dict[str, Any]], trace: str, detector: str) -> dict[str, Any]:
    """Return the numbers of one trace and detector: how often it speaks, and measures as value, low, high, n."""
    pairs = [row["pairs"][trace][detector] for row in rows]
    sources = [row["source"] for row in rows]

    def interval(names: tuple[str, ...], statistic: Callable[[np.ndarray], float]) -> dict[str, Any]:
        values = np.array([[math.nan if pair[n] is None else pair[n] for n in names] for pair in pairs], float)
        found = intervals.bootstrap(values, sources, statistic)
        ends = {k: None if math.isnan(v := getattr(found, k)) else round(v, 4) for k in ("value", "low", "high")}
        return ends | {"n": found.n}

    both, maps = ("forged", "twin"), ("forged_pixel", "twin_pixel")
    return {
        "speaks": {name: sum(pair[name] is not None for pair in pairs) for name in both} | {"n": len(pairs)},
        "auc": interval(both, pooled_auc),
        "above_own_twin": interval(both, own_twin),
        "pixel_auc": interval(maps[:1], lambda values: float(values.mean())),
        "pixel_auc_gain": interval(maps, lambda values: float((values[:, 0] - values[:, 1]).mean())),
    }


TITLES = {
    "speaks": "Forgeries / twins of which the detector says anything",
    "auc": "Image AUC: all forgeries against all twins, by score",
    "above_own_twin": "Share of forgeries that score above their own twin (ties count half)",
    "pixel_auc": "Pixel AUC of the map on the forgery, mean over pictures",
    "pixel_auc_gain": "What the trace adds: pixel AUC of the forgery's map minus that of the twin's on the same region",
}


def _text(found: dict[str, Any]) -> str:
    if "forged" in found:
        return f"{found['forged']} / {found['twin']} of {found['n']}"
    if not found["n"]:
        return "–"
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}] n={found['n']}"


def surprises(table: dict[str, Any]) -> list[str]:
    """Return where detectors do not do what they are meant to: the image AUC's interval decides."""
    lines = []
    for trace, cells in table["cells"].items():
        for detector in table["detectors"]:
            meant, found = detector in table["expected"][trace], cells[detector]["auc"]
            answers = bool(found["n"]) and found["low"] > 0.5
            if meant and not answers:
                why = "abstains" if not found["n"] else f"is not clear of chance, {_text(found)}"
                lines.append(f"- `{detector}` is meant to answer to {trace}, but {why}")
            elif answers and not meant:
                lines.append(f"- `{detector}` also answers to {trace}: {_text(found)}")
    return lines


def markdown(table: dict[str, Any]) -> str:
    """Return the table as a page: one table a number, a row a trace, a column a detector."""
    lines = ["# Which detector answers to which trace", "", table["about"], ""]
    for number, title in TITLES.items():
        lines += [f"## {title}", "", f"| trace | {' | '.join(table['detectors'])} |"]
        lines += ["|---" * (len(table["detectors"]) + 1) + "|"]
        for trace, cells in table["cells"].items():
            texts = [_text(cells[d][number]) for d in table["detectors"]]
            bold = [
                f"**{t}**" if d in table["expected"][trace] else t
                for d, t in zip(table["detectors"], texts, strict=True)
            ]
            lines.append(f"| {trace} | {' | '.join(bold)} |")
        lines.append("")
    lines += ["## What differs from the expectation", "", *(surprises(table) or ["Nothing."]), ""]
    lines += ["Of 40 intervals that should hold chance, one lies above it by chance alone.", ""]
    return "\n".join(lines)


def write_table(args: argparse.Namespace) -> None:
    """Write the table of a file of rows as JSON and Markdown."""
    every = resumable.read_rows(args.rows)
    rows = [row for row in every if "error" not in row]
    detectors = sorted(next(iter(rows[0]["pairs"].values())))
    sources = len({row["source"] for row in rows})
    about = (
        f"{len(rows)} pictures of {sources} sources, at most {SIDE} pixels a side; {len(every) - len(rows)} more could "
        "not be used. Forgery and twin have the same host and delivery. Bold: the detector is meant to answer to the "
        "trace. A dash: there is no pair on which it speaks of both; n: pairs on which it does. In brackets: 95 % "
        "bootstrap by source. Chance is 0.5, for the gain 0."
    )
    table = {
        "about": about,
        "seed": SEED,
        "detectors": detectors,
        "expected": {name: list(case.expected) for name, case in CASES.items()},
        "cells": {t: {d: cell(rows, t, d) for d in detectors} for t in CASES},
    }
    write_atomic(f"{args.out}.json", (json.dumps(table, indent=1) + "\n").encode())
    write_atomic(f"{args.out}.md", markdown(table).encode())
    print(markdown(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    part = commands.add_parser("measure")
    part.add_argument("--manifest", required=True)
    part.add_argument("--out", required=True)
    part.add_argument("--pictures", type=int, default=60)
    part.add_argument("--workers", type=int, default=1)
    part.set_defaults(run=measure)
    part = commands.add_parser("table")
    part.add_argument("--rows", required=True)
    part.add_argument("--out", required=True)
    part.set_defaults(run=write_table)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
