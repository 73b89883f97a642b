"""`jpeg_ghost` finds the quality at which one part of a picture, and not another, was saved before."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from forged_jpegs import Case, cases, pictures, sample_of
from sklearn.metrics import roc_auc_score

from tamperscope import load
from tamperscope.media.recompress import decode_jpeg, encode_jpeg
from tamperscope.types import Prediction, Sample


@cache
def predict(sample: Sample) -> Prediction:
    return load("jpeg_ghost").predict(sample)


@pytest.fixture(scope="module")
def sets(photo):  # type: ignore[no-untyped-def]
    @cache
    def build(first: int, last: int) -> list[Case]:
        return cases(photo, first, last)

    return build


def mean_auc(found: list[tuple[Prediction, np.ndarray]]) -> float:
    return float(np.mean([roc_auc_score(m.ravel(), p.heatmap.ravel()) for p, m in found]))


@pytest.mark.parametrize(("first", "last"), [(60, 90), (75, 90), (80, 95)])
def test_the_ghost_dips_at_the_first_quality_and_maps_the_paste(sets, first, last) -> None:  # type: ignore[no-untyped-def]
    found = [(predict(c.forged), c.mask) for c in sets(first, last)]
    assert np.mean([abs(p.evidence["ghost_quality"] - first) <= 1 for p, _ in found]) >= 0.9
    assert mean_auc(found) >= 0.95
    assert np.mean([p.score >= 0.3 for p, _ in found]) >= 0.9


@pytest.mark.parametrize(("first", "last"), [(90, 60), (75, 75)])
def test_no_ghost_where_the_last_save_was_as_coarse(sets, first, last) -> None:  # type: ignore[no-untyped-def]
    found = [(predict(c.forged), c.mask) for c in sets(first, last)]
    assert 0.35 <= mean_auc(found) <= 0.65
    assert all(p.score < 0.3 for p, _ in found)
    assert not any((p.heatmap > 0.5).any() for p, _ in found)


@pytest.mark.parametrize(("first", "last"), [(60, 90), (80, 95)])
def test_the_answer_vanishes_with_the_paste_and_with_the_first_save(sets, first, last) -> None:  # type: ignore[no-untyped-def]
    for c in sets(first, last):
        assert not (predict(c.twin).heatmap > 0.5).any()
        assert not (predict(c.single).heatmap > 0.5).any()
        assert predict(c.forged).score > max(predict(c.twin).score, predict(c.single).score)


def test_a_small_part_that_bears_the_ghost_is_marked_too(sets) -> None:  # type: ignore[no-untyped-def]
    found = [(predict(c.swapped), c.mask) for c in sets(60, 95)]
    assert mean_auc(found) >= 0.95
    assert np.mean([abs(p.evidence["ghost_quality"] - 60) <= 1 for p, _ in found]) >= 0.9
    assert all(p.evidence["share_without_ghost"] > 0.65 for p, _ in found)


def test_pixels_suffice_without_a_jpeg_file(sets) -> None:  # type: ignore[no-untyped-def]
    found = [(predict(Sample(rgb=c.forged.rgb)), c.mask) for c in sets(60, 95)]
    assert mean_auc(found) >= 0.95
    assert all(p.evidence["last_quality"] is None for p, _ in found)


def test_a_first_save_on_another_grid_has_no_ghost(photo) -> None:  # type: ignore[no-untyped-def]
    for index, rgb in enumerate(pictures(photo)):
        moved = decode_jpeg(encode_jpeg(np.pad(rgb, ((3, 0), (5, 0), (0, 0)), mode="edge"), 60))[3:, 5:]
        mask = np.zeros(rgb.shape[:2], bool)
        mask[64:200, 80 + 8 * (index % 4) : 230] = True
        found = predict(sample_of(encode_jpeg(np.where(mask[..., None], rgb, moved), 90)))
        assert found.score < 0.3


def test_flat_pictures_are_not_judged() -> None:
    flat = np.full((200, 240, 3), 140, np.uint8)
    flat[:8, :8] = 255
    found = predict(sample_of(encode_jpeg(flat, 80)))
    assert found.status == "not_applicable"
    assert "coefficients" in found.cause


def test_regions_lie_on_the_paste(sets) -> None:  # type: ignore[no-untyped-def]
    overlaps = []
    for c in sets(60, 90):
        found = np.zeros(c.mask.shape, bool)
        for region in predict(c.forged).regions:
            x0, y0, x1, y1 = region.box
            found[y0:y1, x0:x1] |= region.mask
        overlaps.append((found & c.mask).sum() / (found | c.mask).sum())
    assert np.mean(overlaps) >= 0.7
