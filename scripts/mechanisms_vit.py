"""Measure what relay tokens carry (RelayFormer), what they cost, and what the loss of outlines gives (IML-ViT).

    python scripts/mechanisms_vit.py relay --work out/mechanisms --out results/relay_context
    python scripts/mechanisms_vit.py edge --work out/mechanisms --out results/iml_vit_edge

Everything is trained anew, on pictures drawn from a seed, on one core a network: `relay` takes some ten minutes, `edge`
four. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import noise_worlds
import numpy as np
import resumable
import torch
from torch import Tensor

from tamperscope.engine.cost import macs
from tamperscope.files import write_atomic
from tamperscope.networks import iml_vit, relayformer
from tamperscope.networks.relayformer import Layout, RelayFormer
from tamperscope.nn.losses import edge_band

SEEDS = (0, 1, 2)
STEPS, EDGE_STEPS, BATCH = 200, 120, 8
SIDE, CELL, PICTURES = 96, 32, 256
SMALL = {"patch": 8, "width": 48, "heads": 2, "depth": 4, "factor": 0.0}
# As tiles could be: nothing but relay tokens between them; and as published, where they overlap and queries look about.
PATHS: dict[str, dict[str, Any]] = {
    "relay tokens alone": {"tile": 4, "overlap": 0, "decoder": None},
    "overlap and queries, too": {"tile": 5, "overlap": 1, "decoder": (48, 4, 2, 4)},
}
# Rows and columns of tiles, 17 x 17 tokens of 16 pixels each; the published GFLOP of the first three.
COSTS = {(1, 1): 52.7, (1, 2): 105.4, (2, 2): 210.8, (3, 3): None}
EDGE_SIDE, BLUR, STRENGTH = 96, 1.5, 5.0


def context(job: tuple[str, str, int, int]) -> dict[str, Any]:
    """Train one network on relative noise, and ask it about cells that are undecidable by themselves."""
    key, path, relays, seed = job
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = relayformer.build("tiny", **SMALL, **PATHS[path], relays=relays)
    noise_worlds.train(net, lambda rng: noise_worlds.relative(rng, BATCH, SIDE, CELL), STEPS, seed=seed)
    truth = noise_worlds.relative(np.random.default_rng(1000 + seed), PICTURES, SIDE, CELL)
    row = {"key": key, "path": path, "seed": seed}
    ways = {f"n = {relays}": net} | ({f"n = {relays}, another picture's": _swapped(net)} if relays else {})
    for way, asked in ways.items():
        logits = noise_worlds.answer(asked, truth.image)
        cells = noise_worlds.undecidable(logits, truth, CELL)
        row[way] = {
            "f1": noise_worlds.f1(*cells),
            "auc": noise_worlds.auc(*cells),
            "all": noise_worlds.f1(logits.numpy(), truth.mask.numpy() > 0),
            "cells": len(cells[1]),
        }
    return row


def _swapped(net: RelayFormer) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return the network with the relay tokens of the picture before, after every time they were mixed."""
    own = net.exchange

    def another(index: int, relays: Tensor, layout: Layout) -> Tensor:
        pictures = int(layout.coordinates[-1, 0]) + 1
        return own(index, relays, layout).unflatten(0, (pictures, -1)).roll(1, 0).flatten(0, 1)

    def asked(image: Tensor) -> dict[str, Tensor]:
        net.exchange = another  # type: ignore[method-assign]
        try:
            return net(image)
        finally:
            net.exchange = own  # type: ignore[method-assign]

    return asked


def cost(job: tuple[str, str, int, int]) -> dict[str, Any]:
    """Measure one picture through ViT-B, tile by tile or with all tokens of the picture in one tile."""
    key, way, rows, columns = job
    torch.set_num_threads(1)
    height, width = 15 * rows + 2, 15 * columns + 2
    net = relayformer.build("full", tile=17 if way == "tiles" else height).eval()
    image = torch.rand(1, 3, 16 * height, 16 * width)
    before = _peak()
    start = time.process_time()
    with torch.no_grad():
        net(image)
    seconds, memory = time.process_time() - start, _peak() - before
    total, attention = macs(net, lambda: net(image))
    values = {"gflop": 2 * total / 1e9, "attention_gflop": 2 * attention / 1e9, "seconds": seconds, "mib": memory}
    return {"key": key, "way": way, "rows": rows, "columns": columns, "megapixels": image[0, 0].numel() / 1e6, **values}


