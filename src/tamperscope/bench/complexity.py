"""What a detector costs: CPU time and peak memory per megapixel, and, where it states them, parameters and MACs.

Every detector and size is measured in a fresh process on one thread, so that no figure holds what another one left
behind. A small crop warms it up (imports, compiled kernels); the first run on the whole picture gives the memory, the
runs after it give the times.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tamperscope.errors import InvalidValueError, TamperscopeError, unknown_name
from tamperscope.types import UInt8Array

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB")}
GENERATED = "generated: 1/f noise in brightness and colour, sensor noise, JPEG 75 and then 90 (4:2:0)"
_WARM_UP = 320  # pixels a side: more than any detector's smallest picture


@dataclass(frozen=True, slots=True)
class Cost:
    """What one detector costs on one picture; nan and None where it gave no answer or states nothing.

    Attributes:
        detector: Registry name.
        size: (H, W) of the picture.
        cpu_best: CPU seconds per megapixel, user and system, least of the repeats.
        cpu_median: The same, their median.
        wall: Seconds per megapixel on the clock, median of the repeats.
        memory: Peak resident MiB per megapixel, above what the process held when warm.
        peak: Peak resident MiB of the whole process.
        parameters: Of a network, as the detector states them.
        macs: Multiply-accumulates for this picture, as the detector states them.
        status: `ok`, `not_applicable`, or `failed` with the cause.
        cause: Why there is no figure, or "".
        picture: What it was measured on.
    """

    detector: str
    size: tuple[int, int]
    cpu_best: float = math.nan
    cpu_median: float = math.nan
    wall: float = math.nan
    memory: float = math.nan
    peak: float = math.nan
    parameters: int | None = None
    macs: int | None = None
    status: str = "ok"
    cause: str = ""
    picture: str = GENERATED


def measure(
    detector_names: Sequence[str],
    sizes: Sequence[float] = (0.1, 1.0),
    repeats: int = 3,
    picture: str | Path | None = None,
) -> list[Cost]:
    """Measure detectors on pictures of several sizes; one that fails or abstains is listed with its cause.

    Args:
        detector_names: Of the registry.
        sizes: Megapixels.
        repeats: Timed runs.
        picture: File that is brought to each size and saved as JPEG 75 and then 90 (4:2:0), so that detectors of
            double compression have something to answer; None = a generated picture (`generate`).

    Raises:
        UnknownNameError: No detector of a name.
        InvalidValueError: A size or the number of repeats is not positive.
        InputError: The picture cannot be opened.
    """
    from tamperscope import registry

    for name in detector_names:
        if name not in registry.names():
            raise unknown_name("detector", name, registry.names())
    if repeats < 1 or not all(0 < size < math.inf for size in sizes):
        raise InvalidValueError(f"expected positive sizes and repeats, found {list(sizes)} and {repeats}")
    source = GENERATED if picture is None else f"{Path(picture).name}, resized, JPEG 75 and then 90 (4:2:0)"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in sizes:
            path = Path(folder) / "picture.jpg"
            rgb = generate(megapixels) if picture is None else _resized(picture, megapixels)
            path.write_bytes(_twice_saved(rgb))
            found += [_in_fresh_process(name, path, rgb.shape[:2], repeats, source) for name in detector_names]
    return found


def generate(megapixels: float, seed: int = 0) -> UInt8Array:
    """Return a 3:2 picture (H, W, 3) with the statistics of a photo: 1/f spectra, weak colour, noise of a sensor.

    Source: amplitudes of natural pictures fall as 1/f (Field, JOSA A 1987).
    """
    rng = np.random.default_rng(seed)
    height = max(1, round(math.sqrt(megapixels * 1e6 / 1.5)))
    width = max(1, round(1.5 * height))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    planes = []
    for contrast in (45.0, 8.0, 8.0):
        plane = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / frequency, s=(height, width))
        planes.append(contrast * plane / max(float(plane.std()), 1e-12))
    luma, blue, red = planes
    rgb = 118.0 + np.stack([luma + red, luma - 0.5 * (red + blue), luma + blue], axis=2)
    rgb += rng.standard_normal(rgb.shape) * np.sqrt(1.0 + 0.02 * np.clip(rgb, 0.0, 255.0))
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _resized(picture: str | Path, megapixels: float) -> UInt8Array:
    import cv2

    from tamperscope import media

    rgb = media.open(picture).sample.rgb
    scale = math.sqrt(megapixels * 1e6 / (rgb.shape[0] * rgb.shape[1]))
    height, width = (max(1, round(side * scale)) for side in rgb.shape[:2])
    kind = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=kind), np.uint8)


def _twice_saved(rgb: UInt8Array) -> bytes:
    from tamperscope.media.recompress import encode_jpeg, recompress

    return encode_jpeg(recompress(rgb, 75, "4:2:0"), 90, "4:2:0")


def _in_fresh_process(name: str, path: Path, size: tuple[int, int], repeats: int, source: str) -> Cost:
    paths = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-m", "tamperscope.bench.complexity", name, str(path), str(repeats)],
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        cause = said[-1] if said else f"the process ended with status {done.returncode}"
        return Cost(name, size, status="failed", cause=cause, picture=source)
    return Cost(name, size, picture=source, **json.loads(done.stdout.splitlines()[-1]))


def _run_here(name: str, path: str, repeats: int) -> dict[str, Any]:
    """Return the fields of a `Cost`, measured in this process."""
    import cv2

    from tamperscope import media, registry

    cv2.setNumThreads(1)
    sample = media.open(Path(path)).sample
    crop = media.open(_twice_saved(sample.rgb[:_WARM_UP, :_WARM_UP].copy())).sample
    detector = registry.load(name)
    stated = {"parameters": _stated(detector, "parameters"), "macs": _stated(detector, "macs", sample.size)}
    detector.predict(crop)
    before = _peak_from_here()
    first = detector.predict(sample)
    peak = _peak()
    if first.status != "ok":
        return {**stated, "status": first.status, "cause": first.cause}
    del first
    cpu, wall = [], []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        detector.predict(sample)
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    megapixels = sample.rgb.size / 3e6
    times = {"cpu_best": min(cpu), "cpu_median": median(cpu), "wall": median(wall), "memory": peak - before}
    return {**stated, "peak": peak, **{key: value / megapixels for key, value in times.items()}}


def _stated(detector: Any, what: str, *args: Any) -> int | None:
    method = getattr(detector, what, None)
    return int(method(*args)) if callable(method) else None


def _peak_from_here() -> float:
    """Let the peak begin at what is held now, where the system allows it, and return it in MiB."""
    with suppress(OSError, AttributeError):
        # What the warm-up gave back would otherwise lie ready in this process and hide what the run needs.
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> float:
    """Return the peak resident MiB of this process."""
    try:
        # Linux lets a new program inherit the peak of the one that started it in ru_maxrss, but not in VmHWM.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def markdown(costs: Sequence[Cost]) -> str:
    """Return costs as a Markdown table, with what they were measured on; a dash where there is no figure."""
    head = (
        "detector",
        "megapixels",
        "CPU s/MP, best",
        "CPU s/MP, median",
        "wall s/MP",
        "peak MiB/MP",
        "peak MiB",
        "parameters",
        "MACs",
        "status",
    )
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for cost in costs:
        values = (cost.cpu_best, cost.cpu_median, cost.wall, cost.memory, cost.peak, cost.parameters, cost.macs)
        cause = f"{cost.status}: {cost.cause}" if cost.cause else cost.status
        megapixels = f"{cost.size[0] * cost.size[1] / 1e6:.2f}"
        cells = [cost.detector, megapixels, *map(_shown, values), cause.replace("|", "\\|")]
        lines.append(f"| {' | '.join(cells)} |")
    pictures = "; ".join(dict.fromkeys(cost.picture for cost in costs))
    return "\n".join([*lines, "", f"One thread, a fresh process for each row. Picture: {pictures or 'none'}."])


def _shown(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def to_json(costs: Sequence[Cost]) -> str:
    """Return costs as a JSON list of objects; null where there is no figure."""
    rows = [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(cost).items()}
        for cost in costs
    ]
    return json.dumps(rows, indent=1)


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(_run_here(sys.argv[1], sys.argv[2], int(sys.argv[3]))) + "\n")
    except TamperscopeError as error:
        sys.exit(f"{type(error).__name__}: {error}")
