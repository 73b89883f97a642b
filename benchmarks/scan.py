"""CPU seconds and peak memory per megapixel of every detector and of a whole scan.

    python benchmarks/scan.py PHOTO [--sizes 0.1,1,4,12] [--out results/speed_scan]

PHOTO (12 MP or more, else it is enlarged) is reduced to each size by a Lanczos filter and saved as
JPEG 75 and then 90 (4:2:0), so that detectors of double compression have something to answer.
Every figure comes from a process of its own, on one core, after one warm-up run on a small crop that loads the
compiled kernels; CPU time is user + system, memory is the largest resident size of the process.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import tamperscope

Image.MAX_IMAGE_PIXELS = 400_000_000
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB")}
WHOLE = ("scan", "scan --quick")


def picture(path: Path, megapixels: float) -> bytes:
    with Image.open(path) as source:
        rgb = source.convert("RGB")
    scale = (megapixels * 1e6 / (rgb.width * rgb.height)) ** 0.5
    size = (round(rgb.width * scale), round(rgb.height * scale))
    first, last = io.BytesIO(), io.BytesIO()
    rgb.resize(size, Image.Resampling.LANCZOS).save(first, "JPEG", quality=75, subsampling="4:2:0")
    with Image.open(first) as once:
        once.save(last, "JPEG", quality=90, subsampling="4:2:0")
    return last.getvalue()


def measure(what: str, path: str) -> dict[str, float]:
    """Run in a fresh process: one warm-up on a crop, then the measured run."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # networks start a thread for every core they may use
    import cv2

    from tamperscope import media
    from tamperscope.media.recompress import encode_jpeg

    cv2.setNumThreads(1)
    data = Path(path).read_bytes()
    sample = media.open(data).sample
    small = media.open(encode_jpeg(sample.rgb[:320, :320].copy(), 90)).sample
    if what in WHOLE:
        from tamperscope.scanning import Scanner

        scanner = Scanner(quick=what.endswith("quick"))
        for name in scanner.names:
            scanner.predict(name, small)
        run = lambda: scanner.scan(data)  # noqa: E731
    else:
        detector = tamperscope.load(what)
        detector.predict(small)
        detector.predict(small)
        run = lambda: detector.predict(sample)  # noqa: E731
    cpu, wall = _cpu(), time.perf_counter()
    result = run()
    cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    status = getattr(result, "status", "ok")
    return {"cpu_s": cpu, "wall_s": wall, "peak_mib": peak, "megapixels": sample.rgb.size / 3e6, "status": status}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def command_seconds(*words: str, repeats: int = 5) -> float:
    """Return the median wall time of a whole command."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--sizes", default="0.1,1,4,12")
    parser.add_argument("--only", default="", help="comma-separated detectors; all and whole scans when empty")
    parser.add_argument("--out", default="results/speed_scan")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return
    names = args.only.split(",") if args.only else [*tamperscope.list_detectors(), *WHOLE]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in (float(s) for s in args.sizes.split(",")):
            path = Path(folder) / f"{megapixels}.jpg"
            path.write_bytes(picture(args.photo, megapixels))
            for name in names:
                words = [sys.executable, __file__, str(args.photo), "--measure", name, str(path)]
                done = subprocess.run(words, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
                if done.returncode:
                    rows.append({"what": name, "mp": megapixels, "status": done.stderr.strip().splitlines()[-1]})
                else:
                    found = json.loads(done.stdout)
                    row = {"what": name, "mp": megapixels, "cpu_s": round(found["cpu_s"], 3)}
                    row["cpu_s_per_mp"] = round(found["cpu_s"] / found["megapixels"], 4)
                    row |= {"wall_s": round(found["wall_s"], 3), "peak_mib": round(found["peak_mib"])}
                    rows.append({**row, "status": found["status"]})
                print(rows[-1], flush=True)
        small = str(Path(folder) / "1.0.jpg")
        program = str(Path(sys.executable).with_name("tamperscope"))
        for label, words in {
            "python -c 'import tamperscope'": (sys.executable, "-c", "import tamperscope"),
            "tamperscope --help": (program, "--help"),
            "tamperscope scan 1MP.jpg --quick": (program, "scan", small, "--quick"),
        }.items():
            rows.append({"what": label, "wall_s": round(command_seconds(*words), 3), "status": "whole command"})
            print(rows[-1], flush=True)
    columns = ["what", "mp", "cpu_s", "cpu_s_per_mp", "wall_s", "peak_mib", "status"]
    out = Path(args.out)
    with out.with_suffix(".csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"
    )
    document = {"command": f"python benchmarks/scan.py PHOTO --sizes {args.sizes}", "machine": machine, "rows": rows}
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
