"""Calibration recovers what it should, and thresholds keep their rates on pictures that were held out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tamperscope.verdict import fit


def rows(n: int, shift: float, seed: int, name: str = "zero") -> list[fit.Observation]:
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n):
        forged = bool(i % 2)
        out.append(fit.Observation(f"s{i // 2}", "web", forged, {name: float(rng.normal(shift * forged, 1))}))
    return out


def test_llr_of_two_gaussians_is_recovered() -> None:
    """log N(x; 2, 1) / N(x; 0, 1) = 2x - 2."""
    curve = fit.fit_curve(rows(8000, 2.0, 1), "zero", "jpeg_grid", True, "", [0.0, 1.0])
    for x in (0.0, 1.0, 2.0):
        assert curve.at(x).llr == pytest.approx(2 * x - 2, abs=0.35)
    assert (np.diff(curve.llr) >= 0).all()


def test_useless_scores_are_worth_nothing_and_their_interval_says_so() -> None:
    curve = fit.fit_curve(rows(1000, 0.0, 2), "zero", "jpeg_grid", True, "", [0.0, 1.0])
    assert np.abs(curve.llr).max() < 0.5
    assert all(lo < 0.2 and hi > -0.2 for lo, hi in zip(curve.low, curve.high, strict=True))


def test_a_score_that_is_mostly_zero_keeps_zero_in_one_bin() -> None:
    mixed = [fit.Observation(f"s{i}", "web", bool(i % 2), {"zero": 0.0 if i % 10 else 5.0 + i % 3}) for i in range(400)]
    curve = fit.fit_curve(mixed, "zero", "jpeg_grid", True, "", [0.0, 1.0])
    assert curve.scores[0] == 0.0


def test_folds_never_share_a_source_and_do_not_depend_on_the_machine() -> None:
    sample = [fit.Observation("camera_7", "camera", forged, {}) for forged in (True, False)]
    assert sample[0].fold == sample[1].fold
    assert len({fit.Observation(f"s{i}", "", False, {}).fold for i in range(50)}) == fit.FOLDS


def test_weights_match_a_logistic_regression_where_they_are_free() -> None:
    rng = np.random.default_rng(3)
    forged = rng.random(4000) < 0.5
    evidence = np.stack([rng.normal(0.6 * forged, 1.0), rng.normal(1.2 * forged, 1.0)], axis=1)
    weights, intercept = fit.fit_weights(evidence, forged)
    reference = LogisticRegression(C=1e6, class_weight="balanced").fit(evidence, forged)
    np.testing.assert_allclose(weights, reference.coef_[0], atol=0.15)
    assert intercept == pytest.approx(reference.intercept_[0], abs=0.15)


def test_a_family_that_speaks_against_the_truth_gets_no_weight() -> None:
    rng = np.random.default_rng(4)
    forged = rng.random(3000) < 0.5
    evidence = np.stack([rng.normal(1.5 * forged, 1.0), rng.normal(-2.0 * forged, 1.0)], axis=1)
    weights, _ = fit.fit_weights(evidence, forged)
    assert weights[0] > 0.8
    assert weights[1] == pytest.approx(0.0, abs=0.02)


def test_threshold_keeps_its_rate_on_held_out_pictures() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=4000), rng.normal(size=4000)
    edge = fit.threshold(first, ["a"] * 4000, 0.05)
    assert np.mean(first >= edge) <= 0.05
    assert np.mean(second >= edge) == pytest.approx(0.05, abs=0.012)


def test_strata_weigh_the_same_whatever_their_size() -> None:
    llr = np.concatenate([np.zeros(900), np.linspace(1, 2, 100)])
    strata = ["many"] * 900 + ["few"] * 100
    edge = fit.threshold(llr, strata, 0.05)
    assert np.mean(llr[900:] >= edge) == pytest.approx(0.10, abs=0.011)


def test_wilson_interval_of_no_alarm_is_not_empty() -> None:
    found = fit.as_threshold(1.0, 0, 68)
    assert found.false_alarm_rate == 0.0
    assert found.low == 0.0
    assert 0.03 < found.high < 0.08


def test_heat_of_a_perfect_map_separates_and_stays_monotone() -> None:
    inside, outside = np.zeros((5, 256)), np.zeros((5, 256))
    inside[:, 255], outside[:, 0] = 100, 900
    llr = fit.fit_heat(inside, outside)
    assert (np.diff(llr) >= 0).all()
    assert llr[0] < -1 < 1 < llr[-1]
