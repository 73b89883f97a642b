"""Words and lines are found, given or read; whoever finds them, they stand in rows whose fall is known."""

from __future__ import annotations

import sys
import types

import cv2
import numpy as np
import pytest

from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.signal import text, word_traces, words
from tamperscope.types import Box, Sample
from typed_page import typed


def iou(one: Box, other: Box) -> float:
    across, down = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
    shared = max(0, across) * max(0, down)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return shared / (sum(areas) - shared)


def seen(rgb: np.ndarray, turn: float = 0.0, side: float = 0.0) -> np.ndarray:
    """A page that is turned by so many degrees, and whose right side is so much smaller than its left one."""
    height, width = rgb.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    middle, angle = np.array([width / 2, height / 2]), np.deg2rad(turn)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    placed = (corners - middle) @ spin.T * 0.94 + middle
    placed[1, 1] += side * height / 2
    placed[2, 1] -= side * height / 2
    warp = cv2.getPerspectiveTransform(corners, placed.astype(np.float32))
    return np.asarray(
        cv2.warpPerspective(rgb, warp, (width, height), flags=cv2.INTER_CUBIC, borderValue=(238, 238, 238))
    )


def test_lines_hold_the_words_and_part_columns() -> None:
    page = typed()
    found = words.lines(words.ink(page.rgb))
    boxes = [box for line in found for box in line]
    best = [max(iou(box, other) for other in boxes) for box in page.boxes]
    assert np.mean(np.array(best) > 0.6) > 0.95
    assert len(boxes) < 1.1 * len(page.boxes)
    assert all(len({round((box[1] + box[3]) / 80) for box in line}) == 1 for line in found)
    assert len(found) > 2 * 14, "columns far apart are lines of their own"
    assert words.lines(np.zeros((50, 60), bool)) == []


def test_pieces_of_broken_characters_are_joined_with_their_line() -> None:
    """Worn print, of whose characters the upper or the lower part is left: `words` strings pieces to lines apart."""
    page = typed()
    dark = words.ink(page.rgb)
    worn = dark.copy()
    for box in page.boxes:
        for number, (x0, y0, x1, y1) in enumerate(words.glyphs(dark, box)):
            cut = (y1 - y0) * 9 // 20
            worn[slice(y1 - cut, y1) if number % 2 else slice(y0, y0 + cut), x0:x1] = False

    def share(boxes: list[Box]) -> float:
        return float(np.mean([max(iou(box, other) for other in boxes) > 0.5 for box in page.boxes]))

    apart = [word for line in words._lines(words._parts(worn)) for word in words._split(line, 8)]
    joined = [word for line in words.lines(worn) for word in line]
    assert share(joined) > 0.85
    assert share(apart) < share(joined) - 0.08


def test_rules_and_specks_are_no_lines() -> None:
    page = typed()
    ruled = page.rgb.copy()
    cv2.line(ruled, (30, 40), (690, 40), (20, 20, 20), 2)
    for x, y in ((5, 5), (700, 300), (350, 610)):
        cv2.circle(ruled, (x, y), 2, (20, 20, 20), -1)
    assert len(words.lines(words.ink(ruled))) == len(words.lines(words.ink(page.rgb)))


@pytest.mark.parametrize(("turn", "side"), [(0, 0), (2, 0), (-3, 0), (0, 0.06)])
def test_rows_are_told_on_turned_pages_and_slanting_views(turn: float, side: float) -> None:
    rgb = seen(typed().rgb, turn, side)
    page = text.find(Sample(rgb))
    assert page.finder == "built_in"
    assert 14 <= page.rows <= 15
    assert len(page.words) == pytest.approx(70, abs=6)
    middle = np.array([word.box[1] for word in page.words])
    if side:
        top, foot = page.slopes[middle < 200].mean(), page.slopes[middle > 420].mean()
        assert top > 0.005 > -0.005 > foot, "rows of a page seen from its left meet at the right"
    else:
        off = np.abs(page.slopes - np.tan(np.deg2rad(turn)))
        assert np.median(off) < 0.008
        assert off.max() < 0.012
    rows = [word.row for word in page.words]
    assert rows == sorted(rows)


