"""Frames of videos one at a time: evenly in time, of every container, turned, uneven, cut off, damaged, and of none."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamperscope.errors import BudgetError, DecodeError, InvalidValueError, UnsupportedFormatError
from tamperscope.media import video
from tamperscope.media.film import evenly
from tamperscope.media.footage import Footage, is_video, open_footage
from tamperscope.media.limits import Limits

av = pytest.importorskip("av")
SIZE = (64, 96)


def numbered(count: int) -> list[np.ndarray]:
    """Frames whose grey level says their number."""
    return [np.full((*SIZE, 3), 20 + 4 * (number % 50), np.uint8) for number in range(count)]


def encoded(frames: list[np.ndarray], container: str = "mp4", codec: str = "libx264", **more: Any) -> bytes:
    """Frames as a file; `times` in hundredths of a second, `turn` in degrees, `options` of the container."""
    buffer = io.BytesIO()
    with av.open(more.get("path", buffer), "w", format=container, options=more.get("options", {})) as out:
        for key, value in more.get("tags", {}).items():
            out.metadata[key] = value
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        stream.options, stream.bit_rate = {"g": "5", "bf": "0"}, 4_000_000
        if "turn" in more:
            stream.set_display_rotation(more["turn"])
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if "times" in more:
                frame.pts, frame.time_base = more["times"][number], Fraction(1, 100)
                stream.codec_context.time_base = Fraction(1, 100)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return Path(more["path"]).read_bytes() if "path" in more else buffer.getvalue()


def sound() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return buffer.getvalue()


def shown(footage: Footage) -> list[int]:
    """Numbers that the grey levels of the chosen frames say."""
    return [round((float(footage.frame(place).rgb.mean()) - 20) / 4) for place, _ in footage.chosen]


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("mov", "libx264"), ("matroska", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4")],
)
def test_frames_lie_evenly_in_time_in_every_container(container: str, codec: str) -> None:
    data = encoded(numbered(40), container, codec)
    assert is_video(data)
    with open_footage(data, 8, Limits()) as footage:
        places = [place for place, _ in footage.chosen]
        assert footage.total == 40
        assert footage.duration == pytest.approx(1.6, abs=0.05)
        assert len(places) == 8
        assert max(np.diff(places)) - min(np.diff(places)) <= 1
        assert shown(footage) == places, "the frames are those that were asked for"


def test_all_frames_come_in_their_order_when_there_are_fewer() -> None:
    with open_footage(encoded(numbered(7)), 20, Limits()) as footage:
        assert shown(footage) == list(range(7))
        assert {footage.frame(place).coding for place, _ in footage.chosen} == {"I", "P"}


def test_frames_may_be_asked_for_in_any_order() -> None:
    with open_footage(encoded(numbered(30)), 30, Limits()) as footage:
        for place in (29, 3, 17, 0, 17):
            assert round((float(footage.frame(place).rgb.mean()) - 20) / 4) == place


def test_a_video_of_one_frame() -> None:
    with open_footage(encoded(numbered(1)), 5, Limits()) as footage:
        assert footage.chosen == [(0, 0.0)]
        assert footage.frame(0).rgb.shape == (*SIZE, 3)


def test_uneven_frames_are_sampled_by_time_and_told_of() -> None:
    times = [*range(0, 100, 2), *range(100, 1100, 100)]
    with open_footage(encoded(numbered(60), times=times, tags={}), 10, Limits()) as footage:
        seconds = [second for _, second in footage.chosen]
        assert sum(second < 1.0 for second in seconds) <= 2, "most of the frames, but not of the time, come first"
        assert np.all(np.diff(seconds) > 0)
        assert "video.variable_rate" in {f.code for f in footage.findings}


@pytest.mark.parametrize(("turn", "orientation"), [(0, 1), (90, 8), (-90, 6), (180, 3)])
def test_rotation_is_recorded_and_pixels_stay_as_stored(turn: int, orientation: int) -> None:
    with open_footage(encoded(numbered(3), turn=turn), 1, Limits()) as footage:
        frame = footage.frame(footage.chosen[0][0])
        assert frame.orientation == orientation
        assert frame.rgb.shape == (*SIZE, 3)


@pytest.mark.parametrize(("container", "options"), [("mp4", {"movflags": "faststart"}), ("matroska", {})])
def test_what_is_left_of_a_truncated_file_is_read(container: str, options: dict[str, str], tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (30, *SIZE, 3), dtype=np.uint8)
    data = encoded(list(noise), container, options=options, path=str(tmp_path / "clip"))
    with open_footage(data[: 2 * len(data) // 3], 30, Limits()) as footage:
        assert 5 < footage.total < 30
        assert "video.truncated" in {f.code for f in footage.findings}
        assert footage.intake["complete"] is False
        assert footage.frame(footage.chosen[0][0]).rgb.shape == (*SIZE, 3)


def test_a_damaged_frame_costs_only_itself_and_those_that_rest_on_it() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (30, *SIZE, 3), dtype=np.uint8)
    data = bytearray(encoded(list(noise)))
    at = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[at : at + 400] = bytes(400)
    good = bad = 0
    with open_footage(bytes(data), 30, Limits()) as footage:
        for place, _ in footage.chosen:
            try:
                footage.frame(place)
                good += 1
            except DecodeError:
                bad += 1
    assert bad >= 1
    assert good >= 20


def test_sound_alone_no_frame_and_no_video_are_clear_errors(encode: Callable[..., bytes]) -> None:
    with pytest.raises(UnsupportedFormatError, match="found audio only"), open_footage(sound(), 4, Limits()):
        pass
    empty = encoded(numbered(1))
    with pytest.raises(DecodeError), open_footage(empty[: empty.index(b"mdat") + 8], 4, Limits()):
        pass
    with pytest.raises(DecodeError, match="damaged: no header"), open_footage(empty[:40] + bytes(400), 4, Limits()):
        pass
    with pytest.raises(UnsupportedFormatError, match="expected MP4"), open_footage(encode(numbered(1)[0]), 4, Limits()):
        pass
    assert not is_video(encode(numbered(1)[0]))
    assert not is_video("there/is/none.mp4")
    assert not is_video(numbered(1)[0])


def test_limits_hold() -> None:
    data = encoded(numbered(5))
    with pytest.raises(BudgetError, match="max_pixels"), open_footage(data, 2, Limits(max_pixels=1000)):
        pass
    with pytest.raises(BudgetError, match="max_file_bytes"), open_footage(data, 2, Limits(max_file_bytes=100)):
        pass
    for count in (0, 10_000):
        with pytest.raises(InvalidValueError, match="frames"), open_footage(data, count, Limits()):
            pass


def test_without_av_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "available", lambda: False)
    with (
        pytest.raises(UnsupportedFormatError, match=r"pip install \"tamperscope\[video\]\""),
        open_footage(encoded(numbered(2)), 2, Limits()),
    ):
        pass


def test_container_tells_of_software_times_and_a_wrong_name(tmp_path: Path) -> None:
    tags = {"encoder": "Adobe Premiere Pro 2026", "creation_time": "2026-01-02T03:04:05.000000Z"}
    path = tmp_path / "clip.avi"
    path.write_bytes(encoded(numbered(4), "matroska", tags=tags))
    with open_footage(path, 2, Limits()) as footage:
        codes = {f.code for f in footage.findings}
        assert codes & {"video.software", "exif.editor_software"}
        assert "media.extension_mismatch" in codes
        assert footage.intake["type"] == "Matroska"
        assert footage.facts["video"]["streams"][0]["codec"] == "h264"


def test_an_edit_list_of_several_parts_is_told_of() -> None:
    from tamperscope.media.film_facts import _edit_lists, _edits

    def box(kind: bytes, body: bytes) -> bytes:
        return (8 + len(body)).to_bytes(4, "big") + kind + body

    def edits(*starts: int) -> bytes:
        rows = b"".join((100).to_bytes(4, "big") + s.to_bytes(4, "big", signed=True) + b"\0\1\0\0" for s in starts)
        return box(b"elst", bytes(4) + len(starts).to_bytes(4, "big") + rows)

    def film(*starts: int) -> bytes:
        return box(b"ftyp", b"isom") + box(b"moov", box(b"trak", box(b"edts", edits(*starts))))

    assert [e["edits"] for e in _edit_lists(film(-1, 50))] == [
        [{"duration": 100, "start": -1}, {"duration": 100, "start": 50}]
    ]
    assert not list(_edits(list(_edit_lists(film(-1, 50))))), "a pause and one part are usual"
    assert [f.code for f in _edits(list(_edit_lists(film(0, 500))))] == ["video.edit_list"]


def test_evenly_takes_the_middles_of_equal_spans() -> None:
    assert evenly(list(range(12)), 3) == [1, 5, 9]
    assert evenly([0, 1, 2], 5) == [0, 1, 2]
    assert evenly([7], 1) == [0]
    assert evenly([0, 1, 2, 1000], 2) == [2, 3]
