"""The sentence on top of a report: what it calls a sign of manipulation, and what it does not."""

from __future__ import annotations

from tamperscope.scanning.headline import headline
from tamperscope.types import Region
from tamperscope.verdict.fusion import Reason, Verdict


def test_without_a_sign_for_it_no_sign_is_claimed() -> None:
    sign = Reason("A grid lies elsewhere.", 0.8, "zero")
    told = Reason("The file names an editor.", 0.0, "exif")
    for llr, reasons, said in ((-0.3, [sign], "settle"), (0.1, [told], "settle"), (0.1, [sign], "Weak signs")):
        assert said in headline(Verdict("inconclusive", llr, {}, reasons), [])


def test_looks_are_called_looks_and_not_manipulation() -> None:
    looks, trace = Reason("looks", 3.0, "invented"), Reason("copied", 2.0, "copy_move")
    for level in ("inconclusive", "suspicious"):
        assert "image generators" in headline(Verdict(level, 0.5, {}, [looks, trace]), [])
        assert "manipulation" in headline(Verdict(level, 0.5, {}, [trace, looks]), [])
        assert "1 region" in headline(Verdict(level, 0.5, {}, [looks]), [Region((0, 0, 9, 9))])
    assert "manipulation" in headline(Verdict("strong_evidence", 3.0, {}, [looks]), [])
