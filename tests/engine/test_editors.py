"""Maps of editors: from the forge through augmentation and window to the loss and to what chooses the network."""

from __future__ import annotations

import cmath
import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import png, recipe

from tamperscope.data.manifest import Entry, Manifest, read
from tamperscope.engine import batches, predict
from tamperscope.engine import recipe as recipes
from tamperscope.engine.canvas import Canvas
from tamperscope.engine.recipe import Data, Forge, Recipe, Wanted
from tamperscope.engine.sources import build
from tamperscope.engine.stream import Preparation, Stream
from tamperscope.engine.train import train
from tamperscope.errors import InputError
from tamperscope.forging import recipe as forgeries
from tamperscope.forging import run
from tamperscope.inference.predictor import View
from tamperscope.networks import diffseg
from tamperscope.ops import attack, augment
from tamperscope.types import Sample

EDITORS = ("removal", "splice", "copy_move")


@pytest.fixture(scope="module")
def photos(
    tmp_path_factory: pytest.TempPathFactory, photo: Callable[[str], np.ndarray], encode: Callable[..., bytes]
) -> Path:
    """Folder of six photographs of three groups."""
    photos, lines = tmp_path_factory.mktemp("photos"), []
    for number, name in enumerate(("astronaut", "coffee", "chelsea")):
        for side in range(2):
            image = f"{name}{side}.png"
            (photos / image).write_bytes(encode(photo(name)[60:156, 40 + 130 * side : 168 + 130 * side]))
            lines.append({"image": image, "group": f"g{number}", "split": "train", "label": 0})
    (photos / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return photos


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Manifest of twelve forgeries by three editors, up to two each, with their twins."""
    out = tmp_path_factory.mktemp("forged")
    asked = forgeries.Recipe(
        title="Three editors",
        operations=dict.fromkeys(EDITORS, 1),
        ranges={"removal": {"fill": "telea"}},
        steps=(1, 2),
        deliveries={"": 1, "jpeg:quality=85..95": 1},
    )
    assert run.forge(photos, asked, 12, 1, out).made >= 10
    return out / "manifest.jsonl"


def stream(stated: list[Data], prepare: Preparation, editors: tuple[str, ...] = EDITORS, **fields: Any) -> Stream:
    made = build(stated, [fields.pop("count", 0)] * len(stated), 3, True, editors)
    counts = [len(source.items()) for source in made]
    return Stream(made, counts, **({"prepare": prepare, "step": 4, "seed": 3} | fields))


def take(found: Stream, count: int, **asked: int) -> list[Canvas]:
    return [canvas for step in islice(found.steps(**asked), count) for canvas in step]


def stored(path: Path, entry: Entry) -> np.ndarray:
    """The numbers of a map that the forge wrote, as places in `EDITORS`, by the table of its card."""
    names = json.loads((path.parent / "forge.json").read_text())["editors"]
    values = np.asarray(Image.open(path.parent / entry.extra["editor"]))
    return np.vectorize(lambda n: EDITORS.index(names[n]) + 1 if n else 0)(values)


def test_the_forges_maps_arrive_as_they_were_written(forged: Path) -> None:
    whole = Preparation(augment.parse({}), augment.Window(128))
    by_name = {entry.image: entry for entry in read(forged)}
    canvases = take(stream([Data(manifest=str(forged))], whole), len(by_name) // 4)
    seen = set()
    for canvas in canvases:
        entry = by_name[canvas.id]
        expected = stored(forged, entry) if entry.label else np.zeros((96, 128), int)
        assert canvas.classes is not None
        assert canvas.mask is not None
        np.testing.assert_array_equal(canvas.classes[:96, :128], expected)
        assert not canvas.classes[96:].any()
        np.testing.assert_array_equal(canvas.classes > 0, canvas.mask)
        seen |= set(np.unique(expected).tolist())
    assert seen == {0, 1, 2, 3}


def test_who_has_no_number_is_not_known(forged: Path) -> None:
    manifest = Manifest(forged)
    for entry in manifest:
        classes = manifest.open(entry, ("splice", "unused"))
        assert classes.classes is not None
        if entry.label:
            expected = np.array([0, -1, 1, -1])[stored(forged, entry)]
            np.testing.assert_array_equal(classes.classes, expected)
        else:
            assert not classes.classes.any()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of pictures whose colours are their pixels' places, each with drawn turns of three editors."""
    folder, rng = tmp_path_factory.mktemp("places"), np.random.default_rng(4)
    lines = []
    for number in range(8):
        height, width = (int(n) for n in rng.integers(40, 90, 2))
        rows, columns = np.mgrid[:height, :width].astype(np.uint8)
        (folder / f"{number}.png").write_bytes(png(np.dstack([rows, columns, np.full_like(rows, number)])))
        turns = rng.integers(0, 4, (height, width)).astype(np.uint8)
        (folder / f"{number}_turn.png").write_bytes(png(turns))
        (folder / f"{number}_mask.png").write_bytes(png(255 * (turns > 0).astype(np.uint8)))
        line = {"image": f"{number}.png", "mask": f"{number}_mask.png", "turn": f"{number}_turn.png", "label": 1}
        lines.append({**line, "editors": ["copy_move", "removal", "other"]})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "manifest.jsonl"


def test_the_numbers_of_a_public_set_are_names(places: Path) -> None:
    entry = next(iter(read(places))).model_dump()
    labels = {key: value for key, value in entry.items() if key not in ("editors", "turn")} | {"labels": entry["turn"]}
    sample = Manifest(places).open(Entry.model_validate(labels), ("3", "1"))
    turns = np.asarray(Image.open(places.parent / entry["turn"]))
    np.testing.assert_array_equal(sample.classes, np.array([0, 2, -1, 1])[turns])


def test_a_single_editor_needs_no_map_beside_its_mask(places: Path) -> None:
    entry = next(iter(read(places))).model_dump()
    single = {key: value for key, value in entry.items() if key != "turn"} | {"editors": ["removal"]}
    sample = Manifest(places).open(Entry.model_validate(single), EDITORS)
    assert sample.mask is not None
    np.testing.assert_array_equal(sample.classes, sample.mask)
    several = Entry.model_validate(single | {"editors": ["removal", "splice"]})
    assert several.edited_by == ()
    with pytest.raises(InputError, match="a map of their turns"):
        Manifest(places).open(several, EDITORS)
    assert Manifest(places).open(several).classes is None, "nobody asked"


GEOMETRY = {
    "flip:axis=horizontal/vertical/both": 0.7,
    "rotate:angle=-90/90/180": 0.7,
    "crop:keep=0.6..0.9": 0.5,
    "resize:factor=0.6..1.5,interpolation=nearest": 0.8,
}


def test_every_pixel_keeps_its_editor_wherever_it_goes(places: Path) -> None:
    """The colours of a canvas tell where its pixels were; nothing of ours is asked to move the map."""
    prepare = Preparation(augment.parse(GEOMETRY), augment.Window(48, 0.5), seed=1)
    number_of = np.array([0, 3, 1, -1])
    turns = [np.asarray(Image.open(places.parent / f"{n}_turn.png")) for n in range(8)]
    shapes, partly = set(), 0
    for canvas in take(stream([Data(manifest=str(places))], prepare), 12):
        assert canvas.classes is not None
        assert canvas.mask is not None
        rows, columns, number = canvas.image[canvas.valid].T.astype(int)
        truth = turns[number[0]][rows, columns]
        np.testing.assert_array_equal(canvas.classes[canvas.valid], number_of[truth])
        np.testing.assert_array_equal(canvas.mask[canvas.valid], truth > 0)
        assert not canvas.classes[~canvas.valid].any()
        partly += not canvas.valid.all()
        shapes.add((rows[0] > rows[-1], columns[0] > columns[-1], rows[0] == rows[1]))
    assert len(shapes) > 4, "all turns and flips have come"
    assert partly


@pytest.mark.parametrize("angle", [7.0, -31.5, 123.0])
def test_a_turned_map_is_looked_up_at_the_nearest_pixel(angle: float) -> None:
    rng = np.random.default_rng(5)
    classes = rng.integers(-1, 4, (31, 44)).astype(np.int16)
    sample = Sample(np.zeros((31, 44, 3), np.uint8), mask=classes > 0, classes=classes)
    found = attack.by_name("rotate", angle=angle)(sample, rng).classes
    assert found is not None
    for y in range(31):
        for x in range(44):
            # Rows run downwards, so that turning back is turning on in these coordinates.
            old = complex(x - 21.5, y - 15) * cmath.exp(1j * math.radians(angle)) + complex(21.5, 15)
            column, row = round(old.real), round(old.imag)
            inside = 0 <= row < 31 and 0 <= column < 44
            assert found[y, x] == (classes[row, column] if inside else 0)


def test_what_is_forged_on_the_way_has_no_known_editor(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    sample = Sample(rgb, mask=np.zeros((96, 96), bool), classes=np.zeros((96, 96), np.int16))
    after = augment.parse({"copy_move": 1.0})(sample, rng)
    assert after.mask is not None
    assert after.mask.any()
    np.testing.assert_array_equal(after.classes, np.where(after.mask, -1, 0))


def test_workers_and_the_step_to_begin_with_change_no_map(forged: Path, photos: Path) -> None:
    prepare = Preparation(augment.parse(GEOMETRY | {"gaussian_noise": 0.5}), augment.Window(48, 0.5), seed=1)
    forge = Forge(photos=str(photos), change=("operations={copy_move: 1, splice: 1}", "hosts.min_side=32"))
    stated = [Data(manifest=str(forged)), Data(forge=forge)]
    whole = take(stream(stated, prepare, count=3), 4)
    assert any((c.classes > 0).any() for c in whole if c.id.startswith("forged/") and c.classes is not None)
    for other, expected in (
        (take(stream(stated, prepare, count=3, workers=2), 4), whole),
        (take(stream(stated, prepare, count=3), 2, first=2), whole[8:]),
    ):
        for one, two in zip(other, expected, strict=True):
            assert one.id == two.id
            np.testing.assert_array_equal(one.image, two.image)
            np.testing.assert_array_equal(one.classes, two.classes)


def test_pixels_that_are_not_known_teach_nothing() -> None:
    torch.manual_seed(0)
    net = diffseg.build(editors=2)
    logits = torch.randn(1, 3, 8, 8)
    classes, valid = torch.randint(0, 3, (1, 8, 8)), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    hidden = torch.rand(1, 8, 8) < 0.4
    by_class = net.loss({"classes": logits}, {"classes": classes.masked_fill(hidden, -1), "valid": valid}, 0.0)
    by_area = net.loss({"classes": logits}, {"classes": classes, "valid": valid & ~hidden[:, None]}, 0.0)
    assert by_class["classes"].item() == by_area["classes"].item()


def asked(path: Path, **fields: Any) -> Recipe:
    stated: dict[str, Any] = {
        "network": {"name": "diffseg", "settings": {"editors": 3}},
        "validate_on": [{"manifest": str(path)}],
        "data": {"side": 48, "augment": GEOMETRY, "editors": EDITORS},
        "steps": 4,
        "optimizer": {"lr": 0.01},
        "validation": {"side": 64, "overlap": 8, "every": 2, "metric": "class_miou"},
    }
    return recipe(path, **(stated | fields))


def test_diffseg_trains_on_maps_and_is_chosen_by_them(forged: Path, tmp_path: Path) -> None:
    found = train(asked(forged), tmp_path)
    assert found.progress.replaced == 0
    best = found.progress.best
    assert 0 <= best["class_miou"] <= 1
    assert "class_miou" in found.text()
    predictor = predict.load(tmp_path / "best.pt", side=64, overlap=8)
    predictor.classes = True
    called, truth = [], []
    manifest = Manifest(forged)
    for entry in manifest:
        answer = predictor(manifest.open(entry))
        assert answer.classes is not None
        called.append(answer.classes)
        truth.append(stored(forged, entry) if entry.label else np.zeros((96, 128), int))
    c, t = np.stack(called), np.stack(truth)
    ious = [((c == k) & (t == k)).sum() / ((c == k) | (t == k)).sum() for k in range(4)]
    assert best["class_miou"] == pytest.approx(np.mean(ious))
    assert best["class_foreground_iou"] == pytest.approx(((c > 0) & (t > 0)).sum() / ((c > 0) | (t > 0)).sum())
    assert best["class_attribution"] == pytest.approx((c == t)[t > 0].mean())


def test_an_answer_names_the_likeliest_editor_across_tiles() -> None:
    torch.manual_seed(0)
    net = diffseg.build(editors=2)
    rgb = np.random.default_rng(0).integers(0, 256, (40, 72, 3), dtype=np.uint8)
    predictor = predict.asked(net, view=View("pad"))
    assert predictor(Sample(rgb)).classes is None, "nobody asked"
    predictor.classes = True
    answer = predictor(Sample(rgb))
    with torch.inference_mode():
        logits = net.eval()(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255)["classes"]
    np.testing.assert_array_equal(answer.classes, logits[0, :, :40].argmax(0).numpy())
    tiled = predict.asked(net, view=View("tile", 32, 8), batch=3)
    tiled.classes = True
    other = tiled(Sample(rgb))
    assert other.classes is not None
    assert other.classes.shape == (40, 72)


def test_a_batch_has_the_maps_and_without_them_the_mask(places: Path) -> None:
    prepare = Preparation(augment.parse({}), augment.Window(32))
    canvases = take(stream([Data(manifest=str(places))], prepare), 1)
    batch = batches.tensors(canvases, torch.device("cpu"))
    assert batch["classes"].dtype == torch.int64
    np.testing.assert_array_equal(batch["classes"].numpy(), np.stack([c.classes for c in canvases]))
    plain = batches.tensors([replace(c, classes=None) for c in canvases], torch.device("cpu"))
    np.testing.assert_array_equal(plain["classes"].numpy(), batch["mask"][:, 0].long().numpy())


def test_what_does_not_fit_is_said_before_a_step(forged: Path, pictures: Path, tmp_path: Path) -> None:
    wrong = {
        "expected the 3 editors": {"data": {"side": 48, "editors": EDITORS[:2]}},
        "expected the 3 editors that the network tells apart, found 0": {
            "data": {"side": 48},
            "validation": {"metric": "pixel_f1"},
        },
        "expected data.editors": {"data": {"side": 48}},
        "expected different names": {"data": {"side": 48, "editors": ["a", "a", "b"]}},
        "expected the 0 editors": {"network": {"name": "unet"}},
        "`editors` and `turn`": {"train_on": [{"manifest": str(pictures)}]},
    }
    for number, (text, change) in enumerate(wrong.items()):
        with pytest.raises(InputError, match=text):
            train(asked(forged, **change), tmp_path / str(number))
    assert predict.build(Wanted(name="diffseg")).editors == len(recipes.load("diffseg", LOADED).data.editors)


LOADED = ["train_on=[{manifest: x.jsonl}]", "steps=0", "epochs=1"]
