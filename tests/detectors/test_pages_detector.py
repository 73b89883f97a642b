"""The shipped network of pages marks a word whose history differs, wherever it is, and nothing on an even page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from tamperscope import media, registry
from tamperscope.inference.artifact import open_artifact
from tamperscope.media.recompress import encode_jpeg
from tamperscope.report.schema import Report
from tamperscope.scanning.one import Scanner
from tamperscope.types import Box, Prediction
from tamperscope.verdict.card import Curve
from typed_page import ALTERED, Typed, typed

FOLDER = Path(str(resources.files("tamperscope.weights"))) / "pages"
FIRST, LAST = 75, 92


def asked(rgb: np.ndarray) -> Prediction:
    return registry.load("pages").predict(media.open(encode_jpeg(rgb, LAST)).sample)


def around(box: Box) -> tuple[slice, slice]:
    x0, y0, x1, y1 = box
    return slice(y0 - 4, y1 + 4), slice(x0 - 4, x1 + 4)


def measured_without(report: Report) -> list[str]:
    """What is said of networks that the stated rates know nothing of."""
    return [row.why for row in report.verdict.not_checked if "rates were measured without" in row.why]


@pytest.fixture(scope="module")
def page() -> Typed:
    return typed()


@pytest.fixture(scope="module")
def scan(page: Typed) -> np.ndarray:
    """The page as a scanner saved it."""
    return media.open(encode_jpeg(page.rgb, FIRST)).sample.rgb


def test_is_small_and_says_what_it_is() -> None:
    card = open_artifact(FOLDER).card
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 8 << 20
    assert card.name == "pages"
    assert "Apache-2.0" in card.licence
    assert card.measured["decided nothing"]["forged"] >= 100
    assert "/work" not in card.model_dump_json()
    curve = Curve.model_validate(card.calibration)
    assert curve.counts
    assert curve.family == "network"


def test_answers_without_torch() -> None:
    code = (
        "import sys, json\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from typed_page import typed\n"
        "from tamperscope import registry\n"
        "found = registry.load('pages').predict(typed().sample)\n"
        "print(json.dumps([found.status, 0 <= found.score <= 1, 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == ["ok", True, False]


@pytest.mark.parametrize("word", [10, ALTERED, 55])
def test_marks_the_word_whose_history_differs_and_nothing_else(page: Typed, scan: np.ndarray, word: int) -> None:
    """The word is what it was: it alone was not in the scanner's file."""
    forged = scan.copy()
    forged[around(page.boxes[word])] = page.rgb[around(page.boxes[word])]
    before, after = asked(scan), asked(forged)
    assert before.heatmap is not None
    assert after.heatmap is not None
    assert (before.heatmap < 0.5).all()
    assert [reason.code for found in (before, after) for reason in found.reasons] == ["pages.none", "pages.share"]
    assert after.score > before.score + 0.3
    assert after.heatmap[around(page.boxes[word])].mean() > 0.5
    rest = after.heatmap.copy()
    x0, y0, x1, y1 = page.boxes[word]
    rest[max(0, y0 - 20) : y1 + 20, max(0, x0 - 20) : x1 + 20] = 0
    assert (rest < 0.5).all()


def test_a_page_that_was_never_in_a_file_is_even_too(page: Typed) -> None:
    found = asked(page.rgb)
    assert found.heatmap is not None
    assert (found.heatmap < 0.5).all()


def test_abstains_on_a_photograph(photo: Callable[[str], np.ndarray]) -> None:
    found = asked(photo("coffee"))
    assert found.status == "not_applicable"
    assert "document" in found.cause or "page" in found.cause


def test_a_scan_weighs_it_and_says_that_its_rates_were_measured_without(page: Typed, scan: np.ndarray) -> None:
    forged = scan.copy()
    forged[around(page.boxes[ALTERED])] = page.rgb[around(page.boxes[ALTERED])]
    with_it, without = (
        Scanner(names, probe=False).scan(encode_jpeg(forged, LAST)) for names in (["pages", "blk"], ["blk"])
    )
    assert with_it.verdict.llr > without.verdict.llr
    assert "pages" in " ".join(measured_without(with_it))
    assert not measured_without(without)


def test_the_rates_of_a_photograph_are_told_to_hold(photo: Callable[[str], np.ndarray]) -> None:
    report = Scanner(["pages", "localizer"], probe=False).scan(encode_jpeg(photo("coffee")[:200, :260], LAST))
    assert not measured_without(report)
