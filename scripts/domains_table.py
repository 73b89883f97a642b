"""Measure how well `signal.domains` tells pages, faces, drawings and photos apart.

    python scripts/domains_table.py measure --manifest DATA/manifest.jsonl --out out/domains.jsonl
    python scripts/domains_table.py table --rows out/domains.jsonl --out results/domains

`measure` takes every picture of the `train` split, and two kinds that it makes itself, from a seed: `drawn` (charts and
windows of a screen, as PNG or JPEG) and `photographed` (each scanned page laid, turned and seen from the side, on a web
photo). It can be stopped and started again. Half of the groups served to choose the thresholds; `table` states what is
found on the other half, and what the halves' outermost values are. It writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import resumable
from PIL import Image, ImageDraw, ImageFont

from tamperscope import media
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.media.recompress import recompress
from tamperscope.metrics import intervals
from tamperscope.signal import domains
from tamperscope.types import Sample

SEED, DRAWN = 20261202, 80
WORDS = ("Total", "amount", "Open", "File", "Edit", "Save", "invoice", "2024", "37.50", "Settings", "revenue", "of")
SEEN = Path(__file__).with_name("domains_faces.csv")
EXPECTED = {"documents": "document", "photographed": "document", "drawn": "drawing"}
"""What a category's pictures are; all others are photos, with a face where the finder of faces finds a large one."""


def _number(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)


def part(group: str) -> str:
    """Return `choosing` or `measuring`, each for half of the groups; it follows from the name."""
    return "measuring" if _number(group) % 2 else "choosing"


def drawn(number: int) -> np.ndarray:
    """Return a chart or a screen with windows, (H, W, 3) uint8."""
    rng = np.random.default_rng([SEED, number])
    width, height = (int(n) for n in rng.integers(500, 1600, 2))
    colours = [tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(6)]
    ground = (255, 255, 255) if rng.random() < 0.6 else tuple(int(v) for v in rng.integers(0, 70, 3))
    canvas = Image.new("RGB", (width, height), ground)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(int(rng.integers(12, 26)))
    ink = (0, 0, 0) if sum(ground) > 400 else (230, 230, 230)

    def label(x: float, y: float) -> None:
        pen.text((x, y), " ".join(rng.choice(WORDS, int(rng.integers(1, 4)))), fill=ink, font=font)

    if number % 2:
        count = int(rng.integers(4, 14))
        for k in range(count):
            x, top = 60 + k * (width - 100) / count, float(rng.uniform(0.15, 0.8)) * height
            pen.rectangle([x, top, x + 0.6 * (width - 100) / count, height - 50], fill=colours[k % 2])
            label(x, height - 40)
        heights = rng.uniform(0.1, 0.9, count) * height
        pen.line([(60 + k * (width - 100) / count, y) for k, y in enumerate(heights)], fill=colours[2], width=3)
        label(width / 3, 10)
    else:
        for k in range(int(rng.integers(2, 6))):
            x, y = float(rng.uniform(0, 0.7)) * width, float(rng.uniform(0, 0.7)) * height
            right, foot = min(width - 1, x + 0.5 * width), min(height - 1, y + 0.5 * height)
            pen.rectangle([x, y, right, foot], fill=ground, outline=ink)
            pen.rectangle([x, y, right, min(foot, y + 28)], fill=colours[k])
            for line in range(int(rng.integers(1, 6))):
                label(x + 10, y + 40 + 34 * line)
    rgb = np.array(canvas)
    return recompress(rgb, int(rng.integers(70, 95))) if number % 4 > 1 else rgb


def photographed(page: np.ndarray, desk: np.ndarray, name: str) -> np.ndarray:
    """Return a page laid on a desk, turned by up to 4 degrees and seen from the side, and saved as JPEG."""
    rng = np.random.default_rng([SEED, _number(name)])
    side = 1400
    table = cv2.resize(desk, (side, side), interpolation=cv2.INTER_LINEAR)
    height, width = page.shape[:2]
    scale = 0.9 * side / max(height, width)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    angle = np.deg2rad(rng.uniform(-4, 4))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    placed = (corners - [width / 2, height / 2]) * scale @ turn.T + side / 2
    placed += rng.uniform(-0.03, 0.03, (4, 2)) * side
    warp = cv2.getPerspectiveTransform(corners.astype(np.float32), placed.astype(np.float32))
    seen = cv2.warpPerspective(page, warp, (side, side), flags=cv2.INTER_AREA)
    cover = cv2.warpPerspective(np.ones((height, width), np.uint8), warp, (side, side))[..., None] > 0
    light = np.linspace(float(rng.uniform(0.6, 1)), 1, side)[None, :, None]
    both = cv2.GaussianBlur(np.where(cover, seen, table) * light, (0, 0), 0.7) + rng.normal(0, 2, (side, side, 3))
    return recompress(np.clip(both, 0, 255).astype(np.uint8), 85)