def _peak() -> float:
    """Return the most memory that this process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def edge(job: tuple[str, float, int]) -> dict[str, Any]:
    """Train one IML-ViT on feathered splices, and measure it along outlines and elsewhere."""
    key, factor, seed = job
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    settings = {"wide": (1, 3), "window": 4, "pyramid": 24, "factor": factor}
    net = iml_vit.build("tiny", **{**SMALL, **settings})
    noise_worlds.train(
        net, lambda r: noise_worlds.feathered(r, BATCH, EDGE_SIDE, BLUR, STRENGTH), EDGE_STEPS, seed=seed
    )
    truth = noise_worlds.feathered(np.random.default_rng(1000 + seed), PICTURES, EDGE_SIDE, BLUR, STRENGTH)
    logits, mask, band = noise_worlds.answer(net, truth.image), truth.mask > 0, edge_band(truth.mask) > 0
    places = {"band": band, "interior": ~band, "all": torch.ones_like(band)}
    found = {name: noise_worlds.f1(logits[area].numpy(), mask[area].numpy()) for name, area in places.items()}
    return {"key": key, "factor": factor, "seed": seed, **found}


def _spread(values: Iterable[float]) -> str:
    """Return the mean, and the least and most, of several seeds."""
    held = list(values)
    return f"{np.mean(held):.3f} [{min(held):.3f}, {max(held):.3f}]"


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(r)} |" for r in (head, ["---"] * len(head), *rows)]


def relay_page(rows: list[dict[str, Any]], costs: list[dict[str, Any]]) -> str:
    """Return the page of RelayFormer."""
    lines = []
    for path in PATHS:
        ways: dict[str, list[dict[str, float]]] = {}
        for row in (r for r in rows if r["path"] == path):
            for way in (k for k in row if k.startswith("n = ")):
                ways.setdefault(way, []).append(row[way])
        lines += [
            [path, way, *(_spread(v[k] for v in ways[way]) for k in ("f1", "auc", "all"))] for way in sorted(ways)
        ]
    head = ["between tiles", "relay tokens", "F1 of such cells", "AUC of such cells", "F1 of all pixels"]
    cells = min(row[way]["cells"] for row in rows for way in row if way.startswith("n = "))
    priced = []
    for row in sorted(costs, key=lambda r: (r["way"] != "tiles", r["rows"] * r["columns"])):
        shape = (row["rows"], row["columns"])
        published = COSTS[shape] if row["way"] == "tiles" else None
        numbers = [f"{row[k]:.1f}" for k in ("gflop", "attention_gflop", "seconds")] + [f"{row['mib']:.0f}"]
        name = f"{shape[0]} x {shape[1]}"
        priced.append([row["way"], name, f"{row['megapixels']:.2f}", *numbers, f"{published}" if published else "–"])
    head2 = ["attention", "tiles", "megapixels", "GFLOP", "of it attention", "CPU s", "MiB more", "published GFLOP"]
    return "\n".join(
        [
            "# What relay tokens carry\n",
            f"The forged part has noise {noise_worlds.FACTOR} times as strong as the background, whose strength is "
            "another in every picture. Asked are cells wholly inside or wholly outside whose own noise both classes "
            "have alike: no tile can decide them by itself. Chance is an AUC of 0.5; all marked, an F1 of 0.667. "
            f"{SIDE} x {SIDE} pixels, tiles of {CELL}, {STEPS} steps of {BATCH} from scratch, {len(SEEDS)} seeds: mean "
            f"[least, most]; at least {cells} cells each. Made by `scripts/mechanisms_vit.py relay`.\n",
            *_table(head, lines),
            "\nWith `another picture's`, tokens of the picture before are put in after every exchange. As published, "
            "tiles share a strip and the decoder's queries look at the whole plane: word can travel there, too.\n",
            "# What it costs\n",
            "One picture through ViT-B, tiles of 17 x 17 tokens (272 pixels), against one tile that holds all tokens. "
            "CPU time of one thread; memory: by how much the pass raised the most that the process ever had.\n",
            *_table(head2, priced),
            "",
        ]
    )


def edge_page(rows: list[dict[str, Any]]) -> str:
    """Return the page of IML-ViT."""
    by = {f: sorted((r for r in rows if r["factor"] == f), key=lambda r: r["seed"]) for f in (20.0, 0.0)}
    names = ("band", "interior", "all")
    lines = [[f"{f:g}", *(_spread(r[n] for r in by[f]) for n in names)] for f in by]
    gain = [_spread(a[n] - b[n] for a, b in zip(by[20.0], by[0.0], strict=True)) for n in names]
    return "\n".join(
        [
            "# What the loss of outlines gives\n",
            f"A small IML-ViT from scratch on splices that are told by noise ({STRENGTH:g} times the background's) and "
            f"whose border fades over some {2 * BLUR:g} pixels; the band is 7 pixels wide. {EDGE_SIDE} x {EDGE_SIDE} "
            f"pixels, {EDGE_STEPS} steps of {BATCH}, {PICTURES} other pictures measured, {len(SEEDS)} seeds: mean "
            "[least, most]. Made by `scripts/mechanisms_vit.py edge`.\n",
            *_table(["lambda", "F1 in the band", "F1 elsewhere", "F1 of all pixels"], lines),
            f"| gain, paired | {' | '.join(gain)} |",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["relay", "edge"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    rows = args.work / f"{args.what}.jsonl"
    if args.what == "edge":
        jobs = [(f"{f:g}/{s}", (f"{f:g}/{s}", f, s)) for s in SEEDS for f in (20.0, 0.0)]
        resumable.run(jobs, edge, rows, args.workers, "edge")
        found = {"rows": resumable.read_rows(rows)}
        page = edge_page(found["rows"])
    else:
        trained = [(f"{p}/{n}/{s}", p, n, s) for s in SEEDS for p in PATHS for n in (0, 2)]
        resumable.run([(j[0], j) for j in trained], context, rows, args.workers, "context")
        found = {"rows": resumable.read_rows(rows), "costs": costs(args.work / "costs.jsonl")}
        page = relay_page(found["rows"], found["costs"])
    write_atomic(args.out.with_suffix(".md"), page.encode())
    write_atomic(args.out.with_suffix(".json"), (json.dumps(found, indent=1) + "\n").encode())
    print(page)


def costs(path: Path) -> list[dict[str, Any]]:
    """Return the costs, each measured by a process of its own."""
    rows = resumable.read_rows(path) if path.exists() else []
    for way in ("tiles", "all in one"):
        for r, c in COSTS:
            known = f"{way}/{r}x{c}" in {row["key"] for row in rows}
            if known or (way != "tiles" and r != c):  # tiles are square
                continue
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                rows.append(pool.submit(cost, (f"{way}/{r}x{c}", way, r, c)).result())
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


if __name__ == "__main__":
    main()
