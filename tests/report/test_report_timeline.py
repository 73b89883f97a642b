"""A video's report on a page, a terminal and a table, also where it was read back from JSON and carries no picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tamperscope.report import film_view, imaging, schema, tables, terminal
from tamperscope.report.schema import Report
from tamperscope.report.timeline import FramePictures, Interval, Timeline, TimelineFrame, Track, clock, map_file

SCORES = [0.1, 0.2, 0.1, 3.0, 2.5, None, 0.1, 0.15]


def timeline() -> Timeline:
    frames = [
        TimelineFrame(
            number=10 * n,
            seconds=n / 2,
            coding="P",
            shot=1 + (n > 5),
            width=None if score is None else 64,
            height=None if score is None else 48,
            scores={} if score is None else {"zero": score},
            maps=[] if score is None else [map_file(10 * n, "zero")],
            problem="<b>damaged</b>" if score is None else "",
        )
        for n, score in enumerate(SCORES)
    ]
    interval = Interval(
        start=1.25,
        end=2.25,
        track="zero",
        frames=[30, 40],
        peak=1.5,
        deviation=12.0,
        text="It stands out.",
        caveat="Or not.",
    )
    track = Track(name="zero", summary="Grids", frames=7, middle=0.15, limit=1.0)
    return Timeline(duration=4.0, total=80, frames=frames, tracks=[track], intervals=[interval])


@pytest.fixture
def video(make_report) -> Report:  # type: ignore[no-untyped-def]
    found = make_report(name="clip.mp4", level="inconclusive", orientation=6).to_dict()
    found["verdict"] |= {"llr": None, "probability": None, "thresholds": []}
    found["timeline"] = timeline().model_dump(mode="json")
    still, heat = np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 200, np.uint8)
    pictures = [
        FramePictures() if score is None else FramePictures(imaging.jpeg(still), {"zero": imaging.grey_png(heat)})
        for score in SCORES
    ]
    return Report.model_validate(found).with_frames(pictures)


def test_page_links_every_dot_to_its_frame_and_escapes(video: Report, tmp_path: Path) -> None:
    page = video.save_html(tmp_path / "p.html").read_text()
    assert page.count('<circle class="loud"') == 2
    assert page.count('<circle class="dot"') == 5
    for frame in timeline().frames:
        assert f'id="frame-{frame.number}"' in page
    assert "<b>damaged" not in page
    assert "video report" in page
    assert "of photographs" in page
    assert 'id="picture"' not in page
    assert "style=" not in page, "the page's own policy would not let it through"


def test_page_and_files_of_a_report_without_pictures(video: Report, tmp_path: Path) -> None:
    again = schema.ROW.validate_json(video.to_json())
    assert isinstance(again, Report)
    assert 'class="over"' not in again.save_html(tmp_path / "p.html").read_text()
    assert again.save_maps(tmp_path / "maps") == []
    assert len(video.save_maps(tmp_path / "maps")) == 7


def test_frames_are_turned_for_display_only(video: Report, tmp_path: Path) -> None:
    film = film_view.film(video)
    assert film is not None
    assert film.peaks == [30]
    assert film.cuts == [68.75]
    assert film.rows[0].path.count("M") == 2, "the curve breaks where a frame is missing"
    stored = imaging.read_grey(video.save_maps(tmp_path)[0].read_bytes())
    turned = imaging.read_grey(video.save_maps(tmp_path, upright=True)[0].read_bytes())
    assert stored.shape == turned.shape[::-1] == (48, 64)


def test_terminal_draws_the_curve_and_the_interval(video: Report) -> None:
    console = Console(file=io.StringIO(), width=100)
    terminal.render(video, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "▁▁▁█▇·▁▁" in text
    assert "It stands out." in text
    assert "Stability" not in text


def test_a_row_of_a_table_has_the_usual_columns(video: Report) -> None:
    names = tables.detectors_of([video])
    line = tables.csv_line(video, names)
    assert line.count(",") >= len(tables.COLUMNS) + len(names) - 1
    assert "inconclusive" in line


def test_clock_and_map_files() -> None:
    assert [clock(s) for s in (0, 1.234, 59.999, 61.5, 3600)] == [
        "0:00.00",
        "0:01.23",
        "1:00.00",
        "1:01.50",
        "60:00.00",
    ]
    assert map_file(7, "../a b") == "frame_000007__a_b.png"


def test_a_picture_has_no_film(report: Report) -> None:
    assert film_view.film(report) is None
    assert report.frames == ()
