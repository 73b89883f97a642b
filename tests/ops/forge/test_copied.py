"""Copies repeat their source, changed as recorded."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest

from tamperscope.errors import InvalidValueError
from tamperscope.ops import codecs
from tamperscope.ops.forge.copy_move import CopyMove
from tamperscope.types import Sample

SIZE = (260, 340)


def oval() -> np.ndarray:
    y, x = np.indices(SIZE)
    return np.asarray(((y - 80) / 40) ** 2 + ((x - 90) / 50) ** 2 <= 1)


@pytest.fixture
def picture() -> Sample:
    noise = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 1, (*SIZE, 3)), (0, 0), 2.5)
    return Sample(np.clip(128 + 150 * noise, 20, 210).astype(np.uint8), id="p")


def forge(picture: Sample, seed: int = 0, **settings: Any) -> tuple[Sample, dict[str, Any]]:
    still: dict[str, Any] = {
        "plain": 0.0, "turn": (0, 0), "scale": (1, 1), "gain": (1, 1), "blends": ("hard",), "source": oval()
    }  # fmt: skip
    forged = CopyMove(**{**still, **settings})(picture, np.random.default_rng(seed))
    return forged, forged.meta["ops"][-1]


def brought_back(forged: Sample, entry: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The copy warped back onto its source, and where it is valid, a little inside."""
    warp, flags = np.array(entry["warp"]), cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(forged.rgb, warp, SIZE[::-1], flags=flags)
    mask = cv2.warpAffine(forged.mask.astype(np.uint8), warp, SIZE[::-1], flags=cv2.WARP_INVERSE_MAP)
    return back, cv2.erode(mask, np.ones((7, 7))).astype(bool)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("settings", "traces"),
    [
        ({}, ["duplication"]),
        ({"turn": (15, 40)}, ["duplication", "resampling"]),
        ({"scale": (1.2, 1.3)}, ["duplication", "resampling"]),
        ({"scale": (0.7, 0.8), "turn": (-30, -10)}, ["duplication", "resampling"]),
        ({"flip": 1.0}, ["duplication"]),
    ],
)
def test_the_copy_taken_back_by_its_warp_is_its_source(
    picture: Sample, settings: dict[str, Any], traces: list[str], seed: int
) -> None:
    forged, entry = forge(picture, seed, **settings)
    back, inside = brought_back(forged, entry)
    assert inside.sum() > 0.6 * oval().sum()
    error = np.abs(back[inside].astype(float) - picture.rgb[inside])
    assert error.mean() < 2.5
    assert error.mean() < 0.15 * np.abs(forged.rgb[inside].mean(0) - picture.rgb[inside]).mean()
    assert entry["trace"] == traces
    assert not (forged.mask & oval()).any()
    np.testing.assert_array_equal(forged.rgb[~forged.mask], picture.rgb[~forged.mask])
    assert (np.linalg.det(np.array(entry["warp"])[:, :2]) < 0) == (settings.get("flip", 0) == 1)


def test_the_recorded_scale_and_turn_are_those_of_the_warp(picture: Sample) -> None:
    _, entry = forge(picture, 4, turn=(-60, -20), scale=(0.6, 1.4))
    warp = np.array(entry["warp"])
    assert np.sqrt(np.linalg.det(warp[:, :2])) == pytest.approx(entry["scale"], rel=0.03)
    # Rows run downwards, so a counter-clockwise turn has a positive sine in the upper right.
    assert np.degrees(np.arctan2(warp[0, 1], warp[0, 0])) == pytest.approx(entry["turn"], abs=2)


