"""After any attack, told boxes lie where the pixels are that they were told of, or the field is gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawn_attacks import attacks
from tamperscope.metrics.suites.observe import true_boxes
from tamperscope.ops import attack, boxes
from tamperscope.signal import faces, text
from tamperscope.types import Box, Sample

Rng = np.random.default_rng

PLACES: dict[str, Box] = {"A": (21, 30, 80, 45), "B": (110, 33, 171, 48), "C": (60, 70, 131, 87)}
POINTS = [[32, 33], [60, 34], [47, 37], [36, 41], [55, 42]]
FIELDS = ("words", "lines", "faces", "boxes")
MOVES = (
    "crop:keep=0.9,down=0.2,right=0.4",
    "crop:keep=0.6,down=0.3,right=0.2",
    "resize:factor=0.5",
    "resize:factor=0.73,interpolation=area",
    "resize:factor=1.7,interpolation=nearest",
    "screenshot:scale=1.25",
    "screenshot:long_side=97",
    "double_jpeg:dy=3,dx=5",
    "flip:axis=horizontal",
    "flip:axis=vertical",
    "flip:axis=both",
    "rotate:angle=90",
    "rotate:angle=-90",
    "rotate:angle=180",
    "rotate:angle=4",
    "rotate:angle=4,border=inner",
    "flip|resize:factor=0.6|crop:keep=0.9|rotate:angle=-90",
)


def page() -> Sample:
    """Return light paper with dark rectangles, a map of their numbers, and all that may be told of them."""
    rgb, numbers = np.full((120, 200, 3), 230, np.uint8), np.zeros((120, 200), np.int16)
    for number, (x0, y0, x1, y1) in enumerate(PLACES.values(), 1):
        rgb[y0:y1, x0:x1] = 20
        numbers[y0:y1, x0:x1] = number
    entries = [{"box": list(box), "text": said} for said, box in PLACES.items()]
    found = [{**entry, "box": (np.array(entry["box"]) - 0.5).tolist(), "points": POINTS} for entry in entries]
    told = {"words": entries, "lines": entries, "faces": found, "boxes": [list(box) for box in PLACES.values()]}
    stored = {"text_boxes": "page.csv", "polygons": [[21, 30, 80, 30, 80, 45]]}
    return Sample(rgb, numbers > 0, meta={**told, **stored, "group": "g"}, classes=numbers)


PAGE = page()


def run(name: str, sample: Sample = PAGE) -> Sample:
    return attack.parse(name)(sample, Rng(0))


def edges(field: str, entry: Any) -> np.ndarray:
    """Return a told box, counted from the corner of the first pixel as all but faces' are."""
    return np.array(entry["box"]) + 0.5 if field == "faces" else np.array(entry["box"] if field != "boxes" else entry)


def extent(sample: Sample, number: int) -> np.ndarray | None:
    """Return the box of the pixels of a rectangle, None where there are none."""
    assert sample.classes is not None
    ys, xs = np.nonzero(sample.classes == number)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) if len(xs) else None


def lies_right(sample: Sample, field: str, entry: Any) -> bool:
    """Return whether a box lies on its rectangle; where this rounds to nothing, the box may be of one pixel."""
    box = edges(field, entry)
    numbers = [list(PLACES).index(entry["text"]) + 1] if field != "boxes" else [1, 2, 3]
    extents = [found for n in numbers if (found := extent(sample, n)) is not None]
    return any(np.abs(box - found).max() <= 1 for found in extents) or (box[2:] - box[:2]).min() <= 1


@pytest.mark.parametrize("name", attack.names())
def test_after_any_attack_boxes_lie_on_what_they_were_told_of(name: str) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(op=attacks([name]), seed=st.integers(0, 2**32))
    def check(op: attack.Attack, seed: int) -> None:
        done = op(PAGE, Rng(seed))
        for field in FIELDS:
            for entry in done.meta.get(field, ()):
                assert lies_right(done, field, entry), (field, entry)
        if done.size != PAGE.size:
            assert not done.meta.keys() & {"text_boxes", "polygons"}
        # What is left is what the finders take: they raise where a box is empty or beyond the picture.
        assert len(text.known(done)) <= 3
        assert "faces" not in done.meta or len(faces.find(done)) <= 3

    check()


