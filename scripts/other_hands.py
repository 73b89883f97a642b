"""Forge with other software than ours: a check on whether a network has learned forgery, or our forge.

    python scripts/other_hands.py --photos out/localizer/photos/choose.jsonl --out out/localizer/choose/other_hands

Nothing of `tamperscope.ops` takes part. Pieces are cut with SLIC (`pip install scikit-image`), changed and pasted with
Pillow, or removed with scikit-image's biharmonic filling; histories and files are written by Pillow, with its own
tables or those that other files of the given pictures came with, or by FFmpeg's MJPEG, whose transform, tables and
conversion of colours are its own. Every forgery has a twin that went the same way without the edit.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from rich.progress import track
from skimage import restoration, segmentation
from writers import Tables, drawn, reread

from tamperscope import media
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic

SEED, SIDES, SHARE = 20261401, (256, 640), (0.01, 0.2)


def opened(pictures: Manifest, entry: Entry, rng: np.random.Generator) -> Image.Image:
    """Return a photograph at a drawn size with sides that are multiples of 16."""
    picture = Image.fromarray(media.open(pictures.locate(entry.image)).sample.rgb)
    scale = min(1.0, float(rng.uniform(*SIDES)) / max(picture.size))
    width, height = (max(64, round(n * scale) // 16 * 16) for n in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def piece_of(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the outline of some segments that touch, as a mask, a share of the picture as drawn."""
    labels = segmentation.slic(np.asarray(picture), n_segments=60, compactness=8, start_label=0)
    wanted = float(np.exp(rng.uniform(*np.log(SHARE)))) * labels.size
    mask = labels == labels[tuple(int(rng.integers(n)) for n in labels.shape)]
    while mask.sum() < wanted:
        grown = np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(5))) > 0
        beside = np.unique(labels[grown & ~mask])
        if not beside.size:
            break
        mask |= labels == rng.choice(beside)
    return Image.fromarray(mask).convert("L")


def pasted(host: Image.Image, donor: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray] | None:
    """Return the host with a piece of the donor, and where; None where it does not fit."""
    mask = piece_of(donor, rng)
    box = mask.getbbox()
    if box is None:
        return None
    piece, outline = donor.crop(box), mask.crop(box)
    factor = float(rng.choice([1.0, rng.uniform(0.6, 1.4)]))
    width, height = (max(8, round(n * factor)) for n in piece.size)
    piece, outline = (p.resize((width, height), Image.Resampling.BICUBIC) for p in (piece, outline))
    if rng.random() < 0.4:
        angle = float(rng.uniform(-30, 30))
        piece, outline = (p.rotate(angle, Image.Resampling.BICUBIC, expand=True) for p in (piece, outline))
    if rng.random() < 0.4:
        piece = ImageEnhance.Brightness(piece).enhance(float(rng.uniform(0.8, 1.25)))
    room = [h - p for h, p in zip(host.size, piece.size, strict=True)]
    if min(room) < 0:
        return None
    left, top = (int(rng.integers(0, n + 1)) for n in room)
    alpha = outline.filter(ImageFilter.GaussianBlur(float(rng.choice([0.0, 0.8, 1.5]))))
    forged = host.copy()
    forged.paste(piece, (left, top), alpha)
    truth = Image.new("L", host.size)
    truth.paste(outline, (left, top))
    return forged, np.asarray(truth) > 127


def removed(host: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
    """Return the host without a piece, filled from around it, and where."""
    mask = np.asarray(piece_of(host, rng)) > 127
    filled = restoration.inpaint_biharmonic(np.asarray(host), mask, split_into_regions=False, channel_axis=-1)
    return Image.fromarray(np.rint(255 * filled).astype(np.uint8)), mask


def tables_of(pictures: Manifest) -> list[Tables]:
    """Return the distinct tables, of luma and chroma, that the files of a manifest came with."""
    found: dict[Tables, None] = {}
    for entry in pictures:
        try:
            with Image.open(pictures.locate(entry.image)) as file:
                tables = getattr(file, "quantization", None) or {}
        except OSError:
            continue
        if len(tables) == 2 and max(max(t) for t in tables.values()) < 256:
            found[tuple(tuple(tables[k]) for k in sorted(tables))] = None
    return list(found)


Made = tuple[bytes, bytes, np.ndarray, dict[str, Any]]
"""Forgery, twin, mask, and what both are."""


def forge(pictures: Manifest, tables: Sequence[Tables], number: int) -> Made | None:
    """Return what a draw made, or None where it came to nothing."""
    rng = np.random.default_rng([SEED, number])
    entries = [e for e in pictures if e.label == 0]
    host_entry, donor_entry = (entries[int(i)] for i in rng.choice(len(entries), 2, replace=False))
    edit = str(rng.choice(["splice", "splice", "copy_move", "removal"]))
    host = opened(pictures, host_entry, rng)
    before, last = (drawn(rng, tables) for _ in range(2))
    told = {"group": host_entry.source_group, "editors": [edit], "history": "none", "file": str(last)}
    if rng.random() < 0.8:
        host = reread(before(host))
        told["history"] = str(before)
    if edit == "removal":
        made: tuple[Image.Image, np.ndarray] | None = removed(host, rng)
    else:
        donor = host if edit == "copy_move" else opened(pictures, donor_entry, rng)
        if edit == "splice" and rng.random() < 0.6:
            donor = reread(drawn(rng, tables)(donor))
        made = pasted(host, donor, rng)
    if made is None or not SHARE[0] / 2 <= made[1].mean() <= 0.5:
        return None
    return last(made[0]), last(host), made[1], told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=150)
    args = parser.parse_args()
    pictures = Manifest(args.photos)
    tables, lines, number = tables_of(pictures), [], 0
    for index in track(range(args.count), "forging"):
        made = None
        while made is None:
            try:
                made = forge(pictures, tables, number)
            except TamperscopeError as error:
                print(f"draw {number}: {error}")
            number += 1
        data, twin, mask, told = made
        png = io.BytesIO()
        Image.fromarray(mask).save(png, "PNG")
        names = f"images/{index:04}.jpg", f"twins/{index:04}.jpg", f"masks/{index:04}.png"
        for name, content in zip(names, (data, twin, png.getvalue()), strict=True):
            write_atomic(args.out / name, content)
        lines.append({"image": names[0], "mask": names[2], "label": 1, "split": "dev", "twin": names[1], **told})
        lines.append({"image": names[1], "label": 0, "split": "dev", **told})
    write_atomic(args.out / "manifest.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    print(f"{args.count} forgeries of {number} draws, {len(tables)} tables that files came with")


if __name__ == "__main__":
    main()
