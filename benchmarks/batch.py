"""What workers cost: processor time, memory and waiting of `scan --workers` beside one process, in turn in one run.

    python benchmarks/batch.py PHOTOS [--count 100] [--workers 1,2] [--rounds 2] [--options "--quick"]
        [--out results/speed_batch]

Every run is a command of its own from start to end, into a new file of rows; processor time is that of all its
processes. The order is turned round from round to round, and the least of each is told. What `--options` holds is given
to `scan`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from serve import ONE_THREAD, resident
from tamperscope.files import write_atomic

PR_SET_CHILD_SUBREAPER = 36


def measure(pictures: list[Path], workers: int, more: list[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        words = [sys.executable, "-m", "tamperscope", "scan", *map(str, pictures), "--workers", str(workers), *more]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = subprocess.Popen(
            [*words, "--out", str(out)],
            env=os.environ | ONE_THREAD,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        first, memory = 0.0, 0.0
        while process.poll() is None:
            if not first and out.exists() and out.stat().st_size:
                first = time.monotonic() - begun
            memory = max(memory, resident(process.pid))
            time.sleep(0.1 if first else 0.02)
        lasted = time.monotonic() - begun
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        rows, size = out.read_bytes().count(b"\n"), out.stat().st_size
    assert rows == len(pictures), rows
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "seconds": lasted, "first": first, "mib": memory, "bytes": size / rows}


TEXT = """# What workers cost

{count} photographs of {megapixels:.2f} megapixels in the mean, {cores} cores, `{command}`. Each figure is the
least of {rounds} runs in turn, from the start of the command to its end: processor seconds a picture and what that is
over one process, pictures a core-hour and a second, seconds to the first row, MiB of all processes, bytes of a row.
Made by `benchmarks/batch.py`.

| workers | processor s | overhead | a core-hour | a second | first row | MiB | bytes a row |
|---|---|---|---|---|---|---|---|
{rows}
"""


def adopt() -> None:
    """Let processes whose own parent ends before them become children of this one, so that theirs is counted, too."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--options", default="", help="further words for `scan`")
    parser.add_argument("--out", type=Path, default=Path("results/speed_batch"))
    args = parser.parse_args()
    adopt()
    pictures = sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[: args.count]
    counts = [int(n) for n in args.workers.split(",")]
    found: dict[int, list[dict[str, float]]] = {n: [] for n in counts}
    for number in range(args.rounds):
        for workers in counts if number % 2 == 0 else counts[::-1]:
            found[workers].append(measure(pictures, workers, args.options.split()))
            print(workers, found[workers][-1], flush=True)
    write(args, pictures, found)


def write(args: argparse.Namespace, pictures: list[Path], found: dict[int, list[dict[str, float]]]) -> None:
    from PIL import Image

    def size(path: Path) -> float:
        with Image.open(path) as picture:
            return picture.width * picture.height / 1e6

    least: dict[int, dict[str, Any]] = {n: {k: min(r[k] for r in runs) for k in runs[0]} for n, runs in found.items()}
    base = least[min(least)]["cpu"]
    count = len(pictures)
    rows = [
        f"| {n} | {x['cpu'] / count:.2f} | {x['cpu'] / base - 1:+.1%} | {3600 * count / x['cpu']:,.0f} | "
        f"{count / x['seconds']:.2f} | {x['first']:.1f} | {x['mib']:.0f} | {x['bytes']:,.0f} |"
        for n, x in least.items()
    ]
    told = {
        "count": count,
        "megapixels": sum(map(size, pictures)) / count,
        "cores": os.cpu_count(),
        "rounds": args.rounds,
        "options": args.options,
    }
    text = TEXT.format(**told, command=f"scan {args.options}".strip(), rows="\n".join(rows))
    write_atomic(args.out.with_suffix(".md"), text.encode())
    write_atomic(args.out.with_suffix(".json"), (json.dumps(told | {"runs": found}, indent=1) + "\n").encode())
    print(text)


if __name__ == "__main__":
    main()
