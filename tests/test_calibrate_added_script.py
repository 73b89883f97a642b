"""scripts/calibrate_added.py: what is counted as raised, and by which evidence."""

from __future__ import annotations

import calibrate_added as script

from tamperscope.verdict.card import shipped_card


def test_a_file_is_raised_to_each_level_that_it_reaches_only_with_the_networks():
    moved = [
        ("a", "no_evidence", "suspicious"),
        ("a", "inconclusive", "inconclusive"),
        ("b", "suspicious", "suspicious"),
    ]
    lines = script.table({"a": 4, "b": 2}, moved)
    raised = {(line[0], line[1]): line[3:] for line in lines}
    assert raised["inconclusive", "a"] == raised["suspicious", "a"] == ["1", "25.00%"]
    assert raised["strong_evidence", "a"] == ["0", "0.00%"]
    assert {tuple(value) for (_, kind), value in raised.items() if kind == "b"} == {("0", "0.00%")}


def test_both_networks_count_by_cards_of_their_own_that_the_scan_is_not_calibrated_with():
    card = shipped_card()
    whole = script.completed(card)
    own = {name: whole.detectors[name] for name in script.ADDED}
    assert all(curve.counts for curve in own.values())
    assert not set(own) & set(card.detectors)
    certain = own["invented"].scores[-1]
    assert script.level({"zero": 0.0, "invented": certain}, card) == script.level({"zero": 0.0}, card) == "no_evidence"
    assert script.level({"zero": 0.0, "invented": certain}, whole) == "suspicious"
