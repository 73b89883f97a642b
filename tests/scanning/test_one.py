"""The one path on real pictures: a planted forgery is found and placed, its untouched twin is left alone."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

import tamperscope
from tamperscope import registry
from tamperscope.detectors.base import Detector, Guide
from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.media import Limits
from tamperscope.media.recompress import encode_jpeg, recompress
from tamperscope.metrics import ranking
from tamperscope.ops.forge.copy_move import CopyMove
from tamperscope.scanning import QUICK, Scanner
from tamperscope.types import Sample
from tamperscope.verdict import stability
from tamperscope.verdict.card import shipped_card


@pytest.fixture(scope="module")
def copied(photo) -> tuple[bytes, np.ndarray]:  # type: ignore[no-untyped-def]
    """A plain copy-move in the astronaut picture, delivered as JPEG 90, with the mask of the copy."""
    forged = CopyMove(share=(0.06, 0.06), plain=1.0)(Sample(photo("astronaut")), np.random.default_rng(3))
    assert forged.mask is not None
    return encode_jpeg(forged.rgb, 90), forged.mask


def test_a_planted_copy_is_found_and_placed(copied) -> None:  # type: ignore[no-untyped-def]
    data, mask = copied
    report = tamperscope.scan(data, name="copied.jpg")
    assert report.verdict.level in ("suspicious", "strong_evidence")
    assert report.exit_code == 3
    assert ranking.auc(report.map("fused"), mask) > 0.8
    assert report.verdict.regions
    assert any("copy_move" in r.origin for r in report.verdict.reasons_for)


def test_the_untouched_twin_is_left_alone(photo) -> None:  # type: ignore[no-untyped-def]
    report = tamperscope.scan(encode_jpeg(photo("astronaut"), 90))
    assert report.verdict.level in ("no_evidence", "inconclusive")
    assert report.exit_code in (0, 2)


@pytest.mark.parametrize("kind", ["path", "bytes", "pil", "array", "grey array"])
def test_every_source_gives_a_report(kind: str, photo, tmp_path) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("chelsea")
    path = tmp_path / "cat.png"
    Image.fromarray(rgb).save(path)
    source = {
        "path": path,
        "bytes": path.read_bytes(),
        "pil": Image.fromarray(rgb),
        "array": rgb,
        "grey array": rgb[..., 1],
    }[kind]
    report = tamperscope.scan(source, detectors=["ela", "zero"])
    assert (report.picture.height, report.picture.width) == rgb.shape[:2]
    assert {p.detector for p in report.predictions} == {"ela", "zero"}
    json.loads(report.to_json())


def test_two_scans_say_the_same(photo) -> None:  # type: ignore[no-untyped-def]
    data = encode_jpeg(photo("coffee"), 80)
    first, second = (tamperscope.scan(data).to_dict() for _ in range(2))
    for report in (first, second):
        report.pop("created")
        for prediction in report["predictions"]:
            prediction.pop("seconds")
    assert first == second


def test_damaged_pictures_get_no_pixel_verdict(photo) -> None:  # type: ignore[no-untyped-def]
    data = encode_jpeg(photo("coffee"), 80)
    report = tamperscope.scan(data[: len(data) // 2])
    assert report.verdict.level == "inconclusive"
    assert report.verdict.llr is None
    assert not report.intake.complete
    assert all(p.status == "not_applicable" for p in report.predictions)
    assert any(f.severity == "warning" for f in report.findings)


def test_quick_runs_the_quick_ones_and_says_what_it_left_out(photo) -> None:  # type: ignore[no-untyped-def]
    report = tamperscope.scan(encode_jpeg(photo("coffee"), 80), quick=True)
    assert {p.detector for p in report.predictions} == set(QUICK)
    left_out = set(registry.names()) - set(QUICK)
    assert left_out <= {n.what for n in report.verdict.not_checked}
    assert report.verdict.stability.status == "not_run"
    assert "--quick" in report.reproduce.command


def test_a_name_is_no_option_of_the_command_that_scans_it_again() -> None:
    commands = {
        name: Scanner(["ela"]).reproduce(name).command for name in ("--help.jpg", "-", "", "a-b.jpg", "x/-y.jpg")
    }
    assert {name: command.split()[2] for name, command in commands.items()} == {
        "--help.jpg": "./--help.jpg",
        "-": "-",
        "": "-",
        "a-b.jpg": "a-b.jpg",
        "x/-y.jpg": "x/-y.jpg",
    }


def test_the_shipped_network_is_asked_unless_it_is_to_be_left_out(copied) -> None:  # type: ignore[no-untyped-def]
    scans = {on: Scanner(network=on, probe=False).scan(copied[0]) for on in (True, False)}
    for on, report in scans.items():
        rows = {p.detector: p for p in report.predictions}
        assert set(rows) == set(registry.names()) - (set() if on else set(registry.SHIPPED))
        edges = {t.level: t.llr for t in report.verdict.thresholds}
        assert edges == {level: t.llr for level, t in shipped_card(on).thresholds.items()}
        assert ("--no-model" in report.reproduce.command) is not on
        assert ("localizer" in {n.what for n in report.verdict.not_checked}) is not on
        assert ("models" in report.reproduce.options) is on
    assert "localizer_confidence" in scans[True].maps


def test_nothing_but_the_network_and_no_network_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="left out"):
        Scanner(["localizer"], network=False)


def test_full_scan_probes_stability(copied) -> None:  # type: ignore[no-untyped-def]
    report = tamperscope.scan(copied[0])
    assert report.verdict.stability.status in ("stable", "unstable")
    assert len(report.verdict.stability.trials) == 3


def test_where_nothing_was_weighed_nothing_is_tried(photo) -> None:  # type: ignore[no-untyped-def]
    verdict = tamperscope.scan(encode_jpeg(photo("coffee"), 80), detectors=["ela"]).verdict
    assert verdict.llr is None
    assert verdict.stability.status == "not_run"
    assert {row.what: row.why for row in verdict.not_checked}["stability under re-delivery"].startswith("no detector")


def test_a_probe_runs_what_counts(photo, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Without drivers and quick ones, those that count run again; else every trial would repeat the first verdict."""
    scanner, asked = Scanner(["ela", "copy_move"]), []
    monkeypatch.setattr(stability, "probe", lambda *given: asked.append(given[4]) or [])
    monkeypatch.setattr(stability, "drivers", lambda *_: [])
    scanner.scan(encode_jpeg(photo("coffee")[:128, :128].copy(), 80))
    assert asked == [["copy_move"]]


