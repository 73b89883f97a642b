"""A realistic report on the astronaut picture: a spliced helmet, a copied patch, every section filled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tamperscope.report import schema
from tamperscope.report.schema import Report

DATA = Path(__file__).parents[1] / "data"
POPULATION = "1,200 untouched camera pictures and 1,200 spliced, copied or retouched ones, JPEG quality 75 to 98"
GUIDES = {
    "zero": (
        "The 8 × 8 grid that JPEG compression leaves.",
        "Bright areas carry a grid that is shifted against the rest of the picture.",
        "Pictures that were cropped and saved again carry a second grid everywhere.",
    ),
    "noiseprint": (
        "The fine noise that a camera leaves.",
        "Bright areas have another noise than the rest.",
        "Sharp, textured or very dark areas look different without any edit.",
    ),
    "copy_move": (
        "Areas that occur twice.",
        "Bright areas have a twin elsewhere in the picture.",
        "Brick walls, windows and printed patterns repeat by themselves.",
    ),
    "ela": (
        "How much each area changes when it is saved again.",
        "Bright areas change more than the rest.",
        "Edges and saturated colours always change more.",
    ),
}


def blob(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """A smooth bump of height 1 at `centre` (x, y in shares), `radius` in shares of the shorter side."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    away = np.hypot(columns - centre[0] * size[1], rows - centre[1] * size[0]) / (radius * min(size))
    return np.exp(-(away**4)).astype(np.float32)


def fake_maps(size: tuple[int, int]) -> dict[str, np.ndarray]:
    noise = cv2.GaussianBlur(np.random.default_rng(7).random(size, dtype=np.float32), (0, 0), 3)
    noise = 0.18 + 0.9 * (noise - noise.mean())
    bump, twin = blob(size, (0.78, 0.62), 0.19), blob(size, (0.2, 0.25), 0.13)
    maps = {
        "zero": np.maximum(noise, 0.9 * bump),
        "noiseprint": np.maximum(1.3 * noise, 0.7 * bump),
        "copy_move": np.maximum(0.9 * twin, 0.85 * blob(size, (0.55, 0.85), 0.13)),
        "ela": 1.8 * noise,
        "fused": np.maximum(np.maximum(noise * 0.6, 0.95 * bump), 0.8 * twin),
    }
    return {name: np.clip(heat, 0.0, 1.0).astype(np.float32) for name, heat in maps.items()}


