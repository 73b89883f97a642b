"""Clips from sources to manifests: grouping, twins, codecs, resuming, and video files that are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tamperscope import media
from tamperscope.data import masks
from tamperscope.data.manifest import Entry, Manifest, read
from tamperscope.errors import BudgetError, DecodeError, InputError, InvalidValueError, UnsupportedFormatError
from tamperscope.forging import clip_making, clip_run, recipe, run
from tamperscope.forging.clips import Clips, unpacked
from tamperscope.forging.recipe import Recipe
from tamperscope.media import video
from tamperscope.media.limits import Limits

SIZE, COUNT = (96, 129), 5


def frames_of(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A panned texture with an ellipse that walks over it, and its outlines."""
    rng = np.random.default_rng(seed)
    world = np.full((140, 220, 3), 120.0)
    for step, gain in ((32, 30), (9, 25), (4, 14)):
        small = rng.normal(0, gain, (140 // step + 2, 220 // step + 2, 3))
        world += cv2.resize(small, (220, 140), interpolation=cv2.INTER_CUBIC)
    rgb, outlines = [], []
    for number in range(COUNT):
        left, top = 10 + 4 * number, 12 + number
        frame = np.clip(world[top : top + SIZE[0], left : left + SIZE[1]], 0, 255).astype(np.uint8)
        outline = np.zeros(SIZE, np.uint8)
        cv2.ellipse(outline, (30 + 15 * number, 45), (7, 16), 0, 0, 360, 1, -1)
        frame[outline > 0] = (230, 40, 60)
        rgb.append(frame)
        outlines.append(outline.astype(bool))
    return rgb, outlines


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> Path:
    """Folder with a manifest: three clips of `COUNT` frames in one folder, not in order, and a single picture."""
    folder = tmp_path_factory.mktemp("clips")
    lines = []
    for seed, name in enumerate(("a-walk", "b", "c")):
        for number, (rgb, outline) in enumerate(zip(*frames_of(seed), strict=True)):
            image, mask = f"{name}_{3 * number}.png", f"{name}_{number}_object.png"
            (folder / image).write_bytes(encode(rgb))
            (folder / mask).write_bytes(masks.png(outline))
            line = {"image": image, "group": name, "split": "train", "label": 0, "object_mask": mask, "fps": 12.5}
            lines.append({**line, "noun": "a ball"})
    (folder / "single_7.png").write_bytes(encode(frames_of(9)[0][0]))
    lines = [*lines[::-1], {"image": "single_7.png", "split": "train", "label": 0}]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def wanted(**changes: Any) -> Recipe:
    fields: dict[str, Any] = {
        "title": "Clips",
        "operations": {"clip_removal": 1, "clip_paste": 1},
        "ranges": {
            "clip_removal": {"share": [0.5, 0.8], "fill": "telea"},
            "clip_paste": {"frames": [0.5, 0.8], "share": [0.02, 0.05], "shadow": 1.0},
        },
        "clips": {"frames": 4, "encoded": 0.5},
        "hosts": {"recompressed": 0.5},
        "deliveries": {"": 1, "jpeg:quality=85..95": 1},
        "gate": {"agreement": [0.02, 1.0]},
    }
    return Recipe.model_validate(fields | changes)


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("forged")
    assert run.forge(source, wanted(), 6, 3, out).made == 6
    return out


# Sources.


def test_frames_are_grouped_and_ordered_by_their_numbers(source: Path) -> None:
    clips = Clips.of(source)
    assert sorted(clips.frames) == ["a-walk_0.png", "b_0.png", "c_0.png"]
    assert [photo.id for photo in clips.get("b_0.png")] == [f"b_{3 * n}.png" for n in range(COUNT)], "12 comes after 9"
    assert set(clips.fps.values()) == {12.5}
    assert {photo.group for photo in clips.keys.photos} == {"a-walk", "b", "c"}


def test_folders_of_frames_are_clips_and_single_pictures_are_none(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for number in (2, 10, 1):
            (tmp_path / folder / f"{number}.png").write_bytes(encode(np.zeros((9, 9, 3), np.uint8)))
    clips = Clips.of(tmp_path)
    assert [photo.id for photo in clips.get("two/1.png")] == ["two/1.png", "two/2.png", "two/10.png"]
    assert len({photo.group for photo in clips.pool.photos}) == 2, "a clip gives no piece to itself"
    for path in tmp_path.rglob("*.png"):
        if path.name != "1.png":
            path.unlink()
    with pytest.raises(InputError, match="expected clips"):
        Clips.of(tmp_path)


# Runs.


def entries(out: Path) -> list[Entry]:
    return list(read(out / "manifest.jsonl"))


def test_every_frame_has_an_entry_with_its_clip_number_and_group(done: Path) -> None:
    forged = [entry for entry in entries(done) if not entry.extra["clip"].endswith("_twin")]
    for index in range(6):
        frames = [entry for entry in forged if entry.extra["clip"] == f"{index:06d}"]
        assert [entry.extra["frame"] for entry in frames] == [0, 1, 2, 3]
        assert {entry.extra["fps"] for entry in frames} == {12.5}
        assert {entry.group for entry in frames} <= {"a-walk", "b", "c"}
        assert len({entry.group for entry in frames}) == 1
        assert 0 < sum(entry.label or 0 for entry in frames) < 4, "a part of the clip is intact"
    names = {entry.extra["editors"][0] for entry in forged if entry.label == 1}
    assert names == {"clip_removal", "clip_paste"}


def test_twins_pass_the_same_delivery_and_differ_inside_of_the_mask_where_nothing_is_lost(done: Path) -> None:
    seen = set()
    manifest = Manifest(done / "manifest.jsonl")
    for entry in entries(done):
        if entry.extra["clip"].endswith("_twin"):
            continue
        sample, twin = manifest.open(entry), media.open(done / entry.extra["twin"]).sample
        assert sample.size == twin.size == SIZE
        delivery = entry.extra["delivery"].partition(":")[0]
        seen.add(delivery)
        assert (sample.jpeg is None) == (delivery != "jpeg") == (twin.jpeg is None)
        if not delivery:
            assert sample.mask is not None
            np.testing.assert_array_equal(sample.rgb[~sample.mask], twin.rgb[~sample.mask])
        if entry.label == 0:
            gap = np.abs(sample.rgb.astype(int) - twin.rgb).mean()
            assert gap == 0 or delivery == "h264", "only prediction between frames carries an edit over"
    assert seen == {"", "jpeg", "h264"}


def test_encoded_frames_are_those_of_the_video_file(done: Path) -> None:
    encoded = [entry for entry in entries(done) if "video" in entry.extra]
    files = {name: video.read(done / name) for name in {entry.extra["video"] for entry in encoded}}
    assert {name.partition("/")[0] for name in files} == {"clips", "clip_twins"}
    assert {decoded.fps for decoded in files.values()} == {12.5}
    for entry in encoded:
        frame = files[entry.extra["video"]].frames[entry.extra["frame"]]
        np.testing.assert_array_equal(media.open(done / entry.image).sample.rgb, frame[: SIZE[0], : SIZE[1]])


def test_effects_are_kept_apart_from_objects(done: Path) -> None:
    shadows = 0
    for entry in entries(done):
        if entry.label == 1:
            mask = masks.read(done / (entry.mask or ""))
            thing = masks.read(done / entry.extra["object"])
            assert (mask | ~thing).all()
            if "effect" in entry.extra and entry.extra["editors"] == ["clip_paste"]:
                shadow = masks.read(done / entry.extra["effect"])
                assert not (shadow & thing).any()
                assert (mask | ~shadow).all()
                shadows += 1
        else:
            assert "object" not in entry.extra
    assert shadows


def test_two_workers_and_a_resumed_run_give_the_same_bytes(
    source: Path, done: Path, tmp_path: Path, tree: Callable[[Path], dict[str, str]]
) -> None:
    run.forge(source, wanted(), 2, 3, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    run.forge(source, wanted(), 6, 3, tmp_path, workers=2)
    assert tree(tmp_path) == tree(done)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_record_replays_to_the_same_frame(source: Path, done: Path) -> None:
    forged = [entry for entry in entries(done) if entry.label == 1]
    kinds = {(entry.extra["editors"][0], "video" in entry.extra): entry for entry in forged}
    for entry in kinds.values():
        sample = clip_making.replay(entry, Clips.of(source))
        np.testing.assert_array_equal(sample.rgb, media.open(done / entry.image).sample.rgb)
        np.testing.assert_array_equal(sample.mask, masks.read(done / (entry.mask or "")))
        assert list(sample.meta["ops"]) == entry.extra["ops"]
    changed = forged[0].model_copy(update={"sha256": {}})
    with pytest.raises(InputError, match="expected the frames and the code"):
        clip_making.replay(Entry.model_validate(changed.model_dump() | {"sha256": {}}), Clips.of(source))
    twin = next(entry for entry in entries(done) if entry.label == 0)
    with pytest.raises(InputError) as told:
        clip_making.replay(twin, Clips.of(source))
    assert str(told.value) == (
        f"'{twin.image}': expected the record of a forged clip: Input should be a valid dictionary or instance of "
        "Plan, found None; twins have none, others are to be taken as the run wrote them"
    )


def test_the_gate_turns_away_what_changes_outside_of_its_mask(source: Path) -> None:
    clips, asked = Clips.of(source), wanted(clips={"frames": 4, "encoded": 0.0}, operations={"clip_removal": 1})
    outcome = clip_run.pick(asked, clips, 1, 0)
    made = outcome.made
    assert made is not None
    assert clip_run.reason(made, outcome.measured, asked.gate) == ""
    forged = next(frame for frame in made.frames if frame.turns.any())
    forged.after.rgb[0, 0] ^= 1
    assert clip_run.reason(made, outcome.measured, asked.gate) == "spill"


def test_recipes_for_clips_and_for_pictures_are_told_apart(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="expected operations on clips"):
        run.forge(source, wanted(operations={"removal": 1}), 1, 0, tmp_path)
    with pytest.raises(InvalidValueError, match=r"set clips\.frames"):
        run.forge(source, wanted(clips={"frames": 0}), 1, 0, tmp_path)
    with pytest.raises(InvalidValueError, match=r"expected \[1, 1\] for clips"):
        run.forge(source, wanted(steps=(1, 2)), 1, 0, tmp_path)
    assert recipe.load("video").clips.frames == 8


def test_without_pyav_encoding_says_what_to_install(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "available", lambda: False)
    with pytest.raises(UnsupportedFormatError, match=r"tamperscope\[video\]"):
        run.forge(source, wanted(), 1, 0, tmp_path)
    with pytest.raises(UnsupportedFormatError, match=r"tamperscope\[video\]"):
        video.read(b"\0\0\0\x18ftypisom")


# Video files.


@pytest.fixture(scope="module")
def film() -> bytes:
    return video.write(frames_of(0)[0], 12.5, crf=12, gop=3)


@pytest.mark.parametrize("size", [(89, 175), (64, 64), (97, 33)])
def test_a_file_follows_from_its_frames_alone(size: tuple[int, int]) -> None:
    """Whatever lay in the memory before: encoders read past the ends of rows."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (size[0] // 8 + 2, size[1] // 8 + 2, 3), dtype=np.uint8)
    still = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int32)
    moving = [np.roll(still, n, 1) + rng.normal(0, 4, still.shape) for n in range(16)]
    frames = [np.clip(f, 0, 255).astype(np.uint8) for f in moving]
    made = set()
    for value in range(6):
        kept = [np.full(int(rng.integers(1_000, 3_000_000)), 40 * value, np.uint8) for _ in range(4)]
        made.add(video.write(frames, 25.0, crf=12))
        del kept
    assert len(made) == 1


def test_a_video_file_comes_back_close_and_the_same_every_time(film: bytes) -> None:
    rgb = frames_of(0)[0]
    assert film == video.write(rgb, 12.5, crf=12, gop=3)
    decoded = video.read(film)
    assert decoded.fps == 12.5
    assert len(decoded.frames) == COUNT
    for before, after in zip(rgb, decoded.frames, strict=True):
        assert after.shape == (96, 130, 3), "odd sides are made even"
        # Chroma has a quarter of the pixels; lightness tells whether frames are in place.
        grey = [cv2.cvtColor(x[:, : SIZE[1]].copy(), cv2.COLOR_RGB2GRAY).astype(int) for x in (before, after)]
        assert np.abs(grey[0] - grey[1]).mean() < 4
    coarse = video.read(video.write(rgb, 12.5, crf=45)).frames
    fine, rough = (
        np.mean([np.abs(a[:, : SIZE[1]].astype(int) - b).mean() for a, b in zip(frames, rgb, strict=True)])
        for frames in (decoded.frames, coarse)
    )
    assert fine < 0.6 * rough


def test_no_video_file_is_decoded_in_this_process(film: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("decoded here")

    monkeypatch.setattr(video, "_decoded", refused)
    assert len(video.read(film).frames) == COUNT


def test_damaged_and_oversized_files_give_typed_errors(film: bytes) -> None:
    with pytest.raises(DecodeError):
        video.read(film[: len(film) // 2])
    with pytest.raises(DecodeError):
        video.read(film[:32])
    with pytest.raises(UnsupportedFormatError, match="expected MP4"):
        video.read(b"#EXTM3U\nfile:///etc/hostname\n")
    with pytest.raises(BudgetError, match="raise max_frames"):
        video.read(film, Limits(max_frames=COUNT - 1))
    with pytest.raises(BudgetError, match="raise max_pixels"):
        video.read(film, Limits(max_pixels=2 * 96 * 130))
    with pytest.raises(BudgetError, match="raise max_file_bytes"):
        video.read(film, Limits(max_file_bytes=100))
    assert len(video.read(film, Limits(max_frames=2), count=2).frames) == 2


@pytest.mark.parametrize("values", [{"crf": 60}, {"gop": 0}, {"fps": 0.0}])
def test_settings_of_the_encoder_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="crf from 0 to 51"):
        video.write(**{"frames": frames_of(0)[0], "fps": 25.0, **values})


def test_video_files_are_unpacked_once_and_forged(film: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("x.mp4", "y.mp4"):
        (tmp_path / "in" / name).write_bytes(film)
    listed = unpacked(tmp_path / "in", tmp_path / "out")
    clips = Clips.of(listed)
    assert [len(frames) for frames in clips.frames.values()] == [COUNT, COUNT]
    assert {photo.group for photo in clips.keys.photos} == {"x.mp4", "y.mp4"}
    assert set(clips.fps.values()) == {12.5}
    np.testing.assert_array_equal(
        media.open(clips.pool.root / clips.keys.photos[0].id).sample.rgb, video.read(film).frames[0]
    )
    (tmp_path / "in" / "x.mp4").unlink()
    assert len(Clips.of(unpacked(tmp_path / "in", tmp_path / "out")).frames) == 2, "what was unpacked stays"
    assert unpacked(listed, tmp_path / "other") == listed
