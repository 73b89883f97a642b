"""Compare trained networks on the same pictures, whole and by what a manifest says of them, with paired intervals.

    python scripts/versus.py --networks shipped=src/tamperscope/weights/localizer new=out/localizer/run/best.pt \\
        --sets out/localizer/choose/other_hands out/localizer/choose/small_others --by file history editors \\
        --out results/localizer_tables
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measured
import torch

from tamperscope.data.manifest import Manifest
from tamperscope.engine import predict
from tamperscope.files import write_atomic
from tamperscope.metrics import intervals

Rows = dict[str, list[measured.Row]]


def asked(networks: dict[str, str], pictures: Manifest, label: str) -> Rows:
    """Return the rows of every network on the same pictures."""
    found = {}
    for name, path in networks.items():
        ask = predict.load(path, how="tile", side=768, overlap=64)
        found[name] = measured.rows(ask, pictures, list(pictures), f"{name}: {label}")
    return found


def compared(rows: Rows) -> dict[str, Any]:
    """Return the summary of each network, and the paired difference of each to the first."""
    found = {name: measured.summary([own]) for name, own in rows.items()}
    first = next(iter(rows.values()))
    forged = [i for i, row in enumerate(first) if row[3] is not None]
    for name, own in list(rows.items())[1:]:
        for metric, column in measured.PIXEL.items():
            values = [float(own[i][column] or 0) - float(first[i][column] or 0) for i in forged]
            whole = intervals.bootstrap(values, [str(first[i][0]) for i in forged])
            found[name][f"{metric}_difference"] = {"mean": whole.value, "low": whole.low, "high": whole.high}
    return found


def parts(pictures: Manifest, rows: Rows, fields: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the mean pixel F1 of each network over the forged pictures that share a value of a field."""
    found: dict[str, dict[str, Any]] = {}
    for field in fields:
        seen: dict[str, list[int]] = {}
        for i, entry in enumerate(pictures):
            value = entry.extra.get(field)
            text = ", ".join(value) if isinstance(value, list) else value
            if entry.label == 1 and text is not None:
                seen.setdefault(str(text), []).append(i)
        for value, chosen in sorted(seen.items()):
            means = {name: sum(float(own[i][3] or 0) for i in chosen) / len(chosen) for name, own in rows.items()}
            found[f"{field}: {value}"] = {"forged": len(chosen), **means}
    return found


def text_of(result: dict[str, Any], networks: Sequence[str]) -> str:
    lines, more = [], []
    for label, found in result.items():
        for name in networks:
            told = found["networks"][name]
            gains = [told.get(f"{m}_difference") for m in measured.PIXEL]
            shown = ["–" if g is None else f"{g['mean']:+.3f} [{g['low']:+.3f}, {g['high']:+.3f}]" for g in gains]
            lines.append([label, name, *(measured.shown(told[m]) for m in measured.METRICS), *shown])
        for part, values in found["parts"].items():
            more.append([label, part, str(values["forged"]), *(f"{values[name]:.3f}" for name in networks)])
    head = ["set", "network", *measured.METRICS, *(f"{m} against the first" for m in measured.PIXEL)]
    text = TEXT.format(table=measured.markdown(head, lines))
    if more:
        text += PARTS.format(table=measured.markdown(["set", "part", "forged", *networks], more))
    return text


TEXT = """# Networks on the same pictures

Pixel numbers are means over forged pictures at their own resolution, F1 at 0.5, with a 95 % bootstrap by group; the
differences are paired. Image AUC: the network's own score against the untouched twins. Made by `scripts/versus.py`.

{table}
"""
PARTS = """
## Pixel F1 by part

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", required=True, help="NAME=FILE of each; the first is the measure")
    parser.add_argument("--sets", nargs="+", type=Path, required=True, help="folders with a manifest")
    parser.add_argument("--by", nargs="*", default=[], help="fields of the manifest")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    networks = dict(text.split("=", 1) for text in args.networks)
    result = {}
    for folder in args.sets:
        pictures = Manifest(folder / "manifest.jsonl")
        rows = asked(networks, pictures, folder.name)
        result[folder.name] = {"networks": compared(rows), "parts": parts(pictures, rows, args.by)}
    write_atomic(args.out.with_suffix(".json"), (json.dumps(result, indent=1) + "\n").encode())
    write_atomic(args.out.with_suffix(".md"), text_of(result, list(networks)).encode())


if __name__ == "__main__":
    main()
