"""What workers cost: processor time, memory and waiting of `scan --workers` beside one process, in turn in one run.

    python benchmarks/batch.py PHOTOS [--count 100] [--workers 1,2,2:ray] [--rounds 2] [--options "--quick"]
        [--out results/speed_batch]

Every run is a command of its own from start to end, into a new file of rows. Processor time is that of all its
processes: what the system counts of those that were waited for, or, where that is more, the sum of what each had used
when it was last seen (Ray does not wait for its own). The order is turned round from round to round, and the least of
each is told. What `--options` holds is given to `scan`.
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

import psutil

from serve import ONE_THREAD, members, resident
from tamperscope.files import write_atomic

PR_SET_CHILD_SUBREAPER = 36


def measure(pictures: list[Path], crew: str, more: list[str]) -> dict[str, float]:
    workers, _, engine = crew.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        words = [sys.executable, "-m", "tamperscope", "scan", *map(str, pictures), "--workers", workers]
        words += ["--engine", engine or "local", *more]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = subprocess.Popen(
            [*words, "--out", str(out)],
            env=os.environ | ONE_THREAD,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        first, memory, seen = 0.0, 0.0, {}
        while process.poll() is None:
            if not first and out.exists() and out.stat().st_size:
                first = time.monotonic() - begun
            if first:  # to look at processes takes time of theirs
                memory = max(memory, resident(process.pid))
                seen |= used(process.pid)
            time.sleep(0.1 if first else 0.01)
        lasted = time.monotonic() - begun
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        rows, size = out.read_bytes().count(b"\n"), out.stat().st_size
    assert rows == len(pictures), rows
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": max(cpu, sum(seen.values())), "seconds": lasted, "first": first, "mib": memory, "bytes": size / rows}


def used(pid: int) -> dict[tuple[int, float], float]:
    """Return processor seconds of a process and of each below it, by number and start."""
    found = {}
    for member in members(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            found[member.pid, member.create_time()] = times.user + times.system
    return found


TEXT = """# What workers cost

{count} photographs of {megapixels:.2f} megapixels in the mean, {cores} cores, `{command}`. Each figure is the
least of {rounds} runs in turn, from the start of the command to its end: processor seconds a picture and what that is
over the first row, pictures a core-hour and a second, seconds to the first row, MiB of all processes, bytes of a row.
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
    crews = args.workers.split(",")
    found: dict[str, list[dict[str, float]]] = {crew: [] for crew in crews}
    for number in range(args.rounds):
        for crew in crews if number % 2 == 0 else crews[::-1]:
            found[crew].append(measure(pictures, crew, args.options.split()))
            print(crew, found[crew][-1], flush=True)
    write(args, pictures, found)


def write(args: argparse.Namespace, pictures: list[Path], found: dict[str, list[dict[str, float]]]) -> None:
    from PIL import Image

    def size(path: Path) -> float:
        with Image.open(path) as picture:
            return picture.width * picture.height / 1e6

    least: dict[str, dict[str, Any]] = {n: {k: min(r[k] for r in runs) for k in runs[0]} for n, runs in found.items()}
    base = next(iter(least.values()))["cpu"]
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