def jobs(path: str) -> Iterator[tuple[str, Any]]:
    """Yield (key, what `work` takes)."""
    entries = [entry for entry in Manifest(path) if entry.split == "train"]
    desks = [entry.image for entry in entries if "/web/" in entry.image]
    for entry in entries:
        yield entry.image, (path, entry, "", entry.image.split("/")[1])
        if "/documents/" in entry.image:
            key = f"photographed/{entry.image}"
            yield key, (path, entry, desks[_number(key) % len(desks)], "photographed")
    for number in range(DRAWN):
        yield f"drawn/{number}", (path, None, str(number), "drawn")


def work(job: tuple[str, Entry | None, str, str]) -> dict[str, Any]:
    """Return what a picture's scores rest on."""
    path, entry, more, category = job
    manifest = Manifest(path)
    key = f"drawn/{more}" if entry is None else entry.image if not more else f"photographed/{entry.image}"
    group = key if entry is None else entry.source_group
    row: dict[str, Any] = {"key": key, "category": category, "part": part(group)}
    try:
        if entry is None:
            rgb = drawn(int(more))
        else:
            rgb = media.open(manifest.locate(entry.image)).sample.rgb
            if more:
                rgb = photographed(rgb, media.open(manifest.locate(more)).sample.rgb, key)
    except TamperscopeError as error:
        return {**row, "error": str(error)}
    start = time.process_time()
    found = domains.measured(Sample(np.ascontiguousarray(rgb)))
    row["seconds"] = time.process_time() - start
    row["megapixels"] = rgb.shape[0] * rgb.shape[1] / 1e6
    row["letters"], row["share"] = domains.letters_in_rows(domains.ink_of(rgb))
    row["flat"], row["common"] = domains.flatness(rgb)
    return {**row, "face": found.face}


