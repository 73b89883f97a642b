"""How a network is shown a picture: as few tiles as without a thought, and no larger than they must be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
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
    assert plan.fit.side <= side
    for axis in (0, 1):
        spans = sorted({(box[1 - axis], box[3 - axis]) for box in plan.boxes})
        assert spans[0][0] == 0
        assert spans[-1][1] == size[axis]
        assert all(later[0] <= earlier[1] for earlier, later in pairwise(spans))
        assert all(start % grid == 0 for start, _ in spans)


def test_a_picture_a_little_larger_than_a_tile_costs_little_more() -> None:
    plan = View("tile", 768, 64, multiple=8, grid=8).plan((1024, 1024))
    assert len(plan) == 4
    assert len(plan) * plan.fit.side**2 < 1.2 * 1024**2


def test_maps_do_not_depend_on_where_tiles_meet() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)

    def forward(arrays: dict) -> dict:  # type: ignore[type-arg]
        return {"mask": arrays["image"].mean(1, keepdims=True) * 8 - 4}

    tiled = Predictor(forward, view=View("tile", 128, 32))(Sample(rgb=rgb)).heatmap
    whole = Predictor(forward, view=View("tile", 512, 32))(Sample(rgb=rgb)).heatmap
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
