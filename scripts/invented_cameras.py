"""How many camera originals does a judge of invented pictures call generated that never learned from them?

    python scripts/invented_cameras.py --run results/invented_training --tower TOWER.pth \\
        --work out/invented --others OTHERS --out results/invented_cameras

Few camera originals were kept from the training of the shipped judge. So the training is done once more for each fifth
of them, by groups: what the fifth has is in no part that is learned from or that chooses the step, the threshold and
the calibration; all else is as shipped. Each network is asked for the whole files of its fifth, and, to see that it is
like the shipped one, for the pictures that the shipped one is measured on. WORK is that of `invented.py forge`. Goes on
where it was stopped.

The shipped judges, of invented pictures and of those that a decoder made, are asked for the pictures of OTHERS, too: a
folder for each kind of photographs of which nothing was learned and by which nothing was chosen. The published ones:
`album` is usr/share/kphotoalbum/demo of Debian's kphotoalbum 5.9.1; `phones` are arrow, pug, spatial_photo and xiaomi
of tests/images of PyPI's pillow_heif 0.22.0 (its other pictures were cut, drawn or made by an editor).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import measured
import torch
from generated import auc_of
from invented import kind_of

from tamperscope import media, registry
from tamperscope.data import manifest as manifests
from tamperscope.data.manifest import Manifest
from tamperscope.engine import export
from tamperscope.engine.recipe import Recipe
from tamperscope.engine.train import train
from tamperscope.files import write_atomic
from tamperscope.inference.artifact import open_artifact
from tamperscope.metrics import intervals

FOLDS = 5
PARTS = ("train", "choose", "choose_whole")
PHOTOS = ("train", "choose", "measure")
WISH = {"licence": "not for use", "alarms": 0.01, "most": 20.0}
"""As the shipped one was exported."""
Row = dict[str, Any]


def folds(work: Path) -> list[list[tuple[Path, str]]]:
    """Return the camera originals of each fold, as their sources gave them, with their groups."""
    found = []
    for part in PHOTOS:
        photos = Manifest(work / f"photos/{part}.jsonl")
        found += [(photos.locate(e.image), e.source_group) for e in photos if Path(e.image).parts[-3] == "camera"]
    groups = sorted({group for _, group in found})
    return [[each for each in found if groups.index(each[1]) % FOLDS == fold] for fold in range(FOLDS)]


def parts(work: Path, out: Path, held: set[str]) -> dict[str, str]:
    """List what a network may know: the parts without the groups of a fold."""
    told = {}
    for part in PARTS:
        known = Manifest(work / part / "manifest.jsonl")
        kept = [manifests.moved(entry, known.path.parent, out) for entry in known if entry.source_group not in held]
        told[part] = str(out / f"{part}.jsonl")
        manifests.write(told[part], kept)
    return told


def learn(job: tuple[int, argparse.Namespace]) -> None:
    """Train and export the network of a fold, and ask it for its camera originals."""
    torch.set_num_threads(1)
    fold, args = job
    out, held = args.work / f"cameras/{fold}", folds(args.work)[fold]
    if (out / "rows.json").is_file():
        return
    out.mkdir(parents=True, exist_ok=True)
    told = parts(args.work, out, {group for _, group in held})
    stated = json.loads((args.run / "run.json").read_text())["recipe"]
    stated["network"]["settings"]["weights"] = str(args.tower)
    stated |= {"train_on": [{"manifest": told["train"]}], "validate_on": [{"manifest": told["choose"]}]}
    train(Recipe.model_validate(stated), out / "run", (out / "run/run.json").is_file())
    wish = export.Wish(calibrate_on=(told["choose"], told["choose_whole"]), **WISH)  # type: ignore[arg-type]
    export.export(out / "run", out / "network", wish)
    rows = asked(out / "network", held, args.work)
    write_atomic(out / "rows.json", json.dumps(rows).encode())


def asked(network: Path, held: Sequence[tuple[Path, str]], work: Path) -> list[Row]:
    """Return the scores of a fold's whole files, and of the pictures that the shipped judge is measured on."""
    artifact = open_artifact(network)
    ask, pictures = artifact.predictor(), Manifest(work / "measure/manifest.jsonl")
    rows: list[Row] = []
    for path, group in held:
        score = ask(media.open(path).sample).score
        rows.append({"set": "camera", "label": 0, "score": score, "group": group, "kind": path.name})
    for entry in pictures:
        told = {"set": "measure", "label": entry.label, "group": entry.source_group, "kind": kind_of(entry)}
        rows.append(told | {"score": ask(pictures.open(entry)).score})
    return [row | {"threshold": artifact.card.threshold} for row in rows]


