"""Suites: their conventions by what they must change, and that order, batches and workers change nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from tamperscope.errors import UnknownNameError
from tamperscope.metrics import image, pixel, ranking
from tamperscope.metrics.confusion import Counts, counts
from tamperscope.metrics.suites import named
from tamperscope.metrics.suites.base import Row
from tamperscope.metrics.suites.observe import observe
from tamperscope.metrics.suites.summarize import Measured, columns, compare, summarize
from tamperscope.types import Prediction, Region, Sample

SIZES = [(40, 60), (64, 64), (33, 90), (50, 31)]


def _picture(seed: int, forged: bool) -> tuple[Prediction, Sample]:
    rng = np.random.default_rng(seed)
    size = SIZES[seed % len(SIZES)]
    mask = np.zeros(size, bool)
    if forged:
        mask[5:25, 8:27] = True
    heat = np.clip(0.5 * mask + 0.6 * rng.random(size), 0, 1).astype(np.float32)
    sample = Sample(rng.integers(0, 256, (*size, 3), dtype=np.uint8), mask, id=f"p{seed:02d}")
    regions = [Region((8, 5, 27, 25), score=2.0), Region((0, 0, 3, 3), score=1.0)] if forged else []
    return Prediction("d", size, float(rng.normal(2.0 * forged)), heat, regions), sample


def _rows(suite_name: str, n: int = 16, shift: float = 0.0) -> list[Row]:
    suite, rows = named.load(suite_name), []
    for seed in range(n):
        forged = seed % 3 != 0
        prediction, sample = _picture(seed, forged)
        values = json.loads(json.dumps(observe(suite, prediction, sample)))
        score = prediction.score + shift * forged
        fields = {"generator": f"g{seed % 2}", "method": "m", "video": f"{'m' if forged else 'r'}/{seed // 6}"}
        rows.append(Row(sample.id, f"g{seed // 2}", int(forged), score, 1 / (1 + math.exp(-score)), values, fields))
    return rows


def _by_name(found: list[Measured]) -> dict[str, float]:
    return {m.metric: m.interval.value for m in found}


@pytest.mark.parametrize("name", named.names())
def test_order_plays_no_part_and_every_column_is_there(name: str, rng: np.random.Generator) -> None:
    suite, rows = named.load(name), _rows(name)
    found = summarize(suite, rows, rounds=20)
    shuffled = summarize(suite, [rows[i] for i in rng.permutation(len(rows))], rounds=20)
    np.testing.assert_equal([m.interval for m in found], [m.interval for m in shuffled])
    assert [m.metric for m in found][: len(columns(suite))] == columns(suite)
    assert suite.about.endswith(".")


def test_imdl_scores_forged_pictures_at_their_own_size() -> None:
    rows = _rows("imdl")
    found = {m.metric: m.interval for m in summarize(named.load("imdl"), rows, rounds=20)}
    pairs = [_picture(s, True) for s in range(16) if s % 3 != 0]
    expected = [counts(p.heatmap, s.mask).f1 for p, s in pairs]
    assert found["pixel_f1"].value == pytest.approx(np.mean(expected))
    assert (found["pixel_f1"].n, found["pixel_f1"].undefined) == (10, 6)
    assert found["authentic_fpr"].n == 6
    assert found["image_auc"].value == ranking.auc([r.score for r in rows], [r.label == 1 for r in rows])


def test_benco_counts_authentic_pictures_as_zero_on_its_canvas() -> None:
    suite = named.load("benco")
    prediction, sample = _picture(1, True)
    warped = cv2.resize(prediction.heatmap, (512, 512), interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(sample.mask.astype(np.uint8), (512, 512), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    plain = counts(np.clip(warped, 0, 1), mask)
    values = observe(suite, prediction, sample)
    assert values["pixel_f1"] == pytest.approx(plain.f1)
    assert values["pixel_f1_reverse"] == pytest.approx(plain.complement.f1)
    assert values["pixel_f1_double"] == max(values["pixel_f1"], values["pixel_f1_reverse"])
    turned = counts(1 - np.clip(warped, 0, 1), mask)
    assert values["pixel_iou_reverse"] == pytest.approx(turned.iou)
    clean = observe(suite, *_picture(3, False))
    assert clean["pixel_f1"] == clean["pixel_auc_double"] == clean["pixel_iou_double"] == 0.0
    assert clean["pixel_accuracy"] > 0
    rows = _rows("benco")
    found = _by_name(summarize(suite, rows, rounds=20))
    assert found["pixel_f1"] == pytest.approx(np.mean([r.values["pixel_f1"] for r in rows]))


def test_pooled_lets_large_pictures_weigh_more() -> None:
    suite = named.load("pooled")
    rows, total = [], Counts(0, 0, 0, 0)
    scores, truths = [], []
    for seed in range(8):
        prediction, sample = _picture(seed, seed % 3 != 0)
        rows.append(Row(sample.id, sample.id, sample.label, 0.0, values=observe(suite, prediction, sample)))
        total = total + counts(prediction.heatmap, sample.mask)
        scores.append(prediction.heatmap.ravel())
        truths.append(sample.mask.ravel())
    found = _by_name(summarize(suite, rows, rounds=20))
    assert found["pooled_f1"] == pytest.approx(total.f1)
    assert found["pooled_mcc"] == pytest.approx(total.mcc)
    assert found["pooled_fpr"] == pytest.approx(total.false_positive_rate)
    exact = ranking.auc(np.concatenate(scores), np.concatenate(truths))
    assert found["pooled_auc"] == pytest.approx(exact, abs=1e-3)
    heat, mask = np.concatenate(scores).astype(float), np.concatenate(truths)
    soft = 2 * (heat * mask).sum() / (heat.sum() + mask.sum())
    assert found["weighted_f1_v2"] == pytest.approx(soft, abs=1e-6)


def test_trufor_uses_its_band() -> None:
    suite = named.load("trufor")
    prediction, sample = _picture(1, True)
    values = observe(suite, prediction, sample)
    options: Any = {"polarity": "best", "boundary": (15, 11)}
    expected = pixel.measure(prediction.heatmap, sample.mask, ("f1", "best_f1"), **options)
    assert values == {"pixel_best_f1": expected["best_f1"], "pixel_f1": expected["f1"]}


def test_aigc_sets_each_generator_against_all_pristine_pictures() -> None:
    rows = _rows("aigc")
    found = _by_name(summarize(named.load("aigc"), rows, rounds=20))
    part = [r for r in rows if r.label == 0 or r.fields["generator"] == "g1"]
    expected = image.measure([r.probability for r in part], [r.label == 1 for r in part], ("accuracy",))["accuracy"]
    assert found["image_accuracy@g1"] == pytest.approx(expected)
    assert found["image_ap@mean"] == pytest.approx((found["image_ap@g0"] + found["image_ap@g1"]) / 2)


def test_deepfake_scores_whole_videos() -> None:
    rows = _rows("deepfake")
    found = {m.metric: m.interval for m in summarize(named.load("deepfake"), rows, rounds=20)}
    scores, labels, names = image.by_video(
        [r.score for r in rows], [r.label or 0 for r in rows], [r.fields["video"] for r in rows]
    )
    assert found["video_auc"].value == ranking.auc(scores, labels)
    assert found["video_auc"].n == len(names) == 6


def test_grounding_and_sequence() -> None:
    prediction, sample = _picture(1, True)
    values = observe(named.load("grounding"), prediction, sample)
    assert values["box_iou"] == values["corloc"] == 1.0
    weak = replace(prediction.regions[0], score=0.5)
    swapped = Prediction("d", sample.size, 0.0, prediction.heatmap, [weak, prediction.regions[1]])
    values = observe(named.load("grounding"), swapped, sample)
    assert values["box_iou"] == 0.0  # the strongest region is now the wrong one
    assert values["corloc"] == 1.0
    steps = Prediction("d", sample.size, 0.0, evidence={"sequence": ["nose", "eye"]})
    ordered = replace(sample, meta={"sequence": ["nose", "lip"]})
    suite = named.load("sequence")
    assert observe(suite, steps, ordered) == {"fixed_accuracy": 0.8, "adaptive_accuracy": 0.5}
    assert observe(suite, steps, sample) == {}


def test_silence_is_a_map_of_zeros_and_an_abstention_is_counted() -> None:
    suite = named.load("imdl")
    _, sample = _picture(1, True)
    silent = Prediction("d", sample.size, status="not_applicable", cause="no trace")
    assert observe(suite, silent, sample)["pixel_f1"] == 0.0
    assert observe(suite, silent, sample)["pixel_auc"] == 0.5
    rows = [*_rows("imdl"), Row("q", "q", 1, math.nan, values=observe(suite, silent, sample))]
    found = {m.metric: m.interval for m in summarize(suite, rows, rounds=20)}
    assert (found["image_auc"].n, found["image_auc"].undefined) == (16, 1)


def test_comparison_takes_the_pictures_that_both_have() -> None:
    suite = named.load("imdl")
    weak, strong = _rows("imdl"), _rows("imdl", shift=5.0)
    gain = compare(suite, "image_auc", strong[2:], weak, rounds=50)
    expected = [ranking.auc([r.score for r in rows[2:]], [r.label == 1 for r in rows[2:]]) for rows in (strong, weak)]
    assert gain.value == pytest.approx(expected[0] - expected[1])
    assert gain.n == 14
    assert compare(suite, "pixel_f1", strong, weak, rounds=50).value == 0.0


def test_unknown_suite_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'benco'"):
        named.load("benko")
