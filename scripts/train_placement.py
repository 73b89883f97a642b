"""Train and measure the network that places objects: what was taken out of a picture is asked back into it.

    python scripts/train_placement.py prepare --manifest DATA/manifest.jsonl --work out/placement
    python scripts/train_placement.py train --work out/placement --steps 320
    python scripts/train_placement.py measure --work out/placement --manifest DATA/manifest.jsonl \\
        --out results/placement
    python scripts/train_placement.py ship --work out/placement --results results/placement.json \\
        --out src/tamperscope/weights/topnet

`prepare` takes pictures of the `train` split whose object is known, or stands out, and fills the object's place. The
same shape is filled at other places, where other pictures' objects lie, so that a hole tells nothing. `prepare` and
`train` go on where they were stopped; `measure` looks only at groups that training never saw.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save

from tamperscope.data import masks
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.metrics import intervals
from tamperscope.networks import topnet
from tamperscope.ops.forge import objects, shapes
from tamperscope.ops.forge.placement import Resembling
from tamperscope.ops.forge.removal import Fill, Removal
from tamperscope.types import BoolArray, Sample, UInt8Array

SEED = 20261128
# Folders of pictures, and the licence that each one's source states.
FOLDERS = {
    "people": "none stated",
    "video_objects": "non-commercial",
    "objects": "CC BY 4.0 / Unsplash",
    "web": "research use",
    "camera": "no licence stated: research use",
}
SIDE, VARIANTS, DECOYS = 160, 6, 4
HELD_OUT, CHOOSING = 0.25, 0.1
SHAPE = (topnet.SCALES, topnet.SIDE // topnet.STRIDE, topnet.SIDE // topnet.STRIDE)
CELLS = int(np.prod(SHAPE))
FILLS: tuple[Fill, ...] = ("telea", "navier_stokes", "exemplar")
BATCH, RATE = 32, 1e-3
LIMITS = (
    "Trained on some three hundred pictures, almost half of them of people: what it knows is mainly how high, how "
    "large and against which edge things stand. It looks at 128 x 128 pixels. It learned from filled holes; how far a "
    "hole draws it is `pull`. Outlines of web, camera and object pictures come from a salience cut, those of people "
    "and clips from masks. As measured, it uses the object but hardly the background: against the average places it "
    "gains likelihood and no hits, and a grey background serves it as well. An object that was cut off by the edge of "
    "its picture may be placed away from the edge."
)
Floats = NDArray[np.float64]

LICENCE = (
    "weights: Apache-2.0, as the code; they were trained on the pictures of the sources listed here, under the terms "
    "stated there, and hold none of them"
)


@dataclasses.dataclass(frozen=True)
class Found:
    """An object in its picture: what is shown of it, and its box (top, left, bottom, right) as shares of both."""

    entry: Entry
    rgb: UInt8Array
    mask: BoolArray
    foreground: torch.Tensor
    box: Floats

    @property
    def cell(self) -> tuple[float, float, float]:
        return cell_of(self.box)


def cell_of(box: Floats) -> tuple[float, float, float]:
    """Return the cell (size, row, column) of a box in shares."""
    top, left, bottom, right = box
    return topnet.cell((top + bottom) / 2, (left + right) / 2, float(np.sqrt((bottom - top) * (right - left))))


def group(entry: Entry) -> str:
    """Return what must stay together: a clip, a camera, an object photographed several times, else one picture."""
    toy = re.fullmatch(r"train/objects/images/dataset__(.+)__\d+\.jpg", entry.image)
    return entry.group or (f"objects_{toy[1]}" if toy else entry.image)


def part_of(name: str) -> str:
    """Return whether a group is to `train` on, to `choose` the step by, or `held` out; it follows from its name."""
    drawn = int(hashlib.sha256(f"{SEED}/{name}".encode()).hexdigest(), 16) % 1000 / 1000
    return "held" if drawn < HELD_OUT else "choose" if drawn < HELD_OUT + CHOOSING else "train"


def find(manifest: Manifest, entry: Entry) -> Found | None:
    """Return the object of a picture, or None where none is sure: cut off, too small, too large, or of two parts."""
    sample = manifest.open(entry)
    mask: BoolArray | None
    if entry.object_mask:
        mask = masks.read(manifest.locate(entry.object_mask))
        mask = objects.cleaned(mask, least=1.0) if mask.any() and mask.shape == sample.size else None
    else:
        mask = objects.salient(sample.rgb, np.random.default_rng(SEED))
        if mask is not None and (mask[0].any() or mask[:, 0].any() or mask[:, -1].any()):
            mask = None
    if mask is None or not mask.any():
        return None
    rows, columns = shapes.box(mask)
    lines = np.array([rows.start, columns.start, rows.stop, columns.stop], float)
    box = lines / np.tile(mask.shape, 2)
    size = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    if not topnet.SMALLEST <= size <= topnet.LARGEST or max(np.diff(lines[::2])[0], np.diff(lines[1::2])[0]) < 32:
        return None
    if not 0.008 <= mask.mean() <= 0.4:
        return None
    part = sample.rgb[rows, columns], mask[rows, columns]
    small = np.asarray(cv2.resize(sample.rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    soft = cv2.resize(mask.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Found(entry, small, soft > 0.3, topnet.foreground_input(*part), box)


def overlap(a: Floats, b: Floats) -> float:
    """Return the area that two boxes share over that of the smaller one."""
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    return float(np.prod(sides) / min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))


def decoys(found: Found, others: list[Floats], rng: np.random.Generator) -> tuple[BoolArray, list[Floats]]:
    """Return holes of the object's own shape where objects of other pictures lie: their mask, and their boxes."""
    rows, columns = shapes.box(found.mask)
    shape = found.mask[rows, columns].astype(np.uint8)
    holes, boxes = np.zeros_like(found.mask), [found.box]
    for _ in range(30):
        other = others[int(rng.integers(len(others)))]
        factor = np.sqrt(np.prod(other[2:] - other[:2]) / np.prod(found.box[2:] - found.box[:2]))
        size = (found.box[2:] - found.box[:2]) * factor
        if len(boxes) > DECOYS or max(size) > 0.98:
            continue
        # It stands where the other one stands, and is mirrored as often as not.
        middle = (other[1] + other[3]) / 2 if rng.random() < 0.5 else 1 - (other[1] + other[3]) / 2
        corner = np.clip(np.array([other[2] - size[0], middle - size[1] / 2]) + rng.normal(0, 0.02, 2), 0, 1 - size)
        box = np.concatenate([corner, corner + size])
        if max(overlap(box, b) for b in boxes) > 0.5:
            continue
        side = np.maximum(np.rint(size * SIDE).astype(int), 2)
        top, left = np.minimum(np.rint(corner * SIDE).astype(int), SIDE - side)
        placed = cv2.resize(shape, (int(side[1]), int(side[0])), interpolation=cv2.INTER_NEAREST).astype(bool)
        trial = holes.copy()
        trial[top : top + side[0], left : left + side[1]] |= placed
        if (trial | found.mask).mean() < 0.6:
            holes, boxes = trial, [*boxes, box]
    return holes, boxes[1:]


