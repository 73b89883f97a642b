"""Maps of changes: grey levels of difference from the twin, from file to batch; what only happens to originals."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import LabelNet, TinyNet, png, recipe

from tamperscope.data.manifest import Manifest, read
from tamperscope.engine import batches
from tamperscope.engine import recipe as recipes
from tamperscope.engine.canvas import Canvas
from tamperscope.engine.recipe import Data, Forge
from tamperscope.engine.sources import build
from tamperscope.engine.stream import Preparation, Stream
from tamperscope.engine.train import train
from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.ops import augment, changes
from tamperscope.ops.forge.video.clip import Clip
from tamperscope.types import Sample

GEOMETRY = {
    "flip:axis=horizontal/vertical/both": 0.7,
    "rotate:angle=-90/90/180": 0.7,
    "crop:keep=0.6..0.9": 0.5,
    "resize:factor=0.6..1.5,interpolation=nearest": 0.8,
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose colours are their pixels' places; three have twins that are brighter by drawn levels."""
    folder, rng = tmp_path_factory.mktemp("places"), np.random.default_rng(4)
    lines: list[dict[str, Any]] = []
    for number in range(5):
        height, width = (int(n) for n in rng.integers(40, 90, 2))
        rows, columns = np.mgrid[:height, :width].astype(np.uint8)
        rgb = np.dstack([rows, columns, np.full_like(rows, number)])
        mask, levels = rng.random((height, width)) < 0.4, rng.integers(0, 100, (height, width)).astype(np.uint8)
        files = {f"{number}.png": rgb, f"{number}_mask.png": 255 * mask.astype(np.uint8)}
        line = {"image": f"{number}.png", "mask": f"{number}_mask.png", "label": 1}
        if number < 4:
            twin = rgb + levels[..., None]
            files |= {f"{number}_twin.png": twin[:-1] if number == 3 else twin}
            line |= {"twin": f"{number}_twin.png"}
        np.save(folder / f"{number}.npy", np.where(mask, levels if number < 3 else 255, 0))
        lines.append(line)
        for name, pixels in files.items():
            (folder / name).write_bytes(png(pixels))
    lines.append({"image": "0_twin.png", "label": 0})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "manifest.jsonl"


def stream(stated: list[Data], prepare: Preparation, levels: bool = True, **fields: Any) -> Stream:
    masks = fields.pop("masks", True)
    made = build(stated, [fields.pop("count", 0)] * len(stated), 3, masks, levels=levels)
    counts = [len(source.items()) for source in made]
    return Stream(made, counts, **({"prepare": prepare, "step": 4, "seed": 3} | fields))


def take(found: Stream, count: int, **asked: int) -> list[Canvas]:
    return [canvas for step in islice(found.steps(**asked), count) for canvas in step]


def test_levels_are_those_of_the_difference_and_wholly_changed_where_the_original_is_not_known() -> None:
    rng = np.random.default_rng(0)
    rgb, other = rng.integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)
    mask = rng.random((9, 7)) < 0.5
    expected = np.abs(rgb.astype(int) - other) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(changes.levels(rgb, mask, other), np.where(mask, expected, 0), atol=0.6)
    for unknown in (None, other[:-1]):
        np.testing.assert_array_equal(changes.levels(rgb, mask, unknown), np.where(mask, 255, 0))
    # Greys alone would be alike.
    red, green = np.full((1, 1, 3), (100, 0, 0), np.uint8), np.full((1, 1, 3), (0, 51, 0), np.uint8)
    assert changes.levels(red, np.ones((1, 1), bool), green) == round(29.9 + 0.587 * 51)


def test_a_sample_takes_only_a_map_of_its_size(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 9), np.float32)):
        with pytest.raises(InvalidValueError, match=r"Sample.change: expected uint8 \(8, 9\)"):
            Sample(rgb, change=wrong)


def test_a_manifest_knows_changes_by_its_twins(places: Path) -> None:
    manifest = Manifest(places)
    for number, entry in enumerate(manifest):
        assert manifest.open(entry).change is None, "nobody asked"
        found = manifest.open(entry, change=True).change
        assert found is not None
        expected = np.load(places.parent / f"{number}.npy") if entry.label else np.zeros(found.shape)
        np.testing.assert_array_equal(found, expected)


