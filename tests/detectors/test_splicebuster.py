"""Splicebuster on pictures whose area has another processing history, and on the same area without one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tamperscope.detectors import splicebuster as module
from tamperscope.signal.robust_em import fit_gaussian_with_outliers
from tamperscope.types import Prediction, Sample

PLACES = [("astronaut", 0.05, 0.05), ("astronaut", 0.3, 0.35), ("astronaut", 0.05, 0.6)]
PLACES += [("coffee", 0.05, 0.6), ("coffee", 0.3, 0.35), ("coffee", 0.55, 0.05)]
Process = Callable[[np.ndarray], np.ndarray]


def resample(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    large = cv2.resize(rgb, None, fx=1.3, fy=1.3, interpolation=cv2.INTER_CUBIC)
    y, x = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[y : y + height, x : x + width]


def jpeg50(rgb: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)


def blur(rgb: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(rgb, (0, 0), 1.0)


def altered(rgb: np.ndarray, at: tuple[float, float], process: Process) -> tuple[np.ndarray, np.ndarray]:
    height, width = rgb.shape[:2]
    y, x, side = int(at[0] * height), int(at[1] * width), int(0.36 * min(height, width))
    mask = np.zeros((height, width), dtype=bool)
    mask[y : y + side, x : x + side] = True
    return np.where(mask[..., None], process(rgb), rgb), mask


def run(photo, process: Process) -> tuple[np.ndarray, np.ndarray]:
    """Pixel AUC and inlier share over all places."""
    detector = module.Splicebuster()
    found = []
    for name, *at in PLACES:
        rgb, mask = altered(photo(name), tuple(at), process)
        answer = detector.predict(Sample(rgb))
        assert answer.heatmap is not None
        found.append((roc_auc_score(mask.ravel(), answer.heatmap.ravel()), answer.evidence["inlier_share"]))
    return np.array(found)[:, 0], np.array(found)[:, 1]


@pytest.mark.parametrize(("process", "least"), [(resample, 0.88), (jpeg50, 0.88), (blur, 0.88)])
def test_another_history_is_found_and_is_not_absorbed(photo, process: Process, least: float) -> None:
    auc, share = run(photo, process)
    assert auc.mean() > least
    assert share.max() < 0.98, "an inlier share stuck at 1 means that nothing can be an outlier"


def test_the_same_areas_without_another_history_are_not_found(photo) -> None:
    auc, _ = run(photo, lambda rgb: rgb)
    assert abs(auc.mean() - 0.5) < 0.12


def test_dropping_the_normalisation_blinds_it(photo, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(photo, resample)
    monkeypatch.setattr(module, "fit_gaussian_with_outliers", partial(fit_gaussian_with_outliers, constant=0.0))
    dropped, share = run(photo, resample)
    assert share.min() > 0.98
    assert whole.mean() - dropped.mean() > 0.08


def test_map_stands_at_the_decision_level_and_regions_lie_on_the_area(photo) -> None:
    rgb, mask = altered(photo("coffee"), (0.3, 0.35), blur)
    answer = module.Splicebuster().predict(Sample(rgb))
    assert answer.heatmap is not None
    over = answer.heatmap > 0.5
    assert over[mask].mean() > 0.5
    assert over[~mask].mean() < 0.1
    x0, y0, x1, y1 = answer.regions[0].box
    assert mask[y0:y1, x0:x1].mean() > 0.5
    untouched = module.Splicebuster().predict(Sample(photo("coffee")))
    assert untouched.heatmap is not None
    assert (untouched.heatmap > 0.5).mean() < 0.2
    assert answer.score > untouched.score


def test_saturated_area_is_not_judged(photo) -> None:
    rgb = photo("coffee").copy()
    rgb[100:260, 200:380] = 255
    answer = module.Splicebuster().predict(Sample(rgb))
    assert answer.heatmap is not None
    assert answer.heatmap[140:220, 250:330].max() < 0.1
    assert answer.evidence["judged_share"] < 0.95


def test_same_picture_same_answer(photo) -> None:
    first, second = (module.Splicebuster().predict(Sample(photo("coffee"))) for _ in range(2))
    assert first.score == second.score
    np.testing.assert_array_equal(first.heatmap, second.heatmap)


def odd_pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    return {
        "one pixel": np.zeros((1, 1, 3), np.uint8),
        "line": np.zeros((1, 4000, 3), np.uint8),
        "tiny": rng.integers(0, 255, (7, 5, 3), dtype=np.uint8),
        "constant": np.full((300, 300, 3), 128, np.uint8),
        "white": np.full((300, 300, 3), 255, np.uint8),
        "ramp": np.repeat(ramp[..., None], 3, axis=2),
        "noise": rng.integers(0, 256, (200, 900, 3), dtype=np.uint8),
        "two levels": (rng.integers(0, 2, (260, 260, 1)) * 255).astype(np.uint8).repeat(3, axis=2),
        "narrow": rng.integers(100, 140, (130, 2000, 3), dtype=np.uint8),
        "half flat": np.concatenate(
            [np.full((300, 200, 3), 90, np.uint8), rng.integers(90, 110, (300, 200, 3), dtype=np.uint8)], axis=1
        ),
    }


@pytest.mark.parametrize("name", list(odd_pictures()))
@pytest.mark.filterwarnings("error")
def test_odd_pictures_get_an_answer(name: str) -> None:
    answer: Prediction = module.Splicebuster().predict(Sample(odd_pictures()[name]))
    if answer.status == "ok":
        assert 0.0 <= answer.score <= 1.0
        assert answer.heatmap is not None
        assert np.isfinite(answer.heatmap).all()
    else:
        assert answer.cause
