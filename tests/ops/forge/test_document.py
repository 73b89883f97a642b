"""Edits of documents change one word's box, leave the trace they record, and find the words they need."""

from __future__ import annotations

import json
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.ops import codecs
from tamperscope.ops.forge.document import boxes, paper, typeset
from tamperscope.ops.forge.document.cut_paste import CutPaste
from tamperscope.ops.forge.document.retype import Retype
from tamperscope.ops.forge.document.white_out import WhiteOut
from tamperscope.types import Box, Sample

_TEXT = "Total amount 37.50 invoice date 2024 paid cash bread milk eggs 4.20 coffee 19% sum 208.00 EUR jump"
_WORDS = _TEXT.split()
_PAPER, _INK = np.array([240, 236, 228]), np.array([30, 28, 40])
OPS: dict[str, Callable[..., CutPaste | Retype | WhiteOut]] = {
    "cut_paste": CutPaste,
    "retype": Retype,
    "white_out": WhiteOut,
}


class Page:
    """A typeset page: the sample, and of each word its box, measured on its own pixels, and its text."""

    def __init__(self, size: int = 20, noise: float = 2.5, shade: float = 0.0, seed: int = 0) -> None:
        rng, font = np.random.default_rng(seed), ImageFont.load_default(size)
        height, width = 320, 460
        cover = np.zeros((height, width))
        self.boxes: list[Box] = []
        self.texts: list[str] = []
        for y in range(size, height - 2 * size, int(1.7 * size)):
            x = 20
            while True:
                text = _WORDS[int(rng.integers(len(_WORDS)))]
                canvas = Image.new("L", (width, height))
                ImageDraw.Draw(canvas).text((x, y), text, fill=255, font=font)
                one = np.asarray(canvas) / 255
                rows, columns = np.nonzero(one > 0.3)
                if columns.max() > width - 20:
                    break
                cover += one
                self.boxes.append((int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1))
                self.texts.append(text)
                x += round(font.getlength(text + " "))
        light = 1 - shade * np.linspace(0, 1, width)[None, :, None]
        colour = (_PAPER * (1 - cover[..., None]) + _INK * cover[..., None]) * light
        pixels = np.clip(np.rint(colour + rng.normal(0, noise, colour.shape)), 0, 255)
        self.sample = Sample(pixels.astype(np.uint8), id="page")


@pytest.fixture(scope="module")
def page() -> Page:
    return Page()


def iou(one: Box, other: Box) -> float:
    across, down = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
    shared = max(0, across) * max(0, down)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return shared / (sum(areas) - shared)


def part(rgb: np.ndarray, box: Box | list[int]) -> np.ndarray:
    return rgb[box[1] : box[3], box[0] : box[2]]


# Finding words.


@pytest.mark.parametrize(("size", "noise", "shade"), [(14, 2.5, 0), (20, 0, 0), (20, 8, 0), (24, 2.5, 0.5), (32, 4, 0)])
def test_words_are_found(size: int, noise: float, shade: float) -> None:
    page = Page(size, noise, shade)
    found = boxes.words(page.sample.rgb)
    best = [max(iou(box, other) for other in found) for box in page.boxes]
    assert np.mean(np.array(best) > 0.6) > 0.9
    assert len(found) < 1.15 * len(page.boxes)


def test_words_come_in_reading_order_and_survive_compression(page: Page) -> None:
    found = boxes.words(codecs.jpeg(page.sample, 50).rgb)
    order = [max(range(len(page.boxes)), key=lambda k: iou(page.boxes[k], box)) for box in found]
    assert order == sorted(order)
    assert len(found) == pytest.approx(len(page.boxes), rel=0.1)


def test_rules_frames_and_noise_are_no_words(page: Page) -> None:
    plain = np.random.default_rng(0).normal(210, 12, (300, 300, 3))
    assert boxes.words(np.clip(plain, 0, 255).astype(np.uint8)) == []
    ruled = np.array(page.sample.rgb)
    cv2.rectangle(ruled, (4, 4), (455, 315), (0, 0, 0), 2)
    cv2.line(ruled, (20, 300), (440, 300), (0, 0, 0), 2)
    assert all(box[3] - box[1] < 40 and box[3] < 299 for box in boxes.words(ruled))
    assert len(boxes.words(ruled)) == pytest.approx(len(page.boxes), rel=0.1)