def scored(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the domains that the present thresholds make of what was measured."""
    document = domains.page_score(row["letters"], row["share"])
    drawing = domains.drawing_score(row["flat"], row["common"])
    return {**row, "names": domains.Domains(document, row["face"], drawing).names}


def measure(args: argparse.Namespace) -> None:
    """Write one row for each picture."""
    resumable.run(jobs(args.manifest), work, args.out, args.workers, "pictures")


def expected(row: dict[str, Any]) -> str:
    """Return what a picture is."""
    if row["category"] in EXPECTED:
        return EXPECTED[row["category"]]
    return "face" if row["face"] >= 0.5 else "photo"


def confusion(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each category how many of its pictures count as each domain first, and how many rightly so."""
    table: dict[str, dict[str, Any]] = {}
    for category in sorted({row["category"] for row in rows}):
        some = [row for row in rows if row["category"] == category]
        firsts = [row["names"][0] for row in some]
        right = sum(first == expected(row) for first, row in zip(firsts, some, strict=True))
        share = intervals.share(right, len(some))
        table[category] = {
            "pictures": len(some),
            **{name: firsts.count(name) for name in domains.NAMES},
            "right": right,
            "share": round(share.value, 4),
            **_ends(share),
        }
    return table


def _ends(share: intervals.Interval) -> dict[str, float]:
    return {"low": round(share.low, 4), "high": round(share.high, 4)}


def by_eye(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how the finder of faces does against `domains_faces.csv`, which a person wrote looking at the pictures."""
    with SEEN.open(newline="", encoding="utf-8") as stream:
        seen = {row["picture"]: row["seen"] for row in csv.DictReader(stream)}
    called: dict[str, list[bool]] = {"face": [], "none": []}
    for row in rows:
        if row["key"] in seen:
            called[seen[row["key"]]].append(row["face"] >= 0.5)
    found = {}
    for name, each in called.items():
        found[name] = {
            "pictures": len(each),
            "called": sum(each),
            **_ends(intervals.share(sum(each), len(each))),
        }
    return found


def outermost(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what thresholds should lie between: the 2nd percentile of what is of a domain, the 98th of photos."""
    found = {}
    for name, value in (("document", "letters"), ("document", "share"), ("drawing", "flat"), ("drawing", "common")):
        inside = [row[value] for row in rows if expected(row) == name]
        outside = [row[value] for row in rows if expected(row) not in ("document", "drawing")]
        found[value] = {
            "of": name,
            "low end inside": round(float(np.percentile(inside, 2)), 3),
            "high end of photos": round(float(np.percentile(outside, 98)), 3),
        }
    return found


def markdown(table: dict[str, Any]) -> str:
    """Return the table as a page."""
    names = list(domains.NAMES)
    lines = ["# Domains of pictures", "", table["about"], ""]
    lines += [f"| category | pictures | {' | '.join(names)} | right |", "|---" * (len(names) + 3) + "|"]
    for category, cell in table["measuring"].items():
        right = f"{cell['right']} of {cell['pictures']}: {cell['share']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
        lines.append(f"| {category} | {cell['pictures']} | {' | '.join(str(cell[n]) for n in names)} | {right} |")
    lines += ["", "| value | of | 2nd percentile inside | 98th percentile of photos | threshold |", "|---" * 5 + "|"]
    for value, cell in table["outermost"].items():
        ends = f"{cell['low end inside']} | {cell['high end of photos']}"
        lines.append(f"| {value} | {cell['of']} | {ends} | {table['thresholds'][value]} |")
    face, none = (
        f"{cell['called']} of {cell['pictures']} ({cell['called'] / cell['pictures']:.1%} [{cell['low']:.1%}, "
        f"{cell['high']:.1%}])"
        for cell in (table["by_eye"]["face"], table["by_eye"]["none"])
    )
    seen = (
        f"Faces by eye (`scripts/domains_faces.csv`): a face is found in {face} of the pictures that show one from the "
        f"front or half turned, clearly wider than 80 pixels, and in {none} of those that show nobody's. One person "
        "looked at contact sheets, for some knowing what the finder says; faces of about 80 pixels or less, profiles "
        "and covered ones were left out."
    )
    return "\n".join([*lines, "", seen, "", table["cost"], ""])


def write_table(args: argparse.Namespace) -> None:
    """Write the table of a file of rows as JSON and Markdown."""
    every = resumable.read_rows(args.rows)
    rows = [scored(row) for row in every if "error" not in row]
    measuring = [row for row in rows if row["part"] == "measuring"]
    choosing = [row for row in rows if row["part"] == "choosing"]
    seconds = sum(row["seconds"] for row in rows)
    about = (
        f"`{COMMAND}`, then `… table --rows ROWS --out results/domains`. Columns are what `signal.domains` says first; "
        "right is a page for scanned and photographed pages, a drawing for what is drawn, else a face where the "
        "built-in finder finds one of 80 pixels, which makes that column agree with itself, and a photo elsewhere. "
        f"{len(measuring)} pictures of the half of the groups that chose no threshold; {len(every) - len(rows)} could "
        "not be opened. That half was looked at once before, with other thresholds for pages. `drawn` and "
        "`photographed` are made by the script, so they are easier than real ones. In brackets: 95 % after Wilson. The "
        "second table is of the other half, on which the thresholds were chosen."
    )
    table = {
        "about": about,
        "seed": SEED,
        "measuring": confusion(measuring),
        "choosing": confusion(choosing),
        "by_eye": by_eye(measuring),
        "outermost": outermost(choosing),
        "thresholds": {
            "letters": domains.LETTERS,
            "share": domains.SHARE,
            "flat": domains.FLAT,
            "common": domains.COLOURS,
        },
        "cost": (
            f"Processor time: {1e3 * seconds / sum(row['megapixels'] for row in rows):.0f} ms a "
            f"megapixel over all, {1e3 * float(np.median([row['seconds'] for row in rows])):.0f} ms a picture in the "
            f"median, {1e3 * max(row['seconds'] for row in rows):.0f} ms at most; most of it is the finder of faces, "
            "which costs the same for pictures of any size."
        ),
    }
    write_atomic(f"{args.out}.json", (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomic(f"{args.out}.md", markdown(table).encode())
    print(markdown(table))


COMMAND = "python scripts/domains_table.py measure --manifest DATA/manifest.jsonl --out ROWS"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("measure")
    one.add_argument("--manifest", required=True)
    one.add_argument("--out", required=True)
    one.add_argument("--workers", type=int, default=1)
    one.set_defaults(run=measure)
    one = commands.add_parser("table")
    one.add_argument("--rows", required=True)
    one.add_argument("--out", required=True)
    one.set_defaults(run=write_table)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
