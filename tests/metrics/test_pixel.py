"""Pixel metrics: parity with IMDL-BenCo and TruFor, and each convention by what it must change."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.metrics import confusion, image, pixel

FIXTURE = json.loads((Path(__file__).parent / "parity_benco.json").read_text())
SIDE = 32


def _inputs(case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, float]:
    """Rebuild the fixture's inputs from its formulas."""
    k = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    u = ((k * (2654435761 + 97)) % 2**32) / 2**32
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:20, 10:26] = True
    none, everything, tiny = np.zeros_like(mask), np.ones_like(mask), np.zeros_like(mask)
    tiny[5, 0:3] = True
    good = 0.35 * u + 0.6 * mask
    valid = np.zeros_like(mask)
    valid[:24, :28] = True
    cases: dict[str, Any] = {
        "random": (u, mask, None, 0.5),
        "good": (good, mask, None, 0.5),
        "inverted": (1 - good, mask, None, 0.5),
        "authentic_clean": (0.4 * u, none, None, 0.5),
        "authentic_false_alarm": (u, none, None, 0.5),
        "full_mask": (u, everything, None, 0.5),
        "tiny_mask": (0.35 * u + 0.6 * tiny, tiny, None, 0.5),
        "shape_mask": (good, mask, valid, 0.5),
        "threshold_0.3": (good, mask, None, 0.3),
    }
    p, m, v, t = cases[case]
    return p.astype(np.float32), m, v, t


@pytest.mark.parametrize("case", [c for c in FIXTURE["cases"] if c != "image_level"])
def test_parity_with_imdl_benco(case: str) -> None:
    scores, truth, valid, threshold = _inputs(case)
    expected = FIXTURE["cases"][case]
    names = {"f1": "f1", "iou": "iou", "accuracy": "acc", "auc": "auc"}
    options: dict[str, Any] = {"threshold": threshold, "authentic": "zero", "valid": valid}
    by = {p: pixel.measure(scores, truth, tuple(names), polarity=p, **options) for p in ("normal", "inverted", "best")}
    turned = confusion.counts(scores, truth, threshold, valid).complement
    forged = truth.any()
    by["inverted"]["f1"] = turned.f1 if forged else 0.0
    by["inverted"]["accuracy"] = turned.accuracy
    for metric in ("f1", "accuracy"):
        by["best"][metric] = max(by["normal"][metric], by["inverted"][metric])
    for ours, theirs in names.items():
        for polarity, tail in (("normal", "origin"), ("inverted", "reverse"), ("best", "double")):
            wanted = expected[f"{theirs}_{tail}"]
            found = by[polarity][ours]
            if wanted is None:
                assert math.isnan(found)
            else:
                assert found == pytest.approx(wanted, abs=1e-6), f"{case} {ours} {tail}"


def test_image_level_parity_with_imdl_benco() -> None:
    case = FIXTURE["cases"]["image_level"]
    found = image.measure(case["scores"], np.array(case["labels"]) == 1, ("f1", "auc", "accuracy"))
    for ours, theirs in (("f1", "ImageF1"), ("auc", "ImageAUC"), ("accuracy", "ImageAccuracy")):
        assert found[ours] == pytest.approx(case[theirs], abs=1e-6)


def _trufor(heat: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """TruFor's formula by brute force: minimum and maximum filters, every threshold, both polarities."""
    inside = ndimage.minimum_filter(mask, 15)
    outside = ~ndimage.maximum_filter(mask, 11)
    s, t = heat[inside | outside], mask[inside | outside]

    def f1(called: np.ndarray) -> float:
        tp = (called & t).sum()
        return float(2 * tp / (2 * tp + (called & ~t).sum() + (~called & t).sum()))

    best = max(f1(v >= x) for v in (s, 1 - s) for x in np.unique(v))
    return best, max(f1(s > 0.5), f1(1 - s > 0.5))


def test_truefors_formula(rng: np.random.Generator) -> None:
    mask = np.zeros((70, 60), bool)
    mask[0:36, 20:50] = True
    heat = np.round(np.clip(0.4 * mask + 0.7 * rng.random(mask.shape), 0, 1), 2).astype(np.float32)
    for scores in (heat, 1 - heat):
        found = pixel.measure(scores, mask, ("best_f1", "f1"), polarity="best", boundary=(15, 11))
        assert (found["best_f1"], found["f1"]) == pytest.approx(_trufor(scores, mask), abs=1e-9)
    free = pixel.measure(heat, mask, ("best_f1",))["best_f1"]
    assert free != pytest.approx(found["best_f1"], abs=1e-4)


def test_what_an_authentic_picture_is_worth() -> None:
    quiet, loud, none = np.zeros((6, 6)), np.full((6, 6), 0.9), np.zeros((6, 6), bool)
    for name in ("f1", "iou", "recall", "mcc", "auc", "ap", "best_f1", "soft_f1"):
        assert math.isnan(pixel.measure(quiet, none, (name,))[name])
        assert pixel.measure(loud, none, (name,), authentic="zero")[name] == 0.0
    assert pixel.measure(quiet, none, ("f1", "soft_iou"), authentic="one") == {"f1": 1.0, "soft_iou": 1.0}
    assert pixel.measure(loud, none, ("f1", "soft_iou"), authentic="one") == {"f1": 0.0, "soft_iou": 0.0}
    assert math.isnan(pixel.measure(quiet, none, ("auc",), authentic="one")["auc"])
    assert pixel.measure(loud, none, ("false_positive_rate", "accuracy")) == {
        "false_positive_rate": 1.0,
        "accuracy": 0.0,
    }


def test_inverting_the_map_inverts_the_rank(rng: np.random.Generator) -> None:
    heat, mask = rng.random((20, 20)).astype(np.float32), rng.random((20, 20)) < 0.3
    plain = pixel.measure(heat, mask)
    turned = pixel.measure(heat, mask, polarity="inverted")
    assert turned["auc"] == pytest.approx(1 - plain["auc"], abs=1e-6)
    best = pixel.measure(heat, mask, polarity="best")
    for name in pixel.METRICS:
        pick = min if name == "false_positive_rate" else max
        assert best[name] == pick(plain[name], turned[name])


def test_only_valid_pixels_count(rng: np.random.Generator) -> None:
    heat, mask = rng.random((20, 30)), rng.random((20, 30)) < 0.3
    valid = np.zeros((20, 30), bool)
    valid[:12, :17] = True
    changed = np.where(valid, heat, 1 - heat)
    assert pixel.measure(changed, mask, valid=valid) == pixel.measure(heat[:12, :17], mask[:12, :17])


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidValueError, match="sigmoid"):
        pixel.measure(np.full((2, 2), 1.0001), np.zeros((2, 2), bool))
    with pytest.raises(InvalidValueError, match="one shape"):
        pixel.measure(np.zeros((2, 2)), np.zeros((4,), bool))
    with pytest.raises(InvalidValueError, match="polarity"):
        pixel.measure(np.zeros((2, 2)), np.eye(2) > 0, polarity="reverse")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="authentic"):
        pixel.measure(np.zeros((2, 2)), np.zeros((2, 2), bool), authentic="best")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="best_f1"):
        pixel.measure(np.zeros((2, 2)), np.eye(2) > 0, ("bestf1",))
