"""Load on the service: throughput, waiting times and memory, beside the same pictures scanned by `scan --workers`.

    python benchmarks/serve.py PHOTOS [--clients 1,2,4,8] [--seconds 60] [--workers 2] [--out results/speed_serve]

Clients ask one after another, each waiting for its answer, for a bounded time; then once more with a tenth of hostile
files among the pictures, whose good answers must be those of before. Where the service refuses (429, 503), a client
waits as it is told. First of all the same pictures go through `scan --workers`; its time counts from the first row to
the last.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from tamperscope.files import write_atomic

HOSTILE = (
    b"",
    b"no picture",
    b"\xff\xd8\xff\xe0" + bytes(20_000),
    b"\x89PNG\r\n\x1a\n" + b"\xff" * 2000,
    b"<svg/>" * 50,
)
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


@dataclass
class Load:
    """What some clients saw."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    levels: dict[str, str] = field(default_factory=dict)
    changed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, status: int, seconds: float, level: str) -> None:
        with self.lock:
            self.statuses[status] += 1
            if status == 200:
                self.seconds.append(seconds)
                self.changed += self.levels.setdefault(name, level) != level


def members(pid: int) -> Iterator[psutil.Process]:
    """Yield a process and all below it; one that is gone when it is asked raises `psutil.NoSuchProcess`."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        yield from (process, *process.children(recursive=True))


def resident(pid: int) -> float:
    """Return MiB of memory of a process and all below it."""
    total = 0
    for member in members(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total / 2**20


def start(workers: int, data: Path) -> tuple[subprocess.Popen[bytes], str]:
    log = data.with_suffix(".log")
    settings = {"PORT": "0", "WORKERS": str(workers), "DATA": str(data), "PER_MINUTE": "1000000", "AT_ONCE": "1000"}
    environment = os.environ | ONE_THREAD | {f"TAMPERSCOPE_SERVE_{k}": v for k, v in settings.items()}
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-m", "tamperscope", "serve"], env=environment, stderr=stream)
    while not (found := re.search(r"running on (http://[\d.:]+)", log.read_text())):
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    return process, found[1]


def ask(base: str, pictures: list[Path], hostile: float, end: float, seed: int, load: Load) -> None:
    rng = np.random.default_rng(seed)
    order = itertools.chain.from_iterable(rng.permutation(len(pictures)) for _ in itertools.count())
    with httpx.Client(base_url=base, timeout=600) as client:
        for at in order:
            if time.monotonic() > end:
                return
            bad = rng.random() < hostile
            data = HOSTILE[rng.integers(len(HOSTILE))] if bad else pictures[at].read_bytes()
            begun = time.monotonic()
            answer = client.post("/v1/scan", content=data, params={"name": "" if bad else pictures[at].name})
            while answer.status_code in (429, 503):
                load.add("", answer.status_code, 0, "")
                time.sleep(float(answer.headers["retry-after"]))
                answer = client.post("/v1/scan", content=data, params={"name": pictures[at].name})
            level = answer.json()["verdict"]["level"] if answer.status_code == 200 else ""
            load.add(pictures[at].name, answer.status_code, time.monotonic() - begun, level)


def measure(base: str, pid: int, pictures: list[Path], clients: int, hostile: float, seconds: float) -> dict[str, Any]:
    load, begun = Load(), time.monotonic()
    args = (base, pictures, hostile, begun + seconds)
    threads = [threading.Thread(target=ask, args=(*args, n, load)) for n in range(clients)]
    memory = [resident(pid)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        memory.append(resident(pid))
    lasted = time.monotonic() - begun
    told = np.asarray(load.seconds)
    return {
        "clients": clients, "hostile": hostile, "pictures": len(told), "per_second": len(told) / lasted,
        "p50": float(np.quantile(told, 0.5)), "p99": float(np.quantile(told, 0.99)),
        "statuses": {str(k): v for k, v in sorted(load.statuses.items())}, "changed_answers": load.changed,
        "mib_first": memory[len(memory) // 4], "mib_last": memory[-1], "levels": load.levels,
    }  # fmt: skip


def batch(pictures: list[Path], workers: int, folder: Path) -> float:
    """Return pictures a second of `scan --workers` on the pictures, from its first row to its last."""
    out = folder / "rows.jsonl"
    words = [
        sys.executable,
        "-m",
        "tamperscope",
        "scan",
        *map(str, pictures),
        "--workers",
        str(workers),
        "--out",
        str(out),
    ]
    process = subprocess.Popen(words, env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = None
    while process.poll() is None:
        if first is None and out.exists() and out.read_bytes().count(b"\n") >= workers:
            first = time.monotonic(), out.read_bytes().count(b"\n")
        time.sleep(0.05)
    assert first is not None
    return (out.read_bytes().count(b"\n") - first[1]) / (time.monotonic() - first[0])


TEXT = """# Load on the service

{workers} workers, {pictures} photographs of {megapixels:.2f} megapixels in the mean, {cores} cores that clients share
with the service. `scan --workers {workers}` did {batch:.2f} pictures a second on the same pictures in the same run.
Waiting times are in seconds; memory is of the service and all its processes, a quarter of the time in and at the end.
Made by `benchmarks/serve.py`.

| clients | hostile | pictures a second | of `scan` | p50 | p99 | answers | changed answers | MiB |
|---|---|---|---|---|---|---|---|---|
{rows}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--clients", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("results/speed_serve"))
    args = parser.parse_args()
    pictures = sorted(p for p in args.photos.iterdir() if p.suffix.lower() in (".jpg", ".jpeg"))[: args.count]
    counts = [int(n) for n in args.clients.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = batch(pictures, args.workers, folder)
        process, base = start(args.workers, folder / "data")
        try:
            measure(base, process.pid, pictures, args.workers, 0, 10)
            loads = [measure(base, process.pid, pictures, n, 0, args.seconds) for n in counts]
            loads.append(measure(base, process.pid, pictures, counts[-1], 0.1, args.seconds))
        finally:
            process.kill()
    before, after = loads[-2].pop("levels"), loads[-1].pop("levels")
    loads[-1]["changed_answers"] += sum(before[k] != after[k] for k in before.keys() & after.keys())
    for load in loads:
        load.pop("levels", None)
    write(args, pictures, alone, loads)


def write(args: argparse.Namespace, pictures: list[Path], alone: float, loads: list[dict[str, Any]]) -> None:
    from PIL import Image

    sizes = []
    for path in pictures:
        with Image.open(path) as picture:
            sizes.append(picture.width * picture.height / 1e6)
    rows = [
        f"| {x['clients']} | {x['hostile']:.0%} | {x['per_second']:.2f} | {x['per_second'] / alone:.0%} | "
        f"{x['p50']:.2f} | {x['p99']:.2f} | {', '.join(f'{v} × {k}' for k, v in x['statuses'].items())} | "
        f"{x['changed_answers']} | {x['mib_first']:.0f} → {x['mib_last']:.0f} |"
        for x in loads
    ]
    told = {
        "workers": args.workers, "pictures": len(pictures), "megapixels": float(np.mean(sizes)),
        "cores": os.cpu_count(), "batch": alone,
    }  # fmt: skip
    text = TEXT.format(**told, rows="\n".join(rows))
    write_atomic(args.out.with_suffix(".md"), text.encode())
    write_atomic(args.out.with_suffix(".json"), (json.dumps(told | {"loads": loads}, indent=1) + "\n").encode())
    print(text)


if __name__ == "__main__":
    main()
