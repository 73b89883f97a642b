"""Canvases follow from the seed and their place alone; forgeries on the way come with their twins."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import make_set, png

from tamperscope import media
from tamperscope.engine.canvas import Canvas
from tamperscope.engine.recipe import Data, Forge
from tamperscope.engine.sources import Source, build
from tamperscope.engine.stream import Preparation, Stream
from tamperscope.errors import UnknownNameError
from tamperscope.inference.needs import needs_of
from tamperscope.ops import attack, augment
from tamperscope.types import Sample

PREPARE = Preparation(augment.parse({"flip": 0.5, "gaussian_noise": 0.5}), augment.Window(32, 0.5), seed=3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs of two groups, textured so that a forgery shows."""
    folder = tmp_path_factory.mktemp("photos")
    lines = []
    for number in range(4):
        rng = np.random.default_rng(number)
        small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        rgb = small.repeat(8, 0).repeat(8, 1)
        (folder / f"{number}.png").write_bytes(png(rgb))
        lines.append({"image": f"{number}.png", "group": f"g{number % 2}", "split": "train", "label": 0})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def stream(stated: list[Data], counts: tuple[int, ...], step: int = 4, **fields: Any) -> Stream:
    made: list[Source] = build(stated, counts, 3, True)
    return Stream(made, counts, **({"prepare": PREPARE, "step": step, "seed": 3} | fields))


def take(found: Stream, count: int, **asked: int) -> list[Canvas]:
    return [canvas for step in islice(found.steps(**asked), count) for canvas in step]


