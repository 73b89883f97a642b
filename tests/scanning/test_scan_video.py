"""Videos through the one path: what was planted stands out where it is, and nothing does where nothing was."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import tamperscope
from tamperscope import cli
from tamperscope.errors import DecodeError, UnsupportedFormatError
from tamperscope.media import video
from tamperscope.report import schema
from tamperscope.report.schema import Report
from tamperscope.report.timeline import TimelineFrame
from tamperscope.scanning.timeline import FEWEST, histogram, intervals_of, shot_numbers, track_of

pytest.importorskip("av")
SIZE, COUNT, FPS = (256, 320), 48, 24
BOX = slice(64, 192), slice(80, 240)
Film = list[np.ndarray]


@pytest.fixture(scope="module")
def film(photo: Callable[[str], np.ndarray]) -> Callable[..., Film]:
    """A camera with noise of its own that moves slowly over a photograph; in `span`, a part has other noise."""

    def _make(span: tuple[int, int] | None = None, name: str = "astronaut", seed: int = 0) -> Film:
        rng, world = np.random.default_rng(seed), photo(name).astype(np.float32)
        frames = []
        for number in range(COUNT):
            at = number // 2
            noise = rng.normal(0, 4.0, (*SIZE, 1))
            if span and span[0] <= number < span[1]:
                noise[BOX] = rng.normal(0, 20.0, noise[BOX].shape)
            frame = world[20 + at : 20 + at + SIZE[0], 30 + at : 30 + at + SIZE[1]] + noise
            frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
        return frames

    return _make


def scanned(frames: Film, crf: int = 10, **options: Any) -> Report:
    options = {"detectors": ["ela"], "name": "clip.mp4"} | options
    return tamperscope.scan(video.write(frames, FPS, crf), **options)


@pytest.fixture(scope="module")
def report(film: Callable[..., Film]) -> Report:
    return scanned(film((15, 27)), detectors=["ela", "splicebuster", "dq", "thumbnail"])


def covered(report: Report) -> list[tuple[float, float]]:
    assert report.timeline is not None
    return [(i.start, i.end) for i in report.timeline.intervals]


@pytest.mark.parametrize("span", [(6, 18), (15, 27), (30, 42)])
def test_the_interval_lies_where_the_span_was_planted(film: Callable[..., Film], span: tuple[int, int]) -> None:
    found = scanned(film(span))
    [(start, end)] = covered(found)
    assert start == pytest.approx(span[0] / FPS, abs=3 / FPS)
    assert end == pytest.approx(span[1] / FPS, abs=3 / FPS)
    assert "interval stands out" in found.verdict.headline
    assert found.timeline is not None
    [interval] = found.timeline.intervals
    assert span[0] / FPS <= interval.peak < span[1] / FPS
    assert interval.caveat == ""


@pytest.mark.parametrize(
    ("name", "crf"), [("chelsea", 10), ("chelsea", 23), ("astronaut", 10), ("astronaut", 23), ("coffee", 23)]
)
def test_nothing_stands_out_of_an_untouched_clip(film: Callable[..., Film], name: str, crf: int) -> None:
    found = scanned(film(None, name), crf)
    assert covered(found) == []
    assert "No sampled frame stands out" in found.verdict.headline


def test_the_map_shows_where(report: Report) -> None:
    assert report.timeline is not None
    maps = [cv2.imdecode(np.frombuffer(p.maps["noise_change"], np.uint8), 0) for p in report.frames]
    loud = [f.number in report.timeline.intervals[0].frames for f in report.timeline.frames]
    inside = np.zeros(SIZE, bool)
    inside[BOX] = True
    for heat, is_loud in zip(maps, loud, strict=True):
        assert heat.shape == SIZE
        if is_loud:
            assert heat[inside].mean() > 2 * heat[~inside].mean()


def test_no_calibrated_verdict_is_claimed(report: Report) -> None:
    assert report.verdict.level == "inconclusive"
    assert report.exit_code == 2
    assert report.verdict.llr is None
    assert report.verdict.thresholds == []
    assert "no calibrated verdict" in report.verdict.headline
    assert all(p.calibrated is None and not p.counts for p in report.predictions)
    told = {p.detector: (p.status, p.cause) for p in report.predictions}
    assert told["ela"][0] == told["splicebuster"][0] == "ok"
    assert told["dq"] == ("not_applicable", "a decoded video frame has no JPEG coefficients")
    assert told["thumbnail"][0] == "not_applicable"
    unseen = {n.what for n in report.verdict.not_checked}
    assert {"a calibrated verdict", "sound", "the other frames", "dq", "zero"} <= unseen


def test_json_is_strict_and_comes_back_the_same(report: Report) -> None:
    again = schema.ROW.validate_json(report.to_json())
    assert again == report
    assert isinstance(again, Report)
    assert again.frames == ()
    assert len(report.frames) == 16
    timeline = json.loads(report.to_json())["timeline"]
    assert [f["number"] for f in timeline["frames"]] == sorted(f["number"] for f in timeline["frames"])
    assert set(timeline["frames"][0]["scores"]) == {"ela", "splicebuster", "noise_change"}
    assert json.loads(report.with_pictures(None).to_json())["timeline"] == timeline


def test_two_scans_say_the_same(film: Callable[..., Film]) -> None:
    frames = film((15, 27))
    data = video.write(frames, FPS)
    first, second = (tamperscope.scan(data, detectors=["ela"], frames=6).timeline for _ in range(2))
    assert first == second
    assert first is not None
    assert len(first.frames) == 6


def test_a_cut_is_no_manipulation_and_starts_a_new_shot(film: Callable[..., Film]) -> None:
    found = scanned(film(None, "chelsea")[:24] + film(None, "astronaut")[24:])
    assert found.timeline is not None
    assert {f.shot for f in found.timeline.frames} == {1, 2}
    assert all(i.track != "noise_change" for i in found.timeline.intervals)


def test_one_frame_and_few_frames_cannot_be_compared(film: Callable[..., Film]) -> None:
    for count in (1, 3):
        found = scanned(film()[:count])
        assert found.timeline is not None
        assert len(found.timeline.frames) == count
        assert covered(found) == []
        assert "Too few frames" in found.verdict.headline


def test_rotation_turns_the_page_but_not_the_maps(film: Callable[..., Film], tmp_path: Path) -> None:
    from test_footage import encoded

    found = tamperscope.scan(encoded(film()[:6], turn=-90), detectors=["ela"])
    assert found.picture.orientation == 6
    assert (found.picture.height, found.picture.width) == SIZE
    [path, *_] = found.save_maps(tmp_path)
    assert cv2.imread(str(path), 0).shape == SIZE
    [path, *_] = found.save_maps(tmp_path, upright=True)
    assert cv2.imread(str(path), 0).shape == SIZE[::-1]
    found.save_html(tmp_path / "page.html")


def test_a_truncated_video_gives_what_is_left_and_a_warning(film: Callable[..., Film]) -> None:
    from test_footage import encoded

    data = encoded(film(), "matroska")
    found = tamperscope.scan(data[: len(data) // 2], detectors=["ela"])
    assert found.timeline is not None
    assert 5 < found.timeline.total < COUNT
    assert not found.intake.complete
    assert "video.truncated" in {f.code for f in found.findings if f.severity == "warning"}
    assert found.verdict.level == "inconclusive"
    with pytest.raises(DecodeError):
        tamperscope.scan(video.write(film()[:4], FPS)[:600])


def test_frames_that_cannot_be_decoded_are_told_of(film: Callable[..., Film]) -> None:
    data = bytearray(video.write(film(), FPS, 10))
    at = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    lost_bytes = (len(data) - at) // 4  # whole frames, for what is lost of one frame the decoder conceals
    data[at : at + lost_bytes] = bytes(lost_bytes)
    found = tamperscope.scan(bytes(data), detectors=["ela"], frames=COUNT)
    assert found.timeline is not None
    lost = [f for f in found.timeline.frames if f.problem]
    assert 0 < len(lost) < COUNT // 2
    assert lost[0].scores == {}
    assert lost[0].width is None
    assert "video.damaged_frames" in {f.code for f in found.findings}
    assert not found.intake.complete


def run(*words: object) -> Any:
    return CliRunner().invoke(cli.app, [str(w) for w in words])


def test_command_line_writes_json_page_and_maps(film: Callable[..., Film], tmp_path: Path) -> None:
    clip, page, js, maps = (tmp_path / n for n in ("clip.mp4", "r.html", "r.json", "maps"))
    clip.write_bytes(video.write(film((15, 27)), FPS, 10))
    words = ["--detectors", "ela", "--frames", 12, "--html", page, "--json", js, "--save-maps", maps]
    done = run("scan", clip, *words)
    assert done.exit_code == 2, done.output
    assert "Over time" in done.output
    assert "Stands out within this video" in done.output
    frames = json.loads(js.read_text())["timeline"]["frames"]
    assert len(frames) == 12
    assert sorted(name for f in frames for name in f["maps"]) == sorted(p.name for p in maps.iterdir())
    text = page.read_text()
    assert text.count('class="card film-frame') == 12
    assert all(f'id="frame-{f["number"]}"' in text and f'href="#frame-{f["number"]}"' in text for f in frames)
    assert "--frames 12" in text
    assert run("scan", clip, "--frames", 0).exit_code == 1


def test_a_folder_with_pictures_and_videos_loses_none(
    film: Callable[..., Film], tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.jpg").write_bytes(encode(film()[0], "JPEG"))
    (root / "b.mp4").write_bytes(video.write(film()[:8], FPS))
    (root / "c.mov").write_bytes(b"no video at all")
    out, pages = tmp_path / "rows.csv", tmp_path / "pages"
    run("scan", root, "--detectors", "ela", "--out", out, "--html", pages)
    with out.open() as stream:
        rows = {Path(row["name"]).name: row for row in csv.DictReader(stream)}
    assert {name: row["status"] for name, row in rows.items()} == {"a.jpg": "ok", "b.mp4": "ok", "c.mov": "error"}
    assert rows["b.mp4"]["verdict"] == "inconclusive"
    assert sorted(p.name[:2] for p in pages.iterdir()) == ["a-", "b-"]


def test_a_hostile_name_is_harmless_everywhere(film: Callable[..., Film], tmp_path: Path) -> None:
    name = "\x1b[31m<script>alert(1)<\u202e.mp4"
    found = scanned(film()[:6], name=name)
    text = found.save_html(tmp_path / "p.html").read_text()
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert found.to_json().isascii()
    clip = tmp_path / "$(touch x);\n'.mp4"
    clip.write_bytes(video.write(film()[:6], FPS))
    done = run("scan", clip, "--detectors", "ela", "--save-maps", tmp_path / "maps")
    assert done.exit_code == 2
    assert all(p.name.startswith("frame_") for p in (tmp_path / "maps").iterdir())


def test_without_av_a_video_is_an_error_with_the_line_to_type(
    film: Callable[..., Film], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = video.write(film()[:2], FPS)
    monkeypatch.setattr(video, "available", lambda: False)
    with pytest.raises(UnsupportedFormatError, match="pip install"):
        tamperscope.scan(data)


# Statistics.


def _frames(scores: list[float | None], shots: list[int] | None = None, coded: str = "") -> list[TimelineFrame]:
    return [
        TimelineFrame(
            number=n,
            seconds=float(n),
            scores={"x": score},
            shot=shots[n] if shots else 1,
            coding=coded[n] if coded else "",
        )
        for n, score in enumerate(scores)
    ]


def _found(scores: list[float | None], **more: Any) -> list[tuple[float, float, str]]:
    frames = _frames(scores, **more)
    track = track_of("x", "", scores, 1.0)
    return [(i.start, i.end, i.caveat) for i in intervals_of(track, frames, float(len(scores)))]


def test_runs_of_loud_frames_become_intervals_with_ends_half_way() -> None:
    assert _found([0.1, 0.1, 0.9, 0.8, 0.1, 0.1, 0.1, None, 0.1, 0.9]) == [(1.5, 3.5, ""), (8.5, 10.0, "")]


def test_small_differences_in_a_steady_track_are_none() -> None:
    assert _found([0.1, 0.1, 0.25, 0.1, 0.1, 0.1]) == []
    assert _found([0.9] * FEWEST) == []
    assert _found([0.1] * (FEWEST - 2) + [0.9]) == [], "too few to compare"
    assert _found([None] * 8) == []


def test_a_curve_of_one_score_tells_of_no_range() -> None:
    """As that of a network whose calibration has a single knot."""
    scores = [0.1, 0.1, 0.9, 0.1, 0.1, 0.1]
    track = track_of("x", "", scores, 0.0)
    assert track == track_of("x", "", scores, 1.0)
    [found] = intervals_of(track, _frames(scores), 6.0)
    assert found.frames == [2]


def test_a_shot_of_its_own_and_intra_frames_alone_are_told_of() -> None:
    [(_, _, caveat)] = _found([0.1, 0.1, 0.9, 0.1, 0.1, 0.1], shots=[1, 1, 2, 3, 3, 3])
    assert "shot of its own" in caveat
    [(_, _, caveat)] = _found([0.1, 0.1, 0.9, 0.1, 0.1, 0.1], coded="PPIPBP")
    assert "coded by themselves" in caveat


def test_shots_are_told_apart_by_colours(photo: Callable[[str], np.ndarray]) -> None:
    a, b = histogram(photo("chelsea")), histogram(photo("astronaut"))
    assert shot_numbers([a, a, None, a, b, b, a]) == [1, 1, 1, 1, 2, 2, 3]
    assert shot_numbers([histogram(photo("chelsea")[:200]), histogram(photo("chelsea")[60:])]) == [1, 1]
