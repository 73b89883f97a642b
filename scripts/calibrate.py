"""Make the calibration cards: run the detectors over pictures whose truth is known, then fit.

    python scripts/calibrate.py extract --manifest DATA/manifest.jsonl --out out/calibration.jsonl --workers 2
    python scripts/calibrate.py fit --rows out/calibration.jsonl --out CLASSICAL --leave-out localizer
    python scripts/calibrate.py extract --manifest DATA/manifest.jsonl --out out/network.jsonl --workers 2 \\
        --listed out/localizer/photos/choose.jsonl out/localizer/photos/measure.jsonl
    python scripts/calibrate.py fit --rows out/network.jsonl --keep CLASSICAL

`extract` takes the `train` split only. From every pristine picture it makes up to three rows: the file as it is, a
forgery made from it, and its twin, which went through the same deliveries without the edit. It can be stopped and
started again; with `--detectors` it runs a part of them, and `fit` joins several files of rows. `fit` prints what it
found in folds that took no part, and writes the card. The classical card comes of all pictures. That with the network
keeps its curves; what the network is worth, and all weights and thresholds, come of pictures `--listed` that no
network was trained on.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import resumable
from scipy import special

from tamperscope import media, registry
from tamperscope.data import manifest
from tamperscope.errors import TamperscopeError
from tamperscope.media.recompress import encode_jpeg
from tamperscope.metrics import confusion, intervals, ranking
from tamperscope.ops.forge.copy_move import CopyMove
from tamperscope.ops.forge.delivery import Delivery
from tamperscope.ops.forge.removal import Removal
from tamperscope.ops.forge.splice import Splice
from tamperscope.report.maps import quantized
from tamperscope.types import Prediction, Sample
from tamperscope.verdict import fit
from tamperscope.verdict.card import CalibrationCard, Curve, Threshold
from tamperscope.verdict.fusion import family_maps, fuse_maps

CARD = Path(__file__).parents[1] / "src/tamperscope/weights/calibration.json"
GRID = 64
MAX_HOST = 1_200_000
SKIPPED = ("ai_portraits",)  # generated pictures are neither pristine nor locally edited
DOCUMENTS = "documents"
OPS = ("splice", "copy_move", "removal")
KINDS = {
    "camera": "camera originals",
    "web": "web photos",
    "people": "people",
    "objects": "objects",
    "portraits": "portraits",
    "documents": "receipts",
    "video_objects": "video frames",
}
A_CONTRARIO = ("zero", "noisesniffer")
# What an editor may have written anew says nothing when it agrees: here forgeries always keep the old preview, so that
# agreement would count as proof of an untouched picture. Nor does the silence of a network: the forgeries here are made
# by the code that made its training, so that it misses fewer of them than of other people's.
ONE_SIDED = ("thumbnail", "localizer")
NOT_WEIGHED = {"ela": "a display layer: its contrast follows texture as much as editing"}


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to run over: `kind` is pristine, forged or twin."""

    index: int
    kind: str
    entry: manifest.Entry
    donor: manifest.Entry
    root: str
    detectors: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.entry.image}|{self.kind}"


def _open(root: str, entry: manifest.Entry) -> Sample:
    return media.open(Path(root) / entry.image).sample


def _donor_mask(root: str, entry: manifest.Entry, size: tuple[int, int]) -> np.ndarray | None:
    if not entry.object_mask:
        return None
    mask = cv2.imread(str(Path(root) / entry.object_mask), cv2.IMREAD_GRAYSCALE)
    return None if mask is None or mask.shape != size else mask > 127


