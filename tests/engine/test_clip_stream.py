"""Clips as samples: frames stay together and in time, and go one way through augmentation, network and validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import TinyNet, png, recipe

from tamperscope.data.manifest import Entry, Manifest, read
from tamperscope.engine import batches, evaluate, predict
from tamperscope.engine import recipe as recipes
from tamperscope.engine.canvas import Canvas
from tamperscope.engine.recipe import Data, Forge, Recipe
from tamperscope.engine.sources import Listed, build
from tamperscope.engine.stream import Preparation, Stream
from tamperscope.engine.train import _Trainer, train
from tamperscope.errors import InputError
from tamperscope.forging import recipe as forgeries
from tamperscope.forging import run
from tamperscope.inference.predictor import View
from tamperscope.metrics import pixel
from tamperscope.networks import relayformer
from tamperscope.ops import augment
from tamperscope.ops.forge.video.clip import Clip
from tamperscope.types import Sample

SIZE, LENGTH = (64, 80), 5
CLIPS = {"frames": 4, "encoded": 0.0}


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> Path:
    """Folder of three clips: a panned texture with an ellipse that walks over it, and its outlines."""
    folder = tmp_path_factory.mktemp("filmed")
    lines = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        world = cv2.resize(rng.normal(120, 40, (24, 30, 3)), (140, 100), interpolation=cv2.INTER_CUBIC)
        world += rng.normal(0, 8, world.shape)
        for number in range(LENGTH):
            frame = world[8 + number : 8 + number + SIZE[0], 10 + 4 * number : 10 + 4 * number + SIZE[1]]
            frame = np.clip(frame, 0, 255).astype(np.uint8)
            outline = np.zeros(SIZE, np.uint8)
            cv2.ellipse(outline, (20 + 9 * number, 32), (6, 13), 0, 0, 360, 255, -1)
            frame[outline > 0] = (230, 40, 60)
            name = f"c{seed}_{number}"
            (folder / f"{name}.png").write_bytes(encode(frame))
            (folder / f"{name}_object.png").write_bytes(png(outline))
            line = {"image": f"{name}.png", "group": f"c{seed}", "split": "train", "label": 0, "noun": "a ball"}
            lines.append({**line, "object_mask": f"{name}_object.png"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory, filmed: Path) -> Path:
    """Manifest of four forged clips with their twins, kept without loss."""
    out = tmp_path_factory.mktemp("forged")
    asked = forgeries.Recipe(
        title="Clips",
        operations={"clip_removal": 1, "clip_paste": 1},
        ranges={"clip_removal": {"share": [0.5, 0.8], "fill": "telea"}, "clip_paste": {"frames": [0.5, 0.8]}},
        clips=forgeries.Clipped.model_validate(CLIPS),
        hosts=forgeries.Pictures(recompressed=0.0),
        deliveries={"": 1},
        gate=forgeries.Gate(agreement=(0.02, 1.0)),
    )
    assert run.forge(filmed, asked, 4, 3, out).made == 4
    return out / "manifest.jsonl"


def numbered_set(folder: Path) -> Path:
    """Manifest of clips whose colours are place and time, with drawn masks; in no order, and one single picture."""
    rng = np.random.default_rng(6)
    folder.mkdir()
    lines = []
    for clip, length in (("a", 7), ("b", 3), ("", 1)):
        height, width = (int(n) for n in rng.integers(40, 70, 2))
        rows, columns = np.mgrid[:height, :width].astype(np.uint8)
        for number in range(length):
            name = f"{clip or 'single'}{number}"
            (folder / f"{name}.png").write_bytes(png(np.dstack([rows, columns, np.full_like(rows, number)])))
            (folder / f"{name}_mask.png").write_bytes(png(255 * (rng.random((height, width)) < 0.3).astype(np.uint8)))
            line = {"image": f"{name}.png", "mask": f"{name}_mask.png", "label": 1}
            lines.append(line | ({"video": clip, "frame": 10 * number} if clip else {}))
    order = rng.permutation(len(lines))
    (folder / "manifest.jsonl").write_text("".join(json.dumps(lines[i]) + "\n" for i in order))
    return folder / "manifest.jsonl"


GEOMETRY = {
    "flip:axis=horizontal/vertical/both": 0.7,
    "rotate:angle=-90/90/180": 0.7,
    "crop:keep=0.6..0.9": 0.5,
    "resize:factor=0.6..1.5,interpolation=nearest": 0.8,
}


def stream(stated: list[Data], prepare: Preparation, frames: int, count: int = 0, **fields: Any) -> Stream:
    made = build(stated, [count] * len(stated), 3, True, (), frames)
    counts = [len(source.items()) for source in made]
    return Stream(made, counts, **({"prepare": prepare, "step": 2, "seed": 3} | fields))


def take(found: Stream, count: int, **asked: int) -> list[Canvas]:
    return [canvas for step in islice(found.steps(**asked), count) for canvas in step]


def test_clips_are_cut_into_parts_in_the_order_of_their_frames(tmp_path: Path) -> None:
    path = numbered_set(tmp_path / "set")
    parts = {item.image: item for item in Listed(str(path), frames=3).items()}
    assert sorted(parts) == ["a#0-3", "a#3-6", "a#6-7", "b#0-3", "single0.png#0-1"]
    opened = Listed(str(path), frames=3).open(parts["a#3-6"], 0)[0]
    assert isinstance(opened, Clip)
    assert [frame.rgb[0, 0, 2] for frame in opened.frames] == [3, 4, 5]
    assert len(Listed(str(path)).items()) == 11, "as pictures where clips are not asked for"
    lines = path.read_text().replace('"frame": 20', '"frame": 10')
    path.write_text(lines)
    with pytest.raises(InputError, match="a number `frame` of each"):
        Listed(str(path), frames=3).items()


def check_canvas(canvas: Canvas, folder: Path, frames: int) -> bool:
    """Check each pixel of a canvas by its colours; tell whether all masks are those of their frames."""
    name, _, span = canvas.id.partition("#")
    start, stop = (int(n) for n in span.split("-"))
    assert canvas.image.shape[0] == canvas.valid.shape[0] == frames
    assert canvas.mask is not None
    assert not canvas.valid[stop - start :].any(), "what is filled up is not valid"
    assert not canvas.image[stop - start :].any()
    right, way = True, None
    for place, number in enumerate(range(start, stop)):
        valid = canvas.valid[place]
        rows, columns, time = canvas.image[place][valid].T.astype(int)
        assert set(time.tolist()) == {number}
        way = (rows, columns) if way is None else way
        np.testing.assert_array_equal((rows, columns), way, "all frames go the same way")
        stem = "single0" if name.startswith("single") else f"{name}{number}"
        mask = np.asarray(Image.open(folder / f"{stem}_mask.png"))[rows, columns] > 127
        right &= bool((canvas.mask[place][valid] == mask).all())
    return right


def test_frames_go_the_same_way_and_keep_their_masks(tmp_path: Path) -> None:
    path = numbered_set(tmp_path / "set")
    prepare = Preparation(augment.parse(GEOMETRY), augment.Window(40, 0.5), seed=1, frames=3)
    canvases = take(stream([Data(manifest=str(path))], prepare, 3), 20)
    assert len({c.id for c in canvases}) == 5
    assert all(check_canvas(canvas, path.parent, 3) for canvas in canvases)
    # The masks of two frames change places: what the canvases hold is no longer what lies there.
    one, two = path.parent / "a3_mask.png", path.parent / "a4_mask.png"
    held = one.read_bytes(), two.read_bytes()
    for file, data in zip((two, one), held, strict=True):
        file.write_bytes(data)
    wrong = {canvas.id for canvas in canvases if not check_canvas(canvas, path.parent, 3)}
    assert wrong == {"a#3-6"}


def test_workers_and_the_step_to_begin_with_change_no_clip(tmp_path: Path, forged: Path, filmed: Path) -> None:
    prepare = Preparation(augment.parse(GEOMETRY | {"gaussian_noise": 0.5}), augment.Window(40, 0.5), seed=1, frames=3)
    change = (f"clips={json.dumps(CLIPS)}", "hosts.min_side=32", "operations.clip_paste=0", "gate.agreement=[0.02, 1]")
    forge = Forge(photos=str(filmed), recipe="video", change=(*change, "ranges.clip_removal.fill=telea"))
    stated = [Data(manifest=str(forged)), Data(forge=forge)]
    whole = take(stream(stated, prepare, 3, 2), 8)
    on_the_way = [c for c in whole if c.id.startswith("forged/")]
    assert {c.label for c in on_the_way} == {0, 1}
    assert all(c.image.shape == (3, 40, 40, 3) for c in whole)
    for other, expected in (
        (take(stream(stated, prepare, 3, 2, workers=2), 8), whole),
        (take(stream(stated, prepare, 3, 2), 3, first=5), whole[10:]),
    ):
        for one, two in zip(other, expected, strict=True):
            assert (one.id, one.label) == (two.id, two.label)
            for name in ("image", "mask", "valid"):
                np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_noise_is_new_in_each_frame_and_everything_else_alike(rng: np.random.Generator) -> None:
    frames = tuple(Sample(np.full((32, 32, 3), 128, np.uint8), mask=np.zeros((32, 32), bool)) for _ in range(3))
    noisy = Preparation(augment.parse({"gaussian_noise:sigma=5..20": 1.0}), augment.Window(32), frames=3)
    image = noisy(Clip(frames), (0,)).image.astype(int) - 128
    assert np.abs(np.corrcoef(image.reshape(3, -1)) - np.eye(3)).max() < 0.1
    assert image.std((1, 2, 3)) == pytest.approx(image[0].std(), rel=0.1)
    bright = Preparation(augment.parse({"brightness:shift=-60..60": 1.0}), augment.Window(32), frames=3)
    assert len(np.unique(bright(Clip(frames), (0,)).image)) == 1


def test_a_window_seeks_what_is_forged_in_any_frame() -> None:
    masks = [np.zeros((64, 64), bool) for _ in range(3)]
    masks[2][60:, 60:] = True
    frames = tuple(Sample(np.zeros((64, 64, 3), np.uint8), mask=mask) for mask in masks)
    prepare = Preparation(augment.parse({}), augment.Window(16, 1.0), frames=3)
    found = [prepare(Clip(frames), (n,)) for n in range(20)]
    assert all(c.label == 1 and c.mask is not None and c.mask[2].any() and not c.mask[:2].any() for c in found)
    prepare = Preparation(augment.parse({"crop:keep=0.5,down=0,right=0": 1.0}), augment.Window(16), frames=3)
    assert prepare(Clip(frames), (0,)).label == 0, "all that was forged has been cut off"


def intact(entry: Entry) -> bool:
    return entry.extra.get("twin") == entry.image


def test_forged_clips_and_their_twins_differ_only_where_the_mask_of_that_frame_says(forged: Path) -> None:
    """No entry is lost, although frames that nothing was done to are kept once for both."""
    entries = list(read(forged))
    items = {item.image: item for item in Listed(str(forged), frames=4).items()}
    assert sorted(items) == sorted(f"{n:06d}{twin}#0-4" for n in range(4) for twin in ("", "_twin"))
    assert any(intact(entry) for entry in entries)
    whole = Preparation(augment.parse({}), augment.Window(80), frames=4)
    canvases = {c.id: c for c in take(stream([Data(manifest=str(forged))], whole, 4), 4)}
    noticed = 0
    for number in range(4):
        clip, twin = canvases[f"{number:06d}#0-4"], canvases[f"{number:06d}_twin#0-4"]
        assert (clip.label, twin.label) == (1, 0)
        assert clip.mask is not None
        assert twin.mask is not None
        assert not twin.mask.any()
        changed = (clip.image != twin.image).any(-1)
        assert not (changed & ~clip.mask).any()
        assert [c.any() for c in changed] == [m.any() for m in clip.mask]
        swapped = clip.mask[[1, 0, 3, 2]]
        noticed += bool((changed & ~swapped).any())
    assert noticed == 4, "masks of other frames do not fit"


SMALL = {"patch": 8, "tile": 6, "overlap": 2, "width": 48, "heads": 3, "depth": 2, "axis": 4, "decoder": None}


def asked(path: Path, **fields: Any) -> Recipe:
    stated: dict[str, Any] = {
        "network": {"name": "relayformer", "settings": SMALL},
        "validate_on": [{"manifest": str(path)}],
        "data": {"side": 64, "augment": {"flip": 0.5, "gaussian_noise": 0.3}, "frames": 3},
        "batch": 2,
        "steps": 4,
        "optimizer": {"lr": 0.003},
        "validation": {"how": "pad", "every": 2, "metric": "pixel_f1"},
        "checkpoint": 1,
    }
    return recipe(path, **(stated | fields))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_relayformer_trains_on_clips_and_is_judged_frame_by_frame(forged: Path, tmp_path: Path) -> None:
    found = train(asked(forged), tmp_path / "whole")
    assert found.progress.replaced == 0

    class Killed(Exception):
        pass

    def stop(step: int, steps: int, text: str) -> None:
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        train(asked(forged), tmp_path / "killed", advance=stop)
    resumed = train(asked(forged), tmp_path / "killed", resume=True)
    assert same(found.network.state_dict(), resumed.network.state_dict())
    predictor = predict.load(tmp_path / "whole" / "best.pt", how="pad")
    f1s, scores = [], []
    source = Listed(str(forged), frames=3)
    for item in source.items():
        clip = source.open(item, 0)[0]
        assert isinstance(clip, Clip)
        for frame, answer in zip(clip.frames, predictor.frames(clip.frames), strict=True):
            scores.append(answer.score)
            if frame.label:
                f1s.append(pixel.measure(answer.heatmap, frame.mask, ["f1"])["f1"])
    assert len(scores) == 4 * 2 * 4
    known = [f for f in f1s if not np.isnan(f)]
    assert found.progress.best["pixel_f1"] == pytest.approx(np.mean(known))


def test_what_takes_no_clips_is_told_frames_as_pictures(forged: Path, tmp_path: Path) -> None:
    plain = asked(forged, steps=1, network={"name": "unet"}, data={"side": 32, "frames": 3})
    trainer = _Trainer(plain, tmp_path, False, TinyNet(), lambda step, steps, text: None)
    assert trainer.frames == 1
    assert next(trainer.stream.steps())[0].image.shape == (32, 32, 3)
    trainer.stream.sources[0].items()
    assert trainer.stream.epoch_length == len(list(read(forged)))


def test_frames_are_seen_together_only_by_what_takes_clips(forged: Path) -> None:
    torch.manual_seed(0)
    net = relayformer.RelayFormer(**SMALL)
    for part in net.blocks:
        for name, value in part.named_parameters():
            if ".up." in name:
                torch.nn.init.normal_(value, std=0.3)
    manifest = Manifest(forged)
    frames = [manifest.open(entry) for entry in list(manifest)[:3]]
    together = predict.asked(net, view=View("pad"))
    assert together.clips
    answers = together.frames(frames)
    pixels = np.stack([np.pad(f.rgb, ((0, 16), (0, 0), (0, 0))) for f in frames])
    valid = torch.zeros(1, 3, 1, 80, 80, dtype=torch.bool)
    valid[..., :64, :] = True
    with torch.inference_mode():
        image = torch.from_numpy(pixels).permute(0, 3, 1, 2)[None].float() / 255
        logits = net.eval()(image, valid=valid)["mask"].sigmoid()[0, :, 0, :64]
    for number, answer in enumerate(answers):
        np.testing.assert_allclose(answer.heatmap, logits[number].numpy(), atol=1e-5)
    alone = [together(frame).heatmap for frame in frames]
    gaps = [np.abs(a - b.heatmap).max() for a, b in zip(alone, answers, strict=True) if b.heatmap is not None]
    assert max(gaps) > 1e-4, "relay tokens carry word between frames"
    single = predict.asked(TinyNet(), view=View("tile", 32, 8))
    for frame, answer in zip(frames, single.frames(frames), strict=True):
        np.testing.assert_array_equal(answer.heatmap, single(frame).heatmap)


def test_batches_of_clips_have_time_after_the_batch_and_filling_counts_nothing(tmp_path: Path) -> None:
    path = numbered_set(tmp_path / "set")
    prepare = Preparation(augment.parse({}), augment.Window(40), frames=4)
    canvases = take(stream([Data(manifest=str(path))], prepare, 4), 2)
    batch = batches.tensors(canvases, torch.device("cpu"))
    assert batch["image"].shape == (4, 4, 3, 40, 40)
    assert batch["mask"].shape == batch["valid"].shape == (4, 4, 1, 40, 40)
    assert batch["classes"].shape == (4, 4, 40, 40)
    for number, canvas in enumerate(canvases):
        np.testing.assert_array_equal((batch["image"][number] * 255).round().byte().permute(0, 2, 3, 1), canvas.image)
    assert batches.size(batch, "mask") == sum(c.valid.sum() for c in canvases)
    torch.manual_seed(0)
    net = relayformer.RelayFormer(**SMALL)
    outputs = net(batch["image"], valid=batch["valid"])
    empty = ~batch["valid"].flatten(2).any(2)
    assert empty.any()
    loss = net.loss(outputs, batch, 0.0)["mask"]
    changed = dict(outputs)
    changed["mask"] = outputs["mask"].masked_fill(empty[..., None, None, None], 5.0)
    assert net.loss(changed, batch, 0.0)["mask"].item() == pytest.approx(loss.item())


def test_a_tally_of_clips_is_that_of_their_frames(forged: Path) -> None:
    source = Listed(str(forged), frames=3)
    clips = [source.open(item, 0)[0] for item in source.items()]
    single = predict.asked(TinyNet(), view=View("tile", 32, 8))
    together = evaluate.tally(single, enumerate(clips), single.frames)
    apart = evaluate.tally(single, enumerate(f for c in clips if isinstance(c, Clip) for f in c.frames))
    assert together.metrics() == apart.metrics()
    halves = [evaluate.tally(single, list(enumerate(clips))[i::2]) for i in range(2)]
    halves[1].join(halves[0])
    assert halves[1].metrics() == together.metrics()


def test_forgeries_of_single_frames_are_refused_in_clips() -> None:
    wanted = asked(Path("x.jsonl"), data={"side": 64, "frames": 3, "augment": {"copy_move": 0.1}})
    with pytest.raises(InputError, match="no forgeries of single frames in clips, found copy_move"):
        recipes.check(wanted)
    changes = ["train_on=[{manifest: x.jsonl}]", "data.frames=4", "data.augment.copy_move=0"]
    assert recipes.load("relayformer", changes).data.frames == 4
