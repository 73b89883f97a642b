"""Ordered edits: from the forge's record through the loader to the loss, what chooses the network, and the artifact."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import recipe

from tamperscope.data import sequences
from tamperscope.data.manifest import Manifest, read
from tamperscope.engine import batches, evaluate, export, predict
from tamperscope.engine.canvas import Canvas
from tamperscope.engine.export import Wish
from tamperscope.engine.recipe import Data, Forge, Recipe
from tamperscope.engine.sources import build
from tamperscope.engine.stream import Preparation, Stream
from tamperscope.engine.train import train
from tamperscope.errors import InputError
from tamperscope.forging import recipe as forgeries
from tamperscope.forging import run
from tamperscope.inference.predictor import Arrays, Predictor, View
from tamperscope.metrics.suites import observe
from tamperscope.networks import catalog
from tamperscope.ops import augment
from tamperscope.ops.forge.faces import part
from tamperscope.types import Prediction, Sample

PARTS = tuple(part.LABELS)
LOADED = ["train_on=[{manifest: x.jsonl}]"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, photo: Callable[[str], np.ndarray]) -> Path:
    """Folder of four pictures with the same face in other places."""
    folder, lines = tmp_path_factory.mktemp("faces"), []
    for number, (top, left) in enumerate(((0, 130), (10, 140), (20, 150), (15, 135))):
        Image.fromarray(photo("astronaut")[top : top + 160, left : left + 160]).save(folder / f"{number}.png")
        lines.append({"image": f"{number}.png", "label": 0, "group": f"g{number}", "split": "train"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    """Manifest of eight sequences of edits and their twins; no mask is left."""
    out = tmp_path_factory.mktemp("forged")
    assert run.forge(faces, forgeries.load("face_sequence"), 8, 1, out).made >= 6
    for mask in (out / "masks").iterdir():
        mask.unlink()
    return out / "manifest.jsonl"


def take(source: Data, count: int, edits: tuple[str, ...] = PARTS, side: int = 160, **asked: Any) -> list[Canvas]:
    made = build([source], [source.count], 3, False, edits=edits)
    prepare = Preparation(augment.parse({}), augment.Window(side), masks=False, edits=edits, **asked)
    steps = Stream(made, [len(s.items()) for s in made], prepare, 4, seed=3).steps(0, 0, 1)
    return [canvas for step in islice(steps, count) for canvas in step]


def test_the_order_of_edits_is_in_the_record() -> None:
    ops = [{"op": "recompressed"}, {"op": "face_part", "part": "lip"}, {"op": "face_part", "part": "eye"}]
    assert sequences.edits({"ops": ops}, 1) == ["lip", "eye"]
    assert sequences.edits({"ops": ops, "sequence": ["nose"]}, 1) == ["nose"]
    assert sequences.edits({"sequence": ["bangs", "young"]}, 1) == ["bangs", "young"]
    assert sequences.edits({"ops": ops}, 0) == []
    assert sequences.edits({"ops": ops[:1]}, 1) is None
    assert sequences.edits({}, None) is None
    assert sequences.numbered({"ops": ops}, 1, PARTS, "x").tolist() == part.sequence(ops) == [4, 2, 0, 0, 0]
    assert sequences.numbered({}, 0, PARTS, "x").tolist() == [0] * 5
    for fields, text in (
        ({}, "expected the edits in their order"),
        ({"sequence": ["skin"]}, "found skin"),
        ({"sequence": ["eye"] * 6}, "up to 5 of the edits nose, eye"),
    ):
        with pytest.raises(InputError, match=f"'x'.*{text}"):
            sequences.numbered(fields, 1, PARTS, "x")


def test_a_canvas_is_told_the_edits_of_its_picture(forged: Path) -> None:
    by_name = {entry.image: entry for entry in read(forged)}
    canvases = take(Data(manifest=str(forged)), len(by_name) // 4, mirror=0.5)
    assert {c.id for c in canvases} == set(by_name)
    for canvas in canvases:
        entry = by_name[canvas.id]
        listed = [entry for entry in entry.extra.get("ops", ()) if entry["op"] == "face_part"]
        expected = [part.LABELS[entry["part"]] for entry in listed]
        assert bool(expected) == bool(entry.label)
        assert canvas.sequence is not None
        assert canvas.sequence.tolist() == expected + [0] * (5 - len(expected))
        assert canvas.mask is None
    batch = batches.tensors(canvases, torch.device("cpu"))
    assert batch["sequence"].dtype == torch.int64
    assert batch["sequence"].shape == (len(canvases), 5)
    assert batch["sequence"].unique(dim=0).shape[0] > 3
    plain = take(Data(manifest=str(forged)), 1, ())
    assert plain[0].sequence is None
    assert "sequence" not in batches.tensors(plain, torch.device("cpu"))


def test_what_is_forged_on_the_way_has_its_edits_and_what_was_cut_off_none(faces: Path) -> None:
    source = Data(forge=Forge(photos=str(faces), recipe="face_sequence"), count=4)
    pairs = take(source, 2)
    for canvas in pairs:
        assert canvas.sequence is not None
        assert (canvas.sequence[0] > 0) == canvas.label == (not canvas.id.endswith("/twin"))
    made = build([source], [4], 3, False)[0]
    whole, _ = made.open(made.items()[0], 0)
    assert isinstance(whole, Sample)
    prepare = Preparation(augment.parse({}), augment.Window(24), masks=False, edits=PARTS)
    found = {
        (c.label, bool(c.sequence.any())) for c in (prepare(whole, (i,)) for i in range(40)) if c.sequence is not None
    }
    assert found == {(0, False), (1, True)}


def asked(path: Path, **fields: Any) -> Recipe:
    stated: dict[str, Any] = {
        "network": {"name": "seqfakeformer", "settings": {"width": 32, "inner": 32, "hidden": 32}},
        "validate_on": [{"manifest": str(path)}],
        "data": {"side": 96, "augment": {"flip:axis=horizontal": 0.5}, "edits": PARTS},
        "steps": 2,
        "optimizer": {"lr": 0.003},
        "validation": {"metric": "sequence_fixed", "how": "pad"},
    }
    return recipe(path, **(stated | fields))


def test_a_network_trains_on_sequences_and_is_chosen_by_them(forged: Path, tmp_path: Path) -> None:
    """No mask is opened, for there is none."""
    found = train(asked(forged), tmp_path)
    assert found.progress.replaced == 0
    best = found.progress.best
    assert "sequence_fixed" in found.text()
    assert math.isnan(best["pixel_f1"])
    predictor = predict.load(tmp_path / "best.pt", how="pad")
    manifest = Manifest(forged)
    plain = predictor(manifest.open(next(iter(manifest)).model_copy(update={"mask": None})))
    assert plain.evidence == {}, "nobody asked"
    predictor.edits = PARTS
    fixed, adaptive = [], []
    for entry in manifest:
        called = predictor(manifest.open(entry.model_copy(update={"mask": None}))).evidence["sequence"]
        truth = [op["part"] for op in entry.extra.get("ops", ()) if op["op"] == "face_part"]
        padded = [(steps + [""] * 5)[:5] for steps in (called, truth)]
        fixed.append(sum(a == b for a, b in zip(*padded, strict=True)) / 5)
        if longest := max(len(called), len(truth)):
            adaptive.append(sum(a == b for a, b in zip(*padded, strict=True) if a or b) / longest)
    assert best["sequence_fixed"] == pytest.approx(np.mean(fixed))
    assert best["sequence_adaptive"] == pytest.approx(np.mean(adaptive))


def test_tallies_of_processes_join() -> None:
    def sample(name: str, label: int, **fields: Any) -> Sample:
        return Sample(np.zeros((8, 8, 3), np.uint8), label=label, id=name, meta=fields)

    said = {"a": ["eye", "lip"], "b": ["nose"], "c": []}

    def answer(picture: Sample) -> Prediction:
        evidence = {"sequence": said[picture.id]} if picture.id in said else {}
        return Prediction("x", picture.size, 0.5, evidence=evidence)

    pictures = [
        sample("a", 1, sequence=["eye", "nose", "lip"]),
        sample("b", 0),
        sample("c", 0),
        sample("d", 1, sequence=["lip"]),
        sample("e", 1),
    ]
    whole = evaluate.tally(answer, enumerate(pictures), ordered=True)
    found = whole.metrics()
    assert found["sequence_fixed"] == pytest.approx(np.mean([3 / 5, 4 / 5, 1, 4 / 5]))
    assert found["sequence_adaptive"] == pytest.approx(np.mean([1 / 3, 0, 0]))
    halves = [evaluate.tally(answer, list(enumerate(pictures))[i::2], ordered=True) for i in range(2)]
    halves[0].join(halves[1])
    np.testing.assert_equal(halves[0].metrics(), found)
    assert not [n for n in evaluate.tally(answer, enumerate(pictures)).metrics() if n.startswith("sequence_")]
    # The bench's own metric, of the same answers.
    assert observe.REGIONS["fixed_accuracy"](answer(pictures[0]), pictures[0]) == 3 / 5


def test_an_answer_is_that_of_the_canvas_that_is_surest() -> None:
    def forward(arrays: Arrays) -> Arrays:
        level = arrays["image"][:, 0].max((1, 2))
        logits = np.zeros((len(level), 6, 8), np.float32)
        for row, value in zip(logits, level, strict=True):
            words = [3, 1, 6, 2, 2, 2] if value > 0.5 else [1, 2, 3, 4, 5, 1] if value > 0.2 else [6] * 6
            row[np.arange(6), words] = 1
            row[:, 0], row[:, 7] = 9, 9
        return {"score": level * 4 - 2, "sequence": logits}

    predictor = Predictor(forward, view=View("tile", 32, 0), batch=2, edits=PARTS)
    rgb = np.zeros((32, 96, 3), np.uint8)
    assert predictor(Sample(rgb)).evidence["sequence"] == []
    rgb[:, 32:64] = 80
    assert predictor(Sample(rgb)).evidence["sequence"] == list(PARTS), "no more than five"
    rgb[:, 64:] = 200
    assert predictor(Sample(rgb)).evidence["sequence"] == ["eyebrow", "nose"]
    predictor.edits = ()
    assert predictor(Sample(rgb)).evidence == {}


def test_what_does_not_fit_is_said_before_a_step(forged: Path, pictures: Path, tmp_path: Path) -> None:
    wrong = {
        "expected the 5 edits whose order the network tells, found 0": {
            "data": {"side": 96},
            "validation": {"metric": "image_auc"},
        },
        "expected the 0 edits": {"network": {"name": "unet"}, "validation": {"metric": "image_auc"}},
        "data.edits: expected different names": {"data": {"side": 96, "edits": ["a"] * 5}},
        "validation metric sequence_adaptive: expected data.edits": {
            "data": {"side": 96},
            "validation": {"metric": "sequence_adaptive"},
        },
        "expected no forgeries beside data.edits, found copy_move": {
            "data": {"side": 96, "edits": PARTS, "augment": {"copy_move": 0.1}},
        },
        "expected the edits in their order": {"train_on": [{"manifest": str(pictures)}]},
        "expected up to 5 of the edits a, b": {"data": {"side": 96, "edits": list("abcde")}},
    }
    for number, (text, change) in enumerate(wrong.items()):
        with pytest.raises(InputError, match=text):
            train(asked(forged, **change), tmp_path / str(number))
    assert {catalog.build(name).edits for name in ("seqfakeformer", "tsom", "npr")} == {0, 5}


@pytest.mark.slow
def test_an_artifact_tells_the_order(forged: Path, tmp_path: Path) -> None:
    train(asked(forged, network={"name": "tsom"}), tmp_path / "run")
    made = export.export(tmp_path / "run", tmp_path / "out", Wish("CC0", side=160))
    assert made.card.outputs == ("score", "sequence")
    assert made.card.edits == PARTS
    assert "sequence_fixed" in made.card.measured["chose step, threshold and calibration"]
    wanted = predict.load(tmp_path / "run" / "best.pt", how="tile", side=160, overlap=8)
    wanted.edits = PARTS
    predictor, manifest = made.predictor(), Manifest(forged)
    for entry in manifest:
        sample = manifest.open(entry.model_copy(update={"mask": None}))
        found = predictor(sample)
        assert found.evidence == wanted(sample).evidence
        assert found.heatmap is None
