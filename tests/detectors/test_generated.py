"""The shipped judge of whole pictures: what it says it is, when it abstains, whether it follows a decoder's trace."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tamperscope import media, registry
from tamperscope.inference.artifact import open_artifact
from tamperscope.media.recompress import encode_jpeg
from tamperscope.ops.forge.upsampled import remade
from tamperscope.scanning.one import Scanner
from tamperscope.types import Prediction, Sample
from tamperscope.verdict.card import Curve

FOLDER = Path(str(resources.files("tamperscope.weights"))) / "generated"
PHOTOS = ("astronaut", "coffee", "chelsea")


def asked(sample: Sample) -> Prediction:
    return registry.load("generated").predict(sample)


def logit(rgb: np.ndarray) -> float:
    score = asked(Sample(rgb)).score
    return float(np.log(score / (1 - score)))


@pytest.fixture(scope="module")
def plain(photo: Callable[[str], np.ndarray]) -> list[np.ndarray]:
    """Photographs made smaller, so that no JPEG history of theirs is left."""
    return [cv2.resize(photo(name), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA) for name in PHOTOS]


def test_is_small_and_says_what_it_is() -> None:
    card = open_artifact(FOLDER).card
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 8 << 20
    assert card.name == "generated"
    assert "Apache-2.0" in card.licence
    assert card.outputs == ("score",)
    assert card.measured
    assert "/work" not in card.model_dump_json()
    curve = Curve.model_validate(card.calibration)
    assert min(curve.llr) >= 0, "its silence is no evidence against an edit"
    assert 0 < card.threshold < 1


def test_answers_without_torch_and_without_a_map() -> None:
    code = (
        "import sys, json, numpy as np\n"
        "from tamperscope import registry\n"
        "from tamperscope.types import Sample\n"
        "rgb = np.random.default_rng(0).integers(0, 256, (150, 170, 3), dtype=np.uint8)\n"
        "found = registry.load('generated').predict(Sample(rgb=rgb))\n"
        "print(json.dumps([found.status, found.heatmap is None, 0 <= found.score <= 1, 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == ["ok", True, True, False]


@pytest.mark.parametrize("kind", ["transposed", "pixel_shuffle"])
def test_follows_the_trace_of_a_decoder_and_not_that_of_resizing(plain: list[np.ndarray], kind: str) -> None:
    decoded = [remade(Sample(rgb), kind=kind, ripple=0.02).rgb for rgb in plain]  # type: ignore[arg-type]
    resized = []
    for rgb in plain:
        half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        resized.append(cv2.resize(half, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC))
    before, after, control = ([logit(rgb) for rgb in rows] for rows in (plain, decoded, resized))
    assert np.mean(np.subtract(after, before)) > 1
    assert np.mean(np.subtract(after, control)) > 0.5


def test_abstains_where_no_trace_can_be_left(plain: list[np.ndarray]) -> None:
    strong = asked(media.open(encode_jpeg(plain[0], 60)).sample)
    assert strong.status == "not_applicable"
    assert "JPEG quality 60" in strong.cause
    assert asked(media.open(encode_jpeg(plain[0], 90)).sample).status == "ok"
    assert asked(Sample(plain[0][:100])).status == "not_applicable"


@pytest.mark.parametrize(("quality", "status"), [(30, "not_applicable"), (90, "ok")])
def test_the_quality_of_a_jpeg_in_cmyk_counts_like_any_other(
    plain: list[np.ndarray], quality: int, status: str
) -> None:
    stream = io.BytesIO()
    Image.fromarray(plain[0]).convert("CMYK").save(stream, "JPEG", quality=quality)
    sample = media.open(stream.getvalue()).sample
    assert sample.jpeg is None
    said = asked(sample)
    assert said.status == status
    assert ("JPEG quality 30" in said.cause) is (status != "ok")


def test_the_reason_says_whether_the_threshold_is_reached(plain: list[np.ndarray]) -> None:
    detector = registry.load("generated")
    for least, word in ((0.9999, "are not as after"), (0.0001, "relate as after")):
        detector.artifact.card.__dict__["threshold"] = least
        (reason,) = detector.predict(Sample(plain[0])).reasons
        assert word in reason.text


def test_a_scan_shows_it_and_says_why_it_is_not_weighed(plain: list[np.ndarray]) -> None:
    curve = Scanner(["generated"]).card.detectors["generated"]
    assert curve.family == "upsampling"
    assert not curve.counts
    scans = [Scanner(names, probe=False).scan(encode_jpeg(plain[1], 92)) for names in (["generated", "blk"], ["blk"])]
    assert scans[0].verdict.llr == scans[1].verdict.llr
    (row,) = [row for row in scans[0].verdict.not_checked if row.what == "generated"]
    assert "shown, not weighed" in row.why
    (told,) = [p for p in scans[0].predictions if p.detector == "generated"]
    assert told.calibrated is not None
