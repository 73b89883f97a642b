"""The pages of `comparison.py`: one a domain, and one across domains."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import measured
import numpy as np
from contests import CONTESTS, Contest

from tamperscope.bench import baselines

DOMAIN = """# {name}: all systems on one budget

Every system at its tiny size, each seed trained on the same {count} forgeries with their twins: {told}. {steps} steps
of 8 windows of {side} pixels, AdamW, rate 0.002, the same windows in the same order. The last network counts; nothing
was chosen. Groups of source pictures are in one part only.{own} {counts}. Pixel metrics are means over forged pictures
at their own resolution (F1 at the fixed threshold 0.5); image AUC is of the scores (.5 is chance), alarms is the share
of pristine pictures with a score above 0.5{order}. In brackets: 95 % bootstrap by group of the mean over seeds; then
the least and the most of the seeds. Images a second: forward and backward of a training step, one core, the best of
several turns. Made by `scripts/comparison.py`.

{table}

{clear}

**What it means.** Which of these networks, made small and with one common recipe, learns most from {windows} windows
without any pretrained weights. **What it does not mean.** Nothing here ranks the published systems: those have 30 to
250 times the parameters, start from large pretrained backbones, see a hundred times the pictures, and have recipes of
their own. Differences that are smaller than the spread of the seeds are none.
"""
OWN = " `{name}` learns from other forgeries of the same pictures (recipe `{recipe}`) and never sees these."
ORDER = ", sequence_unnamed is the fixed accuracy of who names no edit"
WRONG = 0.45
CROSS = """# Across domains

The networks of the pages `comparison_*`, each trained in one domain alone, asked about {count} pictures of every
domain's held-out forgeries and twins: image AUC of the scores; of several seeds the mean, the least and the most.
Its own domain is in bold. The mean over domains is the number of ForensicHub's cross-domain protocol. Flipped: where
every seed is below .45, so that the scores tell something the wrong way round, 1 - AUC. Groups of source pictures are
in one part only within a domain; between domains the photographs of one may have taught the networks of another. Made
by `scripts/comparison.py cross`.

{table}
"""


def domain(contest: Contest, titles: Mapping[str, str], result: dict[str, Any], costs: dict[str, Any]) -> str:
    """Return the page of a domain.

    Args:
        contest: What was done.
        titles: Names of the measured sets by their keys, the held-out one first.
        result: Summaries by system and set.
        costs: Of the systems, as `comparison.py speed` writes them.
    """
    result = {name: found for name, found in result.items() if contest.pixels or name != baselines.CENTRE_BLOB}
    wanted = [m for m in measured.METRICS if contest.pixels or m not in measured.PIXEL]
    metrics = [m for m in (*wanted, *measured.ORDER, "alarms") if any(m in r["held"] for r in result.values())]
    lead = "image_auc" if contest.metric.startswith("image") else "pixel_auc"
    order = sorted(result, key=lambda name: -np.mean(result[name]["held"].get(lead, {"seeds": [0.0]})["seeds"]))
    shown = [(key, metric) for key in titles for metric in metrics if any(metric in r[key] for r in result.values())]
    head = ["system", "seeds", "parameters", "MMAC", "images/s", *(f"{titles[key]}: {m}" for key, m in shown)]
    lines = []
    for name in order:
        numbers = [measured.shown(result[name][k][m]) if m in result[name][k] else "–" for k, m in shown]
        lines.append([name, str(len(result[name]["held"]["image_auc"]["seeds"])), *_size(costs.get(name)), *numbers])
    one = result[order[0]]
    counts = "; ".join(f"{titles[key]}: {one[key]['forged']} forged, {one[key]['pristine']} pristine" for key in titles)
    text = DOMAIN.format(
        name=contest.title,
        count=contest.train[2],
        told=contest.told,
        steps=contest.steps,
        side=contest.side,
        windows=contest.steps * 8,
        counts=counts,
        own="".join(OWN.format(name=name, recipe=forged[0]) for name, forged in contest.own.items() if name in result),
        table=measured.markdown(head, lines),
        order=ORDER if any(m in r["held"] for r in result.values() for m in measured.ORDER) else "",
        clear=_clear(result, order) if contest.pixels else "",
    )
    return _filled(text)


def _filled(text: str) -> str:
    """Return a page whose paragraphs have lines of one width; tables and headings stay."""
    parts = [part for part in text.split("\n\n") if part.strip()]
    return "\n\n".join(part if part[0] in "#|" else textwrap.fill(part, 120) for part in parts) + "\n"


def _size(cost: Mapping[str, float] | None) -> list[str]:
    if cost is None:
        return ["–"] * 3
    count = cost["parameters"]
    return [
        f"{count / 1e6:.2f} M" if count >= 1e4 else str(count),
        f"{cost['mmacs']:.0f}",
        f"{cost['images_per_second']:.0f}",
    ]


def _clear(result: dict[str, Any], order: list[str]) -> str:
    """Return which systems' maps tell more than one that looks at nothing."""
    bar = result.get(baselines.CENTRE_BLOB, {}).get("held", {}).get("pixel_auc")
    if bar is None:
        return ""
    clear = [name for name in order if result[name]["held"].get("pixel_auc", {"low": 0})["low"] > bar["high"]]
    told = (
        f"Clear of `{baselines.CENTRE_BLOB}`, which looks at nothing, on what was held out, by intervals of pixel AUC: "
        f"{', '.join(clear) or 'none'}."
    )
    others = {name for name, found in result.items() if "pixel_auc" in found["held"]} - {*clear, baselines.CENTRE_BLOB}
    return f"{told} On pixels, the others have found nothing that counts in so few steps." if others else told


def cross(result: dict[str, Any], count: int) -> str:
    """Return the page across domains.

    Args:
        result: Summaries by `domain/system` and by domain.
        count: Pictures of each domain.
    """
    lines = []
    for run, found in result.items():
        own, _, name = run.partition("/")
        cells = [measured.shown(found[key]["image_auc"]) for key in CONTESTS]
        cells = [f"**{cell}**" if key == own else cell for key, cell in zip(CONTESTS, cells, strict=True)]
        aucs = {key: found[key]["image_auc"] for key in CONTESTS}
        flipped = [f"{key} {1 - auc['mean']:.3f}" for key, auc in aucs.items() if max(auc["seeds"]) < WRONG]
        mean = np.mean([auc["mean"] for auc in aucs.values()])
        lines.append([name, own, *cells, f"{mean:.3f}", ", ".join(flipped) or "–"])
    head = ["system", "trained on", *CONTESTS, "mean", "flipped"]
    return _filled(CROSS.format(count=count, table=measured.markdown(head, lines)))
