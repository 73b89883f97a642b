"""`text` names the word that was set otherwise and in what it differs, and is silent where no word was."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
import pytest

from tamperscope import load
from tamperscope.detectors.text import BACKGROUND, Text, examined, log10_tails
from tamperscope.errors import InvalidValueError
from tamperscope.media.recompress import recompress
from tamperscope.signal.word_traces import TRACES
from tamperscope.types import Prediction, Sample
from typed_page import ALTERED, Style, Typed, typed

LEVEL = 0.5
"""One trace of one word is weak evidence beside how much words of receipts differ, so the tests decide earlier."""
ALTERATIONS = {
    "size": Style(size=32),
    "stroke": Style(bold=2),
    "ink": Style(ink=(185, 185, 187)),
    "colour": Style(ink=(40, 40, 170)),
    "shift": Style(down=8),
    "edges": Style(blur=0.3),
    "paper": Style(paper=-25),
    "grain": Style(noise=9),
}
WORDS = {
    "size": "larger",
    "stroke": "thicker",
    "ink": "paler",
    "colour": "another colour",
    "shift": "lower than its row",
    "edges": "sharper",
    "paper": "darker patch",
    "grain": "noisier",
}


@cache
def page(trace: str = "") -> Typed:
    return typed({ALTERED: ALTERATIONS[trace]} if trace else None)


def ask(rgb: np.ndarray, **meta: object) -> Prediction:
    return Text(LEVEL).predict(Sample(np.ascontiguousarray(rgb), meta=meta))


def share_of(found: Prediction, box: tuple[int, int, int, int]) -> float:
    """How much of a box is marked."""
    assert found.heatmap is not None
    x0, y0, x1, y1 = box
    return float((found.heatmap[y0:y1, x0:x1] >= 0.5).mean())


@pytest.mark.parametrize("trace", ALTERATIONS)
def test_a_word_that_was_set_otherwise_is_found_and_named(trace: str) -> None:
    altered = page(trace)
    found = ask(altered.rgb)
    box = altered.boxes[ALTERED]
    assert found.score > -math.log10(LEVEL)
    assert share_of(found, box) > 0.9
    told = found.reasons[0]
    assert told.code == "text.word"
    # The edge of a patch is rough paper, too.
    assert trace in told.values["differs"][: 2 if trace == "paper" else 1]
    assert WORDS[trace] in told.text
    assert told.values["log10_nfa"] == pytest.approx(-found.score, abs=1e-3)
    # Nothing but the word is marked, and what marks it goes with it.
    assert found.heatmap is not None
    outside = found.heatmap.copy()
    outside[box[1] - 4 : box[3] + 4, box[0] - 4 : box[2] + 4] = 0
    assert outside.max() < 0.5
    back = altered.rgb.copy()
    patch = np.s_[box[1] - 12 : box[3] + 12, box[0] - 12 : box[2] + 12]
    back[patch] = page().rgb[patch]
    assert ask(back).score < 0


def test_the_plain_page_raises_no_alarm() -> None:
    for seed in range(3):
        found = load("text").predict(typed(seed=seed).sample)
        assert found.score < 0
        assert found.heatmap is not None
        assert found.heatmap.max() < 0.25
        assert found.regions == []
        assert [reason.code for reason in found.reasons] == ["text.none"]


def test_headings_and_bold_rows_are_no_alarm() -> None:
    rows = {0: Style(size=34, bold=1), 7: Style(size=28, bold=1), 12: Style(ink=(120, 120, 124))}
    found = ask(typed(rows=rows).rgb)
    assert found.score < 0.3
    assert found.evidence["marked"] == 0


def _seen(rgb: np.ndarray, turn: float, side: float) -> np.ndarray:
    height, width = rgb.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    middle, angle = np.array([width / 2, height / 2]), np.deg2rad(turn)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    placed = (corners - middle) @ spin.T * 0.92 + middle
    placed[1, 1] += side * height / 2
    placed[2, 1] -= side * height / 2
    warp = cv2.getPerspectiveTransform(corners, placed.astype(np.float32))
    return np.asarray(cv2.warpPerspective(rgb, warp, (width, height), flags=cv2.INTER_CUBIC, borderValue=(238,) * 3))


@pytest.mark.parametrize(("turn", "side"), [(2.5, 0.0), (-4.0, 0.0), (0.0, 0.08), (1.5, 0.05)])
def test_a_page_that_was_photographed_aslant_raises_no_alarm(turn: float, side: float) -> None:
    light = np.linspace(0.75, 1, 720)[None, :, None]
    lit = np.clip(_seen(page().rgb, turn, side) * light, 0, 255).astype(np.uint8)
    assert ask(recompress(lit, 85)).evidence["marked"] == 0
    blue = np.clip(_seen(page("colour").rgb, turn, side) * light, 0, 255).astype(np.uint8)
    found = ask(recompress(blue, 85))
    assert found.evidence["marked"] == 1
    assert found.reasons[0].values["differs"][0] == "colour"


def test_compression_of_the_whole_page_moves_no_word() -> None:
    assert ask(recompress(page().rgb, 70)).evidence["marked"] == 0
    found = ask(recompress(page("stroke").rgb, 85))
    assert share_of(found, page("stroke").boxes[ALTERED]) > 0.9


def test_given_words_are_used_and_named() -> None:
    altered = page("stroke")
    words = [{"box": list(box), "text": said} for box, said in zip(altered.boxes, altered.texts, strict=True)]
    found = ask(altered.rgb, words=words)
    assert found.evidence["finder"] == "given"
    assert found.reasons[0].text.startswith("The word '7315' differs")
    assert found.regions[0].words == found.reasons[0].text


@pytest.mark.parametrize("turn", [1, 3])
def test_a_page_that_lies_on_its_side_is_judged_and_marked_where_it_lies(turn: int) -> None:
    altered = page("colour")
    mark = np.zeros(altered.rgb.shape[:2], np.uint8)
    x0, y0, x1, y1 = altered.boxes[ALTERED]
    mark[y0:y1, x0:x1] = 1
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(np.rot90(mark, turn)))
    found = ask(np.rot90(altered.rgb, turn))
    assert found.size == (altered.rgb.shape[1], altered.rgb.shape[0])
    assert share_of(found, (x, y, x + width, y + height)) > 0.9
    assert found.evidence["marked"] == len(found.regions) == 1
    assert found.regions[0].box == pytest.approx((x, y, x + width, y + height), abs=5)
    told, note = found.reasons
    assert told.values == found.regions[0].values
    assert told.values["box"] == pytest.approx([x, y, x + width, y + height], abs=4)
    assert told.values["differs"][0] == "colour"
    assert note.code == "text.sideways"
    plain = ask(np.rot90(page().rgb, turn))
    assert plain.score == pytest.approx(ask(page().rgb).score, abs=0.5)
    assert [reason.code for reason in plain.reasons] == ["text.none", "text.sideways"]


def test_a_page_is_turned_only_where_nobody_said_where_its_words_are() -> None:
    sideways = np.rot90(page().rgb)
    for meta in ({"lines": [{"box": [5, 5, 90, 30], "text": "one"}]}, {"damaged": "cut off"}):
        assert ask(sideways, **meta).status == "not_applicable"
    with pytest.raises(InvalidValueError, match="found none"):
        Text(LEVEL, "given").predict(page().sample)
    assert Text(LEVEL, "given").predict(Sample(np.ascontiguousarray(sideways))).status == "not_applicable"
    # What a forgery says of its edits is no word.
    assert ask(sideways, words=[{"noun": "a word", "place": "bottom"}]).status == "ok"


def test_a_steep_page_and_a_page_of_few_words_are_not_judged() -> None:
    few = ask(typed(count=3).rgb)
    assert few.status == "not_applicable"
    assert "needs" in few.cause
    steep = typed(count=16)
    height, width = steep.rgb.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -9, 0.9)
    turned = cv2.warpAffine(steep.rgb, turn, (width, height), borderValue=(238,) * 3)
    assert ask(np.asarray(turned)).status == "not_applicable"


def test_photographs_are_no_pages(photo) -> None:  # type: ignore[no-untyped-def]
    for name in ("astronaut", "coffee", "chelsea"):
        found = load("text").predict(Sample(photo(name)))
        assert found.status == "not_applicable"
        assert found.cause.endswith("needs a page of text")


def test_tails_fall_as_they_were_counted() -> None:
    level, share, slope = BACKGROUND["edges"]
    column = TRACES.index("edges")
    z = np.full((4, len(TRACES)), math.nan)
    z[:, column] = [0, level, -2 * level, 20 * level]
    tails = log10_tails(z)[:, column]
    np.testing.assert_allclose(10.0 ** tails[:2], [1, share])
    np.testing.assert_allclose(10.0 ** tails[2:], [share * 2**-slope, share * 20**-slope])
    assert np.isnan(log10_tails(z)[:, TRACES.index("ink")]).all()


def test_the_decision_is_where_it_is_set() -> None:
    altered = page("paper")
    score = Text().predict(altered.sample).score
    for nfa, marked in ((10 ** (-score + 0.1), 1), (10 ** (-score - 0.1), 0)):
        found = Text(nfa).predict(altered.sample)
        assert found.evidence["marked"] == marked
        assert found.heatmap is not None
        assert (float(found.heatmap.max()) >= 0.5) is bool(marked)


def test_a_heading_shares_its_looks_with_its_row_alone() -> None:
    """A word is set against its row and its surroundings; what either has in common with it is no deviation."""
    printed, deviations = examined(typed(rows={5: Style(size=30, bold=1)}).sample)
    heading = np.array([word.row == 5 for word in printed.words])
    assert heading.sum() >= 3
    for trace in ("size", "stroke"):
        assert np.nanmax(np.abs(deviations[heading, TRACES.index(trace)])) < 3
        _, alone = examined(page(trace).sample)
        assert np.nanmax(alone[:, TRACES.index(trace)]) > 8