def emptied(found: Found, holes: BoolArray, fill: Fill, rng: np.random.Generator) -> UInt8Array:
    """Return the picture without its object and with other holes, all filled alike."""
    mask = cv2.dilate((found.mask | holes).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return Removal(fill=fill, mask=mask, margin=(0, 0))(Sample(found.rgb), rng).rgb


def prepare(args: argparse.Namespace) -> None:
    """Find the objects, then fill their places; what is there already is kept."""
    manifest, work = Manifest(args.manifest), Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    found: list[Found] = []
    for folder in FOLDERS:
        for entry in track(list(manifest.where(split="train", under=f"train/{folder}/")), description=folder):
            try:
                one = find(manifest, entry)
            except TamperscopeError:
                continue
            found += [one] if one else []
    places = [f.box for f in found if part_of(group(f.entry)) != "held"]
    for index, one in enumerate(track(found, description="filling")):
        path = work / f"{index:04d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([SEED, index])
        made = [(*decoys(one, places, rng), FILLS[i % len(FILLS)]) for i in range(VARIANTS)]
        boxes = np.full((VARIANTS, DECOYS, 4), np.nan)
        for row, (_, others, _) in zip(boxes, made, strict=True):
            row[: len(others)] = np.reshape(others, (-1, 4))
        arrays: dict[str, Any] = {
            "backgrounds": np.stack([emptied(one, holes, fill, rng) for holes, _, fill in made]),
            "foreground": one.foreground.numpy().astype(np.float16),
            "box": one.box,
            "others": boxes,
            "entry": np.array(one.entry.line()),
        }
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **arrays)
        part.replace(path)
    (work / "done").write_text(str(len(found)))


