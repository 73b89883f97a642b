"""Make what the shipped judge of invented pictures learns and is measured on, and measure it.

    python scripts/invented.py forge --manifest DATA/manifest.jsonl --packages PACKAGES --debs UNPACKED \\
        --work out/invented
    python scripts/invented.py measure --network src/tamperscope/weights/invented --work out/invented \\
        --out results/invented_shipped

Generated pictures are those that document templates of ComfyUI and styles of InvokeAI, in wheels of PyPI: some 250 that
look like photographs, of 48 generators and some of no stated one; of moving ones four frames. scripts/invented.csv says
which, and parts the generators: those to measure with are in no other part. Portraits of Stable Diffusion 3 are in all
parts. Photographs are parted by group, as scripts/localizer.py does; `professional` ones illustrate templates of web
pages in packages of npm, and are parted by package; others, that nobody learned from, are desktop backgrounds of
Debian's packages (`dpkg -x` each into one folder). PACKAGES holds the wheels and tarballs that the list names.

`forge` brings all to one form: shrunk to 400 pixels by some filter and compressed as WebP, as most were already, then
their lower three quarters, where no generator's name is written, as JPEG of one quality. It writes them anew each time,
and lists the photographs of the parts that choose and measure as they are (`choose_whole`, `whole`). `measure`
asks the network for them, as they are and after more, and for the files themselves; and two baselines, of which one
sees bytes alone and the other colours. `tamperscope bench invented` asks the whole scan.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import measured
import numpy as np
from generated import ATTACKS, auc_of
from localizer import SEED, SHARES
from PIL import Image
from rich.progress import track
from sklearn.linear_model import LogisticRegression

from tamperscope import media
from tamperscope.data.manifest import Entry, Manifest, write
from tamperscope.data.splitting import split
from tamperscope.files import write_atomic
from tamperscope.inference.artifact import open_artifact
from tamperscope.media.recompress import encode_jpeg
from tamperscope.metrics import intervals
from tamperscope.ops import attack
from tamperscope.types import UInt8Array

LISTED = Path(__file__).with_suffix(".csv")
PARTS = ("train", "choose", "measure")
KINDS = ("camera", "web", "objects", "people", "portraits", "professional")
"""Of photographs; pages are none, and frames of a clip show one scene."""
MEASURED = ("elsewhere", "casia_v1")
"""Photographs of which nothing was learned and by which nothing was chosen."""
SIDE, FRAMES, QUALITY = 400, 4, 92
WEBP = (70, 90)
FILTERS = (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BOX)
"""How others shrank their pictures is not known."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture of a part, before it has the form of all.

    Attributes:
        rgb: (H, W, 3).
        label: 1 where it was generated.
        kind: Generator, or folder of photographs.
        group: Of pictures that show the same.
        small: Whether it is 400 pixels wide and was compressed as WebP.
    """

    rgb: UInt8Array
    label: int
    kind: str
    group: str
    small: bool = False


def forge(args: argparse.Namespace) -> None:
    """Write the pictures of all parts in one form, and a manifest of each part."""
    print(split(Manifest(args.manifest).where(split="train"), args.work / "photos", SHARES, SEED))
    for part in PARTS:
        rng = np.random.default_rng(SEED)
        out = args.work / part
        (out / "images").mkdir(parents=True, exist_ok=True)
        entries = []
        for number, drawn in enumerate(track(_drawn(args, part), part)):
            name = f"images/{number:05}.jpg"
            write_atomic(out / name, encode_jpeg(formed(drawn, rng), QUALITY))
            told = _told(part, drawn.group, drawn.kind) | {"domain": "generated"}
            entries.append(Entry(image=name, label=drawn.label, **told))
        print(part, write(out / "manifest.jsonl", entries), "pictures")
    wholes(args)


def wholes(args: argparse.Namespace) -> None:
    """List photographs as their sources gave them, with their kind."""
    for part, name in (("choose", "choose_whole"), ("measure", "whole")):
        out = args.work / name
        (out / "images").mkdir(parents=True, exist_ok=True)
        photos = Manifest(args.work / f"photos/{part}.jsonl")
        found = [(_folder(entry), photos.locate(entry.image), entry.source_group) for entry in photos]
        for number, row in enumerate(row for row in listed(part) if not row["generator"]):
            path = out / f"images/{number:04}{Path(row['member']).suffix.lower()}"
            write_atomic(path, taken(args.packages / row["package"], row["member"]))
            found.append(("professional", path, row["member"]))
        if part == "measure":
            found += [("elsewhere", args.debs / row["member"], row["member"]) for row in listed("elsewhere")]
            held = Manifest(args.manifest).where(split="dev", under="casia_v1")
            pristine = (entry for entry in held if entry.label == 0)
            found += [("casia_v1", held.locate(entry.image), entry.source_group) for entry in pristine]
        entries = [
            Entry(image=os.path.relpath(path, out), label=0, **_told(part, group, kind))
            for kind, path, group in found
            if kind in (*KINDS, *MEASURED)
        ]
        print(name, write(out / "manifest.jsonl", entries), "photographs")


def _told(part: str, group: str, kind: str) -> dict[str, Any]:
    return {"split": part, "group": group, "kind": kind}


def _folder(entry: Entry) -> str:
    return Path(entry.image).parts[-3]


def _drawn(args: argparse.Namespace, part: str) -> Iterator[Drawn]:
    yield from others(args.packages, part)
    photos = Manifest(args.work / f"photos/{part}.jsonl")
    for entry in photos:
        if entry.label == 0 and _folder(entry) in KINDS:
            yield Drawn(media.open(photos.locate(entry.image)).sample.rgb, 0, _folder(entry), entry.source_group)
    portraits = Manifest(args.manifest).where(under="/ai_portraits/")
    for number, entry in enumerate(portraits):
        if PARTS[number % 4 % 3] == part:  # half of them in `train`
            yield Drawn(media.open(portraits.locate(entry.image)).sample.rgb, 1, "sd3", entry.source_group)


def listed(part: str) -> list[dict[str, str]]:
    """Return the rows of scripts/invented.csv of a part."""
    with LISTED.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["part"] == part]


def taken(package: Path, member: str) -> bytes:
    """Return a file of a wheel or a tarball."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            return archive.read(member)
    with tarfile.open(package) as tarball:
        file = tarball.extractfile(member)
        assert file is not None
        return file.read()


