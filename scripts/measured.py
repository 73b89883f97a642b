"""What a trained network answers on the pictures of a manifest, a row a picture, and what the rows of seeds say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.progress import track

from tamperscope.data.manifest import Entry, Manifest
from tamperscope.data.sequences import edits
from tamperscope.metrics import intervals, pixel, ranking, sequences
from tamperscope.types import Prediction, Sample

Row = list[float | None]
"""Number of the group, label, score; of a forged picture pixel F1 at 0.5 and pixel AUC, and where the order of its
edits is asked, fixed and adaptive accuracy, and the fixed accuracy of who names none."""
PIXEL = {"pixel_f1": 3, "pixel_auc": 4}
ORDER = {"sequence_fixed": 5, "sequence_adaptive": 6, "sequence_unnamed": 7}
METRICS = (*PIXEL, "image_auc")


def rows(
    ask: Callable[[Sample], Prediction], pictures: Manifest, entries: Sequence[Entry], label: str = ""
) -> list[Row]:
    """Return a row of each picture; a map is measured at the picture's own resolution.

    A mask that marks all of a picture or nothing of it is no measure of a map, nor is a picture without a map.
    """
    found = []
    groups = {name: i for i, name in enumerate(dict.fromkeys(e.source_group for e in entries))}
    for entry in track(entries, label):
        sample = pictures.open(entry)
        answer = ask(sample)
        row: Row = [groups[entry.source_group], sample.label, round(answer.score, 5), None, None]
        if sample.mask is not None and answer.heatmap is not None and sample.mask.any() and not sample.mask.all():
            values = pixel.measure(answer.heatmap, sample.mask, ("f1", "auc"))
            row[3:] = [round(values[name], 4) for name in ("f1", "auc")]
        found.append(row + _ordered(answer, sample))
    return found


def _ordered(answer: Prediction, sample: Sample) -> Row:
    truth = edits(sample.meta, sample.label)
    if "sequence" not in answer.evidence or not truth:
        return []
    called = answer.evidence["sequence"]
    fixed, adaptive = sequences.fixed_accuracy(called, truth), sequences.adaptive_accuracy(called, truth)
    return [round(value, 4) for value in (fixed, adaptive, sequences.fixed_accuracy([], truth))]


def summary(seeds: Sequence[list[Row]]) -> dict[str, Any]:
    """Return each metric that the rows have: mean over seeds with a 95 % bootstrap by group, and the seeds' own values.

    Args:
        seeds: Rows of the same pictures, a list a seed.
    """
    first = seeds[0]
    labels = np.array([bool(row[1]) for row in first])
    found: dict[str, Any] = {"forged": int(labels.sum()), "pristine": int((~labels).sum())}
    for name, column in {**PIXEL, **ORDER}.items():
        told = [i for i, row in enumerate(first) if len(row) > column and row[column] is not None]
        if not told:
            continue
        values = np.array([[one[i][column] for one in seeds] for i in told], float)
        whole = intervals.bootstrap(values.mean(1), [str(first[i][0]) for i in told])
        spread = {"low": round(whole.low, 4), "high": round(whole.high, 4)}
        mean = round(float(values.mean()), 4)
        found[name] = {"mean": mean, **spread, "seeds": [round(float(v), 4) for v in values.mean(0)]}
    scores = [np.array([row[2] for row in one], float) for one in seeds]
    aucs = [ranking.auc(each, labels) for each in scores]
    alarms = [float((each[~labels] > 0.5).mean()) for each in scores]
    for name, own in (("image_auc", aucs), ("alarms", alarms)):
        found[name] = {"mean": round(float(np.mean(own)), 4), "seeds": [round(float(v), 4) for v in own]}
    return found


def shown(values: dict[str, Any]) -> str:
    """Return one metric of a summary as a cell: the mean, its interval if there is one, least and most of the seeds."""
    least, most = min(values["seeds"]), max(values["seeds"])
    spread = f" [{values['low']:.3f}, {values['high']:.3f}]" if "low" in values else ""
    mean = f"{values['mean']:.3f}{spread}"
    return mean if least == most else f"{mean}; {least:.3f}–{most:.3f}"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))