def _box(size: tuple[int, int], x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
    height, width = size
    return int(x0 * width), int(y0 * height), int(x1 * width), int(y1 * height)


def _prediction(name: str, score: float, llr: float | None, **more: Any) -> schema.PredictionModel:
    looks_at, how_to_read, when_it_lies = GUIDES[name]
    calibrated = llr is not None and schema.Calibrated(
        llr=llr, probability=float(1 / (1 + np.exp(-llr))), low=llr - 0.8, high=llr + 0.7, population=POPULATION
    )
    return schema.PredictionModel(
        detector=name,
        summary=f"Reads {looks_at[0].lower()}{looks_at[1:]}",
        guide=schema.GuideModel(looks_at=looks_at, how_to_read=how_to_read, when_it_lies=when_it_lies),
        score=score,
        calibrated=calibrated or None,
        seconds=0.41,
        **more,
    )


def _predictions(size: tuple[int, int]) -> list[schema.PredictionModel]:
    offset = {"rotation_degrees": 12.0, "scale": 1.08, "matrix": [[1.05, -0.22, 14.0], [0.22, 1.05, -3.5]]}
    twins = [
        schema.RegionModel(box=_box(size, 0.08, 0.12, 0.32, 0.38), score=8.1, values={"pair": 1, **offset}),
        schema.RegionModel(box=_box(size, 0.43, 0.72, 0.67, 0.97), score=8.1, values={"pair": 1}),
    ]
    zero_reason = schema.FindingModel(
        code="zero.second_grid",
        text="An area of 6.8 % of the picture carries a JPEG grid shifted by (3, 5).",
        severity="warning",
        values={"log10_nfa": -14.2, "grid": [3, 5]},
        origin="zero",
    )
    return [
        _prediction(
            "zero",
            14.2,
            3.1,
            family="jpeg_grid",
            counts=True,
            reasons=[zero_reason],
            evidence={"log10_nfa": -14.2, "main_grid": [0, 0], "grids_tested": 64},
        ),
        _prediction("copy_move", 8.1, 2.2, family="duplication", counts=True, regions=twins),
        _prediction("noiseprint", 0.61, 0.02, family="noise"),
        _prediction("ela", float("nan"), None, family="jpeg_history"),
        schema.PredictionModel(detector="thumbnail", status="not_applicable", cause="the file embeds no thumbnail"),
        schema.PredictionModel(detector="dq", status="failed", cause="ValueError: <b>singular</b> \x1b[31mmatrix"),
    ]


def _verdict(size: tuple[int, int], level: schema.Level) -> schema.Verdict:
    reasons_for = [
        ("An area of 6.8 % of the picture carries a JPEG grid shifted by (3, 5).", 2.9, "zero"),
        ("Two areas are copies of each other (rotated by 12°, scaled by 1.08).", 1.8, "copy_move"),
        ("The picture was last written by an editor, not by a camera.", 0.0, "exif"),
    ]
    deliveries = [("half size, JPEG 90", "suspicious", 1.9), ("JPEG 70", "no_evidence", -0.7)]
    rates = [
        ("inconclusive", 0.4, 0.18, 0.15, 0.21),
        ("suspicious", 2.0, 0.021, 0.012, 0.034),
        ("strong_evidence", 3.6, 0.0042, 0.0011, 0.0107),
    ]
    return schema.Verdict(
        level=level,
        headline="Strong evidence of manipulation in 2 regions.",
        llr=4.18,
        probability=0.985,
        prior=0.5,
        start=-0.02,
        reasons_for=[schema.Reason(text=t, weight=w, origin=o) for t, w, o in reasons_for],
        reasons_against=[
            schema.Reason(text="noiseprint found nothing that stands out", weight=-0.5, origin="noiseprint")
        ],
        thresholds=[
            schema.Threshold(level=level_, llr=x, false_alarm_rate=r, low=a, high=b, population=POPULATION)
            for level_, x, r, a, b in rates
        ],
        not_checked=[
            schema.NotChecked(what="thumbnail", why="the file embeds no thumbnail"),
            schema.NotChecked(
                what="whether the picture was generated as a whole", why="this version reads declared marks only"
            ),
            schema.NotChecked(what="origin, caption and context", why="outside of what pixels and files can tell"),
        ],
        regions=[
            schema.RegionModel(
                box=_box(size, 0.6, 0.44, 0.96, 0.8), area_share=0.068, score=0.83, words="helmet", origin="fused"
            ),
            schema.RegionModel(box=_box(size, 0.08, 0.12, 0.32, 0.38), area_share=0.031, score=0.71, origin="fused"),
        ],
        stability=schema.Stability(
            status="unstable", trials=[schema.Trial(delivery=d, level=level_, llr=x) for d, level_, x in deliveries]
        ),
    )


FACTS = {
    "jpeg": {
        "markers": [
            {"name": "SOI", "offset": 0},
            {"name": "APP1", "offset": 2, "bytes": 5210},
            {"name": "DQT", "offset": 5214},
        ],
        "subsampling": "4:2:0",
        "progressive": False,
        "quantization": {
            "luma": np.arange(1, 65).reshape(8, 8),
            "nearest": {"encoder": "libjpeg", "quality": 92, "distance": 0.0},
        },
        "trailing_bytes": 0,
    },
    "exif": {
        "Make": "NASA",
        "Software": "Editor 3.1",
        "DateTimeOriginal": "2024:05:01 10:02:11",
        "ExposureTime": float("inf"),
    },
    "c2pa": {"present": False},
}
FINDINGS = [
    ("exif.software_editor", "The EXIF block names an editor: “Editor 3.1”.", "warning", {"software": "Editor 3.1"}),
    ("exif.dates_differ", "The picture was changed 3 days after it was taken.", "notice", {"seconds": 259_200}),
    ("c2pa.absent", "There is no content credential; that is neutral.", "info", {}),
]


def build_report(
    rgb: np.ndarray | None = None,
    name: str = "astronaut.jpg",
    level: schema.Level = "strong_evidence",
    orientation: int = 1,
) -> Report:
    """A report with pictures, every section of it filled."""
    if rgb is None:
        with Image.open(DATA / "astronaut.png") as picture:
            rgb = np.asarray(picture.convert("RGB"))
    size = rgb.shape[0], rgb.shape[1]
    report = Report(
        tool=schema.Tool(version="0.1.0", python="3.11.9", numpy="2.4.6", opencv="5.0.0"),
        created="2026-11-25T10:00:00+00:00",
        intake=schema.Intake(
            name=name,
            bytes=183_422,
            sha256="9f" * 32,
            type_by_magic="JPEG",
            type_by_extension="JPEG",
            decoder="simplejpeg 1.9.0",
            transformations=["decoded to 8-bit RGB", "ICC profile ignored"],
        ),
        picture=schema.Picture(
            width=size[1], height=size[0], orientation=orientation, megapixels=round(size[0] * size[1] / 1e6, 4)
        ),
        facts=FACTS,
        findings=[
            schema.FindingModel(code=c, text=t, severity=s, values=v, origin=c.partition(".")[0])
            for c, t, s, v in FINDINGS
        ],
        predictions=_predictions(size),
        verdict=_verdict(size, level),
        reproduce=schema.Reproduce(command=f"tamperscope scan {name}", options={"quick": False}),
        limits="A scan weighs traces that these detectors know.\n\nNo evidence is not proof that nothing was done.",
    )
    return report.with_pictures(rgb, fake_maps(size))


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    return build_report


@pytest.fixture(scope="session")
def report() -> Report:
    return build_report()
