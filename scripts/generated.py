"""Make what the shipped detector of generated pictures learns and is measured on, and measure it.

    TAMPERSCOPE_TAEF2=WEIGHTS python scripts/generated.py forge --manifest DATA/manifest.jsonl --work out/generated \\
        --upscalers NETWORKS --unseen OTHER_NETWORKS
    python scripts/generated.py measure --network src/tamperscope/weights/generated --work out/generated \\
        --threshold 0.9133 --out results/generated_shipped

`forge` parts the authentic pictures of the `train` split by group, as scripts/localizer.py does, and sends each through
decoders: the small auto-encoder that is shipped, TAEF2 (whose weights the environment variable names), up-samplers, and
learned upscalers (two folders of networks for ncnn: some to learn from, others to be measured on alone). Twins take the
same way without them. What is learned from is small and lossless, and the training compresses it; with it come
photographs that plain filters shrank and enlarged, smoothed or sharpened, which are authentic. What chooses threshold
and calibration is also there at half size (`choose/halved`). Portraits that Stable Diffusion 3 made, on which nothing
is trained, are brought to one size and one compression with photographs of people of held-out groups. It goes on where
it was stopped. `measure` asks the network, and a baseline that sees bytes a pixel alone, and counts false alarms by
kind of photograph.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import measured
import numpy as np
from localizer import SEED, SHARES
from numpy.typing import NDArray

from tamperscope import media
from tamperscope.data.manifest import Entry, Manifest, moved, write
from tamperscope.data.splitting import split
from tamperscope.detectors.generated import Generated
from tamperscope.engine import predict
from tamperscope.files import write_atomic
from tamperscope.forging import recipe as forging
from tamperscope.forging.run import forge as make
from tamperscope.media.recompress import encode_jpeg
from tamperscope.metrics import intervals, ranking
from tamperscope.ops import attack, tones
from tamperscope.ops.forge.delivery import png_file
from tamperscope.types import Prediction, Sample, UInt8Array

DECODERS = {
    "tiny": "{reencoded: 1}",
    "taef2": "{reencoded: 1}",
    "upsampled": "{upsampled: 1}",
    "upscaled": "{upscaled: 1}",
}
UNSEEN = "upscaled_unseen"
COUNTS = {
    "train": {"tiny": 350, "taef2": 700, "upsampled": 350, "upscaled": 500},
    "check": {"tiny": 30, "taef2": 50, "upsampled": 30, "upscaled": 40},
    "choose": {"tiny": 40, "taef2": 40, "upsampled": 40, "upscaled": 40},
    "measure": {"tiny": 50, "taef2": 50, "upsampled": 50, "upscaled": 50, UNSEEN: 60},
}
"""Forgeries by part and decoder; those of `check` choose the step, and those of `choose` threshold and calibration."""
PLAIN = ("hosts.max_side=256", 'deliveries={"": 1}')
RESIZED = {"train": 700, "check": 60}
FILTERS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
SIDE = 512
EQUAL: dict[str, Callable[[UInt8Array], UInt8Array]] = {
    "sd3 cut": lambda rgb: _middle(rgb),
    "sd3 shrunk": lambda rgb: _shrunk(rgb),
}
"""How portraits of Stable Diffusion 3 and photographs of people are made alike before both are compressed alike."""
ATTACKS = {
    "as delivered": "",
    "after JPEG 75": "jpeg:quality=75,subsampling=4:2:0",
    "at half size": "resize:factor=0.5",
}


def changes(decoder: str, part: str, networks: dict[str, Path]) -> tuple[str, ...]:
    """Return what differs from the recipe `generated` for one decoder; `networks` are folders of upscalers."""
    plain = PLAIN if part in RESIZED else ()
    if decoder in networks:
        span = f"ranges.upscaled={{share: 0.03..0.25, whole: true, networks: {networks[decoder]}}}"
        return (f"operations={DECODERS['upscaled']}", span, *plain)
    if decoder == "upsampled":
        return (f"operations={DECODERS[decoder]}", *plain)
    noise = ("ranges.reencoded.latent_noise=0.0..0.05",) if plain else ()
    return (f"operations={DECODERS[decoder]}", f"ranges.reencoded.model={decoder}", *noise, *plain)


def forge(args: argparse.Namespace) -> None:
    """Write the photographs' parts, their forgeries, what only looks like them, and the portraits."""
    networks = {"upscaled": args.upscalers, UNSEEN: args.unseen}
    print(split(Manifest(args.manifest).where(split="train"), args.work / "photos", SHARES, SEED))
    for part, counts in COUNTS.items():
        photos = args.work / f"photos/{'choose' if part == 'check' else part}.jsonl"
        for decoder, number in counts.items():
            stated = forging.load("generated", changes(decoder, part, networks))
            made = make(str(photos), stated, number, SEED, args.work / part / decoder, args.workers)
            print(part, decoder, made, flush=True)
    for part, number in RESIZED.items():
        resized(args.work / part, number)
    halved(args.work / "choose")
    for label in EQUAL:
        portraits(args.manifest, args.work, label)