@dataclasses.dataclass(frozen=True)
class Item:
    """A prepared picture: backgrounds (V, 160, 160, 3), object (4, 64, 64), box, and other holes (V, N, 4) or nan."""

    entry: Entry
    backgrounds: UInt8Array
    foreground: NDArray[np.float32]
    box: Floats
    others: Floats


def items(work: Path) -> dict[str, list[Item]]:
    """Return the prepared pictures by part: `train`, `choose` and `held`."""
    if not (work / "done").exists():
        raise SystemExit("run `prepare` first, to its end")
    parts: dict[str, list[Item]] = {"train": [], "choose": [], "held": []}
    for path in sorted(work.glob("[0-9]*.npz")):
        with np.load(path) as z:
            entry = Entry.model_validate_json(str(z["entry"]))
            item = Item(entry, z["backgrounds"], z["foreground"].astype(np.float32), z["box"], z["others"])
        parts[part_of(group(entry))].append(item)
    return parts


def cropped(item: Item, rng: np.random.Generator) -> Floats:
    """Return a part of the picture that holds the object's box; edges that the object touches stay edges."""
    low, high = np.zeros(2), np.ones(2)
    if rng.random() < 0.6:
        top_left, bottom_right = item.box[:2], item.box[2:]
        low = np.where(top_left > 0.015, rng.uniform(0, 0.6 * top_left), 0)
        high = np.where(bottom_right < 0.985, rng.uniform(bottom_right + 0.4 * (1 - bottom_right), 1), 1)
        if np.prod(bottom_right - top_left) / np.prod(high - low) > topnet.LARGEST**2:
            low, high = np.zeros(2), np.ones(2)
    return np.concatenate([low, high])


def toned(rgb: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Return pixels with another contrast, brightness, tint, sharpness and noise: so a filled hole shows less."""
    values = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), rng.uniform(0.3, 2.0))
    values = (values - 128) * rng.uniform(0.75, 1.25) + 128 + rng.uniform(-20, 20) + rng.normal(0, 8, 3)
    return np.clip(values + rng.normal(0, rng.uniform(0, 8), rgb.shape), 0, 255).astype(np.uint8)


def example(item: Item, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Return a changed picture as the network and its loss take it."""
    variant, (top, left, bottom, right) = int(rng.integers(VARIANTS)), cropped(item, rng)
    edges = [round(v * SIDE) for v in (top, bottom, left, right)]
    background = toned(item.backgrounds[variant][edges[0] : edges[1], edges[2] : edges[3]], rng)
    foreground = item.foreground.copy()
    alpha = foreground[3:]
    tint = rng.uniform(0.8, 1.2) * foreground[:3] + alpha * rng.normal(0, 0.08, (3, 1, 1))
    foreground[:3] = cv2.GaussianBlur(tint.transpose(1, 2, 0), (0, 0), rng.uniform(0.3, 2.5)).transpose(2, 0, 1)
    boxes = np.concatenate([item.box[None], item.others[variant]])
    boxes = (boxes - (top, left, top, left)) / np.tile([bottom - top, right - left], 2)
    if rng.random() < 0.5:
        background, foreground = background[:, ::-1].copy(), foreground[..., ::-1].copy()
        boxes = np.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], 1)
    cells = np.array([cell_of(box) for box in boxes])
    inside = np.asarray(((cells >= -0.5) & (cells <= np.array(SHAPE) - 0.5)).all(1))
    others = np.where(inside[1:, None], np.rint(np.nan_to_num(cells[1:])), -1).astype(np.int64)
    return {
        "background": topnet.background_input(background),
        "foreground": torch.from_numpy(foreground),
        "target": torch.tensor(cells[0], dtype=torch.float32),
        "others": torch.from_numpy(others),
    }


