"""Metrics of pictures and videos against scikit-learn and worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.metrics import image


def test_metrics_equal_scikit_learn(rng: np.random.Generator) -> None:
    scores = np.round(rng.random(300), 2)
    labels = rng.random(300) < scores
    called = scores > 0.4
    found = image.measure(scores, labels, threshold=0.4)
    assert found["f1"] == pytest.approx(sk.f1_score(labels, called), abs=1e-9)
    assert found["precision"] == pytest.approx(sk.precision_score(labels, called), abs=1e-9)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, called), abs=1e-9)
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(labels, called), abs=1e-9)
    assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, scores), abs=1e-9)
    assert found["ap"] == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-9)
    assert found["tnr"] == pytest.approx(sk.recall_score(~labels, ~called), abs=1e-9)
    specificity, recall = found["tnr"], found["tpr"]
    assert found["f1_with_specificity"] == pytest.approx(2 * specificity * recall / (specificity + recall))
    assert found["f1_with_specificity"] != pytest.approx(found["f1"], abs=1e-3)


def test_calibration_error_by_hand() -> None:
    p = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9])
    labels = np.array([0, 0, 0, 1, 1, 1]) > 0
    # (4 · |.25 − .1| + 2 · |1 − .9|) / 6
    assert image.calibration_error(p, labels, bins=10) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    assert image.calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0.0


def test_calibration_error_falls_when_scores_are_calibrated(rng: np.random.Generator) -> None:
    p = rng.random(20_000)
    labels = rng.random(20_000) < p
    assert image.calibration_error(p, labels) < 0.02
    assert image.calibration_error(p**3, labels) > 0.15


def test_likelihood_ratio_cost() -> None:
    labels = np.array([True, True, False, False])
    assert image.likelihood_ratio_cost(np.zeros(4), labels) == pytest.approx(1.0)
    assert image.likelihood_ratio_cost(np.array([50.0, 50, -50, -50]), labels) == pytest.approx(0.0, abs=1e-9)
    assert image.likelihood_ratio_cost(np.array([-50.0, -50, 50, 50]), labels) > 50
    assert image.measure(np.full(4, 0.5), labels, ("cllr",))["cllr"] == pytest.approx(1.0)
    assert image.measure(np.array([0.0, 0.5, 0.5, 0.5]), labels, ("cllr",))["cllr"] == math.inf
    assert math.isnan(image.likelihood_ratio_cost(np.zeros(2), np.array([True, True])))


def test_a_video_is_told_by_its_full_id() -> None:
    scores = [0.9, 0.7, 0.1, 0.3, 0.2, 0.2]
    labels = [1, 1, 1, 1, 0, 0]
    full = ["Deepfakes/000_003", "Deepfakes/000_003", "FaceSwap/000_003", "FaceSwap/000_003", "real/000", "real/000"]
    values, truth, names = image.by_video(scores, labels, full)
    assert names == ["Deepfakes/000_003", "FaceSwap/000_003", "real/000"]
    assert values == pytest.approx([0.8, 0.2, 0.2])
    # One manipulation is missed altogether; merged by folder name the two would average to .5 and look perfect.
    assert image.measure(values, truth, ("auc",))["auc"] == pytest.approx(0.75)
    merged, truth, _ = image.by_video(scores, labels, [v.rpartition("/")[2] for v in full])
    assert image.measure(merged, truth, ("auc",))["auc"] == 1.0


def test_frames_of_one_id_with_two_labels_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="full id"):
        image.by_video([0.1, 0.2], [0, 1], ["000", "000"])
    with pytest.raises(InvalidValueError, match="one label and video"):
        image.by_video([0.1, 0.2], [0], ["a", "b"])


def test_undefined_is_nan_and_bad_input_an_error() -> None:
    one_class = image.measure(np.array([0.2, 0.8]), np.array([True, True]))
    for name in ("auc", "eer", "tpr_at_fpr_1", "tnr", "balanced_accuracy", "mcc", "cllr"):
        assert math.isnan(one_class[name]), name
    with pytest.raises(UnknownNameError, match="accuracy"):
        image.measure([0.1], [True], ("acuracy",))
    with pytest.raises(InvalidValueError, match="sigmoid"):
        image.measure([3.0], [True], ("ece",))
    with pytest.raises(InvalidValueError, match="one shape"):
        image.measure(np.zeros((3, 1)), np.zeros(3, bool))


def test_wscl_combines_by_the_harmonic_mean() -> None:
    assert image.combined_f1(0.5, 1.0) == pytest.approx(2 / 3)
    assert image.combined_f1(0.0, 0.0) == 0.0
    assert math.isnan(image.combined_f1(math.nan, 1.0))
