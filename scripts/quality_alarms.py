"""Does estimating the JPEG quality make false alarms of HiDA-Net depend less on it?

    python scripts/quality_alarms.py --work out/quality --out results/hida_quality

Soft pictures with noise, half of them with a checkerboard of a few grey levels, all saved as JPEG of qualities from 50
to 99, teach `hida_net` (tiny) whether a picture has the board, with its estimation of quality (QFE) and without. Then
authentic pictures are saved at six qualities. How many of each are called generated, where one in five of all is, and
the slope of these shares over the quality, say how far the quality decides. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import measured
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from resumable import read_rows, run

from tamperscope.files import write_atomic
from tamperscope.media.quantization import ijg_table
from tamperscope.metrics import ranking
from tamperscope.networks import hida_net

SIDE, COUNT, EPOCHS, BATCH = 128, 1600, 4, 8
STRENGTHS = (2.5, 6.0)
QUALITIES = (50, 60, 70, 80, 90, 97)
ALARMS = 0.2
Batch = dict[str, torch.Tensor]
Job = tuple[str, float, int, float]
"""Key, strength of the board, seed, and weight of the loss of the quality."""


def pictures(count: int, seed: int, strength: float, quality: int = 0) -> Batch:
    """Return pictures, every second one with the board, at qualities from 50 to 99 or at one."""
    rng = np.random.default_rng(seed)
    qualities = rng.integers(50, 100, count)
    if quality:
        qualities[:] = quality
    board = 1 - 2 * ((np.arange(SIDE)[:, None] + np.arange(SIDE)) % 2)[..., None]
    made, tables = [], []
    for number, chosen in enumerate(qualities.tolist()):
        coarse = torch.from_numpy(rng.random((1, 3, *[int(rng.integers(3, 17))] * 2)))
        soft = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False)[0]
        pixels = 200 * soft.permute(1, 2, 0).numpy() + 25
        pixels = pixels + rng.uniform(1, 4) * rng.normal(size=pixels.shape) + strength * (number % 2) * board
        file = io.BytesIO()
        Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(file, "JPEG", quality=chosen)
        made.append(np.asarray(Image.open(file)))
        tables.append(np.stack([ijg_table(chosen, chroma) for chroma in (False, True)]))
    label = torch.arange(count) % 2
    return {
        "image": torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255,
        "qtables": torch.from_numpy(np.stack(tables).astype(np.float32)),
        "label": label,
        "mask": label[:, None, None, None].float().expand(-1, 1, SIDE, SIDE),
    }


def trained(given: Batch, seed: int, qfe: float) -> hida_net.HidaNet:
    """Return a network that learned from pictures, with this weight of the loss of the quality."""
    torch.manual_seed(seed)
    net = hida_net.build("tiny", tiles=(4,), qfe=qfe).train()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=EPOCHS * (COUNT // BATCH))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(COUNT, generator=generator).split(BATCH):
            told = {name: value[chosen] for name, value in given.items()}
            optimizer.zero_grad()
            torch.stack([*net.loss(net(told["image"]), told, 0).values()]).sum().backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            optimizer.step()
            plan.step()
    return net.eval()


def scores(net: hida_net.HidaNet, given: Batch) -> NDArray[np.float32]:
    """Return the logits of pictures."""
    with torch.inference_mode():
        return torch.cat([net(image)["score"] for image in given["image"].split(20)]).numpy()


def learn(job: Job) -> dict[str, Any]:
    """Return a row: the share of authentic pictures that is called generated at each quality, and the AUC there."""
    torch.set_num_threads(1)
    key, strength, seed, qfe = job
    net = trained(pictures(COUNT, seed, strength), seed, qfe)
    asked = {quality: pictures(200, 100 + quality, strength, quality) for quality in QUALITIES}
    found = {quality: scores(net, given) for quality, given in asked.items()}
    least = np.quantile(np.concatenate([each[::2] for each in found.values()]), 1 - ALARMS)
    labels = np.arange(200) % 2 == 1
    return {
        "key": key,
        "strength": strength,
        "qfe": qfe,
        "alarms": [round(float((each[::2] > least).mean()), 3) for each in found.values()],
        "auc": [round(ranking.auc(each, labels), 3) for each in found.values()],
    }


def slope(alarms: list[float]) -> float:
    """Return by how much of all pictures the alarms grow over a hundred qualities."""
    return float(np.polyfit(np.array(QUALITIES) / 100, alarms, 1)[0])


def line(rows: list[dict[str, Any]], strength: float, qfe: float) -> list[str]:
    """Return the cells of one strength with or without the estimation: means over seeds, and every seed's slope."""
    chosen = [row for row in rows if (row["strength"], row["qfe"]) == (strength, qfe)]
    cells = [np.mean([row[name] for row in chosen], 0) for name in ("alarms", "auc")]
    both = [f"{100 * alarm:.0f} % / {auc:.2f}" for alarm, auc in zip(*cells, strict=True)]
    slopes = ", ".join(f"{slope(row['alarms']):+.2f}" for row in chosen)
    return [f"{strength:g}", "with" if qfe else "without", *both, slopes]


TEXT = """# Whether estimating the JPEG quality makes false alarms depend less on it

`hida_net` (tiny), {seeds} seeds. Mean share of authentic pictures called generated where one in five of all is, and AUC
by JPEG quality; then the slope of that share over a hundred qualities, of each seed. The published claim would have
slopes with QFE half as steep. Made by `scripts/quality_alarms.py`.

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    wanted = [(strength, seed, qfe) for strength in STRENGTHS for seed in args.seeds for qfe in (0.0, 1.0)]
    jobs = [(f"{strength:g} {seed} {qfe:g}", strength, seed, qfe) for strength, seed, qfe in wanted]
    run(((job[0], job) for job in jobs), learn, args.work / "rows.jsonl", args.workers, "trainings")
    rows = read_rows(args.work / "rows.jsonl")
    lines = [line(rows, strength, qfe) for strength in STRENGTHS for qfe in (0.0, 1.0)]
    table = measured.markdown(["grey levels", "QFE", *(f"quality {q}" for q in QUALITIES), "slopes"], lines)
    write_atomic(args.out.with_suffix(".md"), TEXT.format(seeds=len(args.seeds), table=table).encode())
    write_atomic(args.out.with_suffix(".json"), (json.dumps(rows, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
