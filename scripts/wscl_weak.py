"""Measure what WSCL finds when it is told image labels alone: every mask is deleted before the training begins.

    python scripts/wscl_weak.py forge --manifest DATA/manifest.jsonl --work out/wscl
    python scripts/wscl_weak.py train --work out/wscl --seeds 3 --steps 300
    python scripts/wscl_weak.py table --work out/wscl --out results/wscl_weak

`forge` takes camera and web pictures of the `train` split, reduced until no history of their own is left, and gives a
region of each another noise level; a tenth of the groups is held out. `train` deletes the folder of the training masks
and goes on where it was stopped, a seed at a time. `table` measures the held-out pictures and writes OUT.json, OUT.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.progress import track

from tamperscope import media
from tamperscope.data import masks as truth_masks
from tamperscope.data.manifest import Manifest
from tamperscope.errors import TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.metrics import intervals, pixel, ranking
from tamperscope.networks import wscl
from tamperscope.nn import heads
from tamperscope.ops import warps
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.traces.noise import Noise

SEED, SIDE, CROP, BATCH, RATE = 20261128, 160, 96, 16, 3e-3
FOLDERS = ("camera", "web")
SIGMA, SHARE = (4.0, 8.0), (0.04, 0.2)
METRICS = ("auc", "f1")


def part(group: str) -> str:
    """Return `held_out` for a tenth of the groups; it follows from the name."""
    return "held_out" if int(hashlib.sha256(group.encode()).hexdigest(), 16) % 10 == 0 else "train"


def forge(args: argparse.Namespace) -> None:
    rows = []
    for folder in FOLDERS:
        found = list(Manifest(args.manifest).where(split="train", under=f"train/{folder}/"))
        order = np.random.default_rng(SEED).permutation(len(found))[: args.pictures // len(FOLDERS)]
        rows += [(found[i], i) for i in order]
    known = []
    for number, (entry, _) in enumerate(track(rows, "forge")):
        try:
            sample = media.open(Path(args.manifest).parent / entry.image).sample
        except TamperscopeError as error:
            print(f"passed over {entry.image}: {error}")
            continue
        scale = max(SIDE / min(sample.size), 0.25)
        if scale > 0.75:
            continue
        rng = np.random.default_rng([SEED, number])
        small = warps.scaled(sample, warps.times(sample.size, scale), "lanczos")
        top, left = (int(rng.integers(n - SIDE + 1)) for n in small.size)
        twin = warps.window(small, top, left, SIDE, SIDE)
        # Anywhere, or to look at the middle would be half of the answer.
        region = np.roll(shapes.blob(twin.size, shapes.area(SHARE, rng), rng), rng.integers(SIDE, size=2), (0, 1))
        forged = Noise(sigma=SIGMA, first="keep", region=region)(twin, rng)
        assert forged.mask is not None
        where = Path(args.work) / part(entry.source_group)
        name = f"{number:05d}.png"
        for kind, rgb in (("forged", forged.rgb), ("twins", twin.rgb)):
            (where / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(where / kind / name), rgb[..., ::-1])
        (where / "masks").mkdir(exist_ok=True)
        write_atomic(where / "masks" / name, truth_masks.png(forged.mask))
        known.append({"name": name, "part": where.name, "group": entry.source_group})
    write_atomic(Path(args.work) / "pictures.json", json.dumps(known).encode())


def opened(path: Path, flags: int) -> np.ndarray:
    found = cv2.imread(str(path), flags)
    assert found is not None, path
    return found


def pictures(folder: Path, kind: str) -> np.ndarray:
    """Return all pictures of a folder, (N, SIDE, SIDE, 3) uint8, by name."""
    found = sorted((folder / kind).glob("*.png"))
    return np.stack([opened(path, cv2.IMREAD_COLOR)[..., ::-1] for path in found])


def regions(folder: Path) -> list[np.ndarray]:
    return [opened(path, cv2.IMREAD_GRAYSCALE) > 0 for path in sorted((folder / "masks").glob("*.png"))]


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float() / 255


def train(args: argparse.Namespace) -> None:
    folder = Path(args.work) / "train"
    if (folder / "masks").exists():
        # What wrong labels a crop gets is measured once, and then no mask is left to be seen.
        noise = wscl.crop_noise(regions(folder), CROP, np.random.default_rng(SEED))
        write_atomic(Path(args.work) / "noise.json", json.dumps({"share": noise, "side": CROP}).encode())
        shutil.rmtree(folder / "masks")
    forged, twins = pictures(folder, "forged"), pictures(folder, "twins")
    for seed in range(args.seeds):
        path = Path(args.work) / f"seed{seed}.pt"
        if not path.exists():
            began = time.process_time()
            net = trained(forged, twins, seed, args.steps)
            assert not (folder / "masks").exists()
            state = {"weights": net.state_dict(), "steps": args.steps, "seconds": time.process_time() - began}
            torch.save(state, path)


def trained(forged: np.ndarray, twins: np.ndarray, seed: int, steps: int) -> wscl.Wscl:
    torch.manual_seed(seed)
    rng = np.random.default_rng([SEED, seed])
    net = wscl.build().train()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=5e-4)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step in track(range(steps), f"seed {seed}"):
        labels = np.arange(BATCH) % 2
        crops = [crop((forged if label else twins)[rng.integers(len(forged))], rng) for label in labels]
        outputs = net(tensor(np.stack(crops)))
        terms = net.loss(outputs, {"label": torch.from_numpy(labels)}, step / steps)
        optimizer.zero_grad()
        total = sum(terms.values())
        assert isinstance(total, torch.Tensor)
        total.backward()
        optimizer.step()
        plan.step()
    return net.eval()


def crop(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top, left = rng.integers(SIDE - CROP + 1, size=2)
    taken = rgb[top : top + CROP, left : left + CROP]
    return taken[:, ::-1] if rng.random() < 0.5 else taken


def answers(net: wscl.Wscl, rgb: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the maps (N, SIDE, SIDE) in [0, 1] of the ensemble and of every stream, and the scores."""
    found: dict[str, list[np.ndarray]] = {}
    with torch.inference_mode():
        for start in range(0, len(rgb), BATCH):
            outputs = net(tensor(rgb[start : start + BATCH]))
            for key, value in outputs.items():
                if key == "mask" or key.startswith("map_"):
                    value = heads.resized(value, (SIDE, SIDE))[:, 0]
                if not key.startswith(("left_", "right_")):
                    found.setdefault(key, []).append(value.sigmoid().numpy())
    whole = {key: np.concatenate(values) for key, values in found.items()}
    return whole, whole.pop("score")


