"""Results: every number with its count, comparisons, alarms and levels, and a document that reads back as it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tamperscope.bench import page, results, run, tables, view
from tamperscope.bench.protocol import Protocol, TestSet
from tamperscope.errors import InputError
from tamperscope.metrics.suites.base import Row
from tamperscope.verdict.card import shipped_card

PROTOCOL = Protocol(title="t", tests=(TestSet(name="set", manifest="m.jsonl"),), rounds=50, category="kind")


def _rows(f1: float, score: float, n: int = 40) -> list[Row]:
    """Forged and pristine rows in turn; forged ones have this mean F1 and score."""
    rows = []
    for i in range(n):
        forged = i % 2
        value = f1 + 0.01 * (i % 5 - 2) if forged else None
        values = {"imdl": {"pixel_f1": value, "pixel_auc": value}}
        fields = {"kind": "night" if i % 4 < 2 else "day", "status": "ok", "table": "q", "licence": "CC0"}
        probability = 0.9 if forged or i == 0 else 0.1
        rows.append(Row(f"p{i:02d}", f"g{i}", forged, score * forged + 0.01 * (i % 7), probability, values, fields))
    return rows


def _built(fused: list[Row]) -> results.Results:
    found = run.Measured(PROTOCOL.tests[0], entries=41, failed={"x.jpg": "DecodeError: no"})
    found.rows = {
        ("untouched", "fused"): fused,
        ("untouched", "ela"): _rows(0.2, 0.0),
        ("untouched", "centre_blob"): _rows(0.3, 0.0),
        ("untouched", "table_lookup"): _rows(0.3, 0.0),
    }
    return results.build(PROTOCOL, [found], "tamperscope bench x")


def test_a_result_is_clear_only_above_its_bar() -> None:
    built = _built(_rows(0.6, 5.0))
    clear = {(c.subject, c.metric): c.clear for c in built.comparisons}
    assert clear[("fused", "pixel_f1")]
    assert clear[("fused", "image_auc")]
    assert not clear[("ela", "pixel_f1")]  # clearly below the bar is not clear of it
    below = next(c for c in built.comparisons if (c.subject, c.metric) == ("ela", "pixel_f1"))
    assert below.high is not None
    assert below.high < 0
    assert {c.subject for c in built.comparisons} == {"fused", "ela"}


def test_counts_and_undefined_are_stated() -> None:
    built = _built(_rows(0.6, 5.0))
    number = built.number(subject="fused", metric="pixel_f1")
    assert number is not None
    assert (number.n, number.undefined) == (20, 20)
    assert built.tests[0].model_dump(include={"pictures", "forged", "pristine", "licences"}) == {
        "pictures": 41,
        "forged": 20,
        "pristine": 20,
        "licences": ["CC0"],
    }
    lookup = [n.metric for n in built.numbers if n.subject == "table_lookup"]
    assert "image_auc" in lookup
    assert not [m for m in lookup if m.startswith("pixel") or "accuracy" in m]


def test_false_alarms_by_category() -> None:
    alarms = {(a.subject, a.category): a for a in _built(_rows(0.6, 5.0)).alarms}
    assert alarms[("fused", "night")].value == pytest.approx(1 / 10)
    assert alarms[("fused", "day")].value == 0.0
    assert alarms[("fused", "day")].n == 10
    assert ("centre_blob", "day") not in alarms


def test_levels_of_the_verdict() -> None:
    edge = shipped_card().thresholds["suspicious"].llr
    rows = [
        Row(f"p{i}", f"g{i}", int(i < 4), edge + 0.1 if i < 3 else -9.0 if i < 7 else math.nan, fields={"status": "ok"})
        for i in range(8)
    ]
    shares = {(s.level, s.label): s.value for s in _built(rows).levels}
    assert shares[("suspicious", 1)] == 0.75
    assert shares[("suspicious", 0)] == 0.0
    assert shares[("inconclusive", 0)] == 0.25  # what could not be weighed is inconclusive


def test_the_worst_pictures_come_first() -> None:
    worst = _built(_rows(0.6, 5.0)).worst
    forged = [w for w in worst if w.label == 1]
    assert forged == sorted(forged, key=lambda w: w.value)
    assert forged[0].value == pytest.approx(0.58)
    pristine = [w.value for w in worst if w.label == 0]
    assert pristine == sorted(pristine, reverse=True)


def test_the_document_reads_back(tmp_path: Path) -> None:
    built = _built(_rows(0.6, 5.0))
    (tmp_path / "r.json").write_text(built.model_dump_json(indent=1))
    assert results.load(tmp_path / "r.json") == built
    assert "NaN" not in built.model_dump_json()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"title": "other"}', "source: Field required; trained_on: Field required; "),
        (b"[]", "Input should be an object, found []; "),
        (b"\xff", "Invalid JSON: "),
    ],
)
def test_what_is_no_document_is_told_in_one_line(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as told:
        results.load(path)
    message = str(told.value)
    assert message.startswith(f"expected the results.json of a bench at '{path}': {said}")
    assert message.endswith("; run the bench again")
    assert "\n" not in message


def test_the_mean_is_over_sets_and_only_of_those_who_answered_half_of_each() -> None:
    found = []
    for name, f1 in (("first", 0.6), ("second", 0.2)):
        one = run.Measured(TestSet(name=name, manifest="m.jsonl"), entries=40)
        one.rows = {("untouched", "fused"): _rows(f1, 5.0), ("untouched", "centre_blob"): _rows(0.3, 0.0)}
        if name == "first":
            one.rows[("untouched", "ela")] = _rows(0.9, 0.0)
        one.rows[("untouched", "dq")] = _rows(0.9, 5.0, 40 if name == "first" else 20)
        one.rows[("untouched", "blk")] = _rows(0.95, 5.0, 40 if name == "first" else 18)
        found.append(one)
    built = results.build(PROTOCOL, found, "cmd")
    mean = built.number(test=results.MEAN, subject="fused", metric="pixel_f1")
    assert mean is not None
    assert (mean.value, mean.n, mean.low) == (pytest.approx(0.4), 2, None)
    assert built.number(test=results.MEAN, subject="ela", metric="pixel_f1") is None
    assert built.number(test=results.MEAN, subject="dq", metric="pixel_f1") is not None
    assert built.number(test=results.MEAN, subject="blk", metric="pixel_f1") is None
    assert "half of the pictures" in tables.markdown(built)
    said = " ".join(view.summary(built))
    assert "On second (imdl) the best subject by pixel_f1 is dq" in said, "blk has more, of fewer pictures"
    assert "On mean over sets (imdl) the best subject by pixel_f1 is dq with .900 over 2 sets." in said
    assert results.MEAN in tables.markdown(built)
    assert "Mean over sets" in page.html(built)
    alone = _built(_rows(0.6, 5.0))
    assert alone.number(test=results.MEAN) is None
    assert "Mean over sets" not in page.html(alone)