def resized(part: Path, count: int) -> None:
    """Write authentic pictures that plain filters changed, from the twins of a part's forgeries."""
    rng = np.random.default_rng(SEED)
    known = [Manifest(part / name / "manifest.jsonl") for name in ("tiny", "taef2", "upsampled")]
    twins = [(listed, entry) for listed in known for entry in listed if entry.label == 0]
    chosen = [twins[int(place)] for place in rng.permutation(len(twins))[:count]]
    save(part / "resized", ((filtered(listed.open(entry).rgb, rng), entry) for listed, entry in chosen))


def halved(part: Path) -> None:
    """Write the forgeries and twins of a part at half size, where they are large enough to be judged then."""
    shrink, rng = attack.parse(ATTACKS["at half size"]), np.random.default_rng(SEED)
    known = [Manifest(part / name / "manifest.jsonl") for name in DECODERS]
    small = ((shrink(listed.open(entry), rng).rgb, entry) for listed in known for entry in listed)
    save(part / "halved", ((rgb, entry) for rgb, entry in small if min(rgb.shape[:2]) >= Generated.min_side))


def save(out: Path, pictures: Iterable[tuple[UInt8Array, Entry]]) -> None:
    """Write pictures as PNG with a manifest; label, split and group are those of the entries that they were made of."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    entries = []
    for number, (rgb, entry) in enumerate(pictures):
        name = f"images/{number:05}.png"
        write_atomic(out / name, png_file(rgb))
        entries.append(Entry(image=name, label=entry.label, split=entry.split, group=entry.source_group))
    write(out / "manifest.jsonl", entries)


def filtered(rgb: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Return a picture that was shrunk and enlarged, enlarged, smoothed or sharpened, as no decoder does it."""
    height, width = rgb.shape[:2]
    kind = str(rng.choice(["shrunk", "enlarged", "median", "blur"], p=[4 / 7, 1 / 7, 1 / 7, 1 / 7]))
    enlarging = int(rng.choice(FILTERS))
    if kind == "shrunk":
        factor = rng.choice([0.5, 0.25, rng.uniform(0.35, 0.8)], p=[0.4, 0.1, 0.5])
        size = (max(8, round(width * factor)), max(8, round(height * factor)))
        small = cv2.resize(rgb, size, interpolation=int(rng.choice([cv2.INTER_AREA, *FILTERS[:2]], p=[0.6, 0.2, 0.2])))
        rgb = np.asarray(cv2.resize(small, (width, height), interpolation=enlarging), np.uint8)
    elif kind == "enlarged":
        factor = rng.choice([2, rng.uniform(1.1, 2)])
        rows, columns = int(height / factor), int(width / factor)
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        part = rgb[top : top + rows, left : left + columns]
        rgb = np.asarray(cv2.resize(part, (width, height), interpolation=enlarging), np.uint8)
    elif kind == "median":
        rgb = tones.median(Sample(rgb), 3).rgb
    else:
        rgb = tones.gaussian_blur(Sample(rgb), float(rng.uniform(0.4, 1.2))).rgb
    if rng.random() < 0.3:
        rgb = tones.sharpen(Sample(rgb), float(rng.uniform(0.3, 1.2)), float(rng.uniform(0.6, 1.5))).rgb
    return rgb


def portraits(manifest: Path, work: Path, label: str) -> None:
    """Write the portraits of a generator that nothing is trained on, and photographs of people, made alike."""
    out = work / "measure" / label.replace(" ", "_")
    (out / "images").mkdir(parents=True, exist_ok=True)
    made = Manifest(manifest).where(under="/ai_portraits/")
    listed = [(made, entry) for entry in made]
    for part in ("choose", "measure"):
        for under in ("/portraits/", "/people/"):
            real = Manifest(work / f"photos/{part}.jsonl").where(under=under)
            listed += [(real, entry) for entry in real]
    entries = []
    for number, (source, entry) in enumerate(listed):
        name = f"images/{number:04}.jpg"
        rgb = media.open(source.locate(entry.image)).sample.rgb
        write_atomic(out / name, encode_jpeg(EQUAL[label](rgb), 90))
        entries.append(Entry(image=name, label=entry.label, group=moved(entry, source.path.parent, out).image))
    write(out / "manifest.jsonl", entries)