def test_every_pixel_keeps_its_change_wherever_it_goes(places: Path) -> None:
    """The colours of a canvas tell where its pixels were; nothing of ours is asked to move the map."""
    prepare = Preparation(augment.parse(GEOMETRY), augment.Window(48, 0.5), seed=1, mirror=0.5)
    levels = [np.load(places.parent / f"{n}.npy") for n in range(5)]
    seen = 0
    for canvas in take(stream([Data(manifest=str(places))], prepare), 12):
        assert canvas.change is not None
        assert not canvas.change[~canvas.valid].any()
        if not canvas.id.endswith("twin.png"):
            rows, columns, number = canvas.image[canvas.valid].T.astype(int)
            np.testing.assert_array_equal(canvas.change[canvas.valid], levels[number[0]][rows, columns])
            seen += len(set(np.unique(canvas.change)) - {0, 255}) > 20
        else:
            assert not canvas.change.any()
    assert seen > 10


def test_forgeries_made_on_the_way_know_theirs(photos: Path) -> None:
    forge = Data(forge=Forge(photos=str(photos), recipe="splice", change=("hosts.min_side=32", "deliveries={'': 1}")))
    whole = Preparation(augment.parse({}), augment.Window(256))
    seen = stream([forge], whole, count=4, step=8).steps()
    by_id = {canvas.id: canvas for canvas in next(seen)}
    for name, canvas in by_id.items():
        if name.endswith("twin"):
            continue
        twin = by_id[f"{name}/twin"]
        assert twin.change is not None
        assert not twin.change.any()
        apart = np.abs(canvas.image.astype(int) - twin.image) @ (0.299, 0.587, 0.114)
        np.testing.assert_allclose(canvas.change, apart * canvas.mask, atol=0.6)
        assert canvas.change[canvas.mask].mean() > 1
    assert len(by_id) == 8