def _called(rows: Sequence[Row]) -> str:
    found = intervals.share(sum(row["score"] >= row["threshold"] for row in rows), len(rows))
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def line(name: str, rows: Sequence[Row]) -> list[str]:
    """Return the cells of a fold, or of all."""
    cameras = [row for row in rows if row["set"] == "camera"]
    unseen = [row for row in rows if row["set"] == "measure" and row["label"] and row["kind"] != "sd3"]
    photos = [row for row in rows if row["set"] == "measure" and not row["label"]]
    auc = auc_of([[row["label"], row["score"]] for row in unseen + photos])
    alarms = f"{sum(row['score'] >= row['threshold'] for row in cameras)} of {len(cameras)}"
    return [name, f"{auc:.3f}", _called(unseen), _called(photos), alarms, _called(cameras)]


TEXT = """# Camera originals that a judge of invented pictures never learned from

{count} camera originals of {groups} models (drewnoakes/metadata-extractor-images and others), in {folds} parts of whole
models. For each part the shipped judge is trained, calibrated and given its threshold once more without it, and asked
for its whole files (`camera originals`), and for the pictures of [its own table](invented_shipped.md): those of
generators never learned (`found`) and photographs beside them. The last line has the answers of the same networks at
the shipped threshold, {shipped}. 95 % intervals, of single answers. Made by `scripts/invented_cameras.py`.

{table}

Camera originals at or above the threshold: {alarms}.

## Other photographs and the shipped judges

False alarms of `invented` and of `generated`, each at the threshold of its card, on photographs of which nothing was
learned and by which nothing was chosen; `abstains` where the domain or the size is not the judge's. `album`: snapshots
of one family, shrunk, the demo of KPhotoAlbum; `phones`: files as three phones and a headset wrote them, of the tests
of pillow_heif.

{others}
"""


def others(folder: Path) -> list[list[str]]:
    """Return the false alarms of the shipped judges on each kind of other photographs."""
    lines = []
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        samples = [media.open(path).sample for path in sorted(kind.iterdir())]
        for name in ("invented", "generated"):
            judge = registry.load(name)
            threshold = judge.artifact.card.threshold
            told = [judge.predict(sample) for sample in samples]
            rows = [{"score": each.score, "threshold": threshold} for each in told if each.status == "ok"]
            most = max((row["score"] for row in rows), default=float("nan"))
            alarms = _called(rows) if rows else "–"
            lines.append([kind.name, name, str(len(rows)), str(len(told) - len(rows)), alarms, f"{most:.3f}"])
    return lines


def table(args: argparse.Namespace) -> None:
    """Write what the networks of all folds said."""
    told = [json.loads((args.work / f"cameras/{fold}/rows.json").read_text()) for fold in range(FOLDS)]
    rows = [row for fold in told for row in fold]
    cameras = [row for row in rows if row["set"] == "camera"]
    head = ["without part", "AUC", "found", "photographs called so", "camera originals called so", "of them"]
    lines = [line(str(number + 1), fold) for number, fold in enumerate(told)]
    shipped = registry.load("invented").artifact.card.threshold
    at_shipped = [row | {"threshold": shipped} for row in rows]
    for name, chosen in (("all", rows), ("all, at the shipped threshold", at_shipped)):
        lines.append([name, "–", *line(name, chosen)[2:]])
    alarms = [row for row in cameras if row["score"] >= row["threshold"]]
    text = TEXT.format(
        count=len(cameras),
        groups=len({row["group"] for row in cameras}),
        folds=FOLDS,
        shipped=shipped,
        table=measured.markdown(head, lines),
        alarms=", ".join(f"{row['kind']} ({row['score']:.3f}, threshold {row['threshold']:.3f})" for row in alarms)
        or "none",
        others=measured.markdown(
            ["photographs", "judge", "files", "abstains", "called so", "highest score"], others(args.others)
        ),
    )
    write_atomic(args.out.with_suffix(".json"), (json.dumps(rows, indent=1) + "\n").encode())
    write_atomic(args.out.with_suffix(".md"), text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--run", "--tower", "--work", "--others", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.workers) as pool:
        for _ in pool.map(learn, [(fold, args) for fold in range(FOLDS)]):
            pass
    table(args)


if __name__ == "__main__":
    main()
