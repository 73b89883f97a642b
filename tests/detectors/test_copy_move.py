"""`copy_move` finds planted copies with their transform, and neither foreign pastes nor natural repetition."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from tamperscope import load, media
from tamperscope.media.recompress import encode_jpeg
from tamperscope.metrics.confusion import counts
from tamperscope.metrics.ranking import auc
from tamperscope.types import Prediction, Sample

# Centre of the source, centre of the copy, radius: the mission patch, moved onto the grey wall.
SOURCE, TARGET, RADIUS = (171.0, 391.0), (340.0, 120.0), 44


def plant(
    rgb: np.ndarray, turn: float = 0.0, scale: float = 1.0, mirror: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (forged, mask of the copy, mask of the source)."""
    source = np.zeros(rgb.shape[:2], np.uint8)
    cv2.circle(source, (int(SOURCE[0]), int(SOURCE[1])), RADIUS, 1, -1)
    warp = cv2.getRotationMatrix2D(SOURCE, turn, scale)
    if mirror:
        flip = np.array([[-1.0, 0.0, 2 * SOURCE[0]], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        warp = warp @ flip
    warp[:, 2] += np.subtract(TARGET, SOURCE)
    size = (rgb.shape[1], rgb.shape[0])
    copy = cv2.warpAffine(source, warp, size, flags=cv2.INTER_NEAREST).astype(bool)
    forged = rgb.copy()
    forged[copy] = cv2.warpAffine(rgb, warp, size, flags=cv2.INTER_CUBIC)[copy]
    return forged, copy, source.astype(bool)


def answer(rgb: np.ndarray, quality: int | None = None) -> Prediction:
    sample = Sample(rgb) if quality is None else media.open(encode_jpeg(rgb, quality, "4:2:0")).sample
    return load("copy_move").predict(sample)


def covered(found: Prediction) -> np.ndarray:
    """Return 1.0 where any region lies, the source included."""
    heat = np.zeros(found.size, np.float32)
    for region in found.regions:
        x0, y0, x1, y1 = region.box
        heat[y0:y1, x0:x1][region.mask] = 1.0
    return heat


CASES = {
    "plain": ({}, None, 0.0, 1.0),
    "JPEG 80": ({}, 80, 0.0, 1.0),
    "turned": ({"turn": 20.0}, None, 20.0, 1.0),
    "turned, JPEG 85": ({"turn": -35.0}, 85, 35.0, 1.0),
    "scaled": ({"scale": 1.3}, None, 0.0, 1.3),
    "half turn": ({"turn": 180.0}, None, 180.0, 1.0),
    "mirrored": ({"mirror": True}, None, None, 1.0),
}


@pytest.mark.parametrize("name", CASES)
def test_planted_copies_are_found_with_their_transform(photo, name: str) -> None:  # type: ignore[no-untyped-def]
    options, quality, turn, scale = CASES[name]
    forged, copy, source = plant(photo("astronaut"), **options)
    found = answer(forged, quality)
    assert found.score > 0
    assert counts(covered(found), copy | source).f1 > 0.75
    assert counts(found.heatmap, copy).f1 > 0.75
    assert auc(found.heatmap, copy) > 0.9
    one, other = found.regions[:2]
    assert (one.values["role"], other.values["role"]) == ("copy", "source")
    assert one.values["pair"] == other.values["pair"]
    assert one.values["scale"] == pytest.approx(scale, abs=0.06)
    if turn is not None:
        wrong = (abs(one.values["rotation"]) - turn + 180) % 360 - 180
        assert abs(wrong) < 2
    assert one.values["mirrored"] == (name == "mirrored")


def test_both_ends_are_told_apart_as_regions(photo) -> None:  # type: ignore[no-untyped-def]
    forged, copy, source = plant(photo("astronaut"))
    regions = answer(forged).regions[:2]
    for truth in (copy, source):
        ys, xs = np.nonzero(truth)
        centre = xs.mean(), ys.mean()
        distance = min(math.dist(centre, ((r.box[0] + r.box[2]) / 2, (r.box[1] + r.box[3]) / 2)) for r in regions)
        assert distance < 10


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("quality", [None, 75])
def test_untouched_pictures_show_nothing(photo, name: str, quality: int | None) -> None:  # type: ignore[no-untyped-def]
    found = answer(photo(name), quality)
    assert found.score <= 0
    assert not found.regions
    assert not found.reasons
    assert found.heatmap.max() <= 0.5


def test_a_foreign_paste_is_no_copy(photo) -> None:  # type: ignore[no-untyped-def]
    """The intervention: the same place is replaced, but by another picture."""
    rgb = photo("astronaut").copy()
    _, copy, _ = plant(rgb)
    ys, xs = np.nonzero(copy)
    rgb[copy] = photo("coffee")[ys - ys.min() + 120, xs - xs.min() + 200]
    assert answer(rgb).score <= 0


def test_periodic_scenes_are_not_copies(photo) -> None:  # type: ignore[no-untyped-def]
    tile = photo("coffee")[150:190, 200:260]
    bricks = np.tile(tile, (8, 6, 1))
    noisy = bricks + np.random.default_rng(0).normal(0, 3, bricks.shape)
    found = answer(np.clip(noisy, 0, 255).astype(np.uint8))
    assert found.score <= 0
    checkers = (np.indices((256, 256)).sum(0) // 32 % 2 * 255).astype(np.uint8)
    assert answer(np.repeat(checkers[..., None], 3, 2)).score <= 0


def test_large_pictures_are_searched_smaller_and_placed_right(photo) -> None:  # type: ignore[no-untyped-def]
    forged, copy, source = plant(photo("astronaut"))
    found = load("copy_move", max_pixels=150_000).predict(Sample(forged))
    assert found.evidence["searched_at_scale"] < 1
    assert counts(covered(found), copy | source).f1 > 0.7
    shift = found.regions[0].values
    expected = np.abs(np.subtract(TARGET, SOURCE))
    assert abs(shift["shift_x"]) == pytest.approx(expected[0], abs=6)
    assert abs(shift["shift_y"]) == pytest.approx(expected[1], abs=6)


def test_an_outline_without_a_seam_leaves_both_ends_marked() -> None:
    """Remove the trace: on one flat ground neither end has a seam, and neither is called the source."""
    rng = np.random.default_rng(3)
    ground = np.full((300, 400, 3), 128, np.uint8)
    texture = cv2.GaussianBlur(rng.normal(0, 60, (80, 80, 3)), (0, 0), 1.5) * 3 + 128
    yy, xx = np.mgrid[:80, :80] - 40
    inside = np.hypot(yy, xx) < 36
    for x in (50, 250):
        ground[100:180, x : x + 80][inside] = np.clip(texture, 0, 255).astype(np.uint8)[inside]
    found = answer(ground)
    assert found.score > 0
    assert {r.values["role"] for r in found.regions} == {"one end"}
    for x in (90, 290):
        assert found.heatmap[140, x] > 0.5


def test_where_no_point_can_be_found_again_nothing_is_said() -> None:
    faint = np.clip(np.random.default_rng(0).normal(2, 1, (200, 240, 3)), 0, 255).astype(np.uint8)
    found = load("copy_move").predict(Sample(faint))
    assert found.status == "not_applicable"
    assert "texture" in found.cause