def assert_same(first: list[Canvas], second: list[Canvas]) -> None:
    assert [c.id for c in first] == [c.id for c in second]
    for one, two in zip(first, second, strict=True):
        for name in ("image", "mask", "valid", "label"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.fixture
def mixed(pictures: Path, photos: Path) -> list[Data]:
    return [Data(manifest=str(pictures)), Data(forge=Forge(photos=str(photos), change=("hosts.min_side=32",)))]


def test_workers_and_processes_and_the_step_to_begin_with_change_nothing(mixed: list[Data]) -> None:
    """A step of 3 cuts forgeries from their twins, which must not matter either."""
    counts = (12, 3)
    whole = take(stream(mixed, counts, 6), 5)
    assert_same(take(stream(mixed, counts, 6, workers=2), 5), whole)
    assert_same(take(stream(mixed, counts, 6), 3, first=2), whole[12:])
    parts = [take(stream(mixed, counts, 6), 5, process=i, of=2) for i in range(2)]
    joined = [c for step in range(5) for part in parts for c in part[3 * step : 3 * step + 3]]
    assert_same(joined, whole)


def test_an_epoch_has_what_was_counted_and_the_next_another_order(pictures: Path) -> None:
    found = stream([Data(manifest=str(pictures))], (12,))
    first, second = (take(found, 3, first=3 * epoch) for epoch in range(2))
    assert Counter(c.id for c in first) == Counter(c.id for c in second) == Counter({c.id: 1 for c in first})
    assert [c.id for c in first] != [c.id for c in second]
    by_id = {c.id: c for c in second}
    assert any((c.image != by_id[c.id].image).any() for c in first), "augmentation is drawn anew"


def test_forgeries_come_with_their_twins_and_are_new_each_epoch(photos: Path) -> None:
    plain = replace(PREPARE, op=augment.parse({}), window=augment.Window(128))
    stated = [Data(forge=Forge(photos=str(photos)))]
    found = take(stream(stated, (3,), 6, prepare=plain), 2)
    assert [c.label for c in found] == [1, 0] * 6
    numbers = [int(c.id.split("/")[1]) for c in found]
    assert sorted(numbers[:6]) == [0, 0, 1, 1, 2, 2]
    assert sorted(numbers[6:]) == [3, 3, 4, 4, 5, 5]
    for forged, twin in zip(found[::2], found[1::2], strict=True):
        assert twin.id == f"{forged.id}/twin"
        assert forged.mask is not None
        changed = np.abs(forged.image.astype(int) - twin.image).max(2)
        assert changed[forged.mask].mean() > 4 * changed[~forged.mask & forged.valid].mean()
        assert twin.mask is not None
        assert not twin.mask.any()


def test_what_cannot_be_opened_is_replaced_by_its_class_and_counted(tmp_path: Path) -> None:
    path = make_set(tmp_path)
    (tmp_path / "train3.png").write_bytes(b"no picture")
    found = stream([Data(manifest=str(path))], (12,))
    canvases = take(found, 3)
    assert [f.id for f in found.failures] == ["train3.png"]
    assert len(canvases) == 12
    assert sum(int(c.id[5:-4]) % 2 for c in canvases) == 6


def test_a_window_without_forged_pixels_is_authentic(pictures: Path) -> None:
    small = replace(PREPARE, op=augment.parse({}), window=augment.Window(8, 0.0))
    found = take(stream([Data(manifest=str(pictures))], (12,), prepare=small), 12)
    forged = [c for c in found if int(c.id[5:-4]) % 2]
    assert {c.label for c in forged} == {0, 1}
    assert all(c.label == int(c.mask.any()) for c in found if c.mask is not None)
    focused = replace(small, window=augment.Window(8, 1.0))
    again = take(stream([Data(manifest=str(pictures))], (12,), prepare=focused), 12)
    assert {c.label for c in again if int(c.id[5:-4]) % 2} == {1}


def test_windows_begin_on_the_grid(rng: np.random.Generator) -> None:
    places = np.arange(40 * 61, dtype=np.int32).reshape(40, 61)
    rgb = np.stack([places % 256, places // 256, np.zeros_like(places)], -1).astype(np.uint8)
    sample = Sample(rgb, mask=np.arange(61) == np.full((40, 1), 60))
    for _ in range(20):
        part = augment.Window(16, 0.5, 8)(sample, rng)
        corner = int(part.rgb[0, 0, 0]) + 256 * int(part.rgb[0, 0, 1])
        assert part.size == (16, 16)
        assert (corner // 61 % 8, corner % 61 % 8) == (0, 0)


def test_a_mirrored_canvas_is_the_same_one_turned(photo: Any, encode: Any) -> None:
    sample = media.open(encode(photo("coffee")[:240, :320], "JPEG", quality=80)).sample
    mask = np.zeros(sample.size, np.bool_)
    mask[100:150, 40:90] = True
    sample = replace(sample, mask=mask, classes=mask.astype(np.int16))
    prepare = Preparation(augment.parse({}), augment.Window(64, 1.0, 8), ("qtables", "mosaic", "valid"))
    plain, turned = prepare(sample, (0,)), replace(prepare, mirror=1.0)(sample, (0,))
    np.testing.assert_array_equal(turned.image, plain.image[:, ::-1])
    for name in ("mask", "valid", "classes"):
        np.testing.assert_array_equal(getattr(turned, name), getattr(plain, name)[:, ::-1])
    np.testing.assert_array_equal(turned.needs["qtables"], plain.needs["qtables"])
    np.testing.assert_array_equal(turned.needs["mosaic"], plain.needs["mosaic"][..., ::-1])


def test_tables_are_those_of_the_file_even_where_a_window_is_cut(photo: Any, encode: Any) -> None:
    opened = media.open(encode(photo("coffee")[:96, :96], "JPEG", quality=60)).sample
    assert opened.jpeg is not None
    canvas = Preparation(augment.parse({}), augment.Window(32), ("qtables", "valid"))(opened, (0,))
    np.testing.assert_array_equal(canvas.needs["qtables"][0], opened.jpeg.qtables[0])
    np.testing.assert_array_equal(canvas.needs["qtables"][1], opened.jpeg.qtables[1])
    blurred = attack.parse("gaussian_blur")(opened, np.random.default_rng(0))
    assert (needs_of(blurred, ["qtables"])["qtables"] == 1).all()
    with pytest.raises(UnknownNameError, match="qtables"):
        needs_of(opened, ["qtable"])


def test_a_copy_joins_what_was_forged_already(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    mask = np.zeros((96, 96), bool)
    mask[:5, :5] = True
    forged = augment.parse({"copy_move": 1.0})(Sample(rgb, mask=mask), rng)
    assert forged.mask is not None
    assert forged.mask[mask].all()
    assert forged.mask.sum() > mask.sum()
    changed = (forged.rgb != rgb).any(2)
    assert changed.any()
    assert not (changed & ~forged.mask).sum() > 0.2 * changed.sum()
    authentic = augment.parse({"copy_move": 1.0})(Sample(rgb, mask=np.zeros((96, 96), bool)), rng)
    assert authentic.label == 1
    assert augment.parse({"copy_move": 0.0})(Sample(rgb), rng).meta.get("ops") is None
