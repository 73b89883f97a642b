"""`scripts/generated.py`: recipes that load for every set, and filtered pictures of the same size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import generated

from tamperscope.data.manifest import Entry, Manifest
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


def test_pictures_at_half_size_keep_label_and_group(tmp_path: Path, photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("coffee")
    for decoder in generated.DECODERS:
        made = [(rgb[:300, :280], 1), (rgb[:300, :280], 0), (rgb[:200, :280], 0)]
        listed = [(p, Entry(image="a.png", label=label, split="val", group="a cup")) for p, label in made]
        generated.save(tmp_path / decoder, listed)
    generated.halved(tmp_path)
    found = Manifest(tmp_path / "halved" / "manifest.jsonl")
    entries = list(found)
    assert [entry.label for entry in entries] == [1, 0] * 4, "what is too small to be judged is left out"
    assert {(entry.split, entry.group) for entry in entries} == {("val", "a cup")}
    assert found.open(entries[1]).rgb.shape == (150, 140, 3)
