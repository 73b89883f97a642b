"""Pixel F1, IoU, AUC and AP of many maps: ours beside scikit-learn and the formulas of IMDL-BenCo in torch.

    python benchmarks/metrics.py [--maps 500] [--sample 12] [--sizes 512,1024] [--out results/speed_metrics]

All contestants take the same float32 maps and bool truth, in one process, on one thread, in turn (round robin), so that
other load on the machine hits all alike; times are medians over a sample of maps, extrapolated to --maps. One map at a
time, so no contestant gains from batches. torch is optional: without it its column is left out, with a message.

- ours, exact: `pixel.measure(heat, mask, ("f1", "auc", "ap", "iou"))`, ties exact.
- ours, histogram of each map: a `streaming.Pixels` (65,536 bins) for each map, and its four numbers.
- ours, histogram of all maps: one `streaming.Pixels` for all; the four numbers once at the end, their time spread over
  --maps.
- scikit-learn: f1_score, jaccard_score, roc_auc_score, average_precision_score.
- torch: per picture, scores sorted downwards, cumulative rates, trapezoid (ties not grouped); F1 and IoU by sums; AP as
  the mean precision at the positives. One sort serves AUC and AP, which is kinder than IMDL-BenCo, where F1, IoU and
  AUC are separate and AP does not exist.
"""

from __future__ import annotations

import os

# Before numpy is imported, which reads them once.
os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tamperscope.files import write_atomic
from tamperscope.metrics import pixel
from tamperscope.metrics.streaming import Pixels

NAMES = ("f1", "auc", "ap", "iou")
Numbers = tuple[float, ...]
Contestant = Callable[[Any, Any], Numbers]


def exact(heat: Any, mask: Any) -> Numbers:
    found = pixel.measure(heat, mask, NAMES)
    return tuple(found[name] for name in NAMES)


def numbers_of(stream: Pixels) -> Numbers:
    counts, curve = stream.counts, stream.curve
    return counts.f1, curve.auc, curve.average_precision, counts.iou


def histogram(heat: Any, mask: Any) -> Numbers:
    stream = Pixels()
    stream.add(heat, mask)
    return numbers_of(stream)


def scikit(heat: Any, mask: Any) -> Numbers:
    from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score

    s, t = heat.ravel(), mask.ravel()
    called = s > 0.5
    return f1_score(t, called), roc_auc_score(t, s), average_precision_score(t, s), jaccard_score(t, called)


def torch_contestant() -> Contestant | None:
    try:
        import torch
    except ImportError:
        print("torch is not installed here: its column is left out; run this with an environment that has it")
        return None
    torch.set_num_threads(1)

    def benco(heat: Any, mask: Any) -> Numbers:
        p, m = torch.from_numpy(heat), torch.from_numpy(mask).float()
        called = (p > 0.5).float()
        tp = (called * m).sum()
        fp, fn = (called * (1 - m)).sum(), ((1 - called) * m).sum()
        precision, recall = tp / (tp + fp + 1e-8), tp / (tp + fn + 1e-8)
        f1 = 2 * precision * recall / (precision + recall + 1e-8)
        iou = tp / (called.sum() + m.sum() - tp + 1e-8)
        order = torch.argsort(p.flatten(), descending=True)
        hits = m.flatten()[order]
        true, false = torch.cumsum(hits, 0), torch.cumsum(1 - hits, 0)
        auc = torch.trapezoid(true / true[-1], false / false[-1])
        ap = (true / (true + false) * hits).sum() / true[-1]
        return f1.item(), auc.item(), ap.item(), iou.item()

    return benco