def blob() -> np.ndarray:
    """Return the map that looks at nothing: a bump in the middle."""
    step = np.linspace(-1, 1, SIDE)
    return np.exp(-2 * (step[:, None] ** 2 + step[None] ** 2)).astype(np.float32)


def measured(maps: np.ndarray, truth: list[np.ndarray]) -> dict[str, list[float]]:
    rows = [pixel.measure(m, t, METRICS) for m, t in zip(maps, truth, strict=True)]
    return {metric: [row[metric] for row in rows] for metric in METRICS}


def table(args: argparse.Namespace) -> None:
    work = Path(args.work)
    folder = work / "held_out"
    forged, twins, truth = pictures(folder, "forged"), pictures(folder, "twins"), regions(folder)
    groups = [row["group"] for row in json.loads((work / "pictures.json").read_text()) if row["part"] == "held_out"]
    per_seed: dict[str, list[dict[str, list[float]]]] = {}
    scores, spent = [], []
    for path in sorted(work.glob("seed*.pt")):
        saved = torch.load(path, weights_only=True)
        net = wscl.build()
        net.load_state_dict(saved["weights"])
        net.eval()
        spent.append({"steps": saved["steps"], "seconds": saved["seconds"]})
        maps, score = answers(net, forged)
        null, null_score = answers(net, twins)
        scores.append(ranking.auc(np.concatenate([score, null_score]), np.repeat([1, 0], len(score)) == 1))
        for name, found in (*maps.items(), ("mask of the twin", null["mask"])):
            per_seed.setdefault(name, []).append(measured(found, truth))
    per_seed["middle of the picture"] = [measured(np.repeat(blob()[None], len(truth), 0), truth)]
    rows = {
        name: {metric: _summary([s[metric] for s in seeds], groups) for metric in METRICS}
        for name, seeds in per_seed.items()
    }
    noise = json.loads((work / "noise.json").read_text())
    result = {"rows": rows, "image_auc": scores, "held_out": len(truth), "groups": len(set(groups)), "noise": noise}
    result |= {"trained_on": len(list((work / "train" / "forged").glob("*.png"))), "spent": spent}
    write_atomic(Path(f"{args.out}.json"), (json.dumps(result, indent=1) + "\n").encode())
    write_atomic(Path(f"{args.out}.md"), _markdown(result).encode())


