"""A picture's domain is told by its pixels, once, and only where a detector asks for it."""

from __future__ import annotations

import gc
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from tamperscope.detectors.base import Detector, Guide
from tamperscope.scanning import Scanner
from tamperscope.signal import domains
from tamperscope.signal.domains import Domains
from tamperscope.types import Prediction, Sample
from typed_page import Style, typed

Photo = Callable[[str], np.ndarray]


def chart(seed: int = 0) -> np.ndarray:
    """Bars and a line on white, with few words."""
    rng = np.random.default_rng(seed)
    rgb = np.full((480, 720, 3), 255, np.uint8)
    for k in range(9):
        x, top = 50 + 70 * k, int(rng.integers(60, 400))
        cv2.rectangle(rgb, (x, top), (x + 45, 440), (40, 90, 200), -1)
        cv2.putText(rgb, str(k), (x + 10, 465), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.line(rgb, (50, 100), (650, 300), (200, 30, 30), 3)
    return rgb


def laid(page: np.ndarray, desk: np.ndarray) -> np.ndarray:
    """A page that lies aslant on a photographed desk, larger than it."""
    height, width = page.shape[:2]
    table = cv2.resize(desk, (width + 300, height + 300))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    placed = np.array([[140, 160], [width + 130, 120], [width + 170, height + 140], [110, height + 170]], np.float32)
    warp = cv2.getPerspectiveTransform(corners, placed)
    seen = cv2.warpPerspective(page, warp, table.shape[1::-1])
    cover = cv2.warpPerspective(np.ones((height, width), np.uint8), warp, table.shape[1::-1])
    return np.where(cover[..., None] > 0, seen, table)


class Asking(Detector):
    """Says ok to what looks like a page."""

    family = "text"
    domains = ("document", "drawing")
    guide = Guide("", "", "")

    def analyze(self, sample: Sample) -> Prediction:
        return Prediction("asking", sample.size, 0.0)


class Indifferent(Asking):
    """Says ok to everything."""

    domains = ()


def test_pages_are_pages_however_they_are_seen(photo: Photo) -> None:
    for page in (typed(), typed(rows={0: Style(size=34, bold=1)}, paper=200), typed(count=30)):
        assert domains.measured(page.sample).names[0] == "document"
    assert domains.page(laid(typed().rgb, photo("coffee"))) >= 0.5
    large = cv2.resize(typed(count=18).rgb, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert domains.page(np.asarray(large)) >= 0.5
    # It is the letters in rows that make a page: without them there is none, and turned rows are none.
    assert domains.page(typed(count=2).rgb) < 0.5
    assert domains.page(np.ascontiguousarray(np.rot90(typed().rgb))) < 0.5
    assert domains.page(np.full((300, 300, 3), 240, np.uint8)) == 0


def test_a_page_on_its_side_is_one_where_it_is_far_less_of_one_upright(photo: Photo) -> None:
    for turn in range(4):
        rgb = np.ascontiguousarray(np.rot90(typed().rgb, turn))
        assert domains.sideways(rgb) is bool(turn % 2)
    for name in ("coffee", "chelsea"):
        assert not domains.sideways(photo(name))
    assert not domains.sideways(np.full((300, 300, 3), 240, np.uint8))
    both = typed().rgb
    height, width = both.shape[:2]
    either = np.full((height + width, height + width, 3), 240, np.uint8)
    either[:height, :width], either[height:, width:] = both, np.rot90(both)
    assert not domains.sideways(either)


def test_photographs_are_photos_and_a_large_face_is_one(photo: Photo) -> None:
    for name in ("coffee", "chelsea"):
        found = domains.measured(Sample(photo(name)))
        assert found.names[-1] == "photo"
        assert "document" not in found.names
        assert "drawing" not in found.names
    given = {"box": [10, 20, 95, 130], "points": [[30, 50], [70, 50], [50, 80], [35, 105], [65, 105]]}
    large = Sample(photo("coffee"), meta={"faces": [given]})
    assert domains.measured(large).names == ("face", "photo")
    small = Sample(photo("coffee"), meta={"faces": [{**given, "box": [10, 20, 80, 130]}]})
    assert domains.measured(small).names == ("photo",)
    assert domains.face(Sample(photo("coffee"), meta={"faces": []})) == 0


def test_charts_are_drawings_until_they_are_full_of_noise() -> None:
    rgb = chart()
    assert domains.measured(Sample(rgb)).names[0] == "drawing"
    noise = np.random.default_rng(0).normal(0, 8, rgb.shape)
    rough = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    assert domains.drawing(rough) < 0.5
    ramp = np.repeat(np.linspace(0, 255, 720)[None, :, None], 480, 0).repeat(3, 2).astype(np.uint8)
    assert domains.drawing(ramp) < 0.5, "flat, but of many shades"


def test_tiny_and_odd_pictures_have_a_domain() -> None:
    rng = np.random.default_rng(1)
    for size in ((1, 1), (1, 4000), (7, 5), (64, 65)):
        for rgb in (np.zeros((*size, 3), np.uint8), rng.integers(0, 256, (*size, 3), dtype=np.uint8)):
            found = domains.measured(Sample(rgb))
            assert found.names
            assert min(found.document, found.face, found.drawing) >= 0
            assert max(found.document, found.face, found.drawing) <= 1


def test_the_highest_score_is_named_first() -> None:
    assert Domains(0.2, 0.1, 0.3).names == ("photo",)
    assert Domains(0.6, 0.1, 0.9).names == ("drawing", "document")
    assert Domains(0.6, 0.6, 0.0).names == ("document", "face")
    assert Domains(0.1, 0.7, 0.2).names == ("face", "photo")
    assert Domains(0.6, 0.1, 0.9).words == "a drawing, a chart or a screen"
    assert domains.phrase(("photo", "document")) == "a page of text or a photo"


def test_it_is_measured_once_for_all_that_share_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sample] = []

    def counted(sample: Sample) -> Domains:
        asked.append(sample)
        return Domains(0.1, 0.1, 0.1)

    monkeypatch.setattr(domains, "measured", counted)
    sample = Sample(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))
    assert Indifferent().predict(sample).status == "ok"
    assert asked == []
    assert domains.known(sample) is None
    assert domains.findings(sample) == []
    refused = Asking().predict(sample)
    assert refused.status == "not_applicable"
    assert refused.cause == ("the picture looks like a photo; needs a page of text or a drawing, a chart or a screen")
    Asking().predict(sample)
    Asking().predict(Sample(sample.rgb, meta={"another": "sample"}))
    assert len(asked) == 1
    assert domains.known(Sample(sample.rgb.copy())) is None
    assert [found.text for found in domains.findings(sample)] == ["The picture looks like a photo."]
    # Nothing is kept longer than the pixels are.
    kept, key = len(domains._known), id(sample.rgb)
    del sample, refused
    asked.clear()
    gc.collect()
    assert key not in domains._known
    assert len(domains._known) < kept


def test_a_report_says_what_the_picture_looks_like_where_it_was_asked(photo: Photo) -> None:
    rgb = np.ascontiguousarray(photo("coffee")[:200, :260])
    report = Scanner(["text", "ela"], probe=False).scan(rgb)
    found = [finding for finding in report.findings if finding.code == "picture.domain"]
    assert [(finding.text, finding.severity) for finding in found] == [("The picture looks like a photo.", "info")]
    assert found[0].values["domains"] == ["photo"]
    assert report.predictions[0].cause == "the picture looks like a photo; needs a page of text"
    assert report.verdict.level == Scanner(["ela"], probe=False).scan(rgb).verdict.level
    quick = Scanner(quick=True).scan(rgb.copy())
    assert not [finding for finding in quick.findings if finding.code == "picture.domain"]