@pytest.mark.parametrize("name", [*attack.names(), *MOVES])
def test_after_an_attack_told_boxes_are_dark_and_their_surroundings_light(name: str) -> None:
    done = run(name)
    height, width = done.size
    for field in FIELDS:
        for entry in done.meta.get(field, ()):
            x0, y0, x1, y1 = np.rint(edges(field, entry)).astype(int)
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            around = np.zeros(done.size, bool)
            around[max(0, y0 - 4) : y1 + 4, max(0, x0 - 4) : x1 + 4] = True
            around[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] = False
            assert done.rgb[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].mean() < 60, (field, entry)
            assert done.rgb[around].mean() > 180, (field, entry)


def left(sample: Sample) -> dict[str, int]:
    return {field: len(sample.meta[field]) for field in FIELDS if field in sample.meta}


def test_what_follows_which_way() -> None:
    everything = dict.fromkeys(FIELDS, 3)
    for name in ("resize:factor=0.4", "screenshot", "double_jpeg:dy=7,dx=7", "crop:keep=1", "rotate:angle=0", "median"):
        assert left(run(name)) == everything
    # A line of text would be parted from the wrong end.
    for name in ("flip", "flip:axis=vertical", "rotate:angle=90", "rotate:angle=180"):
        assert left(run(name)) == {"faces": 3, "boxes": 3}
    for name in ("rotate:angle=1", "rotate:angle=-5,border=inner"):
        assert left(run(name)) == {}


def test_of_what_is_cut_only_the_truth_remains() -> None:
    # The first 100 columns and 60 rows: all of A, and a part of C.
    done = run("crop:keep=0.5,down=0,right=0")
    assert left(done) == {"words": 1, "lines": 1, "faces": 1, "boxes": 1}
    assert done.meta["words"] == [{"box": [21, 30, 80, 45], "text": "A"}]
    done = run("crop:keep=0.65,down=0,right=0")
    assert done.meta["boxes"] == [[21, 30, 80, 45], [110, 33, 130, 48], [60, 70, 130, 78]]
    assert left(done) == {"words": 1, "lines": 1, "faces": 1, "boxes": 3}
    assert left(run("crop:keep=0.1,down=0,right=0")) == {}


def test_true_boxes_are_the_masks_own_where_told_ones_cannot_follow() -> None:
    for name in MOVES:
        done = run(name)
        told, seen = (sorted(map(tuple, true_boxes(s))) for s in (done, Sample(done.rgb, done.mask)))
        assert np.abs(np.array(told) - seen).max() <= 1


@pytest.mark.parametrize("name", ["flip", "flip:axis=both", "rotate:angle=90", "crop:keep=0.8,down=0,right=0.1"])
def test_points_of_a_face_go_with_their_pixels_and_keep_their_sides(name: str) -> None:
    rgb = PAGE.rgb.copy()
    for number, (x, y) in enumerate(POINTS):
        rgb[y, x] = 50 * number, 255, 0
    done = run(name, Sample(rgb, meta=PAGE.meta))
    found = [int(done.rgb[int(y), int(x), 0]) // 50 for x, y in done.meta["faces"][0]["points"]]
    assert found == ([1, 0, 2, 4, 3] if name == "flip" else [0, 1, 2, 3, 4])


def test_faces_beyond_the_edge_stay_unless_more_of_them_is_cut() -> None:
    told = {"box": [-6.0, 10.0, 30.0, 50.0], "points": POINTS}
    sample = Sample(PAGE.rgb, meta={"faces": [told]})
    assert run("resize:factor=2", sample).meta["faces"][0]["box"] == [-11.5, 20.5, 60.5, 100.5]
    assert run("crop:keep=0.5,down=0,right=0", sample).meta["faces"][0]["box"] == told["box"]
    assert "faces" not in run("double_jpeg:dx=1", sample).meta


@pytest.mark.parametrize("name", ["crop:keep=0.1", "rotate:angle=3", "flip", "resize"])
def test_what_tells_of_no_place_stays(name: str) -> None:
    told: dict[str, Any] = {
        "words": [{"noun": "a word"}, "said"],
        "lines": "three",
        "faces": [],
        "boxes": [[1, 2, 3], {"box": ["a", 2, 3, 4]}, {"box": [0, 0, float("inf"), 1]}, {"box": [10**400, 0, 1, 1]}],
    }
    done = run(name, Sample(PAGE.rgb, meta=told))
    assert {field: done.meta[field] for field in told} == told


def test_what_was_told_is_left_alone() -> None:
    before = page().meta
    for name in MOVES:
        run(name)
    assert PAGE.meta == before
    assert boxes.followed(before, None, PAGE.size, PAGE.size) == {"group": "g"}
