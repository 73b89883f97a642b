"""Jittered objects change in their mask only, by what is recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.ops import augment
from tamperscope.ops.forge.jitter import Jitter, published
from tamperscope.types import Sample

SIZE = (240, 300)


def oval(radius: float = 50) -> np.ndarray:
    y, x = np.indices(SIZE)
    return np.asarray((y - 120) ** 2 + ((x - 150) / 1.3) ** 2 <= radius**2)


@pytest.fixture
def picture() -> Sample:
    """A smooth dark ground and a bright textured oval."""
    noise = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, (*SIZE, 3)), (0, 0), 3)
    rgb = np.full((*SIZE, 3), 40.0) + 20 * noise
    rgb[oval()] = (150 + 250 * noise)[oval()]
    return Sample(np.clip(rgb, 0, 255).astype(np.uint8), id="p")


def forge(picture: Sample, *changes: str, seed: int = 0, **settings: Any) -> tuple[Sample, dict[str, Any]]:
    op = Jitter(**{"source": oval(), "changes": changes, "blends": ("hard",), **settings})
    forged = op(picture, np.random.default_rng(seed))
    return forged, forged.meta["ops"][-1]


@pytest.mark.parametrize("seed", range(12))
def test_changes_lie_in_the_mask(picture: Sample, seed: int) -> None:
    forged = Jitter(oval())(picture, np.random.default_rng(seed))
    changed = (forged.rgb != picture.rgb).any(2)
    near = cv2.dilate(forged.mask.astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert not (changed & ~near).any()
    assert forged.mask[oval()].all(), "the old place is part of the mask"
    assert changed[forged.mask].mean() > 0.5
    assert forged.label == 1
    again = Jitter(oval())(picture, np.random.default_rng(seed))
    np.testing.assert_array_equal(again.rgb, forged.rgb)
    assert again.meta["ops"] == forged.meta["ops"]
    assert json.loads(json.dumps(again.meta["ops"])) == again.meta["ops"]


@pytest.mark.parametrize("seed", range(6))
def test_the_recorded_scale_is_the_one_measured_by_moments(picture: Sample, seed: int) -> None:
    forged, entry = forge(picture, "scale", seed=seed)
    new = forged.rgb.mean(2) > 75
    new = cv2.morphologyEx(new.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9))).astype(bool)
    old = picture.rgb.mean(2) > 75
    old = cv2.morphologyEx(old.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9))).astype(bool)
    spread = [np.std(np.argwhere(m), axis=0) for m in (new, old)]
    assert (spread[0] / spread[1]).mean() == pytest.approx(entry["scale"], abs=0.02)
    assert entry["scale"] != 1
    expected = ["resampling", "statistics"] if entry["scale"] < 1 else ["resampling"]
    assert entry["trace"] == expected


@pytest.mark.parametrize(("change", "seed"), [("scale", 1), ("scale", 3), ("turn", 0), ("turn", 2), ("shift", 5)])
def test_the_recorded_warp_is_the_one_measured_by_image_alignment(picture: Sample, change: str, seed: int) -> None:
    forged, entry = forge(picture, change, seed=seed)
    old, new = (cv2.cvtColor(v.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) for v in (picture, forged))
    start = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-7)
    correlation, found = cv2.findTransformECC(old, new, start, cv2.MOTION_AFFINE, stop, np.ones(SIZE, np.uint8), 5)
    assert correlation > 0.9
    measured = np.sqrt(np.linalg.det(found[:, :2].astype(float)))
    assert measured == pytest.approx(entry["scale"], abs=0.02)
    centre = np.array([150, 120, 1.0])
    np.testing.assert_allclose(found @ centre, np.array(entry["warp"]) @ centre, atol=0.6)
    angle = np.degrees(np.arctan2(float(found[0, 1] - found[1, 0]), float(found[0, 0] + found[1, 1])))
    assert angle == pytest.approx(entry["turn"], abs=0.7)


def test_what_was_revealed_looks_like_the_ground(picture: Sample) -> None:
    seed = next(s for s in range(20) if forge(picture, "scale", seed=s)[1]["scale"] < 0.9)
    forged, entry = forge(picture, "scale", seed=seed)
    warped = cv2.warpAffine(oval().astype(np.uint8), np.array(entry["warp"]), SIZE[::-1], flags=cv2.INTER_NEAREST)
    bare = oval() & ~cv2.dilate(warped, np.ones((3, 3))).astype(bool)
    assert bare.sum() > 300
    assert abs(forged.rgb[bare].mean() - 40) < 8
    assert picture.rgb[bare].mean() > 90, "there was the object before"


def test_exposure_multiplies_and_blur_blurs_in_place(picture: Sample) -> None:
    forged, entry = forge(picture, "exposure")
    np.testing.assert_array_equal(forged.mask, oval())
    fits = oval() & (picture.rgb.max(2) * entry["exposure"] < 254) & (picture.rgb.min(2) > 60)
    ratio = forged.rgb[fits].astype(float) / picture.rgb[fits]
    assert ratio.mean() == pytest.approx(entry["exposure"], abs=0.003)
    assert entry["trace"] == ["statistics"]
    forged, entry = forge(picture, "blur", blur=(2, 2))
    inner = oval(38)
    np.testing.assert_array_equal(forged.rgb[inner], cv2.GaussianBlur(picture.rgb, (0, 0), 2)[inner])
    assert entry["trace"] == ["blur"]
    np.testing.assert_array_equal(forged.mask, oval())


def test_a_move_takes_the_pixels_along_unchanged(picture: Sample) -> None:
    forged, entry = forge(picture, "shift", seed=1)
    down, right = entry["shift"]
    assert (down, right) != (0, 0)
    ys, xs = np.nonzero(oval())
    np.testing.assert_array_equal(forged.rgb[ys + down, xs + right], picture.rgb[ys, xs])
    np.testing.assert_array_equal(forged.mask, oval() | np.roll(oval(), (down, right), (0, 1)))
    assert entry["trace"] == ["statistics"]


def test_a_scale_of_one_leaves_no_trace_at_all(picture: Sample) -> None:
    forged, entry = forge(picture, "scale", scale=(1, 1))
    np.testing.assert_array_equal(forged.rgb, picture.rgb)
    assert entry["trace"] == []


def test_several_changes_are_named_in_words(picture: Sample) -> None:
    seen = [forge(picture, "scale", "exposure", "blur", seed=s, most=3, noun="a ball")[1] for s in range(40)]
    assert {len(entry["changes"]) for entry in seen} == {1, 2, 3}
    for entry in seen:
        assert ("scale" in entry["changes"]) == (entry["scale"] != 1) == ("resized" in entry["words"]["relation"])
        assert ("exposure" in entry["changes"]) == (entry["exposure"] != 1)
        assert ("blur" in entry["changes"]) == (entry["blur"] > 0)
        assert entry["words"]["noun"] == "a ball"
        assert entry["words"]["place"] == "middle"


def test_an_object_at_the_pictures_edge_can_be_jittered(picture: Sample) -> None:
    mask = np.zeros(SIZE, bool)
    mask[180:, :90] = True
    for seed in range(6):
        forged = Jitter(mask)(picture, np.random.default_rng(seed))
        assert forged.mask is not None
        assert forged.mask[mask].all()


def test_objects_that_are_too_small_or_too_large_are_told(picture: Sample) -> None:
    small, huge = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    small[5:12, 5:100] = True
    huge[:20] = False
    with pytest.raises(InvalidValueError, match="larger object"):
        forge(picture, "blur", source=small)
    with pytest.raises(InvalidValueError, match="smaller object"):
        forge(picture, "blur", source=huge)
    with pytest.raises(UnknownNameError, match="scale"):
        Jitter(changes=("scal",))  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="expected a change"):
        Jitter(changes=())
    with pytest.raises(InvalidValueError, match=r"jitter\.turn"):
        Jitter(turn=(5, 1))


def test_the_published_jitter_grows_by_a_sixteenth_on_every_side(picture: Sample) -> None:
    seen = [published(oval())(picture, np.random.default_rng(s)) for s in range(40)]
    entries = [forged.meta["ops"][-1] for forged in seen]
    assert {entry["scale"] for entry in entries} == {1.125}
    assert {entry["object"] for entry in entries} == {"given"}
    soft = [entry["blend"] == "feathered" for entry in entries]
    assert 0 < sum(soft) < 20, "a fifth"
    grown = oval(50 * 1.125)
    for forged in seen:
        assert (forged.mask & grown).sum() / (forged.mask | grown).sum() > 0.97
        assert forged.mask[oval()].all(), "nothing of the old object has to be filled"
    still = Jitter(oval(), changes=("scale",), scale=(1, 1), shrink=False)(picture, np.random.default_rng(0))
    np.testing.assert_array_equal(still.rgb, picture.rgb)


def test_training_may_jitter_what_it_finds(picture: Sample) -> None:
    authentic = replace(picture, mask=np.zeros(SIZE, bool), label=0)
    forged = augment.parse({"object_jitter": 1.0})(authentic, np.random.default_rng(0))
    assert forged.label == 1
    assert forged.mask is not None
    assert forged.mask.any()
    assert forged.meta["ops"][-1]["op"] == "jitter"
    assert (forged.mask & oval()).sum() > 0.5 * oval().sum(), "the oval stands out"
    already = replace(authentic, mask=~oval(80), label=1)
    both = augment.parse({"object_jitter": 1.0})(already, np.random.default_rng(0)).mask
    assert both is not None
    np.testing.assert_array_equal(both, forged.mask | already.mask)
    assert augment.parse({"object_jitter": 1.0})(picture, np.random.default_rng(0)) is picture, "no truth is known"
    tiny = Sample(picture.rgb[:16, :16].copy(), np.zeros((16, 16), bool), 0)
    assert augment.parse({"object_jitter": 1.0})(tiny, np.random.default_rng(0)) is tiny, "too small"