def make(side: int, kind: str, seed: int) -> tuple[Any, Any]:
    """Return a float32 map (side, side) in [0, 1] and a truth: an ellipse of about 10 % that the map hints at."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - rng.uniform(0.3, 0.7, 2)[:, None, None]
    mask = (x / 0.22) ** 2 + (y / 0.15) ** 2 < 1
    heat = (0.75 * rng.random((side, side), np.float32) + np.float32(0.25) * mask).astype(np.float32)
    return (np.rint(heat * 255).astype(np.float32) / np.float32(255) if kind == "8-bit" else heat), mask


def seconds(run: Callable[..., Any], *args: Any) -> float:
    start = time.perf_counter()
    run(*args)
    return time.perf_counter() - start


def race(side: int, kind: str, args: argparse.Namespace, rivals: dict[str, Contestant]) -> dict[str, Any]:
    """Return the medians of one size and kind of map, the numbers' differences, and the histogram's errors."""
    times: dict[str, list[float]] = {name: [] for name in (*rivals, "ours, histogram of all maps")}
    stream, errors, differences = Pixels(), [], {name: [0.0] * 4 for name in rivals}
    bound = 0.0
    for i in range(args.sample + 1):
        heat, mask = make(side, kind, i)
        took = {name: seconds(rival, heat, mask) for name, rival in rivals.items()}
        took["ours, histogram of all maps"] = seconds(stream.add, heat, mask)
        if i == 0:  # the first map warms everything up
            continue
        for name, value in took.items():
            times[name].append(value)
        reference = exact(heat, mask)
        for name, rival in rivals.items():
            apart = [abs(a - b) for a, b in zip(rival(heat, mask), reference, strict=True)]
            differences[name] = [max(pair) for pair in zip(differences[name], apart, strict=True)]
        own = Pixels()
        own.add(heat, mask)
        errors.append(abs(own.curve.auc - reference[1]))
        bound = max(bound, own.auc_error)
    at_end = statistics.median(seconds(numbers_of, stream) for _ in range(5))
    medians = {name: statistics.median(found) for name, found in times.items()}
    medians["ours, histogram of all maps"] += at_end / args.maps
    return {
        "side": side,
        "kind": kind,
        "milliseconds": {name: 1e3 * value for name, value in medians.items()},
        "seconds_for_all": {name: args.maps * value for name, value in medians.items()},
        "differs_from_exact": {name: dict(zip(NAMES, values, strict=True)) for name, values in differences.items()},
        "auc_error_bound": bound,
        "auc_error_measured": max(errors),
    }


def resident() -> float:
    """Return the resident MiB of this process; nan where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return float("nan")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS")) / 1024


def memory(maps: int, side: int = 512) -> dict[str, float]:
    """Return the resident MiB after 10 and after all maps, each of which goes through both of ours."""
    stream, found = Pixels(), {}
    for i in range(1, max(maps, 10) + 1):
        heat, mask = make(side, "continuous", i)
        stream.add(heat, mask)
        exact(heat, mask)
        if i in (10, maps):
            found[f"after {i}"] = resident()
    return found


def table(document: dict[str, Any]) -> str:
    rows = document["rows"]
    names = list(rows[0]["milliseconds"])
    lines = [
        f"Median over {document['sample']} maps in turn, one thread; s for {document['maps']} maps is extrapolated.",
        "",
        f"| map | contestant | ms a map | s for {document['maps']} | torch takes, times | differs from exact: F1, AUC, "
        "AP, IoU |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for name in names:
            ms = row["milliseconds"]
            ratio = f"{ms['torch'] / ms[name]:.1f}" if "torch" in ms else "–"
            apart = row["differs_from_exact"].get(name)
            shown = ", ".join(f"{value:.0e}" if value else "0" for value in apart.values()) if apart else "–"
            size = f"{row['side']}², {row['kind']}"
            total = row["seconds_for_all"][name]
            lines.append(f"| {size} | {name} | {ms[name]:.3g} | {total:.3g} | {ratio} | {shown} |")
    lines += ["", "AUC of the histogram (65,536 bins), worst map: stated bound and measured error."]
    lines += [
        f"- {row['side']}², {row['kind']}: at most {row['auc_error_bound']:.1e}, found {row['auc_error_measured']:.1e}"
        for row in rows
    ]
    held = ", ".join(f"{key} maps {value:.0f} MiB" for key, value in document["resident_mib"].items())
    lines += ["", f"Memory, exact and streaming, 512²: {held}.", f"Machine: {document['machine']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=500)
    parser.add_argument("--sample", type=int, default=12, help="maps that are timed")
    parser.add_argument("--sizes", default="512,1024")
    parser.add_argument("--out", default="results/speed_metrics")
    args = parser.parse_args()
    rivals: dict[str, Contestant] = {
        "ours, exact": exact,
        "ours, histogram of each map": histogram,
        "scikit-learn": scikit,
    }
    if (rival := torch_contestant()) is not None:
        rivals["torch"] = rival
    import sklearn

    before = os.getloadavg()[0]
    held = memory(args.maps)  # first: memory that the others leave behind could hide growth
    sizes = [int(side) for side in args.sizes.split(",")]
    rows = [race(side, kind, args, rivals) for side in sizes for kind in ("continuous", "8-bit")]
    versions = {"numpy": np.__version__, "scikit-learn": sklearn.__version__}
    if rival is not None:
        versions["torch"] = sys.modules["torch"].__version__
    stated = ", ".join(f"{name} {version}" for name, version in versions.items())
    document = {
        "command": f"python benchmarks/metrics.py --maps {args.maps} --sample {args.sample} --sizes {args.sizes}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {stated}, "
        f"load average {before:.1f} before and {os.getloadavg()[0]:.1f} after",
        "maps": args.maps,
        "sample": args.sample,
        "rows": rows,
        "resident_mib": held,
    }
    out = Path(args.out)
    write_atomic(out.with_suffix(".json"), (json.dumps(document, indent=1) + "\n").encode())
    write_atomic(out.with_suffix(".md"), table(document).encode())
    print(table(document))


if __name__ == "__main__":
    main()
