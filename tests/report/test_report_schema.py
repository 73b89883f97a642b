"""The report as data: strict JSON, a stable schema, maps that keep their level."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tamperscope.detectors.base import Guide
from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.report import ErrorReport, Report, schema
from tamperscope.types import Finding, Prediction, Region

SNAPSHOT = Path(__file__).with_name("schema_v1.json")


def strict(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"not strict JSON: {constant}")

    return json.loads(text, parse_constant=refuse)


def test_report_round_trips_through_json(report):
    assert schema.ROW.validate_json(report.to_json()) == report
    assert strict(report.to_json(indent=None)) == report.to_dict()
    assert "\n" not in report.to_json(indent=None)


def test_json_carries_no_pictures_and_a_copy_keeps_them(report):
    again = Report.model_validate(report.to_dict())
    assert again.rgb is None
    assert again.maps == {}
    assert len(report.to_json()) < 40_000
    assert report.maps.keys() == {"zero", "noiseprint", "copy_move", "ela", "fused"}


def test_not_finite_numbers_become_null_everywhere(make_report):
    data = make_report().to_dict()
    nan, inf = math.nan, math.inf
    data["facts"] = {"a": nan, "b": [inf, {"c": np.float32(-inf)}], "d": np.array([1.0, np.nan])}
    data["verdict"] |= {"llr": nan, "probability": np.float64(nan)}
    data["verdict"]["regions"][0] |= {"score": inf, "area_share": nan, "values": {"nfa": inf}}
    data["predictions"][0] |= {"score": -inf, "evidence": {"x": nan}, "seconds": nan}
    data["predictions"][0]["calibrated"] |= {"llr": nan, "low": -inf, "high": inf}
    data["verdict"]["thresholds"][0]["false_alarm_rate"] = nan
    found = strict(Report.model_validate(data).to_json())
    assert found["facts"] == {"a": None, "b": [None, {"c": None}], "d": [1.0, None]}
    assert found["verdict"]["llr"] is None
    assert found["verdict"]["regions"][0]["area_share"] is None
    assert found["predictions"][0]["score"] is None
    assert found["predictions"][0]["calibrated"]["low"] is None
    assert found["verdict"]["thresholds"][0]["false_alarm_rate"] is None


def test_facts_of_any_type_become_json():
    value = {
        1: b"\x00\xff",
        "set": {"b", "a"},
        "name": "a\udc80",
        "n": np.int64(3),
        "path": Path("x"),
        "flag": np.True_,
    }
    expected = {"1": "00ff", "set": ["a", "b"], "name": "a\\udc80", "n": 3, "path": "x", "flag": True}
    assert schema.json_ready(value) == expected


def test_json_is_ascii_so_that_it_cannot_steer_a_terminal(make_report):
    report = make_report(name="\x1b[31m\u202e\x9b2J.jpg")
    text = report.to_json()
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["intake"]["name"] == "\x1b[31m\u202e\x9b2J.jpg"


def shape(node: dict) -> list[str]:
    """What a schema node admits, free of the wording that differs between versions of pydantic."""
    found: set[str] = set()
    for part in (node, *node.get("anyOf", []), *node.get("allOf", [])):
        found |= {str(value) for value in part.get("enum", [])} | {str(v) for k, v in part.items() if k == "const"}
        found |= {part["$ref"].rpartition("/")[2]} if "$ref" in part else set()
        found |= {part["type"]} if isinstance(part.get("type"), str) else set()
        if isinstance(part.get("items"), dict):
            found |= {f"[{' '.join(shape(part['items']))}]"}
    return sorted(found)


def test_schema_is_the_published_one_and_explains_every_field():
    models = schema.ROW.json_schema()["$defs"]
    current = {
        name: {key: shape(field) + ["required"] * (key in model.get("required", [])) for key, field in props.items()}
        for name, model in models.items()
        if (props := model["properties"])
    }
    text = json.dumps({"schema_version": schema.SCHEMA_VERSION, "models": current}, indent=1, sort_keys=True) + "\n"
    assert text == SNAPSHOT.read_text(encoding="utf-8"), f"raise SCHEMA_VERSION and write the new snapshot:\n{text}"
    for name, model in models.items():
        assert model.get("description"), name
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key} has no description"


def test_shares_out_of_range_and_unknown_fields_are_refused():
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        schema.RegionModel(box=(0, 0, 1, 1), area_share=1.2)
    with pytest.raises(ValidationError, match="Extra inputs"):
        schema.Reason(text="x", wieght=1.0)


def test_models_are_frozen(report):
    with pytest.raises(ValidationError, match="frozen"):
        report.verdict.level = "no_evidence"


@pytest.mark.parametrize(
    ("level", "code"), [("no_evidence", 0), ("inconclusive", 2), ("suspicious", 3), ("strong_evidence", 3)]
)
def test_exit_codes(make_report, level, code):
    assert make_report(level=level).exit_code == code


def test_error_record_is_told_from_a_report_by_its_status():
    record = ErrorReport(name="a.jpg", error="DecodeError", message="no pixel could be decoded")
    assert record.exit_code == 1
    assert schema.ROW.validate_json(record.to_json()) == record
    assert record.to_dict()["status"] == "error"


def test_map_keeps_which_side_of_the_level_each_value_lies_on(make_report):
    report = make_report()
    size = report.picture.height, report.picture.width
    heat = np.random.default_rng(3).random(size, dtype=np.float32)
    heat[0, :4] = [0.5, np.nextafter(np.float32(0.5), np.float32(1)), np.float32(0.4999), np.float32(0.5001)]
    stored = report.with_pictures(None, {"zero": heat})
    assert np.array_equal(stored.maps["zero"] > 127, heat > 0.5)
    assert stored.map("zero").dtype == np.float32
    assert np.abs(stored.map("zero") - heat).max() <= 0.5 / 255 + 1e-6


def test_nan_and_out_of_range_heat_is_bounded(make_report):
    report = make_report()
    heat = np.full((report.picture.height, report.picture.width), np.nan, np.float32)
    heat[0, 0], heat[0, 1] = 7.0, -2.0
    stored = report.with_pictures(None, {"zero": heat}).maps["zero"]
    assert (stored[0, 0], stored[0, 1], stored[1, 1]) == (255, 0, 0)


def test_pictures_of_another_size_are_refused(report):
    with pytest.raises(InvalidValueError, match="map 'zero'"):
        report.with_pictures(None, {"zero": np.zeros((3, 3), np.float32)})
    with pytest.raises(InvalidValueError, match="rgb"):
        report.with_pictures(np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(UnknownNameError, match="did you mean 'zero'"):
        report.map("zeroo")


def test_intake_is_built_from_what_media_notes(encode, photo):
    from tamperscope import media

    opened = media.open(encode(photo("coffee"), "PNG"), name="coffee.jpg")
    intake = schema.Intake.of(opened.intake)
    assert (intake.type_by_magic, intake.type_by_extension, intake.complete) == ("PNG", "JPEG", True)
    assert len(intake.sha256) == 64
    bare = schema.Intake.of(media.open(photo("coffee")).intake)
    assert (bare.sha256, bare.bytes, bare.type_by_magic) == (None, None, None)
    assert bare.not_read


def test_models_are_built_from_the_nouns_of_the_package():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    region = Region((2, 1, 8, 5), mask, score=math.nan, origin="zero", values={"n": np.int16(3)})
    prediction = Prediction(
        "zero",
        (20, 30),
        score=math.inf,
        regions=[region],
        reasons=[Finding("a.b", "c", "notice")],
        evidence={"k": (1, 2)},
    )
    model = schema.PredictionModel.of(prediction, guide=Guide("a", "b", "c"), family="jpeg_grid", counts=True)
    assert model.score is None
    assert model.guide.when_it_lies == "c"
    assert model.regions[0].area_share == pytest.approx(6 / 600)
    assert model.regions[0].values == {"n": 3}
    assert model.regions[0].score is None
    assert model.evidence == {"k": [1, 2]}
    assert model.reasons[0].severity == "notice"
