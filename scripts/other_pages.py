"""Change words of pages with other software than ours: a check on whether a network has learned edits, or our forge.

    python scripts/other_pages.py --pages out/documents/photos/measure_pages.jsonl --out out/documents/measure/others

Nothing of `tamperscope.ops` takes part. A word is retyped in Pillow's own font on paper of one colour, replaced by
another line's pixels, erased by OpenCV's inpainting (Telea) or its Poisson blending; histories and files are written as
`writers.py` does it. Every forgery has a twin that went the same way without the edit.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track
from writers import drawn, reread

from tamperscope import media
from tamperscope.data import text_boxes
from tamperscope.data.manifest import Entry, Manifest, write
from tamperscope.files import write_atomic

SEED, LONGEST, EDITS = 20261501, (900, 1600), ("retyped", "copied", "erased", "blended")
Box = tuple[int, int, int, int]
Pixels = np.ndarray


def lines(path: Path, scale: float) -> list[Box]:
    """Return the boxes of the lines of a page that are large enough, at a scale."""
    boxes = [np.array(box) * scale for box, _ in text_boxes.read(path)]
    whole = [(*map(int, box[:2]), *map(int, np.ceil(box[2:]))) for box in boxes]
    return [(a, b, c, d) for a, b, c, d in whole if c - a >= 24 and d - b >= 9]


def part_of(box: Box, rng: np.random.Generator) -> Box:
    """Return a piece of a line, some characters wide."""
    x0, y0, x1, y1 = box
    width = min(x1 - x0, int((y1 - y0) * rng.uniform(1.5, 6)))
    left = int(rng.integers(x0, x1 - width + 1))
    return left, y0, left + width, y1


def changed(page: Pixels, box: Box, others: list[Box], edit: str, rng: np.random.Generator) -> Pixels | None:
    """Return the page with what lies in a box changed; None where it cannot be."""
    x0, y0, x1, y1 = box
    old, out = page[y0:y1, x0:x1], page.copy()
    paper = np.percentile(old.reshape(-1, 3), 85, axis=0)
    if edit == "retyped":
        patch = Image.new("RGB", (x1 - x0, y1 - y0), tuple(int(v) for v in paper))
        ink = tuple(int(v) for v in np.percentile(old.reshape(-1, 3), 3, axis=0))
        text = "".join(rng.choice(list("0123456789.,RM ")) for _ in range(max(2, (x1 - x0) // max(5, (y1 - y0) // 2))))
        ImageDraw.Draw(patch).text((1, 0), text, fill=ink, font=ImageFont.load_default(0.85 * (y1 - y0)))
        out[y0:y1, x0:x1] = np.asarray(patch)
    elif edit == "erased":
        ink = (old.mean(2) < paper.mean() - 25).astype(np.uint8)
        hole = np.zeros(page.shape[:2], np.uint8)
        hole[y0:y1, x0:x1] = cv2.dilate(ink, np.ones((3, 3), np.uint8))
        out = cv2.inpaint(page, hole, 3, cv2.INPAINT_TELEA)
    else:
        fitting = [b for b in others if b[2] - b[0] >= x1 - x0 and abs((b[3] - b[1]) - (y1 - y0)) <= 3 and b[1] != y0]
        if not fitting:
            return None
        a, b, *_ = fitting[int(rng.integers(len(fitting)))]
        piece = page[b : b + y1 - y0, a : a + x1 - x0]
        if piece.shape != old.shape:
            return None
        if edit == "copied":
            out[y0:y1, x0:x1] = piece
        else:
            middle = ((x0 + x1) // 2, (y0 + y1) // 2)
            out = cv2.seamlessClone(piece, page, np.full(piece.shape[:2], 255, np.uint8), middle, cv2.NORMAL_CLONE)
    return np.asarray(out)


def forged(pages: Manifest, entry: Entry, rng: np.random.Generator) -> tuple[Pixels, Pixels, Pixels, str] | None:
    """Return page, forgery, mask and edit, before they are delivered; None where the draw does not work."""
    rgb = media.open(pages.locate(entry.image)).sample.rgb
    scale = min(1.0, float(rng.uniform(*LONGEST)) / max(rgb.shape))
    page = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    page = np.asarray(reread(drawn(rng, ())(Image.fromarray(page))))
    boxes = lines(pages.locate(str(entry.extra["text_boxes"])), scale)
    edit = EDITS[int(rng.integers(len(EDITS)))]
    box = part_of(boxes[int(rng.integers(len(boxes)))], rng)
    made = changed(page, box, boxes, edit, rng)
    if made is None:
        return None
    mask = np.zeros(page.shape[:2], np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    if edit == "erased":
        mask[(made == page).all(2)] = 0
    return (page, made, mask, edit) if mask.sum() > 255 * 64 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=80)
    args = parser.parse_args()
    for name in ("images", "masks", "twins"):
        (args.out / name).mkdir(parents=True, exist_ok=True)
    pages = Manifest(args.pages)
    known, entries, number = list(pages), [], 0
    done: Counter[str] = Counter()
    for _ in track(range(args.count), "other hands"):
        found = None
        while found is None:
            rng = np.random.default_rng([SEED, number])
            entry, number = known[number % len(known)], number + 1
            found = forged(pages, entry, rng)
        page, made, mask, edit = found
        name, writer = f"{number:05}", drawn(rng, ())
        done[edit] += 1
        png = io.BytesIO()
        Image.fromarray(mask).save(png, "PNG")
        write_atomic(args.out / f"masks/{name}.png", png.getvalue())
        kept = {"domain": "document", "group": entry.source_group}
        for folder, pixels in (("images", made), ("twins", page)):
            write_atomic(args.out / f"{folder}/{name}.jpg", writer(Image.fromarray(pixels)))
        entries += [
            Entry(image=f"images/{name}.jpg", mask=f"masks/{name}.png", label=1, **(kept | {"edit": edit})),
            Entry(image=f"twins/{name}.jpg", label=0, **kept),
        ]
    write(args.out / "manifest.jsonl", entries)
    print(dict(done))


if __name__ == "__main__":
    main()
