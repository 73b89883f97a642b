"""Faces are found where they are, given ones are taken as they are, and the built-in network is the one of its card."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.ndimage import correlate

from tamperscope import weights
from tamperscope.errors import InputError, InvalidValueError
from tamperscope.signal import faces
from tamperscope.types import Sample

# About twice the median error of the card: points are coarse.
BOUND = 0.3
YUNET = os.environ.get(faces.VARIABLE, "")
# As YuNet sees the astronaut of the tests' photographs; a person would point there too.
ASTRONAUT = np.array([[203.4, 103.6], [247.5, 104.4], [224.1, 127.7], [204.0, 143.1], [242.9, 143.7]])


@pytest.fixture(autouse=True)
def _no_yunet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(faces.VARIABLE, raising=False)


def given(points: Any = ASTRONAUT, box: Any = (0, 0, 10, 10)) -> Sample:
    return Sample(np.zeros((64, 64, 3), np.uint8), meta={"faces": [{"box": box, "points": points}]})


def error(points: np.ndarray, wanted: np.ndarray = ASTRONAUT) -> float:
    """Mean distance of the points, over the distance between the eyes."""
    return float(np.linalg.norm(points - wanted, axis=1).mean() / np.linalg.norm(wanted[1] - wanted[0]))


# Given faces.


def test_given_faces_are_taken_as_they_are_the_largest_first() -> None:
    entries = [{"box": [0, 0, s, s], "points": (ASTRONAUT + s).tolist()} for s in (5, 30, 9)]
    found = faces.find(Sample(np.zeros((8, 8, 3), np.uint8), meta={"faces": entries}))
    assert [face.box[2] for face in found] == [30, 9, 5]
    np.testing.assert_array_equal(found[0].points, ASTRONAUT + 30)
    assert {(face.finder, face.score) for face in found} == {("given", 1.0)}
    assert faces.find(Sample(np.zeros((8, 8, 3), np.uint8), meta={"faces": []})) == []


@pytest.mark.parametrize(
    "sample",
    [given(points=[[0, 0]] * 4), given(box=[1, 2, 3]), given(points=[[np.nan, 0]] * 5), given(points="nose")],
)
def test_faces_of_another_shape_are_refused(sample: Sample) -> None:
    with pytest.raises(InvalidValueError, match="face: expected"):
        faces.find(sample)
    with pytest.raises(InvalidValueError, match="expected numbers `box` and `points`"):
        faces.find(Sample(sample.rgb, meta={"faces": [{"box": [0, 0, 1, 1]}]}))


# The built-in network.


def test_the_built_in_finder_finds_a_face_and_its_points(photo: Callable[[str], np.ndarray]) -> None:
    sample = Sample(photo("astronaut"))
    found = faces.find(sample)
    assert [face.finder for face in found] == ["built_in"]
    assert error(found[0].points) < BOUND
    x0, y0, x1, y1 = found[0].box
    assert ((found[0].points > (x0, y0)) & (found[0].points < (x1, y1))).all()


def test_without_the_face_nothing_is_found(photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("astronaut").copy()
    middle, size = ASTRONAUT.mean(0), np.linalg.norm(ASTRONAUT[1] - ASTRONAUT[0])
    low, high = (np.rint(middle + sign * 1.8 * size).astype(int) for sign in (-1, 1))
    rgb[max(0, low[1]) : high[1], low[0] : high[0]] = 128
    assert faces.find(Sample(rgb)) == []
    for name in ("coffee", "chelsea"):
        assert faces.find(Sample(photo(name))) == []
    assert faces.find(Sample(np.full((200, 300, 3), 77, np.uint8))) == []


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.6])
def test_a_scaled_picture_has_its_face_at_the_scaled_place(photo: Callable[[str], np.ndarray], scale: float) -> None:
    rgb = photo("astronaut")
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = faces.find(Sample(np.asarray(small, np.uint8)))
    assert len(found) == 1
    assert error((found[0].points + 0.5) / scale - 0.5) < BOUND


def test_a_mirrored_picture_has_the_mirrored_points(photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("astronaut")
    found = faces.find(Sample(np.ascontiguousarray(rgb[:, ::-1])))
    assert len(found) == 1
    points = found[0].points[[1, 0, 2, 4, 3]] * (-1, 1) + (rgb.shape[1] - 1, 0)
    assert error(points) < BOUND


def test_the_closer_look_finds_the_points_from_a_box_that_is_off(photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("astronaut")
    size = 2.5 * np.linalg.norm(ASTRONAUT[1] - ASTRONAUT[0])
    for angle, shift in ((0.0, 0.0), (0.15, 0.05), (-0.15, -0.05)):
        near, warp = faces.closeup(rgb, ASTRONAUT.mean(0) + shift * size, float(size), angle)
        places = ASTRONAUT @ warp[:, :2].T + warp[:, 2]
        assert error(faces.pointed(near), places) < BOUND


def test_a_close_up_shows_each_place_where_its_map_says(rng: np.random.Generator) -> None:
    middle, angle, size = np.array([150.0, 110.0]), 0.3, 90.0
    for dot in middle + rng.uniform(-25, 25, (5, 2)):
        rgb = np.zeros((240, 300, 3), np.uint8)
        cv2.circle(rgb, tuple(np.rint(dot * 16).astype(int).tolist()), 4 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
        near, warp = faces.closeup(rgb, middle, size, angle)
        weight = near[..., 0].astype(float)
        seen = [(weight * grid).sum() / weight.sum() for grid in np.indices(weight.shape)[::-1]]
        np.testing.assert_allclose(seen, warp[:, :2] @ dot + warp[:, 2], atol=0.3)
    assert np.sqrt(np.linalg.det(warp[:, :2])) == pytest.approx(36 / size)


@pytest.mark.parametrize(("stride", "dilation", "side"), [(1, 1, 1), (1, 1, 3), (2, 1, 3), (1, 2, 3), (1, 4, 3)])
def test_a_layer_is_a_correlation(rng: np.random.Generator, stride: int, dilation: int, side: int) -> None:
    x = rng.normal(0, 1, (3, 17, 22)).astype(np.float32)
    weight = rng.normal(0, 1, (4, 3, side, side)).astype(np.float32)
    spread = np.zeros((4, 3, *[dilation * (side - 1) + 1] * 2))
    spread[..., ::dilation, ::dilation] = weight
    for out, kernels in zip(faces._convolved(x, weight, stride, dilation), spread, strict=True):
        wanted = sum(correlate(a.astype(float), k, mode="constant") for a, k in zip(x, kernels, strict=True))
        np.testing.assert_allclose(out, wanted[::stride, ::stride], atol=1e-4)


def test_the_weights_are_those_of_the_card_and_small() -> None:
    folder = resources.files("tamperscope.weights")
    data, card = folder.joinpath("faces.npz").read_bytes(), json.loads(folder.joinpath("faces.json").read_text())
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    assert len(data) <= 300 * 1024
    assert card["parameters"] == sum(w.size + b.size for w, b in faces._network()) <= 150_000
    assert card["held_out"].keys() >= {"recall", "precision", "point_error_median"}
    assert all(source["licence"] for source in card["trained_on"].values())


def test_other_weights_than_the_card_s_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data, card = weights.shipped("faces.npz")
    monkeypatch.setattr(weights, "shipped", lambda _: (data + b" ", card))
    faces._network.cache_clear()
    try:
        with pytest.raises(InvalidValueError, match=r"faces\.npz: expected sha256"):
            faces._network()
    finally:
        faces._network.cache_clear()


# YuNet.


def test_a_detector_that_is_not_there_or_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sample = Sample(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match="found nothing at"):
        faces.find(sample, str(tmp_path / "none.onnx"))
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no network")
    monkeypatch.setenv(faces.VARIABLE, str(other))
    with pytest.raises(InputError, match="cannot read"):
        faces.find(sample)


@pytest.mark.skipif(not YUNET, reason=f"{faces.VARIABLE} names no file")
def test_yunet_finds_the_same_face(photo: Callable[[str], np.ndarray]) -> None:
    found = faces.find(Sample(photo("astronaut")), YUNET)
    assert error(found[0].points) < 0.03
    assert found[0].finder == "yunet"
