"""Check an installation, part by part, without touching any file of the user's."""

from __future__ import annotations

import importlib.util
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np

PARTS = (
    "numpy",
    "scipy",
    "opencv-python-headless",
    "pillow",
    "simplejpeg",
    "jpeglib",
    "numba",
    "onnxruntime",
    "pydantic",
    "c2pa-python",
)
EXTRAS = {"heif": "pillow_heif", "ocr": "rapidocr", "pdf": "pypdfium2", "upscale": "ncnn", "video": "av"}


def checks() -> Iterator[tuple[str, bool, str]]:
    """Yield (what, whether it works, details), one check after another."""
    yield "python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in PARTS:
        yield _version(name)
    for extra, module in EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        yield f"extra {extra}", True, "installed" if found else f"not installed (pip install 'tamperscope[{extra}]')"
    parts = {"isolated decoder": _decoder, "calibration": _calibration, "shipped network": _network, "scan": _scan}
    for what, check in parts.items():
        yield what, *_try(check)


def _version(name: str) -> tuple[str, bool, str]:
    try:
        return name, True, version(name)
    except PackageNotFoundError:
        return name, False, f"not installed; run: pip install '{name}'"


def _try(check: Callable[[], str]) -> tuple[bool, str]:
    start = time.perf_counter()
    try:
        text = check()
    except Exception as error:  # a doctor reports every illness
        return False, f"{type(error).__name__}: {error}"
    return True, f"{text} ({time.perf_counter() - start:.2f} s)"


def _picture() -> bytes:
    from tamperscope.media.recompress import encode_jpeg

    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return encode_jpeg(noise, 90)


def _decoder() -> str:
    from tamperscope import media

    sample = media.open(_picture()).sample
    return f"decoded {sample.size[1]} × {sample.size[0]} pixels in a child process"


def _calibration() -> str:
    from tamperscope.verdict.card import shipped_card

    card = shipped_card()
    weighed = sorted(name for name, curve in card.detectors.items() if curve.counts)
    return f"{len(card.detectors)} detectors calibrated, {len(weighed)} weighed: {', '.join(weighed)}"


def _network() -> str:
    from tamperscope import registry
    from tamperscope.types import Sample

    network = registry.load(registry.SHIPPED_NETWORK)
    network.analyze(Sample(np.full((64, 64, 3), 128, np.uint8)))
    return f"{network.artifact.card.parameters:,} parameters, sha256 {network.fingerprint[:12]} as stated"


def _scan() -> str:
    from tamperscope.scanning.one import scan

    report = scan(_picture(), quick=True)
    failed = [f"{p.detector}: {p.cause}" for p in report.predictions if p.status == "failed"]
    if failed:
        raise RuntimeError("; ".join(failed))
    return f"verdict {report.verdict.level} on a picture of noise"