def _host(sample: Sample, rng: np.random.Generator) -> Sample:
    """Bound the size: half of the large ones are reduced (a web copy), half cropped on the block grid."""
    height, width = sample.size
    if height * width <= MAX_HOST:
        return sample
    scale = math.sqrt(MAX_HOST / (height * width))
    h, w = int(height * scale), int(width * scale)
    if rng.random() < 0.5:
        return sample.with_pixels(np.asarray(cv2.resize(sample.rgb, (w, h), interpolation=cv2.INTER_AREA), np.uint8))
    top, left = (int(rng.integers(0, (n - k) // 8 + 1)) * 8 for n, k in ((height, h), (width, w)))
    return sample.with_pixels(sample.rgb[top : top + h, left : left + w].copy(), thumbnail=None)


def make(task: Task) -> tuple[bytes, np.ndarray, str, np.ndarray | None]:
    """Return (bytes, truth mask, operation, thumbnail) of a forgery or its twin; all follow from the task's index.

    The thumbnail is the one that the camera wrote: an editor that keeps it is what the thumbnail detector is for.
    """
    rng = np.random.default_rng([20261125, task.index])
    host = _host(_open(task.root, task.entry), rng)
    thumbnail = host.thumbnail
    if rng.random() < 0.5:  # else the host keeps only the history that its own file gave it
        first = int(rng.integers(60, 96))
        host = media.open(encode_jpeg(host.rgb, first, "4:2:0")).sample
    kind = str(rng.choice(["splice", "splice", "copy_move", "copy_move", "removal"]))
    last = None if rng.random() < 0.15 else int(rng.integers(70, 99))
    delivery = Delivery(last, "4:2:0" if rng.random() < 0.7 else "4:4:4")
    if task.kind == "twin":
        return delivery.encode(host.rgb), np.zeros(host.size, bool), kind, thumbnail
    if kind == "splice":
        donor = _open(task.root, task.donor)
        op: Any = Splice(donor, _donor_mask(task.root, task.donor, donor.size))
    else:
        op = CopyMove() if kind == "copy_move" else Removal()
    forged = op(host, rng)
    assert forged.mask is not None
    return delivery.encode(forged.rgb), forged.mask, kind, thumbnail


def _pack(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.astype(np.uint8).tobytes())).decode()


def _unpack(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def _grid(plane: np.ndarray) -> np.ndarray:
    rows, cols = (((np.arange(GRID) + 0.5) / GRID * n).astype(int) for n in plane.shape)
    return plane[rows][:, cols]


def observe(task: Task) -> dict[str, Any]:
    """Return the row of one task: scores, and maps sampled on a coarse grid."""
    cv2.setNumThreads(1)
    if task.kind == "pristine":
        sample, mask, kind = _open(task.root, task.entry), None, "pristine"
    else:
        data, mask, kind, thumbnail = make(task)
        sample = replace(media.open(data).sample, thumbnail=thumbnail)
    row: dict[str, Any] = {"key": task.key, "kind": task.kind, "op": kind, "source": task.entry.source_group}
    row |= {"stratum": task.entry.image.split("/")[1], "scores": {}, "maps": {}, "cause": {}, "size": sample.size}
    for name in task.detectors:
        found = registry.load(name).predict(sample)
        if found.status != "ok" or math.isnan(found.score):
            row["cause"][name] = found.cause
            continue
        row["scores"][name] = found.score
        if found.heatmap is not None:
            row["maps"][name] = _pack(_grid(quantized(name, found.heatmap, sample.size)))
    if mask is not None and task.kind == "forged":
        row["mask"] = _pack(_grid(mask))
    return row


def _safely(task: Task) -> dict[str, Any]:
    try:
        return observe(task)
    except TamperscopeError as error:
        return {"key": task.key, "error": f"{type(error).__name__}: {error}"}


def tasks(path: Path, detectors: tuple[str, ...], listed: set[Path] | None = None) -> Iterator[Task]:
    """Yield the tasks of a manifest's train split, or of some pictures of it, in a fixed order."""
    entries = [e for e in manifest.read(path) if e.split == "train" and e.image.split("/")[1] not in SKIPPED]
    entries = [e for e in entries if listed is None or (path.parent / e.image).resolve() in listed]
    donors = [e for e in entries if e.image.split("/")[1] != DOCUMENTS]
    rng = np.random.default_rng(7)
    for index, entry in enumerate(entries):
        others = [d for d in donors if d.source_group != entry.source_group]
        donor = others[int(rng.integers(len(others)))]
        for kind in ("pristine", "forged", "twin"):
            yield Task(index, kind, entry, donor, str(path.parent), detectors)


def extract(args: argparse.Namespace) -> None:
    names = tuple(args.detectors.split(",")) if args.detectors else tuple(registry.names())
    listed = {(m.parent / e.image).resolve() for m in args.listed for e in manifest.read(m)} or None
    chosen = list(tasks(Path(args.manifest), names, listed))[:: args.every]
    resumable.run([(t.key, t) for t in chosen], _safely, args.out, args.workers, "observing")


def _observation(row: dict[str, Any]) -> fit.Observation:
    stratum = row["stratum"] if row["kind"] == "pristine" else "delivered"
    return fit.Observation(row["source"], stratum, row["kind"] == "forged", row["scores"])


def _heat(rows: list[dict[str, Any]], name: str, curve: Curve | None) -> np.ndarray:
    """Fit a detector's heat on the forgeries on which it speaks (all of them before a curve is known)."""
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for row in rows:
        if row["kind"] != "forged" or name not in row["maps"]:
            continue
        if curve is not None and curve.at(row["scores"][name]).llr <= 0:
            continue
        heat, mask = _unpack(row["maps"][name]), _unpack(row["mask"]).astype(bool)
        if mask.any() and not mask.all():
            parts[0].append(np.bincount(heat[mask], minlength=256))
            parts[1].append(np.bincount(heat[~mask], minlength=256))
    if not parts[0]:
        return np.zeros(fit.HEAT_KNOTS)
    return fit.fit_heat(np.array(parts[0], float), np.array(parts[1], float))


def fit_card(rows: list[dict[str, Any]], gate: dict[str, tuple[bool, str]], kept: dict[str, Curve]) -> CalibrationCard:
    """Return a card fitted on `rows`, but for the curves that are kept; its thresholds are placeholders."""
    observed = [_observation(r) for r in rows]
    curves = dict(kept)
    for name in gate:
        if name in kept or not any(name in o.scores for o in observed):
            continue
        family = registry.load(name).family
        draft = fit.fit_curve(observed, name, family, *gate[name], [0.0, 0.0])
        curves[name] = draft.model_copy(update={"heat_llr": tuple(np.round(_heat(rows, name, draft), 4).tolist())})
        if name in ONE_SIDED:
            curves[name] = curves[name].one_sided()
    blank = Threshold(llr=0.0, false_alarm_rate=0.0, low=0.0, high=1.0)
    card = CalibrationCard(
        population="",
        detectors=curves,
        weights={},
        intercept=0.0,
        pixel_prior=0.0,
        thresholds=dict.fromkeys(fit.NOMINAL, blank),
    )
    card = fit.with_weights(card, observed)
    if any(curve.family == "network" for curve in curves.values()):
        # Families of one trace each add as they are; a network looks at all traces, so its evidence overlaps theirs.
        card = card.model_copy(update={"pixel_weights": pixel_weights(rows, card)})
    return card.model_copy(update={"pixel_prior": best_prior(rows, card)})


def _told(rows: list[dict[str, Any]], card: CalibrationCard) -> Iterator[tuple[Any, Any, np.ndarray]]:
    """Yield maps, worths of scores and truth of each forgery."""
    for row in rows:
        if row["kind"] == "forged" and (mask := _unpack(row["mask"]).astype(bool)).any():
            predictions = [Prediction(name, (1, 1), score) for name, score in row["scores"].items()]
            worth = {p.detector: c for p in predictions if (c := card.calibrate(p)) is not None}
            yield {n: _unpack(m).reshape(GRID, GRID) for n, m in row["maps"].items()}, worth, mask


def pixel_weights(rows: list[dict[str, Any]], card: CalibrationCard) -> dict[str, float]:
    """Return what the evidence of each family on a pixel counts: a logistic regression, each picture weighing alike."""
    families = sorted({c.family for c in card.detectors.values() if c.counts})
    rng = np.random.default_rng(0)
    tables, truths = [], []
    for maps, worth, mask in _told(rows, card):
        table = np.zeros((GRID * GRID, len(families)))
        for family, evidence in family_maps(maps, worth, card):
            table[:, families.index(family)] = evidence.ravel()
        for truth in (mask, ~mask):
            if truth.any():
                drawn = rng.choice(np.flatnonzero(truth), 64)
                tables.append(table[drawn])
                truths.append(mask[drawn])
    weights, _ = fit.fit_weights(np.concatenate(tables), np.concatenate(truths))
    return {f: round(float(w), 4) for f, w in zip(families, weights, strict=True)}


def best_prior(rows: list[dict[str, Any]], card: CalibrationCard) -> float:
    """Return the log odds at which the fused maps of the forgeries reach the highest mean F1 at 0.5."""
    choices = np.arange(-6.0, 0.25, 0.25)
    totals = np.zeros(len(choices))
    for maps, worth, mask in _told(rows, card):
        fused = fuse_maps(maps, worth, card)
        if fused is None:
            continue
        odds = special.logit(np.clip(fused.ravel(), 1e-7, 1 - 1e-7))
        totals += [confusion.counts(odds, mask, -choice).f1 for choice in choices]
    return float(choices[int(totals.argmax())])


def _blob() -> np.ndarray:
    axis = (np.arange(GRID) + 0.5) / GRID - 0.5
    return np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 0.25**2)).ravel()


def gates(rows: list[dict[str, Any]], names: list[str]) -> dict[str, tuple[bool, str]]:
    """Say for each detector whether its map beats a centred blob where it speaks, by the interval of the difference.

    A detector speaks where its score lies above the 95th percentile of its scores on pristine pictures.
    """
    found = {}
    for name in names:
        clean = [r["scores"][name] for r in rows if r["kind"] != "forged" and name in r["scores"]]
        floor = float(np.quantile(clean, 0.95)) if clean else math.inf
        gains, sources = [], []
        for row in rows:
            if row["kind"] == "forged" and row["scores"].get(name, -math.inf) > floor and name in row["maps"]:
                mask = _unpack(row["mask"]).astype(bool)
                if mask.any() and not mask.all():
                    gains.append(ranking.auc(_unpack(row["maps"][name]), mask) - ranking.auc(_blob(), mask))
                    sources.append(row["source"])
        gain = intervals.bootstrap(gains, sources) if gains else None
        if name in NOT_WEIGHED:
            found[name] = (False, NOT_WEIGHED[name])
        elif gain is None or gain.n < 10:
            found[name] = (False, f"it spoke on {len(gains)} of the forgeries only: too few to tell what it is worth")
        else:
            by = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
            text = f"pixel AUC higher by {by} than that of a centred blob, n={gain.n}"
            better = gain.low > 0
            found[name] = (better, text if better else f"it does not beat a centred blob: {text}")
    return found


def joined(paths: list[str]) -> list[dict[str, Any]]:
    """Return the rows of several files, those of one picture made one; the last file's answers hold."""
    rows: dict[str, dict[str, Any]] = {}
    for path in paths:
        for row in resumable.read_rows(path):
            first = rows.setdefault(row["key"], row)
            for part in ("scores", "maps", "cause"):
                first[part] = {**first.get(part, {}), **row.get(part, {})}
    return list(rows.values())


def fit_command(args: argparse.Namespace) -> None:
    rows = joined(args.rows)
    failed = [r for r in rows if "error" in r]
    names = [name for name in registry.names() if name not in args.leave_out]
    rows = [r for r in rows if "error" not in r and {*r["scores"], *r["cause"]} >= set(names)]
    base = CalibrationCard.model_validate_json(Path(args.keep).read_text()) if args.keep else None
    kept = {}
    if base is not None:
        for name, curve in base.detectors.items():
            kept[name] = curve.model_copy(update={"population": curve.population or base.population})
    gate = gates(rows, names)
    for name in args.exclude:
        gate[name] = (False, args.exclude_why)
    llr = np.zeros(len(rows))
    for fold in range(fit.FOLDS):
        inside = [r for r in rows if _observation(r).fold != fold]
        card = fit_card(inside, gate, kept)
        for i, row in enumerate(rows):
            if _observation(row).fold == fold:
                llr[i] = fit.fused_llr(_observation(row), card)
    card = fit_card(rows, gate, kept)
    observed = [_observation(r) for r in rows]
    clean = np.array([not o.forged for o in observed])
    strata = np.array([o.stratum for o in observed])
    chosen: dict[Any, Threshold] = {}
    table: dict[str, Any] = {
        "counts": {s: int((clean & (strata == s)).sum()) for s in sorted({*strata[clean].tolist()})}
    }
    print(f"{len(rows)} rows, {len(failed)} failed; pristine {clean.sum()}, forged {(~clean).sum()}")
    for level, rate in fit.NOMINAL.items():
        camera = clean & (strata == "camera")
        one = np.zeros(len(llr), int)
        parts = ((clean, strata), (clean, one), (camera, one))
        edge = max(fit.threshold(llr[part], names[part].tolist(), rate) for part, names in parts)
        # Signs of manipulation are more evidence for it than against, whatever rate a population allows.
        edge = edge if level == "inconclusive" else max(edge, 0.0)
        chosen[level] = fit.as_threshold(edge, int((llr[clean] >= edge).sum()), int(clean.sum()))
        shares = {s: round(float(np.mean(llr[clean & (strata == s)] >= edge)), 4) for s in table["counts"]}
        kinds = {k: [v for v, r in zip(llr, rows, strict=True) if r["kind"] == "forged" and r["op"] == k] for k in OPS}
        found = {k: round(float(np.mean(np.array(v) >= edge)), 4) for k, v in kinds.items() if v}
        table[level] = {"llr": edge, "false_alarms": shares, "forged_found": found}
        print(f"{level:16s} llr {edge:+.3f}  pristine {chosen[level].false_alarm_rate:.4f}  {shares}\n{'':16s} {found}")
    for name in A_CONTRARIO:
        scores = [r["scores"][name] for r in rows if r["kind"] != "forged" and name in r["scores"]]
        table[f"{name}_alarms"] = {"pristine_and_resaved": len(scores), "with_nfa_below_1": sum(s > 0 for s in scores)}
    table["image_auc"] = round(ranking.auc(llr, ~clean), 4)
    print("image AUC, folds apart:", table["image_auc"])
    if args.table:
        keep = "--keep CLASSICAL " if kept else ""
        command = f"python scripts/calibrate.py fit --rows ROWS {keep}--table {args.table}"
        Path(args.table).write_text(json.dumps({"command": command, **table}, indent=1) + "\n")
    counts = {k: sum(r["kind"] == k for r in rows) for k in ("pristine", "twin", "forged")}
    shown = ", ".join(text for name, text in KINDS.items() if name in table["counts"])
    population = (
        f"{counts['pristine']} pristine files ({shown}), {counts['twin']} re-saved copies of them, and "
        f"{counts['forged']} forgeries made from them (splice, copy-move, removal; JPEG 70-98 or PNG)"
    ) + (", on none of which a network was trained" if kept else "")
    final = card.model_copy(
        update={"population": population, "thresholds": chosen, "provenance": provenance(counts, failed)}
    )
    Path(args.out).write_text(final.model_dump_json(indent=1) + "\n")
    for name, curve in final.detectors.items():
        print(
            f"{name:14s} {curve.family:14s} counts={curve.counts!s:5} llr {min(curve.llr):+.2f}..{max(curve.llr):+.2f}"
        )
        print(f"{'':14s} {curve.why}")
    print("weights", final.weights, "intercept", final.intercept)


def check_command(args: argparse.Namespace) -> None:
    """Write how often rows that a card's fit did not see reach each level."""
    card = CalibrationCard.model_validate_json(Path(args.card).read_text())
    seen = {row["key"] for row in joined(args.seen)}
    rows = [r for r in joined(args.rows) if "error" not in r and r["key"] not in seen]
    table: dict[str, Any] = {"command": f"python scripts/calibrate.py check … --table {args.table}"}
    strata = [r["stratum"] if r["kind"] == "pristine" else r["kind"] for r in rows]
    llr = np.array([fit.fused_llr(_observation(r), card) for r in rows])
    for level, threshold in card.thresholds.items():
        hits = {s: [float(v >= threshold.llr) for v, t in zip(llr, strata, strict=True) if t == s] for s in {*strata}}
        groups = {s: [r["source"] for r, t in zip(rows, strata, strict=True) if t == s] for s in hits}
        found = {s: intervals.bootstrap(hits[s], groups[s]) for s in sorted(hits)}
        table[level] = {s: {"share": i.value, "low": i.low, "high": i.high, "n": i.n} for s, i in found.items()}
        print(level, {s: f"{i} n={i.n}" for s, i in found.items()})
    Path(args.table).write_text(json.dumps(table, indent=1) + "\n")


def provenance(counts: dict[str, int], failed: list[Any]) -> dict[str, Any]:
    return {
        "made_by": "scripts/calibrate.py extract; scripts/calibrate.py fit",
        "counts": counts,
        "unreadable": len(failed),
        "folds": fit.FOLDS,
        "seed": 20261125,
        "licence": "Apache-2.0 (numbers only; no picture is contained)",
        "sources": [
            "drewnoakes/metadata-extractor-images and other camera sample collections (research use)",
            "EliSchwartz/imagenet-sample-images (research use)",
            "google/dreambooth (CC BY 4.0 / Unsplash)",
            "VikramShenoy97/Human-Segmentation-Dataset (none stated)",
            "djbielejeski/Stable-Diffusion-Regularization-Images (Unsplash)",
            "DAVIS frames of sczhou/ProPainter (non-commercial)",
            "ICDAR-2019-SROIE receipts",
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("extract")
    one.add_argument("--manifest", required=True)
    one.add_argument("--out", default="out/calibration.jsonl")
    one.add_argument("--workers", type=int, default=2)
    one.add_argument("--detectors", default="", help="comma-separated; all when empty")
    one.add_argument("--every", type=int, default=1, help="take every n-th task only")
    one.add_argument("--listed", type=Path, nargs="*", default=[], help="manifests: take only the pictures in them")
    one.set_defaults(run=extract)
    two = verbs.add_parser("fit")
    two.add_argument("--rows", nargs="+", default=["out/calibration.jsonl"])
    two.add_argument("--out", default=str(CARD))
    two.add_argument("--table", default="", help="write the rates in folds that took no part here")
    two.add_argument("--keep", default="", help="a card whose curves are to stay")
    two.add_argument("--leave-out", nargs="*", default=[], help="detectors that are not to be on the card")
    two.add_argument("--exclude", nargs="*", default=[], help="detectors that must not count")
    two.add_argument("--exclude-why", default="left out by hand")
    two.set_defaults(run=fit_command)
    three = verbs.add_parser("check", help="measure a card on rows that its fit did not see")
    three.add_argument("--card", required=True)
    three.add_argument("--rows", nargs="+", required=True)
    three.add_argument("--seen", nargs="+", required=True, help="rows that the card was fitted on")
    three.add_argument("--table", required=True)
    three.set_defaults(run=check_command)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
