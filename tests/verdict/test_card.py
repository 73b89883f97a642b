"""The calibration card: curves, levels, and refusal of nonsense."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tamperscope import registry
from tamperscope.errors import InputError
from tamperscope.types import Prediction
from tamperscope.verdict import card as cards
from tamperscope.verdict.card import LEVELS, Calibrated, CalibrationCard, Curve, Threshold, shipped_card

CURVE = {
    "family": "noise",
    "counts": True,
    "why": "",
    "scores": (0.0, 1.0, 4.0),
    "llr": (-1.0, 0.5, 3.0),
    "low": (-1.5, 0.0, 2.0),
    "high": (-0.5, 1.0, 4.0),
    "heat_llr": (-2.0, 0.0, 2.0),
}


def test_curve_interpolates_and_holds_beyond_its_ends() -> None:
    curve = Curve(**CURVE)
    assert curve.at(0.5).llr == pytest.approx(-0.25)
    assert curve.at(-9).llr == -1.0
    assert curve.at(99).llr == 3.0
    assert curve.at(0.5).low < curve.at(0.5).llr < curve.at(0.5).high
    assert curve.at(1.0).probability == pytest.approx(1 / (1 + math.exp(-0.5)))
    table = curve.heat_table()
    assert (table[0], table[255]) == (-2.0, 2.0)
    assert (np.diff(table) >= 0).all()


@pytest.mark.parametrize(
    "change",
    [{"scores": (0.0, 0.0, 4.0)}, {"llr": (1.0,)}, {"heat_llr": (0.0,)}, {"surprise": 1}, {"scores": ()}],
)
def test_malformed_curves_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Curve(**{**CURVE, **change})


def test_card_needs_every_level() -> None:
    part = Threshold(llr=0.0, false_alarm_rate=0.1, low=0.0, high=0.2)
    with pytest.raises(ValidationError, match="suspicious"):
        CalibrationCard(
            population="", detectors={}, weights={}, intercept=0, pixel_prior=0, thresholds={"inconclusive": part}
        )


def test_a_broken_card_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stated = shipped_card().model_dump(mode="json")
    stated["detectors"]["ela"]["counts"] = "maybe"
    (tmp_path / "calibration.json").write_text(json.dumps(stated))
    monkeypatch.setattr(cards.resources, "files", lambda package: tmp_path)
    with pytest.raises(InputError) as told:
        shipped_card.__wrapped__()
    assert str(told.value) == (
        "weights/calibration.json: expected a calibration card: detectors.ela.counts: Input should be a valid boolean, "
        "unable to interpret input, found 'maybe'; install tamperscope again, or make it anew with scripts/calibrate.py"
    )


@pytest.mark.parametrize("network", [True, False])
def test_shipped_card_knows_every_detector_and_its_family(network: bool) -> None:
    card = shipped_card(network)
    # `spectrum` and `text` are not weighed yet; `generated`, `invented` and `pages` have curves in their own cards.
    expected = set(registry.names()) - {"generated", "invented", "pages", "spectrum", "text"}
    expected -= set() if network else {registry.SHIPPED_NETWORK}
    assert set(card.detectors) == expected
    for name, curve in card.detectors.items():
        assert curve.family == registry.load(name).family
        assert curve.why
        assert (np.diff(curve.llr) >= 0).all(), "more suspicious must never be worth less"
        assert all(lo <= v <= hi for lo, v, hi in zip(curve.low, curve.llr, curve.high, strict=True))
    edges = [card.thresholds[level].llr for level in LEVELS[1:]]
    assert edges == sorted(edges)
    rates = [card.thresholds[level].false_alarm_rate for level in LEVELS[1:]]
    assert rates == sorted(rates, reverse=True)
    assert rates[1] <= 0.05
    assert rates[2] <= 0.01
    assert card.provenance["licence"]
    assert "authentic" not in card.model_dump_json().lower()


def test_levels_begin_at_their_thresholds() -> None:
    card = shipped_card()
    for level in LEVELS[1:]:
        edge = card.thresholds[level].llr
        assert card.level(edge) == level
        assert LEVELS.index(card.level(edge - 1e-6)) < LEVELS.index(level)


def test_what_has_no_score_has_no_worth() -> None:
    card = shipped_card()
    assert card.calibrate(Prediction("zero", (8, 8))) is None
    assert card.calibrate(Prediction("zero", (8, 8), status="not_applicable", cause="no grid")) is None
    assert card.calibrate(Prediction("of_another_package", (8, 8), 3.0)) is None


def test_a_few_sources_cap_what_a_score_is_worth() -> None:
    told = {"scores": (0, 1, 2), "llr": (-3, 1, 4), "low": (-4, 0, 2), "high": (0, 2, 5), "heat_llr": (0, 1)}
    curve = Curve.model_validate({"family": "network", "counts": True, "why": "few", **told})
    capped = curve.capped(4)
    assert (capped.llr, capped.low, capped.high) == ((-3, 1, 1.6094), (-4, 0, 1.6094), (0, 1.6094, 1.6094))
    assert curve.capped(10_000) == curve


def test_evidence_may_begin_at_a_score() -> None:
    told = {"scores": (0, 1, 2), "llr": (0, 1, 4), "low": (0, 0, 2), "high": (0, 2, 5), "heat_llr": (0, 1)}
    curve = Curve.model_validate({"family": "network", "counts": True, "why": "few", **told})
    found = Curve.model_validate(curve.from_score(1.5).model_dump())
    for score in (-1, 0.5, 1, 1.49):
        assert found.at(score) == Calibrated(0, 0, 0)
    for score in (1.5, 1.7, 2, 9):
        assert found.at(score) == curve.at(score)
    assert curve.from_score(7).at(6.9) == Calibrated(0, 0, 0)
    assert curve.from_score(7).at(7) == curve.at(2)


def test_a_network_whose_card_says_no_calibration_is_told_so() -> None:
    card = shipped_card()
    assert card.with_network("new", "network", None) is card
    assert card.with_network("blk", "network", {"scores": []}) is card
    with pytest.raises(InputError, match=r"calibration of 'new'.*export the network again"):
        card.with_network("new", "network", {"scores": "many"})


@pytest.mark.parametrize("field", ["scores", "llr", "low", "high", "heat_llr"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(field: str, value: float) -> None:
    stated = {**CURVE, field: (*CURVE[field][:2], value)}  # type: ignore[index]
    del stated["family"]
    with pytest.raises(InputError, match=rf"calibration of 'new': {field}\.2: .*finite.*export the network again"):
        shipped_card().with_network("new", "network", stated)
