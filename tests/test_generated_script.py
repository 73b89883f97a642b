"""`scripts/generated.py`: recipes that load for every set, and filtered pictures of the same size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import generated

from tamperscope.forging import recipe as forging

NETWORKS = {"upscaled": Path("some"), generated.UNSEEN: Path("others")}


@pytest.mark.parametrize("part", generated.COUNTS)
def test_every_set_has_a_recipe(part: str) -> None:
    for decoder, number in generated.COUNTS[part].items():
        found = forging.load("generated", generated.changes(decoder, part, NETWORKS))
        (operation,) = found.operations
        assert number
        assert operation == {"tiny": "reencoded", "taef2": "reencoded", "upsampled": "upsampled"}.get(
            decoder, "upscaled"
        )
        assert found.ranges[operation]["whole"] is True
        assert (found.hosts.max_side == 256) == (part in generated.RESIZED), "what is learned from is small"
        if operation == "upscaled":
            assert found.ranges[operation]["networks"] == str(NETWORKS[decoder])


def test_unseen_networks_are_measured_on_alone() -> None:
    assert [part for part, counts in generated.COUNTS.items() if generated.UNSEEN in counts] == ["measure"]


def test_filters_keep_the_size_and_change_the_picture(photo: Callable[[str], np.ndarray]) -> None:
    rgb = np.ascontiguousarray(photo("coffee")[:90, :121])
    made = [generated.filtered(rgb, np.random.default_rng(seed)) for seed in range(24)]
    assert all(one.shape == rgb.shape and one.dtype == np.uint8 and (one != rgb).any() for one in made)
    assert len({one.tobytes() for one in made}) > 12
    assert np.array_equal(made[3], generated.filtered(rgb, np.random.default_rng(3)))