def test_characters_of_a_word_are_parted(page: Page) -> None:
    dark = boxes.ink(page.sample.rgb)
    counts = {text: len(boxes.glyphs(dark, box)) for text, box in zip(page.texts, page.boxes, strict=True)}
    assert counts["2024"] == 4
    assert counts["EUR"] == 3
    assert counts["milk"] == 4  # the dot of the i is no character of its own
    x0, y0, x1, y1 = box = page.boxes[page.texts.index("2024")]
    glyphs = boxes.glyphs(dark, box)
    assert all(x0 <= g[0] < g[2] <= x1 and y0 <= g[1] < g[3] <= y1 for g in glyphs)
    assert sum(int(part(dark, list(g)).sum()) for g in glyphs) == part(dark, box).sum()


_places = st.lists(st.tuples(*[st.integers(0, 5)] * 2), min_size=1, max_size=12, unique=True)


@given(_places, st.integers(0, 9), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_grown_boxes_hold_their_box_and_never_meet(places: list[tuple[int, int]], margin: int, side: int) -> None:
    known: list[Box] = [(10 * x, 10 * y, 10 * x + side, 10 * y + side) for x, y in places]
    wide = [boxes.grown(box, known, margin, (60, 60)) for box in known]
    for k, (box, large) in enumerate(zip(known, wide, strict=True)):
        assert boxes.bounds([box, large]) == large
        assert min(large[:2]) >= 0
        assert max(large[2:]) <= 60
        assert box[0] - large[0] <= margin
        assert large[3] - box[3] <= margin
        assert not any(boxes.overlap(large, other) for other in wide[:k] + wide[k + 1 :])
    assert boxes.grown((20, 20, 30, 30), [], margin, (60, 60)) == (20 - margin, 20 - margin, 30 + margin, 30 + margin)


# What all edits share.


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("seed", range(6))
def test_only_the_mask_changes_and_the_record_says_so(page: Page, name: str, seed: int) -> None:
    forged = OPS[name]()(page.sample, np.random.default_rng(seed))
    assert forged.mask is not None
    assert forged.label == 1
    np.testing.assert_array_equal(forged.rgb[~forged.mask], page.sample.rgb[~forged.mask])
    assert (forged.rgb != page.sample.rgb).any(axis=2)[forged.mask].mean() > 0.4
    entry = forged.meta["ops"][-1]
    assert entry["op"] == name
    assert json.loads(json.dumps(entry)) == entry
    assert set(entry["words"]) == {"noun", "attributes", "place", "relation"}
    assert entry["trace"][0] == ("duplication" if name == "cut_paste" else "statistics")
    again = OPS[name]()(page.sample, np.random.default_rng(seed))
    np.testing.assert_array_equal(forged.rgb, again.rgb)
    assert again.meta == forged.meta


@pytest.mark.parametrize("name", OPS)
def test_given_boxes_are_used_and_their_texts_name_the_word(page: Page, name: str) -> None:
    numbers = [k for k, text in enumerate(page.texts) if text in ("37.50", "208.00")]
    own, texts = [page.boxes[k] for k in numbers], [page.texts[k] for k in numbers]
    known = [{"box": list(box), "text": text} for box, text in zip(own, texts, strict=True)]
    more = {"unit": "word"} if name == "cut_paste" else {}
    told = OPS[name](boxes=own, texts=texts, **more)(page.sample, np.random.default_rng(1))
    entry = told.meta["ops"][-1]
    assert entry["words"]["noun"] == "a number"
    assert entry["old"] in texts
    allowed = [(x0 - 2, y0 - 2, x1 + 2, y1 + 2) for x0, y0, x1, y1 in own]
    for changed in [entry["replaced"], entry["source"]] if name == "cut_paste" else [entry["box"]]:
        assert any(boxes.bounds([large, tuple(changed)]) == large for large in allowed)
    read = Sample(page.sample.rgb, meta={"words": known})
    np.testing.assert_array_equal(OPS[name](**more)(read, np.random.default_rng(1)).rgb, told.rgb)


@pytest.mark.parametrize("name", OPS)
def test_a_compressed_page_keeps_no_history_in_the_edit(page: Page, name: str) -> None:
    host = codecs.jpeg(page.sample, 80)
    forged = OPS[name]()(host, np.random.default_rng(0))
    assert "jpeg_history" in forged.meta["ops"][-1]["trace"]
    assert "jpeg_history" not in OPS[name]()(page.sample, np.random.default_rng(0)).meta["ops"][-1]["trace"]
    assert forged.jpeg is None


@pytest.mark.parametrize("name", OPS)
def test_what_does_not_fit_is_refused(page: Page, name: str) -> None:
    blank, rng = Sample(np.full((80, 90, 3), 240, np.uint8)), np.random.default_rng(0)
    with pytest.raises(InvalidValueError, match="found no word"):
        OPS[name]()(blank, rng)
    for box in ((0, 0, 91, 20), (5, 5, 5, 9), (-1, 0, 4, 4)):
        with pytest.raises(InvalidValueError, match="inside 90 x 80"):
            OPS[name](boxes=[box])(blank, rng)
    with pytest.raises(InvalidValueError, match="one of each of 1 boxes"):
        OPS[name](boxes=[(0, 0, 9, 9)], texts=["a", "b"])
    with pytest.raises(InvalidValueError, match="margin"):
        OPS[name](margin=-1)


# Cut and paste.


@pytest.mark.parametrize("unit", ["word", "character"])
@pytest.mark.parametrize("seed", range(5))
def test_the_copy_equals_its_source(page: Page, unit: str, seed: int) -> None:
    forged = CutPaste(unit=unit)(page.sample, np.random.default_rng(seed))  # type: ignore[arg-type]
    entry = forged.meta["ops"][-1]
    np.testing.assert_array_equal(part(forged.rgb, entry["box"]), part(page.sample.rgb, entry["source"]))
    shift = [entry["box"][k] - entry["source"][k] for k in (0, 1)]
    assert shift == [entry["warp"][0][2], entry["warp"][1][2]]
    assert any(shift)
    expected = np.zeros(forged.size, bool)
    for box in (entry["box"], entry["replaced"]):
        part(expected, box)[:] = True
    np.testing.assert_array_equal(forged.mask, expected)
    kept = np.zeros(forged.size, bool)
    part(kept, entry["replaced"])[:] = True
    part(kept, entry["box"])[:] = False
    assert not (boxes.ink(forged.rgb) & cv2.erode(kept.astype(np.uint8), np.ones((3, 3))).astype(bool)).any()
    assert entry["words"]["noun"] == ("a word" if unit == "word" else "a character")


def test_copies_have_like_height_and_leave_other_words_alone(page: Page) -> None:
    for seed in range(12):
        op = CutPaste(unit="word", boxes=page.boxes, texts=page.texts, height=(0.9, 1.1))
        entry = op(page.sample, np.random.default_rng(seed)).meta["ops"][-1]
        heights = [page.boxes[page.texts.index(entry[key])] for key in ("old", "new")]
        low, high = sorted(b[3] - b[1] for b in heights)
        assert low / high > 0.85
        assert entry["old"] != entry["new"]
        touched = [k for k, box in enumerate(page.boxes) if boxes.overlap(tuple(entry["box"]), box)]
        assert [page.texts[k] for k in touched] == [entry["old"]]


def test_a_grid_shifted_by_whole_blocks_is_not_foreign(page: Page) -> None:
    host = codecs.jpeg(page.sample, 80)
    for seed in range(8):
        entry = CutPaste(unit="character")(host, np.random.default_rng(seed)).meta["ops"][-1]
        shifted = any(entry["warp"][k][2] % 8 for k in (0, 1))
        assert ("foreign_grid" in entry["trace"]) == shifted


def test_a_page_of_one_word_has_nothing_to_copy(page: Page) -> None:
    with pytest.raises(InvalidValueError, match="no two words of like height"):
        CutPaste(unit="word", boxes=page.boxes[:1])(page.sample, np.random.default_rng(0))
    same = np.array(page.sample.rgb)
    x0, y0, x1, y1 = page.boxes[0]
    same[200 : 200 + y1 - y0, x0:x1] = same[y0:y1, x0:x1]
    twins = [page.boxes[0], (x0, 200, x1, 200 + y1 - y0)]
    with pytest.raises(InvalidValueError, match="no two words"):
        CutPaste(unit="word", boxes=twins, margin=0)(Sample(same), np.random.default_rng(0))
    with pytest.raises(UnknownNameError):
        CutPaste(unit="line")  # type: ignore[arg-type]


# White-out.


@pytest.mark.parametrize("shade", [0.0, 0.4])
@pytest.mark.parametrize("matched", [0.0, 1.0])
def test_a_white_out_is_paper_without_ink(shade: float, matched: float) -> None:
    page = Page(noise=3.0, shade=shade)
    bare = Page(noise=0.0, shade=shade).sample
    light = 1 - shade * np.linspace(0, 1, bare.size[1])
    for seed in range(6):
        forged = WhiteOut(matched=matched)(page.sample, np.random.default_rng(seed))
        box = forged.meta["ops"][-1]["box"]
        cover = part(forged.rgb, box).astype(float)
        truth = _PAPER * light[box[0] : box[2], None]
        np.testing.assert_allclose(cover.mean((0, 1)), truth.mean(0), atol=1.5)
        np.testing.assert_allclose(cover.mean(0), np.broadcast_to(truth, cover.shape[1:]), atol=5)
        assert not part(boxes.ink(forged.rgb), box).any()
        noise = (cover - truth).std()
        assert noise == pytest.approx(3.0, rel=0.25) if matched else noise < 0.8
        assert ("foreign_noise" in forged.meta["ops"][-1]["trace"]) == (not matched)


def test_paper_between_dense_words_is_their_brightest() -> None:
    rgb = np.full((40, 40, 3), 20, np.uint8)
    rgb[::2, 10:30] = 200
    cover = paper.around(rgb, np.ones((40, 40), bool), (10, 10, 30, 30))
    np.testing.assert_array_equal(cover.rgb, np.full((20, 20, 3), 200, np.float32))


# Retyping.


def test_a_retyped_word_has_the_ink_paper_and_size_of_the_old_one(page: Page) -> None:
    for seed in range(6):
        op = Retype(boxes=page.boxes, texts=page.texts, matched=0)
        forged = op(page.sample, np.random.default_rng(seed))
        entry = forged.meta["ops"][-1]
        box = entry["box"]
        old, new = part(page.sample.rgb, box), part(forged.rgb, box)
        assert entry["new"] != entry["old"]
        assert len(entry["new"]) == len(entry["old"])
        np.testing.assert_allclose(entry["colour"], _INK, atol=6)
        np.testing.assert_allclose(new.reshape(-1, 3).max(0), _PAPER, atol=2)
        rows = [np.flatnonzero(part(boxes.ink(rgb), box).any(1)) for rgb in (page.sample.rgb, forged.rgb)]
        assert abs(int(rows[0][0]) - int(rows[1][0])) <= 2
        assert abs(int(rows[0][-1]) - int(rows[1][-1])) <= 2
        inked = [float((_PAPER - pixels).clip(0).sum()) for pixels in (old, new)]
        assert inked[1] == pytest.approx(inked[0], rel=0.45)


def test_the_given_text_is_what_is_read(page: Page) -> None:
    """Reference: the same text typeset on its own correlates with the new word better than other texts."""
    k = page.texts.index("208.00")
    forged = Retype(text="935.71", boxes=[page.boxes[k]], matched=0)(page.sample, np.random.default_rng(0))
    entry = forged.meta["ops"][-1]
    assert (entry["new"], entry["words"]["noun"]) == ("935.71", "a number")
    x0, y0, x1, y1 = page.boxes[k]
    new = 255.0 - forged.rgb[y0:y1, x0:x1].mean(2)

    def alike(text: str) -> float:
        wanted = [typeset.coverage(text, new.shape, stroke)[0] for stroke in (1.0, 2.0, 2.5, 3.0, 4.0)]
        return max(float(np.corrcoef(new.ravel(), cover.ravel())[0, 1]) for cover in wanted)

    assert alike("935.71") > 0.9
    assert max(alike(text) for text in ("208.00", "935.77", "935.11")) < alike("935.71")


def test_a_matched_word_is_as_soft_and_noisy_as_the_page() -> None:
    page = Page(size=28, noise=0.0)
    soft = cv2.GaussianBlur(page.sample.rgb, (0, 0), 1.5).astype(float)
    host = Sample(np.clip(np.rint(soft + np.random.default_rng(0).normal(0, 4, soft.shape)), 0, 255).astype(np.uint8))
    for seed in range(4):
        slopes, noises = {}, {}
        for matched in (0.0, 1.0):
            op = Retype(boxes=page.boxes, texts=page.texts, matched=matched, margin=3)
            forged = op(host, np.random.default_rng(seed))
            box = forged.meta["ops"][-1]["box"]
            x0, y0, x1, y1 = box
            slopes[matched] = paper.edge_blur(forged.rgb, (x0, y0, x1, y1))
            noises[matched] = float(part(forged.rgb, box)[0].std(axis=0).mean())
        assert slopes[1.0] > 1.3 * slopes[0.0]
        assert noises[0.0] < 1.5
        assert noises[1.0] > 2


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_the_blur_of_an_edge_is_measured(sigma: float) -> None:
    step = np.full((40, 60, 3), 220, np.float32)
    step[:, 30:] = 40
    blurred = np.rint(cv2.GaussianBlur(step, (0, 0), sigma)).astype(np.uint8)
    assert paper.edge_blur(blurred, (0, 0, 60, 40)) == pytest.approx(sigma, rel=0.15)


def test_the_width_of_strokes_is_measured() -> None:
    rows, columns = np.mgrid[-40:41, -40:41]
    for width in (2.0, 4.0, 8.0):
        ring = np.clip(width / 2 + 0.5 - np.abs(np.hypot(rows, columns) - 28), 0, 1).astype(np.float32)
        assert paper.stroke_width(ring) == pytest.approx(width, rel=0.05)
    assert paper.stroke_width(np.zeros((5, 5), np.float32)) == 0.0


def test_bold_pages_get_bold_words() -> None:
    thin, thick = (typeset.coverage("37.50", (30, 90), stroke) for stroke in (1.0, 6.0))
    assert thick[1] > thin[1]
    assert thick[0].sum() > 1.3 * thin[0].sum()


@given(st.text("aB3.,gk90Q-", min_size=1, max_size=10), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_an_altered_text_keeps_its_shape(text: str, seed: int) -> None:
    if not any(c.isalnum() for c in text):
        with pytest.raises(InvalidValueError):
            typeset.altered(text, np.random.default_rng(seed))
        return
    new = typeset.altered(text, np.random.default_rng(seed))
    assert new != text
    assert len(new) == len(text)
    for old, now in zip(text, new, strict=True):
        assert (old.isdigit(), old.isupper(), old.islower()) == (now.isdigit(), now.isupper(), now.islower())
        assert old.isalnum() or now == old


@given(
    st.text("abc019gQ.", min_size=1, max_size=12).filter(lambda t: t.strip(". ")), st.tuples(*[st.integers(5, 60)] * 2)
)
@settings(max_examples=40, deadline=None)
def test_set_text_fills_its_box_one_way_and_stays_inside(text: str, size: tuple[int, int]) -> None:
    cover, weight = typeset.coverage(text, size, 2.0)
    assert cover.shape == size
    assert cover.min() >= 0
    assert 0 < cover.max() <= 1
    assert 0 <= weight <= 6
    assert cover[-1].any()
    assert cover[:, 0].any()
    assert cover[0].any() or cover[:, -1].any()


def test_nothing_to_print_is_refused(page: Page) -> None:
    with pytest.raises(InvalidValueError, match="something to print"):
        Retype(text=" ")(page.sample, np.random.default_rng(0))
    with pytest.raises(InvalidValueError, match="numbers"):
        Retype(numbers=1.5)


def test_made_up_words_are_tall_or_low_as_asked() -> None:
    rng = np.random.default_rng(0)
    assert typeset.made_up(5, True, True, rng).isdigit()
    assert typeset.made_up(5, False, True, rng)[0].isupper()
    low = typeset.made_up(200, True, False, rng)
    assert len(low) == 200
    assert not set(low) & set("bdfghijklpqty0123456789")


@pytest.mark.parametrize("size", [14, 20, 28])
def test_lines_are_parted_into_the_words_they_say(size: int) -> None:
    page = Page(size=size, seed=size)
    rows: dict[int, list[int]] = {}
    for place, box in enumerate(page.boxes):
        rows.setdefault(next((y for y in rows if abs(y - box[3]) < 12), box[3]), []).append(place)
    order = [place for places in rows.values() for place in places]
    lines = []
    for places in rows.values():
        box = boxes.bounds([page.boxes[place] for place in places])
        lines.append({"box": list(box), "text": " ".join(page.texts[place] for place in places)})
    known = Sample(page.sample.rgb, meta={"lines": lines})
    found = Retype().words(known)
    assert [word.text for word in found] == [page.texts[place] for place in order]
    off = [np.abs(np.subtract(word.box, page.boxes[place])).max() for word, place in zip(found, order, strict=True)]
    assert np.mean(np.array(off) <= 2) > 0.9
    # What is retyped is a word that the page is known to hold.
    entry = Retype()(known, np.random.default_rng(1)).meta["ops"][-1]
    assert entry["old"] in _WORDS
    assert len(entry["new"]) == len(entry["old"])


def test_a_line_with_more_words_than_ink_is_left_out() -> None:
    blank = Sample(
        np.full((60, 200, 3), 240, np.uint8), meta={"lines": [{"box": [5, 5, 150, 30], "text": "two words"}]}
    )
    with pytest.raises(InvalidValueError, match="found no word"):
        Retype().words(blank)
    outside = Sample(blank.rgb, meta={"lines": [{"box": [5, 5, 999, 30], "text": "two words"}]})
    with pytest.raises(InvalidValueError, match="inside"):
        Retype().words(outside)
