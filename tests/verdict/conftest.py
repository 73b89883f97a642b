"""A small card whose numbers can be followed by hand."""

from __future__ import annotations

import pytest

from tamperscope.verdict.card import CalibrationCard, Curve, Threshold


def curve(family: str, counts: bool = True) -> Curve:
    line = (-1.0, 0.0, 4.0)
    return Curve(
        family=family,
        counts=counts,
        why="by hand",
        scores=(0.0, 1.0, 5.0),
        llr=line,
        low=line,
        high=line,
        heat_llr=(-3.0, 0.0, 6.0),
    )


@pytest.fixture
def card() -> CalibrationCard:
    rates = {"inconclusive": (1.0, 0.15), "suspicious": (2.0, 0.05), "strong_evidence": (3.0, 0.01)}
    return CalibrationCard(
        population="by hand",
        detectors={
            "zero": curve("jpeg_grid"),
            "blk": curve("jpeg_grid"),
            "copy_move": curve("duplication"),
            "ela": curve("jpeg_history", counts=False),
        },
        weights={"jpeg_grid": 1.0, "duplication": 0.5},
        intercept=0.0,
        pixel_prior=-2.0,
        thresholds={k: Threshold(llr=v, false_alarm_rate=r, low=0.0, high=1.0) for k, (v, r) in rates.items()},
    )
