"""Families count once, silence is neutral, and only calibrated evidence moves the verdict."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from tamperscope.types import Finding, Prediction
from tamperscope.verdict import fusion
from tamperscope.verdict.card import CalibrationCard, shipped_card
from tamperscope.verdict.fusion import decide, fuse_maps

SIZE = (40, 60)


def say(detector: str, score: float) -> Prediction:
    return Prediction(detector, SIZE, score)


def abstain(detector: str) -> Prediction:
    return Prediction(detector, SIZE, status="not_applicable", cause="no grid here")


def test_one_family_counts_once(card: CalibrationCard) -> None:
    alone = decide([say("zero", 5)], [], card)
    both = decide([say("zero", 5), say("blk", 4)], [], card)
    assert alone.llr == both.llr == pytest.approx(4.0)


def test_families_add_with_their_weights(card: CalibrationCard) -> None:
    verdict = decide([say("zero", 3), say("copy_move", 5)], [], card)
    assert verdict.llr == pytest.approx(2.0 + 0.5 * 4.0)
    assert verdict.level == "strong_evidence"
    assert [r.origin for r in verdict.reasons_for] == ["copy_move", "zero"] or verdict.reasons_for[0].weight == 2.0


def test_abstention_is_neutral_not_reassuring(card: CalibrationCard) -> None:
    with_it = decide([say("copy_move", 5), abstain("zero")], [], card)
    assert with_it.llr == decide([say("copy_move", 5)], [], card).llr
    assert ("zero", "no grid here") in with_it.not_checked


def test_what_does_not_count_never_moves_the_verdict(card: CalibrationCard) -> None:
    quiet = [say("zero", 0), say("copy_move", 0)]
    loud = [*quiet, say("ela", 99), say("stranger", 99)]
    assert decide(loud, [], card).llr == decide(quiet, [], card).llr
    named = [what for what, _ in decide(loud, [], card).not_checked]
    assert named == ["ela", "stranger"]


def test_nothing_to_weigh_is_inconclusive(card: CalibrationCard) -> None:
    verdict = decide([abstain("zero"), say("ela", 9)], [], card)
    assert verdict.level == "inconclusive"
    assert math.isnan(verdict.llr)


@pytest.mark.parametrize(("declared", "level"), [("generated", "strong_evidence"), ("edited_by_ai", "suspicious")])
def test_a_declared_generator_sets_a_floor(card: CalibrationCard, declared: str, level: str) -> None:
    mark = Finding("mark.generator", "It says so.", "warning", {"declared": declared}, "png")
    verdict = decide([say("zero", 0)], [mark], card)
    assert verdict.level == level
    assert verdict.declared
    strong = decide([say("zero", 5), say("copy_move", 5)], [mark], card)
    assert strong.level == "strong_evidence"


def test_container_warnings_are_stated_but_not_weighed(card: CalibrationCard) -> None:
    odd = Finding("jpeg.trailing_bytes", "There are bytes after the end.", "warning", {}, "jpeg")
    verdict = decide([say("zero", 0)], [odd], card)
    assert verdict.level == "no_evidence"
    assert any(r.text == odd.text and r.weight == 0 for r in verdict.reasons_for)


def test_level_never_falls_when_a_score_rises(card: CalibrationCard) -> None:
    llrs = [decide([say("zero", s), say("copy_move", 1)], [], card).llr for s in np.linspace(0, 6, 30)]
    assert llrs == sorted(llrs)


def test_fused_map_follows_the_evidence_and_its_reliability(card: CalibrationCard) -> None:
    heat = np.zeros(SIZE, np.uint8)
    heat[5:15, 10:30] = 255
    sure = decide([say("zero", 5)], [], card)
    unsure = decide([say("zero", 0)], [], card)
    loud = fuse_maps({"zero": heat}, sure.calibrated, card)
    quiet = fuse_maps({"zero": heat}, unsure.calibrated, card)
    assert loud is not None
    assert quiet is not None
    assert (loud[heat == 255] > 0.5).all()
    assert (loud[heat == 0] < 0.1).all()
    assert quiet[heat == 255].max() < loud[heat == 255].min()
    expected = 1 / (1 + math.exp(-(6.0 * sure.calibrated["zero"].probability - 2.0)))
    assert loud[10, 20] == pytest.approx(expected, abs=1e-5)


def test_maps_of_one_family_take_the_stronger_not_the_sum(card: CalibrationCard) -> None:
    heat = np.full(SIZE, 200, np.uint8)
    verdict = decide([say("zero", 5), say("blk", 5)], [], card)
    one = fuse_maps({"zero": heat}, verdict.calibrated, card)
    two = fuse_maps({"zero": heat, "blk": heat}, verdict.calibrated, card)
    np.testing.assert_array_equal(one, two)


def test_no_counting_map_gives_no_fused_map(card: CalibrationCard) -> None:
    verdict = decide([say("ela", 5)], [], card)
    assert fuse_maps({"ela": np.zeros(SIZE, np.uint8)}, verdict.calibrated, card) is None


def test_what_hardly_moves_the_odds_is_no_reason() -> None:
    edges = {"scores": (0.0, 1.0), "low": (0.0, 0.0), "high": (1.0, 1.0), "heat_llr": (0.0, 0.0)}
    curve = shipped_card().detectors["zero"]
    faint = curve.model_copy(update={**edges, "llr": (0.0, 0.05)})
    loud = curve.model_copy(update={**edges, "llr": (0.0, 2.0)})
    for worth, count in ((faint, 0), (loud, 1)):
        card = shipped_card().model_copy(update={"detectors": {"zero": worth}, "weights": {worth.family: 1.0}})
        verdict = decide([Prediction("zero", (8, 8), 1.0)], [], card)
        assert len(verdict.reasons_for) == count
        assert verdict.llr == pytest.approx(card.intercept + worth.llr[1])


def test_pixel_weights_say_what_a_family_counts_on_a_pixel(card: CalibrationCard) -> None:
    heat = np.full(SIZE, 200, np.uint8)
    verdict = decide([say("zero", 5)], [], card)

    def odds(weight: float) -> float:
        weighed = card.model_copy(update={"pixel_weights": {card.detectors["zero"].family: weight}})
        fused = fuse_maps({"zero": heat}, verdict.calibrated, weighed)
        assert fused is not None
        return float(np.log(fused[0, 0] / (1 - fused[0, 0]))) - card.pixel_prior

    assert odds(0.0) == pytest.approx(0.0, abs=1e-3)
    assert odds(0.5) == pytest.approx(odds(1.0) / 2, rel=1e-3)


def test_what_found_nothing_is_no_reason_for_an_alteration(card: CalibrationCard) -> None:
    quiet = Finding("jpeg_ghost.none", "No earlier JPEG quality is found in one part and missing from another.")
    real = Finding("network.share", "The network takes 9 % of the picture for forged.", "info")
    for found, said in (([quiet], "higher than in most pristine"), ([quiet, real], "takes 9 %"), ([], "higher than")):
        verdict = decide([Prediction("zero", SIZE, 3.0, reasons=found)], [], card)
        assert said in verdict.reasons_for[0].text


def test_quiet_reasons_are_those_of_detectors() -> None:
    folder = Path(str(resources.files("tamperscope.detectors")))
    for code in fusion._QUIET:
        assert f'"{code}"' in (folder / f"{code.partition('.')[0]}.py").read_text(encoding="utf-8")


def test_a_file_that_is_cut_off_does_not_speak_for_alteration(card: CalibrationCard) -> None:
    cut = Finding("media.truncated", "The picture data are cut off.", "warning", {}, "media")
    assert decide([], [cut], card).reasons_for == []


def test_looks_make_strong_evidence_only_of_traces_that_are_suspicious_without_them(card: CalibrationCard) -> None:
    looks = card.detectors["zero"].model_copy(
        update={"family": "content", "scores": (0.0, 1.0), "llr": (0.0, 9.0), "low": (0.0, 9.0), "high": (0.0, 9.0)}
    )
    whole = card.with_detector("invented", looks)
    seen = set()
    for score in np.linspace(*card.detectors["zero"].scores[:: len(card.detectors["zero"].scores) - 1], 60):
        alone = decide([say("zero", float(score))], [], card)
        both = decide([say("zero", float(score)), say("invented", 1.0)], [], whole)
        assert both.llr >= alone.llr
        assert both.level in ("suspicious", "strong_evidence")
        assert (both.level == "strong_evidence") == (alone.level in ("suspicious", "strong_evidence"))
        assert both.level == whole.level(both.llr)
        seen.add(both.level)
    assert seen == {"suspicious", "strong_evidence"}