def test_gain_blur_and_noise_are_those_recorded(picture: Sample) -> None:
    forged, entry = forge(picture, gain=(1.15, 1.15))
    back, inside = brought_back(forged, entry)
    ratio = back[inside].astype(float).mean() / picture.rgb[inside].mean()
    assert ratio == pytest.approx(entry["gain"], abs=0.01)

    forged, entry = forge(picture, noise=(6, 6))
    back, inside = brought_back(forged, entry)
    assert np.std(back[inside].astype(float) - picture.rgb[inside]) == pytest.approx(6, rel=0.06)
    assert entry["trace"] == ["duplication", "foreign_noise"]

    forged, entry = forge(picture, blur=(2, 2))
    back, inside = brought_back(forged, entry)
    inside = cv2.erode(inside.astype(np.uint8), np.ones((15, 15))).astype(bool)
    wanted = cv2.GaussianBlur(picture.rgb, (0, 0), 2)
    assert np.abs(back[inside].astype(float) - wanted[inside]).mean() < 0.5
    assert np.abs(back[inside].astype(float) - picture.rgb[inside]).mean() > 4
    assert entry["trace"] == ["duplication", "blur"]


@pytest.mark.parametrize("blend", ["feathered", "multiband", "poisson"])
def test_every_blend_duplicates_the_source(picture: Sample, blend: str) -> None:
    forged, entry = forge(picture, blends=(blend,), feathers=(1.5,))
    back, inside = brought_back(forged, entry)
    inside = cv2.erode(inside.astype(np.uint8), np.ones((13, 13))).astype(bool)
    # Poisson and multiband change slow waves; what is fine stays.
    fine = [v.astype(float) - cv2.GaussianBlur(v.astype(float), (0, 0), 4) for v in (back, picture.rgb)]
    assert np.corrcoef(fine[0][inside].ravel(), fine[1][inside].ravel())[0, 1] > 0.95
    assert ("edge_halo" in entry["trace"]) == (blend != "poisson")
    assert entry["blend"] == blend


def test_jpeg_pictures_leave_a_foreign_grid_where_the_shift_is_off_the_blocks(picture: Sample) -> None:
    compressed = codecs.jpeg(picture, 75)
    seen = set()
    for seed in range(100):
        _, entry = forge(compressed, seed)
        shift = np.array(entry["warp"])[:, 2]
        aligned = not (shift % 8).any()
        seen.add(aligned)
        assert ("foreign_grid" in entry["trace"]) == (not aligned)
        assert "jpeg_history" in entry["trace"]
    assert False in seen


def test_the_record_is_ready_for_json_and_for_words(picture: Sample) -> None:
    forged, entry = forge(picture, noun="a bird", attributes=("blue",), flip=0.5, blur=(0, 1))
    assert json.loads(json.dumps(entry)) == entry
    assert entry["words"]["noun"] == "a bird"
    assert entry["words"]["relation"] == "copied from the top left"
    assert entry["object"] == "given"
    _, xs = np.nonzero(forged.mask)
    across = ("left", "", "right")[int(3 * xs.mean() / SIZE[1])]
    assert across in entry["words"]["place"]
    found = CopyMove(plain=1.0)(picture, np.random.default_rng(0)).meta["ops"][-1]
    assert found["object"] == "blob"
    assert found["words"]["noun"] == "a region"


def test_half_of_the_copies_are_plain_by_default(picture: Sample) -> None:
    entries = [CopyMove()(picture, np.random.default_rng(seed)).meta["ops"][-1] for seed in range(60)]
    plain = np.array([entry["scale"] == 1 for entry in entries])
    assert 0.3 < plain.mean() < 0.7
    assert all(entry["turn"] == 0 and entry["gain"] == 1 for entry in entries if entry["scale"] == 1)
    assert all(0.8 <= entry["scale"] <= 1.3 and abs(entry["turn"]) <= 40 for entry in entries)
    assert {entry["feather"] for entry in entries} == {0.0, 0.7}


def test_bad_settings_are_told(picture: Sample) -> None:
    with pytest.raises(InvalidValueError, match=r"copy_move\.scale"):
        CopyMove(scale=(2, 1))
    with pytest.raises(InvalidValueError, match=r"copy_move\.blur"):
        CopyMove(blur=(-1, 1))
    with pytest.raises(InvalidValueError, match="no place"):
        forge(picture, scale=(3, 3))
