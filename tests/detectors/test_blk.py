"""`blk` answers to the place of the JPEG grid, to nothing else, and says where the grid begins."""

from __future__ import annotations

import numpy as np
import pytest

from tamperscope import load
from tamperscope.media.recompress import recompress
from tamperscope.metrics.ranking import auc
from tamperscope.types import Prediction, Sample

SIDE = 144


def paste(photo, shift: tuple[int, int], first: int = 70) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """Paste a piece of one JPEG into another, its grid shifted by (rows, columns) against the host's."""
    host = recompress(photo("astronaut"), 85)
    donor = recompress(np.ascontiguousarray(photo("coffee")[100:400, 150:450]), first)
    mask = np.zeros(host.shape[:2], bool)
    mask[200 : 200 + SIDE, 296 : 296 + SIDE] = True
    forged = host.copy()
    forged[mask] = donor[shift[0] :, shift[1] :][:SIDE, :SIDE].reshape(-1, 3)
    return forged, mask


def answer(rgb: np.ndarray) -> Prediction:
    return load("blk").predict(Sample(rgb))


@pytest.mark.parametrize(("last", "least"), [(None, 0.9), (100, 0.9), (95, 0.85)])
def test_a_shifted_grid_lights_up(photo, last: int | None, least: float) -> None:  # type: ignore[no-untyped-def]
    forged, mask = paste(photo, (3, 5))
    found = answer(forged if last is None else recompress(forged, last))
    assert found.heatmap is not None
    assert auc(found.heatmap, mask) > least


def test_the_same_paste_on_the_same_grid_does_not(photo) -> None:  # type: ignore[no-untyped-def]
    shifted, mask = paste(photo, (3, 5))
    aligned, _ = paste(photo, (0, 0))
    assert auc(answer(shifted).heatmap, mask) > auc(answer(aligned).heatmap, mask) + 0.2
    assert answer(shifted).score > 2 * answer(aligned).score


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_whole_pictures_stay_mostly_dark(photo, name: str) -> None:  # type: ignore[no-untyped-def]
    found = answer(recompress(photo(name), 75))
    assert found.status == "ok"
    assert np.mean(found.heatmap > 0.5) < 0.03


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, 5), (7, 1), (4, 0)])
def test_the_origin_of_the_grid_survives_a_crop(photo, dy: int, dx: int) -> None:  # type: ignore[no-untyped-def]
    cropped = np.ascontiguousarray(recompress(photo("astronaut"), 75)[dy:, dx:])
    found = answer(cropped)
    assert found.evidence["grid_origin"] == [-dx % 8, -dy % 8]
    told = [r.code for r in found.reasons]
    assert ("blk.grid_origin" in told) == bool(dx or dy)


def test_without_a_grid_it_abstains(rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert answer(noise).status == "not_applicable"


def test_flat_and_saturated_pictures_abstain() -> None:
    for rgb in (np.zeros((128, 160, 3), np.uint8), np.full((100, 300, 3), 255, np.uint8)):
        assert answer(rgb).status == "not_applicable"
