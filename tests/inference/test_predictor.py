"""How a network is shown a picture: as few tiles as without a thought, and no larger than they must be."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.geometry import Fit
from tamperscope.inference.predictor import Predictor, View
from tamperscope.types import Sample


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.integers(8, 120),
    st.integers(0, 30),
    st.sampled_from([1, 8]),
)
@settings(max_examples=200, deadline=None)
def test_tiles_cover_the_picture_and_are_few_and_small(
    size: tuple[int, int], side: int, overlap: int, grid: int
) -> None:
    side, overlap = 8 * side, 8 * min(overlap, side - 1)
    view = View("tile", side, overlap, multiple=8, grid=grid)
    plan = view.plan(size)
    plain = Fit("tile", side, overlap, grid).plan(size)
    assert len(plan) <= len(plain)
    assert max(plan.fit.canvas) <= side
    assert all(canvas <= length + 7 for canvas, length in zip(plan.fit.canvas, size, strict=True))
    for axis in (0, 1):
        spans = sorted({(box[1 - axis], box[3 - axis]) for box in plan.boxes})
        assert spans[0][0] == 0
        assert spans[-1][1] == size[axis]
        assert all(later[0] <= earlier[1] for earlier, later in pairwise(spans))
        assert all(start % grid == 0 for start, _ in spans)


@pytest.mark.parametrize("size", [(1024, 1024), (866, 1154), (480, 1500), (3000, 4000)])
def test_what_is_asked_of_a_network_is_little_more_than_the_picture(size: tuple[int, int]) -> None:
    plan = View("tile", 768, 64, multiple=8, grid=8).plan(size)
    assert len(plan) * math.prod(plan.fit.canvas) < 1.25 * math.prod(size)


def test_a_network_of_fixed_size_sees_squares_and_a_whole_picture_its_own_shape() -> None:
    assert View("tile", 256, 64, fixed=True).plan((40, 300)).fit.canvas == (256, 256)
    assert View("pad", 256, multiple=32).plan((40, 300)).fit.canvas == (64, 320)


@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
@settings(max_examples=100, deadline=None)
def test_a_scaled_picture_has_one_size_and_its_own_shape(size: tuple[int, int]) -> None:
    view = View("scale", 320, multiple=32)
    plan = view.plan(size)
    canvas = plan.fit.canvas
    assert (len(plan), min(canvas)) == (1, 320)
    shape = min(max(size) / min(size), 4)
    assert abs(max(canvas) - 320 * shape) <= 16
    assert size[0] == size[1] or (canvas[0] > canvas[1]) == (size[0] > size[1]) or shape < 1.1
    assert replace(view, fixed=True).plan(size).fit.canvas == (320, 320)


def test_maps_do_not_depend_on_where_tiles_meet() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)

    def forward(arrays: dict) -> dict:  # type: ignore[type-arg]
        return {"mask": arrays["image"].mean(1, keepdims=True) * 8 - 4}

    tiled = Predictor(forward, view=View("tile", 128, 32))(Sample(rgb=rgb)).heatmap
    whole = Predictor(forward, view=View("tile", 512, 32))(Sample(rgb=rgb)).heatmap
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_what_judges_whole_pictures_has_no_map_and_the_mean_of_its_parts() -> None:
    rgb = np.zeros((64, 128, 3), np.uint8)
    rgb[:, 64:] = 255
    halves = Predictor(lambda given: {"score": 4 * given["image"].mean((1, 2, 3))}, view=View("tile", 64, 0))
    answer = halves(Sample(rgb=rgb))
    assert answer.heatmap is None
    assert answer.score == pytest.approx(1 / (1 + math.exp(-2)))
    with_map = Predictor(
        lambda given: {"score": 4 * given["image"].mean((1, 2, 3)), "mask": given["image"][:, :1]}, view=halves.view
    )
    assert with_map(Sample(rgb=rgb)).score == pytest.approx(1 / (1 + math.exp(-4)))
