"""The bar looks at nothing but what it says."""

from __future__ import annotations

import numpy as np
import pytest

from tamperscope.bench import baselines
from tamperscope.metrics.ranking import auc
from tamperscope.metrics.suites.base import Row
from tamperscope.types import Sample


def _sample(seed: int, name: str = "a") -> Sample:
    return Sample(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8), id=name)


@pytest.mark.parametrize("name", baselines.MAPS)
def test_maps_do_not_depend_on_the_picture(name: str) -> None:
    first, second = baselines.predict(name, _sample(1)), baselines.predict(name, _sample(2))
    np.testing.assert_array_equal(first.heatmap, second.heatmap)
    assert first.score == second.score
    assert first.heatmap is not None
    assert first.heatmap.shape == (30, 40)


def test_random_differs_from_picture_to_picture() -> None:
    first, second = (baselines.predict("random", _sample(1, n)) for n in "ab")
    assert first.score != second.score
    assert not np.array_equal(first.heatmap, second.heatmap)  # type: ignore[arg-type]


def test_the_blob_is_symmetric_and_highest_in_the_middle() -> None:
    heat = baselines.centre_blob((31, 41))
    np.testing.assert_allclose(heat, heat[::-1, ::-1], atol=1e-7)
    assert np.unravel_index(heat.argmax(), heat.shape) == (15, 20)
    mask = np.zeros((31, 41), bool)
    mask[10:20, 12:28] = True
    assert auc(heat, mask) > 0.9


def _rows(tables: list[str], labels: list[int], groups: list[str] | None = None) -> list[Row]:
    names = groups or [f"g{i}" for i in range(len(labels))]
    return [
        Row(f"p{i}", g, t, 0.0, fields={"table": q})
        for i, (q, t, g) in enumerate(zip(tables, labels, names, strict=True))
    ]


def test_the_lookup_tells_what_the_tables_tell() -> None:
    labels = [i % 2 for i in range(200)]
    told = baselines.table_lookup(_rows([f"q{t}" for t in labels], labels))
    assert auc([r.score for r in told], [t == 1 for t in labels]) == 1.0
    same = baselines.table_lookup(_rows(["q"] * 200, labels))
    assert auc([r.score for r in same], [t == 1 for t in labels]) < 0.6


def test_the_lookup_never_learns_from_its_own_source() -> None:
    """Each source has a table of its own: looked up in itself it would be perfect."""
    labels = [i % 2 for i in range(100)]
    told = baselines.table_lookup(_rows([f"q{i}" for i in range(100)], labels))
    assert {r.score for r in told} == {0.5}
    pairs = [f"g{i // 4}" for i in range(100)]
    leaking = baselines.table_lookup(_rows([f"{g}{t}" for g, t in zip(pairs, labels, strict=True)], labels, pairs))
    assert {r.score for r in leaking} == {0.5}
