"""Speed of forging: ours on one and two workers beside a plain single-process Pillow and OpenCV script of one splice.

    python benchmarks/forge.py --photos FOLDER_OR_MANIFEST [--count 40] [--rounds 3] [--out results/speed_forge]

All make the same kind of forgery: hosts and donors shrunk to 640 pixels, a random shape of 2 to 20 % pasted with a soft
edge, JPEG of quality 90, with mask and authentic twin. Contestants take turns, so that other load on the machine hits
all alike; the median over the rounds is shown. Ours does more for its time: it decodes in an isolated process, decodes
what it has delivered, measures each forgery for the gate, writes three more maps and a record, and writes atomically.

- plain: `PIL.Image.open`, `cv2.resize`, `cv2.GaussianBlur`, `Image.save`; no check, no record, no resuming.
- ours, N workers: `forging.run.forge` as the command line calls it; starting processes is part of the time.
"""

from __future__ import annotations

import os

# Before numpy is imported, which reads them once.
os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tamperscope.files import write_atomic
from tamperscope.forging import run
from tamperscope.forging.pool import Pool
from tamperscope.forging.recipe import Pictures, Recipe

SIDE, QUALITY, SHARE = 640, 90, (0.02, 0.2)
PICTURES = Pictures(max_side=SIDE, recompressed=0.0, objects=0.0)
RECIPE = Recipe(
    title="Speed",
    operations={"splice": 1},
    ranges={"splice": {"share": list(SHARE), "feathers": [1.5]}},
    hosts=PICTURES,
    donors=PICTURES,
    deliveries={f"jpeg:quality={QUALITY}": 1},
)
Contestant = Callable[[Pool, int, Path], int]


def opened(path: Path) -> Any:
    """Return the pixels of a picture, its longer side at most SIDE, as most scripts do."""
    with Image.open(path) as picture:
        rgb = np.asarray(picture.convert("RGB"))
    factor = min(1.0, SIDE / max(rgb.shape[:2]))
    return cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else rgb


def shape(height: int, width: int, rng: np.random.Generator) -> Any:
    """Return a random polygon of the given size as a mask of 0 and 1."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = rng.uniform(0.6, 1.0, 24)
    points = np.stack([width / 2 * (1 + reach * np.cos(angles)), height / 2 * (1 + reach * np.sin(angles))], 1)
    return cv2.fillPoly(np.zeros((height, width), np.uint8), [points.astype(np.int32)], 1)


def plain(pool: Pool, count: int, out: Path) -> int:
    """Forge as a short script would; return the number of forgeries."""
    rng, names = np.random.default_rng(0), [pool.root / photo.id for photo in pool.photos]
    for folder in ("images", "masks", "twins"):
        (out / folder).mkdir(parents=True)
    for index in range(count):
        host, donor = (opened(names[int(i)]) for i in rng.choice(len(names), 2, replace=False))
        share = np.exp(rng.uniform(*np.log(SHARE)))
        height, width = (max(16, min(int(n * np.sqrt(share)), n - 1)) for n in host.shape[:2])
        piece = cv2.resize(donor, (width, height), interpolation=cv2.INTER_AREA)
        top, left = int(rng.integers(host.shape[0] - height)), int(rng.integers(host.shape[1] - width))
        mask, canvas = np.zeros(host.shape[:2], np.uint8), host.copy()
        mask[top : top + height, left : left + width] = shape(height, width, rng)
        canvas[top : top + height, left : left + width] = piece
        alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5)[..., None]
        forged = np.rint(host + alpha * (canvas.astype(np.float32) - host)).astype(np.uint8)
        Image.fromarray(forged).save(out / f"images/{index:06d}.jpg", quality=QUALITY)
        Image.fromarray(host).save(out / f"twins/{index:06d}.jpg", quality=QUALITY)
        Image.fromarray(mask * 255).save(out / f"masks/{index:06d}.png")
    return count


def ours(workers: int) -> Contestant:
    return lambda pool, count, out: run.forge(pool, RECIPE, count, 0, out, workers).made


def race(pool: Pool, count: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round by contestant; all take part in every round."""
    rivals: dict[str, Contestant] = {"plain, 1 process": plain, "ours, 1 worker": ours(1), "ours, 2 workers": ours(2)}
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds + 1):
        for name, rival in rivals.items():
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                made = rival(pool, count if number else 4, Path(folder) / "out")
                took = time.perf_counter() - start
            if number:  # the first round warms everything up
                times[name].append(took / made)
    return times


def table(document: dict[str, Any]) -> str:
    lines = [
        f"Forgeries with mask and twin; median of {document['rounds']} rounds of {document['count']}, hosts up to "
        f"{SIDE} pixels.",
        "",
        "| contestant | ms a forgery | forgeries a second | a second and core | times the plain script |",
        "|---|---|---|---|---|",
    ]
    base = document["seconds"]["plain, 1 process"]
    for name, seconds in document["seconds"].items():
        cores = 2 if name.endswith("2 workers") else 1
        lines.append(
            f"| {name} | {1e3 * seconds:.0f} | {1 / seconds:.1f} | {1 / seconds / cores:.1f} | {base / seconds:.2f} |"
        )
    return "\n".join([*lines, "", f"Machine: {document['machine']}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, help="folder or manifest of photographs")
    parser.add_argument("--split", default="", help="only photographs of this split of a manifest")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default="results/speed_forge")
    args = parser.parse_args()
    pool = Pool.of(args.photos, {"split": args.split} if args.split else None)
    cv2.setNumThreads(1)
    before = os.getloadavg()[0]
    times = race(pool, args.count, args.rounds)
    document = {
        "command": f"python benchmarks/forge.py --photos PHOTOS --count {args.count} --rounds {args.rounds}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, OpenCV "
        f"{cv2.__version__}, load average {before:.1f} before and {os.getloadavg()[0]:.1f} after",
        "photographs": len(pool.photos),
        "count": args.count,
        "rounds": args.rounds,
        "seconds": {name: statistics.median(found) for name, found in times.items()},
        "all_seconds": times,
    }
    out = Path(args.out)
    write_atomic(out.with_suffix(".json"), (json.dumps(document, indent=1) + "\n").encode())
    write_atomic(out.with_suffix(".md"), table(document).encode())
    print(table(document))


if __name__ == "__main__":
    main()