def test_what_is_forged_on_the_way_changes_by_what_was_there(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    old = np.zeros((96, 96), np.uint8)
    old[:, :20] = 7
    sample = Sample(rgb, mask=old > 0, change=old)
    after = augment.parse({"copy_move": 1.0})(sample, rng)
    assert after.change is not None
    new = np.any(after.rgb != rgb, 2)
    assert new.any()
    apart = np.abs(after.rgb.astype(int) - rgb) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(after.change[new], apart[new], atol=0.6)
    np.testing.assert_array_equal(after.change[~new & (old > 0)], 7)
    assert not after.change[~after.mask].any()
    assert augment.parse({"copy_move": 1.0})(replace(sample, change=None), rng).change is None


def test_a_batch_has_levels_where_they_are_asked_for(places: Path) -> None:
    prepare, device = Preparation(augment.parse({}), augment.Window(32)), torch.device("cpu")
    canvases = take(stream([Data(manifest=str(places))], prepare), 2)
    batch = batches.tensors(canvases, device)
    assert batch["change"].shape == batch["mask"].shape
    assert batch["change"].dtype == torch.float32
    np.testing.assert_array_equal(batch["change"][:, 0].numpy(), np.stack([c.change for c in canvases]))
    assert batch["change"].max() == 255
    for other in (stream([Data(manifest=str(places))], prepare, False), stream([Data(manifest=str(places))], prepare)):
        canvases = take(other, 1)
        assert ("change" in batches.tensors(canvases, device)) == (canvases[0].change is not None)
    blind = stream([Data(manifest=str(places))], replace(prepare, masks=False), masks=False)
    assert all(canvas.change is None for canvas in take(blind, 1))


def test_frames_of_a_clip_keep_their_own(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    maps = rng.integers(0, 256, (2, 40, 40)).astype(np.uint8)
    frames = tuple(Sample(x, mask=c > 0, change=c) for x, c in zip(rgb, maps, strict=True))
    prepare = Preparation(augment.parse(GEOMETRY), augment.Window(24), frames=3, seed=2)
    canvas = prepare(Clip(frames), (1,))
    assert canvas.change is not None
    assert canvas.change.shape == (3, 24, 24)
    assert not canvas.change[2].any()
    lone = [prepare(Clip((frame,)), (1,)) for frame in frames]
    np.testing.assert_array_equal(canvas.change[0], lone[0].change[0])


# What only happens to authentic pictures.

LOUD = {"gaussian_noise:sigma=30": 1.0}


def test_authentic_pictures_alone_are_changed_and_no_draw_of_others(pictures: Path) -> None:
    """Every second picture is forged; what is done to the others moves nothing of these."""
    plain = augment.parse({"flip": 0.5})
    some = augment.parse({"flip": 0.5}, LOUD)
    before, after = (
        take(stream([Data(manifest=str(pictures))], Preparation(op, augment.Window(32, 0.5), seed=3)), 3)
        for op in (plain, some)
    )
    labels = {entry.image: entry.label for entry in read(pictures)}
    assert {labels[c.id] for c in before} == {0, 1}
    for one, two in zip(before, after, strict=True):
        assert one.id == two.id
        apart = np.abs(one.image.astype(int) - two.image)
        if labels[one.id]:
            # A window without a forged pixel is still of a forged picture.
            assert not apart.any()
        else:
            assert apart.mean() > 5


def test_unlabelled_pictures_are_none_of_them(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    op = augment.parse({}, LOUD)
    assert op(Sample(rgb), rng).rgb is rgb
    assert op(Sample(rgb, label=1), rng).rgb is rgb
    assert (op(Sample(rgb, label=0), rng).rgb != rgb).any()


@pytest.mark.parametrize("forged", [(0, 0), (0, 1), (1, 0)])
def test_a_clip_is_authentic_where_all_of_its_frames_are(forged: tuple[int, int], rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    clip = Clip(tuple(Sample(x, mask=np.full((32, 32), bool(f))) for x, f in zip(rgb, forged, strict=True)))
    canvas = Preparation(augment.parse({}, LOUD), augment.Window(32), frames=2)(clip, (0,))
    for frame, old in zip(canvas.image, rgb, strict=True):
        assert (frame != old).any() == (not any(forged))


def test_recipes_state_both(pictures: Path, judged: Path, tmp_path: Path) -> None:
    class Wanting(TinyNet):
        def loss(self, outputs: Any, batch: Any, progress: float) -> Any:
            assert batch["change"].amax() in (0, 255), "there are no twins here"
            assert torch.equal(batch["change"] > 0, batch["mask"] > 0)
            return super().loss(outputs, batch, progress)

    class Blind(LabelNet):
        def loss(self, outputs: Any, batch: Any, progress: float) -> Any:
            assert "change" not in batch
            return super().loss(outputs, batch, progress)

    data = {"side": 32, "change": True, "augment_pristine": {"jpeg:quality=60": 0.5}}
    for number, net in enumerate((Wanting(), Blind())):
        asked = recipe(pictures, data=data, steps=2, validate_on=[{"manifest": str(judged)}])
        assert train(asked, tmp_path / str(number), network=net).progress.replaced == 0
    with pytest.raises(UnknownNameError):
        recipes.check(recipe(pictures, data={"augment_pristine": {"jpg": 0.5}}))
    with pytest.raises(InvalidValueError, match="chance"):
        recipes.check(recipe(pictures, data={"augment_pristine": {"jpeg": 1.5}}))
    with pytest.raises(InputError, match="no forgeries of single frames"):
        recipes.check(recipe(pictures, data={"augment_pristine": {"copy_move": 0.5}, "frames": 2}))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs of two groups, textured so that a forgery shows."""
    folder, lines = tmp_path_factory.mktemp("photos"), []
    for number in range(4):
        small = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        (folder / f"{number}.png").write_bytes(png(small.repeat(8, 0).repeat(8, 1)))
        lines.append({"image": f"{number}.png", "group": f"g{number % 2}", "label": 0})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "manifest.jsonl"