def test_a_picture_longer_than_a_jpeg_may_be_is_scanned_and_tried_otherwise() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (100, 66_000, 3), np.uint8)
    stability = tamperscope.scan(rgb, detectors=["jpeg_ghost"]).verdict.stability
    assert [trial.delivery for trial in stability.trials] == ["half size, JPEG 90", "crop of 5 columns and 3 rows"]


def test_where_no_copy_can_be_made_it_is_said(photo, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    given: list[object] = []
    monkeypatch.setattr(stability, "probe", lambda *told: given.extend(told) or [])
    limits = Limits(max_pixels=300_000)
    verdict = Scanner(["zero"], limits=limits).scan(encode_jpeg(photo("coffee")[:128, :128].copy(), 80)).verdict
    assert given[-1] is limits
    assert verdict.stability.status == "not_run"
    rows = {row.what: row.why for row in verdict.not_checked}
    assert rows["stability under re-delivery"] == "no copy of this picture can be made"


def test_detectors_that_were_left_out_are_named_beside_the_rate(photo) -> None:  # type: ignore[no-untyped-def]
    data = encode_jpeg(photo("coffee")[:160, :160].copy(), 80)

    def told(*names: str, **options: bool) -> list[str]:
        verdict = Scanner(names, probe=False, **options).scan(data).verdict  # type: ignore[arg-type]
        return [row.why for row in verdict.not_checked if row.what == "false alarms of this verdict"]

    others = "blk, copy_move, dq, jpeg_ghost, noisesniffer, thumbnail"
    assert told("zero") == [f"the rates were measured with {others}, too"]
    assert told(quick=True) == ["the rates were measured with copy_move, noisesniffer, too"]
    assert told("ela") == [], "nothing was weighed, so no rate is claimed"
    assert not any("too" in why for why in told(network=False)), "who abstains was not left out"


def test_start_and_weights_are_the_weight_of_evidence(copied) -> None:  # type: ignore[no-untyped-def]
    verdict = Scanner(network=False, probe=False).scan(copied[0]).verdict
    assert verdict.start == shipped_card(False).intercept
    listed = [r.weight for r in (*verdict.reasons_for, *verdict.reasons_against)]
    families = len({curve.family for curve in shipped_card(False).detectors.values()})
    assert verdict.start + sum(listed) == pytest.approx(verdict.llr, abs=0.1 * families)


@pytest.mark.parametrize("level", [0, 140, 255])
def test_of_a_flat_picture_nothing_is_said(level: int) -> None:
    verdict = tamperscope.scan(encode_jpeg(np.full((200, 240, 3), level, np.uint8), 90)).verdict
    assert (verdict.level, verdict.llr) == ("inconclusive", None)
    assert verdict.stability.status == "not_run"


def test_what_is_never_checked_comes_first(photo) -> None:  # type: ignore[no-untyped-def]
    report = tamperscope.scan(encode_jpeg(photo("coffee"), 80), detectors=["ela"])
    assert report.verdict.not_checked[0].what == "whether a generator made the whole picture"
    assert "whether a generator made the whole picture" in report.limits


def test_a_picture_that_says_it_is_generated_is_believed(photo) -> None:  # type: ignore[no-untyped-def]
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: x")
    buffer = io.BytesIO()
    Image.fromarray(photo("chelsea")).save(buffer, "PNG", pnginfo=info)
    report = tamperscope.scan(buffer.getvalue(), quick=True)
    assert report.verdict.level == "strong_evidence"
    assert "states" in report.verdict.headline


class _Broken(Detector):
    """Breaks on every picture."""

    family = "noise"
    guide = Guide("Nothing.", "Nothing.", "Nothing.")

    def analyze(self, sample: Sample) -> None:  # type: ignore[override]
        raise ZeroDivisionError("by design")


def test_a_broken_detector_costs_only_its_own_answer(photo) -> None:  # type: ignore[no-untyped-def]
    scanner = Scanner(["ela", "zero"])
    scanner._loaded["ela"] = _Broken()
    report = scanner.scan(encode_jpeg(photo("coffee"), 80))
    rows = {p.detector: p for p in report.predictions}
    assert rows["ela"].status == "failed"
    assert "by design" in rows["ela"].cause
    assert rows["zero"].status != "failed"


def test_words_that_claim_too_much_are_never_said(photo, copied) -> None:  # type: ignore[no-untyped-def]
    for source in (encode_jpeg(photo("chelsea"), 80), copied[0]):
        assert "authentic" not in tamperscope.scan(source, quick=True).to_json().lower()


def test_bad_input_is_a_typed_error() -> None:
    with pytest.raises(InputError):
        tamperscope.scan(b"")
    with pytest.raises(InputError):
        tamperscope.scan(b"plain text, not a picture")
    with pytest.raises(UnknownNameError, match="did you mean 'zero'"):
        tamperscope.scan(np.zeros((80, 80, 3), np.uint8), detectors=["zeros"])


def test_numbers_are_finite_or_null(photo) -> None:  # type: ignore[no-untyped-def]
    report = tamperscope.scan(recompress(photo("coffee"), 70))
    for prediction in report.predictions:
        assert prediction.score is None or math.isfinite(prediction.score)