def _middle(rgb: UInt8Array) -> UInt8Array:
    top, left = (max(0, (n - SIDE) // 2) for n in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + SIDE, left : left + SIDE])


def _shrunk(rgb: UInt8Array) -> UInt8Array:
    factor = min(1.0, 0.75 * SIDE / max(rgb.shape[:2]))
    return np.asarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


Rows = dict[str, dict[str, list[list[Any]]]]


def answers(ask: Callable[[Sample], Prediction], work: Path) -> Rows:
    """Return label, score and group of every picture, by set and by what was done to it since."""
    found: Rows = {}
    for label, pictures in _sets(work):
        entries = list(pictures)
        found[label] = {name: [] for name in ATTACKS}
        for entry in entries:
            opened = pictures.open(entry)
            for name, text in ATTACKS.items():
                sample = attack.parse(text)(opened, np.random.default_rng(0)) if text else opened
                found[label][name].append([entry.label, round(ask(sample).score, 5), entry.source_group])
    return found


def _sets(work: Path) -> Iterator[tuple[str, Manifest]]:
    for label in (*DECODERS, UNSEEN, *EQUAL):
        yield label, Manifest(work / "measure" / label.replace(" ", "_") / "manifest.jsonl")


def auc_of(rows: Sequence[Sequence[Any]] | NDArray[Any]) -> float:
    """Return the AUC of the scores of (label, score, …)."""
    return ranking.auc(np.array([row[1] for row in rows]), np.array([bool(row[0]) for row in rows]))


def size_rows(work: Path) -> Rows:
    """Return the rows of a baseline that sees a file's size and format alone: bytes a pixel."""
    found: Rows = {}
    for label, pictures in _sets(work):
        rows: list[list[Any]] = []
        for entry in pictures:
            path = pictures.locate(entry.image)
            opened = media.open(path).sample
            rows.append([entry.label, path.stat().st_size / opened.rgb[..., 0].size, entry.source_group])
        less = auc_of(rows) < 0.5
        found[label] = {next(iter(ATTACKS)): [[a, -b if less else b, c] for a, b, c in rows]}
    return found


def measure(args: argparse.Namespace) -> None:
    """Write what the shipped network does at its threshold: AUC by set, and false alarms by kind of photograph."""
    ask = predict.load(args.network)
    rows = answers(ask, args.work)
    bar = size_rows(args.work)
    sets = []
    for label, changes in rows.items():
        for change, found in changes.items():
            size = f"{auc_of(bar[label][change]):.3f}" if change in bar[label] else "–"
            rates = [_rate(found, kind, args.threshold) for kind in (1, 0)]
            sets.append([label, change, f"{auc_of(found):.3f}", *rates, size])
    kinds = false_alarms(ask, args.work, args.threshold)
    text = SHIPPED.format(
        threshold=args.threshold,
        sets=measured.markdown(["set", "pictures", "AUC", "found", "false alarms", "bytes a pixel: AUC"], sets),
        kinds=measured.markdown(["kind", "photographs", "false alarms"], kinds),
    )
    told = {"threshold": args.threshold, "sets": sets, "kinds": kinds}
    write_atomic(args.out.with_suffix(".json"), (json.dumps(told, indent=1) + "\n").encode())
    write_atomic(args.out.with_suffix(".md"), text.encode())


def false_alarms(ask: Callable[[Sample], Prediction], work: Path, threshold: float) -> list[list[str]]:
    """Return by kind how many untouched photographs of held-out groups reach the threshold."""
    kinds: dict[str, list[float]] = {}
    for part in ("choose", "measure"):
        pictures = Manifest(work / f"photos/{part}.jsonl")
        for entry in pictures:
            if entry.label == 0:
                sample = media.open(pictures.locate(entry.image)).sample
                kinds.setdefault(Path(entry.image).parts[-3], []).append(ask(sample).score)
    everything = [score for scores in kinds.values() for score in scores]
    return [
        [kind, str(len(scores)), _share(sum(s >= threshold for s in scores), len(scores))]
        for kind, scores in [*sorted(kinds.items()), ("all", everything)]
    ]


def _rate(rows: list[list[Any]], label: int, threshold: float) -> str:
    scores = [row[1] for row in rows if row[0] == label]
    return _share(sum(s >= threshold for s in scores), len(scores))


def _share(count: int, total: int) -> str:
    found = intervals.share(count, total)
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


SHIPPED = """# The shipped detector of generated pictures

At its threshold of {threshold}. `tiny`, `taef2`, `upsampled`, `upscaled`: photographs of held-out groups that passed
the small auto-encoder, TAEF2, an up-sampler or a learned upscaler, and their twins, delivered alike. `upscaled_unseen`:
the same with upscalers of which nothing was learned. `sd3`: portraits of Stable Diffusion 3, which
nothing was trained on, against photographs of people of held-out groups, both cut to 512 x 512 pixels or shrunk to 384,
then JPEG 90. The last column is a baseline that sees a file's bytes a pixel alone, in the direction that suits it.
Photographs are whole files of held-out groups as their sources gave them; brackets are 95 % intervals. Made by
`scripts/generated.py measure`.

{sets}

{kinds}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, work in (("forge", forge), ("measure", measure)):
        verb = verbs.add_parser(name)
        verb.add_argument("--work", type=Path, required=True)
        verb.set_defaults(run=work)
    verbs.choices["forge"].add_argument("--manifest", type=Path, required=True)
    verbs.choices["forge"].add_argument("--upscalers", type=Path, required=True)
    verbs.choices["forge"].add_argument("--unseen", type=Path, required=True)
    verbs.choices["forge"].add_argument("--workers", type=int, default=2)
    verbs.choices["measure"].add_argument("--out", type=Path, required=True)
    verbs.choices["measure"].add_argument("--network", type=Path, required=True)
    verbs.choices["measure"].add_argument("--threshold", type=float, required=True)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