def batch_of(pool: list[Item], step: int) -> dict[str, torch.Tensor]:
    """Return the batch of a step, which follows from its number."""
    rng = np.random.default_rng([SEED, step])
    drawn = [example(pool[int(i)], rng) for i in rng.integers(len(pool), size=BATCH)]
    return {key: torch.stack([d[key] for d in drawn]) for key in drawn[0]}


def heat_of(net: topnet.TopNet, item: Item, variant: int, foreground: NDArray[np.float32] | None = None) -> Floats:
    """Return the log-probability of every cell for one background, with the object or another one."""
    inputs = torch.from_numpy(item.foreground if foreground is None else foreground)
    with torch.inference_mode():
        heat = net(topnet.background_input(item.backgrounds[variant])[None], inputs[None])["heatmap"][0].double()
    return np.asarray(heat.flatten().log_softmax(0).reshape(SHAPE).numpy())


def train(args: argparse.Namespace) -> None:
    """Train, and keep the averaged weights of the step that did best on the part kept for choosing."""
    work = Path(args.work)
    parts = items(work)
    torch.manual_seed(SEED)
    net = topnet.TopNet()
    mean = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.97))
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.05)
    steps = int(args.steps)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    state: dict[str, Any] = {"step": 0, "best": np.inf, "log": []}
    holders: dict[str, Any] = {"net": net, "mean": mean, "optimizer": optimizer, "plan": plan}
    if (work / "state.pt").exists():
        saved = torch.load(work / "state.pt", weights_only=False)
        for name, holder in holders.items():
            holder.load_state_dict(saved.pop(name))
        state = saved
    for step in range(state["step"], steps):
        batch = batch_of(parts["train"], step)
        losses = topnet.loss(net(batch["background"], batch["foreground"]), batch)
        optimizer.zero_grad()
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        plan.step()
        mean.update_parameters(net)
        if (step + 1) % 40 == 0:
            averaged = mean.module.eval()
            assert isinstance(averaged, topnet.TopNet)
            worth = chosen_loss(averaged, parts["choose"])
            line = {"step": step + 1, "choose": worth, **{k: v.item() for k, v in losses.items()}}
            state |= {"step": step + 1, "log": [*state["log"], line]}
            if worth < state["best"]:
                state["best"] = worth
                torch.save(mean.module.state_dict(), work / "best.pt")
            torch.save({**state, **{name: h.state_dict() for name, h in holders.items()}}, work / "state.pt")
            print(f"{time.strftime('%X')} {line}", flush=True)


def chosen_loss(net: topnet.TopNet, pool: list[Item]) -> float:
    """Return the mean negative log-likelihood, smoothed over a cell, of the true place; every group weighs alike."""
    losses: dict[str, list[float]] = {}
    for item in pool:
        soft = topnet.gaussian(torch.tensor([cell_of(item.box)]), SHAPE)[0].numpy()
        losses.setdefault(group(item.entry), []).append(-float((soft * heat_of(net, item, 0)).sum()))
    return float(np.mean([np.mean(each) for each in losses.values()]))