def test_given_words_and_lines_are_taken() -> None:
    page = typed()
    both = zip(page.boxes, page.texts, strict=True)
    given = [{"box": list(box), "text": said} for box, said in both]
    found = text.find(Sample(page.rgb, meta={"words": given}))
    assert found.finder == "given"
    assert [word.text for word in found.words] == page.texts
    assert [word.box for word in found.words] == page.boxes
    assert found.rows == 14
    columns = [slice(k, min(k + 2, 5 * (k // 5) + 5)) for row in range(14) for k in range(5 * row, 5 * row + 5, 2)]
    lines = [{"box": list(words.bounds(page.boxes[c])), "text": " ".join(page.texts[c])} for c in columns]
    parted = text.find(Sample(page.rgb, meta={"lines": lines}), "given")
    assert [word.text for word in parted.words] == page.texts
    assert np.mean([iou(word.box, box) > 0.6 for word, box in zip(parted.words, page.boxes, strict=True)]) > 0.95


def test_what_a_forgery_says_of_its_edits_is_no_word() -> None:
    told = [{"noun": "a word", "place": "bottom"}]
    assert text.find(Sample(typed().rgb, meta={"words": told})).finder == "built_in"


def test_what_does_not_fit_is_refused() -> None:
    blank = Sample(np.full((80, 90, 3), 240, np.uint8))
    assert text.find(blank).words == ()
    with pytest.raises(UnknownNameError, match="built_in"):
        text.find(blank, "buildin")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="found none"):
        text.find(blank, "given")
    for box in ((0, 0, 91, 20), (5, 5, 5, 9), (-1, 0, 4, 4)):
        with pytest.raises(InvalidValueError, match="inside 90 x 80"):
            text.find(Sample(blank.rgb, meta={"words": [{"box": box}]}))


def test_the_reader_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    page = typed()
    text._reader.cache_clear()
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(InputError, match=r"tamperscope\[ocr\]"):
        text.find(page.sample, "ocr")
    row = words.bounds(page.boxes[:5])
    corners = np.array([[[row[0] - 3, row[1] - 2], [9999, row[1] - 2], [9999, row[3] + 2], [row[0] - 3, row[3] + 2]]])

    class Reader:
        def __init__(self, params: dict[str, str]) -> None:
            self.params = params

        def __call__(self, bgr: np.ndarray) -> types.SimpleNamespace:
            np.testing.assert_array_equal(bgr[..., ::-1], page.rgb)
            return types.SimpleNamespace(boxes=corners, txts=(" ".join(page.texts[:5]),))

    monkeypatch.setitem(sys.modules, "rapidocr", types.SimpleNamespace(RapidOCR=Reader))
    found = text.find(page.sample, "ocr")
    text._reader.cache_clear()
    assert found.finder == "ocr"
    assert [word.text for word in found.words] == page.texts[:5]


def test_the_extra_reads_what_is_typed() -> None:
    """By the reader itself: most words, where they are, and nothing else on the rest of the page."""
    pytest.importorskip("rapidocr")
    page = typed()
    foot = max(box[3] for box in page.boxes[:20]) + 8
    part = Sample(np.ascontiguousarray(page.rgb[:foot]))
    wanted = [(box, told) for box, told in zip(page.boxes, page.texts, strict=True) if box[3] < foot]
    found = text.find(part, "ocr")
    assert found.finder == "ocr"
    read = [
        (box, told)
        for box, told in wanted
        if any(word.text.lower() == told.lower() and iou(word.box, box) > 0.4 for word in found.words)
    ]
    assert len(read) > 0.7 * len(wanted) > 0
    assert len(found.words) < 1.2 * len(wanted)


def test_only_what_looks_like_print_is_judged() -> None:
    page = typed()
    plain = [{"box": list(box)} for box in page.boxes]
    both = {"box": list(words.bounds([page.boxes[10], page.boxes[15]]))}
    one = {"box": list(words.glyphs(words.ink(page.rgb), page.boxes[20])[0])}
    given = text.find(Sample(page.rgb, meta={"words": [*plain, both, one]}))
    kept = {word.box for word, judged in zip(given.words, word_traces.judged(given), strict=True) if judged}
    assert kept <= set(page.boxes), "neither two lines in one box nor a single character"
    assert len(kept) > 0.85 * len(page.boxes)
    # Strokes that run on, as a hand writes, are one wide part.
    joined = page.rgb.copy()
    for _, y0, _, y1 in page.boxes[:10]:
        joined[(y0 + y1) // 2 : (y0 + y1) // 2 + 2, 40:690] = 40
    written = text.page(words.ink(joined), [(box, "") for box in page.boxes])
    rows = np.array([word.row for word in written.words])
    assert not word_traces.judged(written)[rows < 2].any()