def others(packages: Path, part: str) -> Iterator[Drawn]:
    """Yield the pictures of packages of a part: four frames of those that move."""
    for row in listed(part):
        data = taken(packages / row["package"], row["member"])
        if not row["generator"]:
            yield Drawn(media.open(data).sample.rgb, 0, "professional", row["member"])
            continue
        image = Image.open(io.BytesIO(data))
        count = getattr(image, "n_frames", 1)
        for turn in range(1 if count == 1 else FRAMES):
            image.seek(count * (2 * turn + 1) // (2 * FRAMES) if count > 1 else 0)
            rgb = np.asarray(image.convert("RGB"))
            yield Drawn(rgb, 1, row["generator"], row["member"], rgb.shape[:2] == (SIDE, SIDE))


def formed(drawn: Drawn, rng: np.random.Generator) -> UInt8Array:
    """Return the lower three quarters of a picture's middle, shrunk and compressed as thumbnails are."""
    rgb = drawn.rgb
    if not drawn.small:
        side = min(rgb.shape[:2])
        top, left = ((n - side) // 2 for n in rgb.shape[:2])
        square = Image.fromarray(rgb[top : top + side, left : left + side])
        file = io.BytesIO()
        shrunk = square.resize((SIDE, SIDE), Image.Resampling(int(rng.choice(FILTERS))))
        shrunk.save(file, "WEBP", quality=int(rng.integers(*WEBP)))
        rgb = np.asarray(Image.open(file).convert("RGB"))
    part = 3 * SIDE // 4
    left = (SIDE - part) // 2
    return np.ascontiguousarray(rgb[SIDE - part :, left : left + part])


Rows = list[list[Any]]


def measure(args: argparse.Namespace) -> None:
    """Write AUC, what is found and false alarms at the threshold of the card, by change and by kind."""
    artifact = open_artifact(args.network)
    ask, threshold = artifact.predictor(), artifact.card.threshold
    pictures = Manifest(args.work / "measure/manifest.jsonl")
    entries = list(pictures)
    rows: dict[str, Rows] = {}
    for name, text in ATTACKS.items():
        change = attack.parse(text) if text else None
        for entry in track(entries, name):
            sample = pictures.open(entry)
            sample = change(sample, np.random.default_rng(0)) if change else sample
            row = [entry.label, round(ask(sample).score, 5), entry.source_group, kind_of(entry)]
            rows.setdefault(name, []).append(row)
    rows |= {f"{name} alone": found for name, found in baselines(args.work, entries, pictures).items()}
    tables = {
        "sets": [line for name, found in rows.items() for line in _lines(name, found, threshold)],
        "kinds": [_found(kind, rows["as delivered"], threshold) for kind in _kinds(entries)],
        "photographs": whole(args, ask, threshold),
    }
    text = SHIPPED.format(
        threshold=threshold,
        sets=measured.markdown(["pictures", "generators", "AUC", "found", "false alarms"], tables["sets"]),
        kinds=measured.markdown(["kind", "files", "called generated"], tables["kinds"]),
        photographs=measured.markdown(["photographs", "files", "false alarms"], tables["photographs"]),
    )
    told = {"threshold": threshold, **tables, "rows": rows}
    write_atomic(args.out.with_suffix(".json"), (json.dumps(told, indent=1) + "\n").encode())
    write_atomic(args.out.with_suffix(".md"), text.encode())


def kind_of(entry: Entry) -> str:
    return str((entry.model_extra or {})["kind"])


def _kinds(entries: Sequence[Entry]) -> list[str]:
    return sorted({kind_of(entry) for entry in entries}, key=lambda kind: (kind in KINDS, kind))


def _lines(name: str, rows: Rows, threshold: float) -> Iterator[list[str]]:
    """Yield a line of generators that nothing was learned of, and one of Stable Diffusion 3 against people."""
    authentic = [row for row in rows if row[0] == 0]
    people = [row for row in authentic if row[3] in ("people", "portraits")]
    unseen = [row for row in rows if row[0] == 1 and row[3] != "sd3"]
    known = [row for row in rows if row[3] == "sd3"]
    for label, forged, real in (("never learned", unseen, authentic), ("sd3 and people", known, people)):
        rates = ["–", "–"]
        if not name.endswith("alone"):
            rates = [_share([row[1:3] for row in part], threshold) for part in (forged, real)]
        both, groups = np.array([row[:2] for row in forged + real]), [str(row[2]) for row in forged + real]
        auc = intervals.bootstrap(both, groups, auc_of)
        yield [name, label, f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]", *rates]


def _found(kind: str, rows: Rows, threshold: float) -> list[str]:
    scores = [row[1:3] for row in rows if row[3] == kind]
    return [kind, str(len({group for _, group in scores})), _share(scores, threshold)]


def _share(scored: Sequence[Sequence[Any]], threshold: float) -> str:
    """Return how many of so many (score, group) reach the threshold; to the interval frames of one file are one."""
    hits, files = sum(score >= threshold for score, _ in scored), len({group for _, group in scored})
    share = hits / len(scored)
    found = intervals.share(round(share * files), files)
    return f"{hits} of {len(scored)}: {share:.1%} [{found.low:.1%}, {found.high:.1%}]"


def baselines(work: Path, entries: Sequence[Entry], pictures: Manifest) -> dict[str, Rows]:
    """Return rows of who sees a file's bytes alone, in the direction that suits it, and who sees its colours alone."""
    told: Rows = [[entry.label, 0.0, entry.source_group, kind_of(entry)] for entry in entries]
    sizes: Rows = [
        [row[0], pictures.locate(e.image).stat().st_size, *row[2:]] for row, e in zip(told, entries, strict=True)
    ]
    if auc_of(sizes) < 0.5:
        sizes = [[row[0], -row[1], *row[2:]] for row in sizes]
    known = Manifest(work / "train/manifest.jsonl")
    judge = LogisticRegression(class_weight="balanced", max_iter=1000)
    judge.fit([colours(known.open(entry).rgb) for entry in known], [entry.label for entry in known])
    scores = judge.decision_function([colours(pictures.open(entry).rgb) for entry in entries])
    seen = [[row[0], round(float(score), 5), *row[2:]] for row, score in zip(told, scores, strict=True)]
    return {"bytes": sizes, "colours": seen}


def colours(rgb: UInt8Array) -> list[float]:
    """Return how often each eighth of red, green, blue, hue and saturation occurs."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV_FULL)
    planes = [*np.moveaxis(rgb, 2, 0), hsv[..., 0], hsv[..., 1]]
    return [float(n) for plane in planes for n in np.histogram(plane, 8, (0, 256))[0] / plane.size]


def whole(args: argparse.Namespace, ask: Any, threshold: float) -> list[list[str]]:
    """Return false alarms on whole files: of held-out groups by kind, and of others."""
    scores: dict[str, list[tuple[float, str]]] = {}
    for part, word in (("whole", ""), ("choose_whole", ", of those that chose the threshold")):
        pictures = Manifest(args.work / part / "manifest.jsonl")
        for entry in track([e for e in pictures if not word or kind_of(e) == "camera"], f"files of {part}"):
            answer = ask(pictures.open(entry)).score
            scores.setdefault(kind_of(entry) + word, []).append((answer, entry.image))
    return [[kind, str(len(found)), _share(found, threshold)] for kind, found in sorted(scores.items())]


SHIPPED = """# The shipped judge of invented pictures

At its threshold of {threshold}. `never learned`: pictures of generators that nothing was learned of and nothing chosen
by, against photographs of held-out groups; `sd3 and people`: portraits of Stable Diffusion 3, of which others were
learned, against photographs of people of held-out groups. All were shrunk, compressed and cut alike. Baselines see a
file's bytes, in the direction that suits them, or learned how often each colour occurs, from the same pictures. Counted
are pictures, of a moving one up to four frames; 95 % intervals are those of as many files. Made by
`scripts/invented.py measure`.

{sets}

By generator and by kind of photograph, as delivered:

{kinds}

Whole files as their sources gave them, of held-out groups; `elsewhere`: photographs of desktop backgrounds (Debian
packages mate-backgrounds, lxqt-themes, plasma-workspace-wallpapers and lomiri-wallpapers-20.04), chosen by eye before
any was asked about.

{photographs}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, work in (("forge", forge), ("measure", measure)):
        verb = verbs.add_parser(name)
        verb.add_argument("--work", type=Path, required=True)
        verb.set_defaults(run=work)
    verbs.choices["forge"].add_argument("--manifest", type=Path, required=True)
    verbs.choices["forge"].add_argument("--packages", type=Path, required=True)
    verbs.choices["forge"].add_argument("--debs", type=Path, required=True)
    verbs.choices["measure"].add_argument("--network", type=Path, required=True)
    verbs.choices["measure"].add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