def whole(cell: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return the nearest cell of the heat map."""
    size, row, column = (int(np.clip(round(v), 0, n - 1)) for v, n in zip(cell, SHAPE, strict=True))
    return size, row, column


def peaks(heat: Floats, count: int = 5) -> list[tuple[int, int, int]]:
    """Return the best cells, none within two cells of a better one in size, row and column."""
    left, found = heat.copy(), []
    for _ in range(count):
        s, r, c = (int(i) for i in np.unravel_index(int(left.argmax()), SHAPE))
        found.append((s, r, c))
        left[max(0, s - 2) : s + 3, max(0, r - 2) : r + 3, max(0, c - 2) : c + 3] = -np.inf
    return found


def hit(cells: list[tuple[int, int, int]], true: tuple[int, int, int]) -> float:
    """Return 1 where one of the cells is within one of the true cell in size, row and column."""
    return float(any(max(abs(a - b) for a, b in zip(cell, true, strict=True)) <= 1 for cell in cells))


def prior_of(pool: list[Item]) -> Floats:
    """Return the log-probability of every cell when only the places of the training part are known.

    The width of its Gaussians, and how much of an even spread is mixed in, are those that serve best to tell one place
    of the training part from the others.
    """
    cells = torch.tensor([cell_of(i.box) for i in pool])
    indices = tuple(np.array([whole(cell_of(i.box)) for i in pool]).T)
    best, found = -np.inf, np.zeros(SHAPE)
    for sigma in (1.0, 1.5, 2.0, 3.0, 4.0):
        each = topnet.gaussian(cells, SHAPE, sigma).numpy()
        together = each.sum(0)
        for even in (0.02, 0.1, 0.3):
            others = (together[indices] - each[(np.arange(len(pool)), *indices)]) / (len(pool) - 1)
            worth = float(np.log((1 - even) * others + even / CELLS).mean())
            if worth > best:
                best, found = worth, np.log((1 - even) * together / len(pool) + even / CELLS)
    return found


def told(heat: Floats, item: Item, variant: int) -> dict[str, float]:
    """Return what a heat map says of the true cell, and of the holes that another picture's object would leave."""
    true = whole(cell_of(item.box))
    holes = [heat[whole(cell_of(box))] for box in item.others[variant] if not np.isnan(box[0])]
    above, even = sum(h < heat[true] for h in holes), sum(h == heat[true] for h in holes)
    return {
        "hit": hit(peaks(heat), true),
        "loglik": float(heat[true]),
        "rank": float(((heat > heat[true]).sum() + 0.5 * ((heat == heat[true]).sum() - 1)) / (CELLS - 1)),
        "choice": (above + 0.5 * even) / len(holes) if holes else np.nan,
    }


def pull(heats: list[Floats], item: Item) -> float:
    """Return by how much log-probability a filled hole draws an object that was never there.

    It is the mean over holes of one background, against the same cells of the picture's other backgrounds.
    """
    gains = []
    for variant, others in enumerate(item.others):
        away = [h for v, h in enumerate(heats) if v != variant]
        for box in others[~np.isnan(others[:, 0])]:
            cell = whole(cell_of(box))
            gains.append(heats[variant][cell] - np.mean([h[cell] for h in away]))
    return float(np.mean(gains)) if gains else np.nan


def resembling(manifest: Manifest, item: Item) -> dict[str, float]:
    """Return how often one of five places by resemblance hits; the donor is the picture that the object is from."""
    found = find(manifest, item.entry)
    assert found is not None
    donor, piece, true = Sample(found.rgb), found.mask[shapes.box(found.mask)], whole(cell_of(item.box))
    place, hits = Resembling(donor, found.mask), []
    for variant in range(VARIANTS):
        host, cells = Sample(item.backgrounds[variant]), []
        for seed in range(5):
            top, left, scale = place(host, piece, np.random.default_rng([SEED, variant, seed]))
            corner = np.array([top, left]) / SIDE
            box = np.concatenate([corner, corner + np.array(piece.shape) * scale / SIDE])
            cells.append(whole(cell_of(box)))
        hits.append(hit(cells, true))
    return {"hit": float(np.mean(hits))}


def even_spread(item: Item) -> dict[str, float]:
    """Return what places drawn evenly are worth; the hits are counted over 2000 draws of five."""
    draws = np.random.default_rng(SEED).integers(0, SHAPE, (2000, 5, 3))
    near = (np.abs(draws - np.array(whole(cell_of(item.box)))) <= 1).all(2).any(1)
    return {"hit": float(near.mean()), "loglik": -float(np.log(CELLS)), "rank": 0.5, "choice": 0.5}


def observe(net: topnet.TopNet, prior: Floats, manifest: Manifest, held: list[Item]) -> list[dict[str, Any]]:
    """Return one row a held-out picture: what each way to place says, averaged over its backgrounds."""
    rows = []
    for index, item in enumerate(track(held, description="measuring")):
        other = held[(index + len(held) // 2) % len(held)].foreground
        bare = dataclasses.replace(item, backgrounds=np.full_like(item.backgrounds, 128))
        heats = {
            "network": [heat_of(net, item, v) for v in range(VARIANTS)],
            "network, another picture's object": [heat_of(net, item, v, other) for v in range(VARIANTS)],
            "network, grey background": [heat_of(net, bare, 0)] * VARIANTS,
            "where objects lie on average": [prior] * VARIANTS,
        }
        ways = {way: [told(h, item, v) for v, h in enumerate(each)] for way, each in heats.items()}
        ways |= {"resembling": [resembling(manifest, item)], "even": [even_spread(item)]}
        means = {way: {k: average([s[k] for s in said]) for k in said[0]} for way, said in ways.items()}
        rows.append({"group": group(item.entry), "ways": means, "pull": pull(heats["network"], item)})
    return rows


def average(values: list[float]) -> float:
    """Return the mean of those that are known, or nan."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else np.nan


NUMBERS: dict[str, tuple[str, Callable[[Floats], float]]] = {
    "hit": ("top-5 hit rate", intervals.mean),
    "loglik": ("median log-likelihood", lambda v: float(np.median(v))),
    "rank": ("mean rank (0 best, 1 last)", intervals.mean),
    "choice": ("true hole above other holes", intervals.mean),
}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return every number with its interval, and the network's difference to each of the other ways."""
    groups = [row["group"] for row in rows]

    def interval(values: list[float], statistic: Callable[[Floats], float]) -> dict[str, float]:
        found = intervals.bootstrap(values, groups, statistic)
        return {"value": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4)}

    ways: dict[str, Any] = {}
    for way in rows[0]["ways"]:
        ways[way] = {}
        for name, (_, statistic) in NUMBERS.items():
            if name in rows[0]["ways"][way]:
                values = [row["ways"][way][name] for row in rows]
                gains = [row["ways"]["network"][name] - row["ways"][way][name] for row in rows]
                ways[way][name] = interval(values, statistic) | {"network_gains": interval(gains, statistic)}
    return {
        "pictures": len(rows),
        "groups": len(set(groups)),
        "ways": ways,
        "pull": interval([row["pull"] for row in rows], intervals.mean),
    }


def _text(found: dict[str, float]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def markdown(table: dict[str, Any]) -> str:
    """Return the table as a page."""
    lines = ["# Where an object belongs", "", table["about"], ""]
    for title, inner in (("", False), ("## What the network gains over each (paired)", True)):
        names = [title for title, _ in NUMBERS.values()]
        lines += ([title, ""] if title else []) + [f"| placed by | {' | '.join(names)} |", "|---" * 5 + "|"]
        for way, found in table["ways"].items():
            if inner and way == "network":
                continue
            texts = [_text(found[n]["network_gains"] if inner else found[n]) if n in found else "–" for n in NUMBERS]
            lines.append(f"| {way} | {' | '.join(texts)} |")
        lines.append("")
    lines += [
        f"A hole draws an object that was never there by {_text(table['pull'])} nats: the log-probability of its cell, "
        "against backgrounds of the same picture without that hole. What the network gains in likelihood beyond the "
        "average places is to be held against this.",
        "",
    ]
    return "\n".join(lines)


ABOUT = (
    "{pictures} held-out pictures of {groups} groups; none of a group was trained on. The object was taken out and its "
    "place filled, with up to four holes of the same shape elsewhere; {variants} backgrounds each. A hit: one of five "
    "cells (of 8 sizes x 32 rows x 32 columns) is within one of the true cell in size, row and column. The rank of the "
    "true cell is a share of all cells. The last column cannot be won by finding holes: it is how often the true hole "
    "is thought likelier than another, and those lie where objects of other pictures do, but never over the true one; "
    "so the average places, not 0.5, are the bar. `resembling` knows more than it would in use: its donor is the "
    "object's own picture. In brackets: 95 % bootstrap by group. Made by `scripts/train_placement.py measure`."
)


def measure(args: argparse.Namespace) -> None:
    """Write the table of the held-out part as JSON and Markdown."""
    work = Path(args.work)
    parts = items(work)
    net = topnet.from_files(*packed(work, {}))
    rows = observe(net, prior_of(parts["train"]), Manifest(args.manifest), parts["held"])
    table = summary(rows)
    table = {"about": ABOUT.format(**table, variants=VARIANTS), "seed": SEED, **table}
    write_atomic(f"{args.out}.json", (json.dumps(table, indent=1) + "\n").encode())
    write_atomic(f"{args.out}.md", markdown(table).encode())
    print(markdown(table))


def packed(work: Path, more: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the weights at half precision as safetensors, and their card."""
    state = torch.load(work / "best.pt", weights_only=True)
    weights = save({name: value.half().contiguous() for name, value in state.items()})
    card = {"sha256": hashlib.sha256(weights).hexdigest(), "architecture": {"side": topnet.SIDE}, **more}
    return weights, (json.dumps(card, indent=1) + "\n").encode()


def ship(args: argparse.Namespace) -> None:
    """Write the weights and their card, with the numbers that `measure` wrote."""
    work = Path(args.work)
    parts = items(work)
    measured = json.loads(Path(args.results).read_text())
    state = torch.load(work / "state.pt", weights_only=False)
    sources = []
    for folder, licence in FOLDERS.items():
        entries = {
            n: [i.entry for i in pool if i.entry.image.startswith(f"train/{folder}/")] for n, pool in parts.items()
        }
        names = sorted({e.extra["source"] for pool in entries.values() for e in pool})
        counts = {name: len(pool) for name, pool in entries.items()}
        sources += [{"source": names, "licence": licence, "pictures": counts}] if names else []
    more = {
        "licence": LICENCE,
        "what": "TopNet after arXiv 2304.03372, trained from scratch: where and how large a cut-out object belongs in "
        "a picture; log-probabilities of 8 sizes x 32 rows x 32 columns.",
        "preprocessing": "Background: squeezed to 128 x 128 by area, RGB / 127.5 - 1. Object: its box to 32 pixels on "
        "the longer side by area, centred, enlarged to 64 x 64; colours as above times the mask, then the mask.",
        "training": {"command": "scripts/train_placement.py", "seed": SEED, "batch": BATCH, "sources": sources,
                     "parts": "train: weights; choose: which step; held: measured only",
                     "planned_steps": state["plan"]["total_steps"], "steps": state["step"],
                     "choose_loss": {line["step"]: round(line["choose"], 4) for line in state["log"]}},
        "held_out": {k: measured[k] for k in ("about", "pictures", "groups", "ways", "pull")},
        "limits": LIMITS,
    }  # fmt: skip
    weights, card = packed(work, more)
    write_atomic(f"{args.out}.safetensors", weights)
    write_atomic(f"{args.out}.json", card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    steps: dict[str, tuple[Callable[[argparse.Namespace], None], tuple[str, ...]]] = {
        "prepare": (prepare, ("manifest",)),
        "train": (train, ("steps",)),
        "measure": (measure, ("manifest", "out")),
        "ship": (ship, ("results", "out")),
    }
    for name, (step, needs) in steps.items():
        part = commands.add_parser(name)
        part.add_argument("--work", required=True)
        for need in needs:
            part.add_argument(f"--{need}", required=True)
        part.set_defaults(run=step)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    main()
