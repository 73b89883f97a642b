"""Measure every detector and the fused scan on a labelled manifest, and write the tables.

    python scripts/evaluate.py observe --manifest DATA/manifest.jsonl --split dev --out out/dev.jsonl --workers 2
    python scripts/evaluate.py table --rows out/dev.jsonl --out results/scan_casia_v1_dev

`observe` scans every picture once as it is and, with `--recompress 75`, once more after a common recompression. Pixel
numbers are taken at original resolution on forged pictures only. It can be stopped and started again.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import resumable

from tamperscope import media, registry
from tamperscope.data import manifest
from tamperscope.media.recompress import encode_jpeg
from tamperscope.metrics import confusion, intervals, ranking
from tamperscope.scanning import Scanner
from tamperscope.verdict.card import LEVELS, shipped_card

PIXEL = ("f1", "best_f1", "iou", "auc")


@lru_cache(maxsize=1)
def _scanner() -> Scanner:
    cv2.setNumThreads(1)
    return Scanner(probe=False)


def blob(size: tuple[int, int]) -> np.ndarray:
    """Return a Gaussian at the centre, a quarter of each side wide: the bar, as it looks at nothing."""
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in size)
    return np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * 0.25**2)).astype(np.float32)


def pixel_scores(heat: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    counts = confusion.counts(heat, mask, 0.5)
    return {
        "f1": counts.f1,
        "iou": counts.iou,
        "auc": ranking.auc(heat, mask),
        "best_f1": ranking.best_f1(heat, mask),
    }


def observe(job: tuple[str, manifest.Entry, int | None]) -> dict[str, Any]:
    root, entry, quality = job
    source: Any = Path(root) / entry.image
    if quality is not None:
        source = encode_jpeg(media.open(source).sample.rgb, quality, "4:2:0")
    report = _scanner().scan(source)
    row: dict[str, Any] = {"key": f"{entry.image}|{quality}", "quality": quality, "forged": bool(entry.label)}
    row |= {"group": entry.source_group, "kind": entry.extra.get("kind", ""), "level": report.verdict.level}
    row["llr"], row["domain"] = report.verdict.llr, entry.image.split("/")[1]
    row["scores"] = {p.detector: p.score for p in report.predictions if p.status == "ok" and p.score is not None}
    row["table"] = json.dumps(report.facts.get("jpeg", {}).get("quantization", {}).get("tables"))
    if entry.mask and row["forged"]:
        mask = cv2.imread(str(Path(root) / entry.mask), cv2.IMREAD_GRAYSCALE) > 127
        size = (report.picture.height, report.picture.width)
        if mask.shape == size and mask.any() and not mask.all():
            maps = {name: report.map(name) for name in report.maps}
            silent = np.zeros(size, np.float32)
            names = [*registry.names(), "fused"]
            row["pixel"] = {n: pixel_scores(maps.get(n, silent), mask) for n in names}
            row["pixel"]["centre_blob"] = pixel_scores(blob(size), mask)
        else:
            row["unusable_mask"] = f"{mask.shape} for {size}"
    return row


def _safely(job: tuple[str, manifest.Entry, int | None]) -> dict[str, Any]:
    try:
        return observe(job)
    except Exception as error:
        return {"key": f"{job[1].image}|{job[2]}", "error": f"{type(error).__name__}: {error}"}


def observe_all(args: argparse.Namespace) -> None:
    path = Path(args.manifest)
    entries = [e for e in manifest.read(path) if e.split == args.split and args.under in e.image]
    if args.held_out_from:
        used = {row["key"] for row in resumable.read_rows(args.held_out_from)}
        entries = [e for e in entries if f"{e.image}|pristine" not in used]
    qualities = [None] if args.recompress is None else [None, args.recompress]
    jobs = [(f"{e.image}|{q}", (str(path.parent), e, q)) for q in qualities for e in entries]
    resumable.run(jobs, _safely, args.out, args.workers, "scanning")


def _shown(interval: intervals.Interval) -> str:
    return "" if interval.n == 0 else f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _image_auc(rows: list[dict[str, Any]], value: Any) -> intervals.Interval:
    pairs = [(value(r), float(r["forged"])) for r in rows]
    kept = [(v, f, r["group"]) for (v, f), r in zip(pairs, rows, strict=True) if v is not None and not math.isnan(v)]
    if len({f for _, f, _ in kept}) < 2:
        return intervals.bootstrap([])
    table = np.array([[v, f] for v, f, _ in kept])
    return intervals.bootstrap(
        table, [g for *_, g in kept], lambda drawn: ranking.auc(drawn[:, 0], drawn[:, 1] > 0.5), rounds=300
    )


def _lookup(rows: list[dict[str, Any]]) -> intervals.Interval:
    """Return the image AUC of a look-up of the quantization table alone, learnt on the other four fifths."""

    def fold(row: dict[str, Any]) -> int:
        return zlib.crc32(row["group"].encode()) % 5

    seen: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        for other in range(5):
            if fold(row) != other:
                seen.setdefault((row["table"], other), [0, 0])[row["forged"]] += 1

    def share(row: dict[str, Any]) -> float:
        pristine, forged = seen.get((row["table"], fold(row)), [0, 0])
        return (forged + 0.5) / (pristine + forged + 1.0)

    return _image_auc(rows, share)


def _gain(pixel: list[dict[str, Any]], name: str) -> tuple[str, int]:
    """Return pixel AUC over that of the centre blob on the forged pictures whose score speaks for a forgery."""
    curve = shipped_card().detectors.get(name)
    if curve is None:
        return "", 0
    part = [r for r in pixel if r["scores"].get(name) is not None and curve.at(r["scores"][name]).llr > 0]
    gains = [r["pixel"][name]["auc"] - r["pixel"]["centre_blob"]["auc"] for r in part]
    found = intervals.bootstrap(gains, [r["group"] for r in part], rounds=500)
    return _shown(found), found.n


def tabulate(rows: list[dict[str, Any]], quality: int | None) -> list[dict[str, Any]]:
    """Return one table row a detector: pixel metrics on forged pictures, image AUC, and how often it answered."""
    rows = [r for r in rows if r["quality"] == quality]
    pixel = [r for r in rows if "pixel" in r]
    table = []
    for name in [*registry.names(), "fused", "centre_blob"]:
        line: dict[str, Any] = {"detector": name, "recompressed": quality or "", "n_forged": len(pixel)}
        for kind in ("", "copymove", "splice"):
            part = [r for r in pixel if not kind or r["kind"].startswith(kind)]
            groups = [r["group"] for r in part]
            for metric in PIXEL:
                found = intervals.bootstrap([r["pixel"][name][metric] for r in part], groups, rounds=500)
                line[f"{kind}{'_' * bool(kind)}pixel_{metric}"] = _shown(found)
        line["gain_over_blob_where_it_speaks"], line["speaks_on"] = _gain(pixel, name)
        score = (lambda r: r["llr"]) if name == "fused" else (lambda r, n=name: r["scores"].get(n))
        area = intervals.bootstrap([]) if name == "centre_blob" else _image_auc(rows, score)
        line |= {"image_auc": _shown(area), "image_n": area.n}
        table.append(line)
    look = _lookup(rows)
    table.append({"detector": "quantization_table_lookup", "recompressed": quality or "", "image_auc": _shown(look)})
    return table


def levels(rows: list[dict[str, Any]], quality: int | None) -> dict[str, Any]:
    """Return the share of pristine and of forged pictures at each level or above."""
    rows = [r for r in rows if r["quality"] == quality]
    found: dict[str, Any] = {}
    for level in LEVELS[1:]:
        at = LEVELS.index(level)
        for truth in (False, True):
            part = [r for r in rows if r["forged"] == truth]
            hits = [float(LEVELS.index(r["level"]) >= at) for r in part]
            share = intervals.bootstrap(hits, [r["group"] for r in part])
            found[f"{'forged' if truth else 'pristine'}_{level}_or_above"] = f"{_shown(share)} n={share.n}"
    return found


def table(args: argparse.Namespace) -> None:
    rows = resumable.read_rows(args.rows)
    failed = [r for r in rows if "error" in r]
    rows = [r for r in rows if "error" not in r]
    qualities = sorted({r["quality"] for r in rows}, key=lambda q: q or 0)
    lines = [line for q in qualities for line in tabulate(rows, q)]
    out = Path(args.out)
    document = {
        "command": f"python scripts/evaluate.py observe …; python scripts/evaluate.py table --out {args.out}",
        "pixel_metrics": "mean over forged pictures at original resolution; threshold 0.5; silence = zeros",
        "intervals": "95 % bootstrap by source group",
        "scanned": len(rows),
        "failed": [r["key"] + ": " + r["error"] for r in failed],
        "unusable_masks": sum("unusable_mask" in r for r in rows),
        "levels": {str(q or "as delivered"): levels(rows, q) for q in qualities},
        "table": lines,
    }
    out.with_suffix(".json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    with out.with_suffix(".csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    columns = ["detector", "recompressed", "pixel_f1", "pixel_best_f1", "pixel_iou", "pixel_auc", "image_auc"]
    columns += ["copymove_pixel_f1", "splice_pixel_f1", "gain_over_blob_where_it_speaks", "speaks_on"]
    text = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    text += ["| " + " | ".join(str(line.get(c, "")) for c in columns) + " |" for line in lines]
    text += ["", *(f"- {q}: {k} {v}" for q, part in document["levels"].items() for k, v in part.items())]
    out.with_suffix(".md").write_text(f"Made by `{document['command']}`\n\n" + "\n".join(text) + "\n")
    print("\n".join(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("observe")
    one.add_argument("--manifest", required=True)
    one.add_argument("--split", default="dev")
    one.add_argument("--under", default="", help="only pictures whose path holds this")
    one.add_argument("--held-out-from", default="", help="rows of a calibration; its pristine files are left out")
    one.add_argument("--recompress", type=int)
    one.add_argument("--out", default="out/dev.jsonl")
    one.add_argument("--workers", type=int, default=2)
    one.set_defaults(run=observe_all)
    two = verbs.add_parser("table")
    two.add_argument("--rows", default="out/dev.jsonl")
    two.add_argument("--out", default="results/scan_casia_v1_dev")
    two.set_defaults(run=table)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
