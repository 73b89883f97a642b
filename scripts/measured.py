"""What a trained network answers on the pictures of a manifest, a row a picture, and what the rows of seeds say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.progress import track

from tamperscope.data.manifest import Entry, Manifest
from tamperscope.metrics import intervals, pixel, ranking
from tamperscope.types import Prediction, Sample

Row = list[float | None]
"""Number of the group, label, score, and of a forged picture pixel F1 at 0.5 and pixel AUC."""
PIXEL = {"pixel_f1": 3, "pixel_auc": 4}
METRICS = (*PIXEL, "image_auc")


def rows(
    ask: Callable[[Sample], Prediction], pictures: Manifest, entries: Sequence[Entry], label: str = ""
) -> list[Row]:
    """Return a row of each picture; a map is measured at the picture's own resolution."""
    found = []
    groups = {name: i for i, name in enumerate(dict.fromkeys(e.source_group for e in entries))}
    for entry in track(entries, label):
        sample = pictures.open(entry)
        answer = ask(sample)
        row: Row = [groups[entry.source_group], sample.label, round(answer.score, 5), None, None]
        if sample.mask is not None and sample.mask.any():
            values = pixel.measure(answer.heatmap, sample.mask, ("f1", "auc"))
            row[3:] = [round(values[name], 4) for name in ("f1", "auc")]
        found.append(row)
    return found


def summary(seeds: Sequence[list[Row]]) -> dict[str, Any]:
    """Return each metric: mean over seeds with a 95 % bootstrap by group, and the seeds' own values.

    Args:
        seeds: Rows of the same pictures, a list a seed.
    """
    first = seeds[0]
    forged = [i for i, row in enumerate(first) if row[3] is not None]
    groups = [str(first[i][0]) for i in forged]
    labels = np.array([bool(row[1]) for row in first])
    found: dict[str, Any] = {"forged": len(forged), "pristine": int((~labels).sum())}
    for name, column in PIXEL.items():
        values = np.array([[one[i][column] for one in seeds] for i in forged], float)
        whole = intervals.bootstrap(values.mean(1), groups)
        spread = {"low": round(whole.low, 4), "high": round(whole.high, 4)}
        mean = round(float(values.mean()), 4)
        found[name] = {"mean": mean, **spread, "seeds": [round(float(v), 4) for v in values.mean(0)]}
    aucs = [ranking.auc(np.array([row[2] for row in one], float), labels) for one in seeds]
    found["image_auc"] = {"mean": round(float(np.mean(aucs)), 4), "seeds": [round(float(v), 4) for v in aucs]}
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
