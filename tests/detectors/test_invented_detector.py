"""The shipped judge of invented pictures: what it says it is, where it abstains, and what changes its mind."""

from __future__ import annotations

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
from tamperscope.scanning.one import Scanner
from tamperscope.types import Prediction, Sample
from tamperscope.verdict.card import Curve

FOLDER = Path(str(resources.files("tamperscope.weights"))) / "invented"
DATA = Path(__file__).parents[1] / "data"
PHOTOS = ("astronaut", "coffee", "chelsea")
INVENTED = ("flux", "omnigen", "seedream")
"""Of generators that nothing was learned of."""


def asked(rgb: np.ndarray) -> Prediction:
    return registry.load("invented").predict(Sample(rgb))


def logit(rgb: np.ndarray) -> float:
    """Of the network itself, which does not abstain."""
    score = open_artifact(FOLDER).predictor()(Sample(rgb)).score
    return float(np.log(score / (1 - score)))


@pytest.fixture(scope="module")
def photos(photo: Callable[[str], np.ndarray]) -> list[np.ndarray]:
    return [photo(name) for name in PHOTOS]


@pytest.fixture(scope="module")
def invented() -> list[np.ndarray]:
    return [np.asarray(Image.open(DATA / f"invented_{name}.webp").convert("RGB")) for name in INVENTED]


def test_says_what_it_is() -> None:
    card = open_artifact(FOLDER).card
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 20 << 20
    assert (card.name, card.outputs, card.input.how) == ("invented", ("score",), "scale")
    assert "Apache-2.0" in card.licence
    assert "decided nothing" in card.measured
    assert "/work" not in card.model_dump_json()
    curve = Curve.model_validate(card.calibration)
    assert min(curve.llr) >= 0, "its silence is no evidence against an edit"


def test_tells_pictures_of_generators_that_it_never_saw(photos: list[np.ndarray], invented: list[np.ndarray]) -> None:
    least = open_artifact(FOLDER).card.threshold
    assert max(asked(rgb).score for rgb in photos) < least <= min(asked(rgb).score for rgb in invented)


def test_what_a_picture_shows_changes_its_mind_and_delivery_does_not(
    photos: list[np.ndarray], invented: list[np.ndarray]
) -> None:
    for rgb in (*photos, *invented):
        before = logit(rgb)
        small = cv2.resize(rgb, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
        for other in (media.open(encode_jpeg(rgb, 75)).sample.rgb, small, rgb[:, ::-1].copy()):
            assert abs(logit(other) - before) < 1.5
    # Photographs that were compressed as the generated ones were, and the other way round.
    assert np.mean([logit(rgb) for rgb in invented]) - np.mean([logit(rgb) for rgb in photos]) > 4


def test_answers_without_torch_and_without_a_map() -> None:
    code = (
        "import sys, json, numpy as np\n"
        "from tamperscope import registry\n"
        "from tamperscope.types import Sample\n"
        "rgb = np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8)\n"
        "found = registry.load('invented').predict(Sample(rgb=rgb))\n"
        "print(json.dumps([found.status, found.heatmap is None, 0 <= found.score <= 1, 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == ["ok", True, True, False]


def test_abstains_on_what_is_no_photo_or_too_small(photos: list[np.ndarray]) -> None:
    chart = np.full((400, 400, 3), 255, np.uint8)
    chart[50:150, 50:350] = (200, 30, 30)
    for rgb in (chart, photos[0][:200]):
        assert asked(rgb).status == "not_applicable"


@pytest.mark.parametrize("size", [(256, 4000), (4000, 256), (300, 257)])
def test_any_shape_is_judged(size: tuple[int, int], photos: list[np.ndarray]) -> None:
    answer = asked(cv2.resize(photos[1], size))
    assert answer.status == "ok"
    assert 0 <= answer.score <= 1


def test_the_reason_says_whether_the_threshold_is_reached(photos: list[np.ndarray]) -> None:
    detector = registry.load("invented")
    for least, word in ((0.9999, "does not look like"), (0.00001, "looks like those")):
        detector.artifact.card.__dict__["threshold"] = least
        (reason,) = detector.predict(Sample(photos[0])).reasons
        assert word in reason.text


def test_a_scan_weighs_it_and_says_without_what_its_rates_are(invented: list[np.ndarray]) -> None:
    names = ["invented", "blk"]
    scans = [Scanner(chosen, probe=False).scan(encode_jpeg(invented[0], 92)) for chosen in (names, names[1:])]
    assert scans[0].verdict.llr > scans[1].verdict.llr + 1
    assert any("generators invent" in reason.text for reason in scans[0].verdict.reasons_for)
    assert any("measured without invented" in row.why for row in scans[0].verdict.not_checked)
