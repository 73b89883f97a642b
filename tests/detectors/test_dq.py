"""`dq` reads the comb that an earlier, coarser quantization leaves, and nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from forged_jpegs import Case, case, cases, pictures, sample_of
from sklearn.metrics import roc_auc_score

from tamperscope import load
from tamperscope.detectors import dq
from tamperscope.media.recompress import decode_jpeg, encode_jpeg, encode_with_tables
from tamperscope.signal.quantized import ORDER
from tamperscope.types import Prediction, Sample


@cache
def predict(sample: Sample) -> Prediction:
    return load("dq").predict(sample)


def area_under_curve(prediction: Prediction, mask: np.ndarray) -> float:
    heat = prediction.heatmap
    return 0.5 if heat is None else float(roc_auc_score(mask.ravel(), heat.ravel()))


@pytest.fixture(scope="module")
def sets(photo):  # type: ignore[no-untyped-def]
    @cache
    def build(first: int, last: int, subsampling: str = "4:4:4") -> list[Case]:
        return cases(photo, first, last, subsampling)

    return build


@pytest.mark.parametrize(
    ("first", "last", "subsampling"),
    [(60, 90, "4:4:4"), (70, 90, "4:2:0"), (80, 95, "4:4:4"), (80, 95, "4:2:0"), (60, 75, "4:4:4")],
)
def test_pixels_rank_by_history_where_the_first_save_was_coarser(sets, first, last, subsampling) -> None:  # type: ignore[no-untyped-def]
    found = [(predict(c.forged), c.mask) for c in sets(first, last, subsampling)]
    assert np.mean([area_under_curve(p, m) for p, m in found]) >= 0.97
    hit = [np.mean(p.heatmap[m] > 0.5) > 0.5 and np.mean(p.heatmap[~m] > 0.5) < 0.1 for p, m in found]
    assert np.mean(hit) >= 0.8


@pytest.mark.parametrize(("first", "last"), [(90, 60), (75, 75)])
def test_it_is_blind_where_the_last_save_was_as_coarse(sets, first, last) -> None:  # type: ignore[no-untyped-def]
    found = [(predict(c.forged), c.mask) for c in sets(first, last)]
    assert 0.45 <= np.mean([area_under_curve(p, m) for p, m in found]) <= 0.6
    assert sum(p.status == "not_applicable" for p, _ in found) >= 10


@pytest.mark.parametrize(("first", "last", "subsampling"), [(60, 90, "4:4:4"), (70, 90, "4:2:0"), (80, 95, "4:2:0")])
def test_the_answer_vanishes_with_the_paste_and_with_the_first_save(sets, first, last, subsampling) -> None:  # type: ignore[no-untyped-def]
    for c in sets(first, last, subsampling):
        twin, single = predict(c.twin), predict(c.single)
        assert twin.status == "ok"
        assert np.mean(twin.heatmap > 0.5) < 0.01
        assert single.status == "not_applicable"
        assert predict(c.forged).score > twin.score + 4


def test_a_picture_saved_twice_throughout_is_said_to_be_so(sets) -> None:  # type: ignore[no-untyped-def]
    finding = predict(sets(60, 90)[0].twin).reasons[0]
    assert finding.code == "dq.double_throughout"
    assert finding.severity == "info"
    assert predict(sets(60, 90)[0].forged).reasons[0].code == "dq.single_inside_double"


def test_swapped_roles_swap_the_map(photo) -> None:  # type: ignore[no-untyped-def]
    for rgb in pictures(photo):
        right = np.zeros(rgb.shape[:2], bool)
        right[:, rgb.shape[1] // 2 :] = True
        once = decode_jpeg(encode_jpeg(rgb, 60))
        pasted_right, pasted_left = (
            predict(sample_of(encode_jpeg(np.where(m[..., None], rgb, once), 90))) for m in (right, ~right)
        )
        assert area_under_curve(pasted_right, right) > 0.95
        assert area_under_curve(pasted_left, right) < 0.05


@pytest.mark.parametrize(("first", "last"), [(60, 90), (80, 95), (60, 75)])
def test_it_names_the_first_quality(sets, first, last) -> None:  # type: ignore[no-untyped-def]
    found = [predict(c.forged).evidence for c in sets(first, last)]
    assert all(abs(e["first_quality"] - first) <= 1 for e in found)
    assert all(e["last_quality"] == last for e in found)


def test_a_first_save_on_another_grid_leaves_no_comb(photo) -> None:  # type: ignore[no-untyped-def]
    for rgb in pictures(photo):
        moved = decode_jpeg(encode_jpeg(rgb, 60))[3:, 5:]
        assert predict(sample_of(encode_jpeg(moved, 90))).status == "not_applicable"


def test_tables_that_are_no_ijg_tables_are_found_coefficient_by_coefficient(photo, rng) -> None:  # type: ignore[no-untyped-def]
    steps = rng.integers(7, 20, (8, 8)).astype(np.uint16)
    for index, rgb in enumerate(pictures(photo)):
        mask = case(rgb, 90, 95, index=index).mask
        once = decode_jpeg(encode_with_tables(rgb, [steps, steps]))
        found = predict(sample_of(encode_jpeg(np.where(mask[..., None], rgb, once), 92)))
        assert found.evidence["first_quality"] is None
        assert area_under_curve(found, mask) > 0.95
        named = found.evidence["first_steps"][:5]
        assert np.count_nonzero(named == steps.reshape(64)[ORDER[1:6]]) >= 4


def test_clipped_pictures_are_not_judged(photo) -> None:  # type: ignore[no-untyped-def]
    burnt = np.where(photo("coffee") > 100, 255, 0).astype(np.uint8)
    found = predict(sample_of(encode_jpeg(decode_jpeg(encode_jpeg(burnt, 60)), 90)))
    assert found.status == "not_applicable"
    assert "clipped" in found.cause


def test_padding_of_odd_sizes_does_not_light_up(photo) -> None:  # type: ignore[no-untyped-def]
    for rgb in pictures(photo):
        odd = rgb[:291, :283]
        found = predict(sample_of(encode_jpeg(decode_jpeg(encode_jpeg(odd, 60)), 90)))
        assert found.heatmap.shape == odd.shape[:2]
        assert np.mean(found.heatmap[-8:] > 0.5) == 0
        assert np.mean(found.heatmap[:, -8:] > 0.5) == 0


def test_a_stricter_decision_marks_no_more(sets) -> None:  # type: ignore[no-untyped-def]
    sample = sets(60, 75)[0].forged
    loose, strict = load("dq", decision=0.5).predict(sample), load("dq", decision=1e6).predict(sample)
    assert loose.score == strict.score
    assert np.mean(loose.heatmap > 0.5) > 0
    assert not (strict.heatmap > 0.5).any()
    assert strict.regions == []


def test_blocks_may_be_taken_in_parts(sets, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    forged = sets(60, 90)[0].forged
    whole = load("dq").predict(forged)
    monkeypatch.setattr(dq, "_AT_ONCE", 100)
    parts = load("dq").predict(forged)
    assert parts.score == whole.score
    np.testing.assert_array_equal(parts.heatmap, whole.heatmap)