def _summary(seeds: list[list[float]], groups: list[str]) -> dict[str, Any]:
    """Return the mean over seeds of each picture with its interval by group, and the mean of every seed."""
    found = intervals.bootstrap(np.mean(seeds, axis=0), groups)
    return {
        "shown": str(found),
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "seeds": np.mean(seeds, 1).tolist(),
    }


NAMES = {
    "mask": "ensemble 1 : 2 : 2",
    "map_rgb": "stream RGB",
    "map_srm": "stream SRM",
    "map_bayar": "stream Bayar",
    "mask of the twin": "ensemble, of the twin: the trace is not there",
    "middle of the picture": "middle of the picture: looks at nothing",
}


def _markdown(result: dict[str, Any]) -> str:
    spent, noise = result["spent"], result["noise"]
    minutes = sum(s["seconds"] for s in spent) / 60
    image = ", ".join(f"{value:.3f}" for value in result["image_auc"])
    text = (
        f"{result['trained_on']} forgeries and their twins were trained on, seeds: {len(spent)}, each of "
        f"{spent[0]['steps']} steps ({minutes:.0f} minutes of processor time in all). A region of each forgery has "
        "another noise level, "
        "the content is unchanged, and the folder of the training masks is deleted before the training. Crops of "
        f"{noise['side']} pixels keep the label of their picture: {100 * noise['share']:.1f} % of those of forgeries "
        f"hold no forged pixel. Measured on {result['held_out']} held-out forgeries of {result['groups']} groups; none "
        "of a group was trained on. Each number is the mean over pictures and seeds; in brackets: 95 % bootstrap by "
        "group; then the seeds alone. Made by `scripts/wscl_weak.py`."
    )
    lines = ["# What WSCL finds when it is told image labels alone", "", text, ""]
    lines += ["| map | pixel AUC | seeds | pixel F1 at 0.5 | seeds |", "|---|---|---|---|---|"]
    for key, name in NAMES.items():
        row = result["rows"][key]
        cells = [cell for metric in METRICS for cell in (row[metric]["shown"], _each(row[metric]["seeds"]))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Forgery against twin by the score: AUC {image} (one number a seed).", ""])


def _each(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(required=True)
    for name, work in (("forge", forge), ("train", train), ("table", table)):
        verb = verbs.add_parser(name)
        verb.add_argument("--work", required=True)
        verb.set_defaults(run=work)
        if name == "forge":
            verb.add_argument("--manifest", required=True)
            verb.add_argument("--pictures", type=int, default=400)
        elif name == "train":
            verb.add_argument("--seeds", type=int, default=3)
            verb.add_argument("--steps", type=int, default=300)
        else:
            verb.add_argument("--out", required=True)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
