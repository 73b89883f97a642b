"""Optimizer, schedule, average, prediction and validation, each by itself."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import TinyNet, recipe
from torch import nn

from tamperscope.engine import evaluate, optim, predict
from tamperscope.engine import recipe as recipes
from tamperscope.engine.recipe import Lora, Optimizer, Schedule, Wanted
from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.inference.predictor import View
from tamperscope.metrics import pixel
from tamperscope.nn.efficientnet_lite import EfficientNetLite0
from tamperscope.types import Prediction, Sample


def test_norms_and_biases_do_not_decay_and_patterns_set_rates() -> None:
    net = TinyNet()
    made = optim.build(net, Optimizer(lr=0.1, weight_decay=0.5, rates={"first.*": 0.1}))
    names = {id(p): name for name, p in net.named_parameters()}
    by_name = {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in made.param_groups for p in group["params"]
    }
    assert by_name == {
        "first.weight": (pytest.approx(0.01), 0.5),
        "first.bias": (pytest.approx(0.01), 0.0),
        "second.weight": (0.1, 0.5),
        "second.bias": (0.1, 0.0),
        "norm.weight": (0.1, 0.0),
        "norm.bias": (0.1, 0.0),
    }
    with pytest.raises(InvalidValueError, match="backbone"):
        optim.build(net, Optimizer(rates={"backbone.*": 0.1}))


def test_what_is_frozen_stays_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    optim.freeze(net, ("0.*", "1.*"))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optim.training_mode(net)
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    optim.build(net, Optimizer()).step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"2.weight", "2.bias"}
    with pytest.raises(InvalidValueError, match="nothing"):
        optim.freeze(net, ("nothing.*",))


def test_low_rank_differences_are_all_that_trains() -> None:
    net = nn.Sequential()
    net.add_module("down", nn.Linear(4, 4))
    net.add_module("head", nn.Linear(4, 1))
    net.add_module("proj", nn.Linear(1, 1))
    optim.adapted(net, Lora(layers=("proj",), rank=1, trained=("head",)))
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"proj.down.main", "proj.up.main", "head.weight", "head.bias"}


def test_the_rate_rises_and_falls() -> None:
    cosine = Schedule(name="cosine", warmup=10, least=0.1)
    assert [optim.factor(cosine, step, 110) for step in (0, 9, 10, 60, 110)] == pytest.approx([0.1, 1, 1, 0.55, 0.1])
    poly = Schedule(name="poly", power=2)
    assert [optim.factor(poly, step, 100) for step in (0, 50, 100)] == pytest.approx([1, 0.25, 0])
    assert optim.factor(Schedule(name="constant"), 77, 100) == 1


def test_the_average_follows_the_weights() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    ema = optim.Ema(net, 0.5)
    expected = 0.0
    for number in range(1, 6):
        nn.init.constant_(net.weight, number)
        ema.update(net)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * number
    assert float(ema.weights["weight"]) == pytest.approx(expected)


@pytest.mark.parametrize("how", ["tile", "pad"])
@pytest.mark.parametrize("size", [(20, 70), (64, 33)])
def test_an_answer_has_the_pictures_size_and_no_batch_matters(how: str, size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    torch.manual_seed(0)
    net = TinyNet(drop=0.5)
    answers = [predict.asked(net, view=View(how, 32, 16), batch=b)(Sample(rgb)) for b in (1, 3, 64)]
    first = answers[0].heatmap
    assert first is not None
    assert first.shape == size
    for other in answers[1:]:
        assert other.heatmap is not None
        np.testing.assert_allclose(other.heatmap, first, atol=1e-6)
        assert other.score == pytest.approx(answers[0].score, abs=1e-6)
    assert first.std() > 0
    assert net.training, "it is left as it was"


def test_validation_is_the_metrics_of_each_picture(judged: Path) -> None:
    """Against metrics of the pictures one by one, with an answer that is right on a part."""
    from tamperscope.data.manifest import Manifest

    manifest = Manifest(judged)
    samples = [manifest.open(entry) for entry in manifest]

    def answer(sample: Sample) -> Prediction:
        assert sample.mask is not None
        heat = np.random.default_rng(len(sample.rgb)).random(sample.size).astype(np.float32)
        heat[: sample.size[0] // 2] = sample.mask[: sample.size[0] // 2]
        return Prediction("x", sample.size, float(heat.mean()), heat)

    found = evaluate.tally(answer, enumerate(samples)).metrics()
    single = [pixel.measure(answer(s).heatmap, s.mask) for s in samples if s.label]
    assert found["pixel_f1"] == pytest.approx(np.mean([m["f1"] for m in single]))
    assert found["pixel_auc"] == pytest.approx(np.mean([m["auc"] for m in single]))
    scores = [(answer(s).score, bool(s.label)) for s in samples]
    wins = [(p > n) + 0.5 * (p == n) for p, yes in scores for n, no in scores if yes and not no]
    assert found["image_auc"] == pytest.approx(np.mean(wins))
    halves = [evaluate.tally(answer, list(enumerate(samples))[i::2]) for i in range(2)]
    halves[0].join(halves[1])
    assert halves[0].metrics() == found
    only = evaluate.tally(answer, [(0, next(s for s in samples if not s.label))]).metrics()
    assert math.isnan(only["pixel_f1"])
    assert math.isnan(only["image_auc"])


@pytest.mark.parametrize(
    ("level", "alike"),
    [(0.1, "hardly a pixel is called forged"), (0.9, "hardly a pixel is called authentic"), (None, "")],
)
def test_maps_that_are_all_alike_have_a_name(level: float | None, alike: str, judged: Path) -> None:
    from tamperscope.data.manifest import Manifest

    manifest = Manifest(judged)

    def answer(sample: Sample) -> Prediction:
        assert sample.mask is not None
        heat = sample.mask.astype(np.float32) if level is None else np.full(sample.size, level, np.float32)
        if sample.label and level is not None:
            heat[0, 0] = 1 - level  # a stray pixel here and there is as good as none
        return Prediction("x", sample.size, 0.5, heat)

    assert evaluate.tally(answer, ((i, manifest.open(entry)) for i, entry in enumerate(manifest))).alike == alike
    assert evaluate.Tally().alike == ""


def test_what_was_not_asked_is_counted_and_has_no_metrics(judged: Path) -> None:
    from tamperscope.data.manifest import Manifest

    manifest = Manifest(judged)
    samples = [manifest.open(entry) for entry in manifest]

    def answer(sample: Sample) -> Prediction:
        if sample.id == samples[1].id:
            return Prediction("x", sample.size, status="not_applicable", cause="no face")
        return Prediction("x", sample.size, 0.5)

    found = evaluate.tally(answer, enumerate(samples))
    assert found.unasked == {(1, 0): "no face"}
    assert set(found.scores) == {(place, 0) for place in range(len(samples))} - {(1, 0)}
    halves = [evaluate.tally(answer, list(enumerate(samples))[i::2]) for i in range(2)]
    halves[0].join(halves[1])
    assert halves[0].unasked == found.unasked


def test_a_table_leaves_out_what_was_never_defined() -> None:
    found = {"pixel_f1": math.nan, "image_auc": 0.75, "image_ap": math.nan}
    assert evaluate.table(found).splitlines() == ["image_auc  0.7500"]
    assert evaluate.table(found, found | {"image_ap": 0.5}).splitlines() == [
        "image_auc  0.7500  (at first 0.7500)",
        "image_ap   –  (at first 0.5000)",
    ]


def test_a_recipe_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    good = recipe(Path("x.jsonl"))
    for change, error, text in (
        ({"epochs": 1}, InputError, "steps or epochs, found 6 and 1; set the other one to 0"),
        ({"steps": 0}, InputError, "steps or epochs, found 0 and 0; set one of them"),
        ({"train_on": ()}, InputError, "train_on"),
        ({"train_on": ({"manifest": ""},)}, InputError, "manifest or a forge"),
        ({"train_on": ({"forge": {"photos": "x"}},)}, InputError, "count"),
        ({"validation": {"metric": "pixel_f2"}}, UnknownNameError, "pixel_f1"),
        ({"data": {"augment": {"flipp": 1}}}, UnknownNameError, "flip"),
        ({"data": {"augment": {"flip": 2}}}, InvalidValueError, "chance"),
    ):
        fields = good.model_dump() | change
        with pytest.raises(error, match=text):
            recipes.check(recipes.Recipe.model_validate(fields))


@pytest.mark.parametrize("name", recipes.shipped())
def test_shipped_recipes_load(name: str) -> None:
    changed = ["train_on=[{manifest: x.jsonl}]", "steps=0", "epochs=1"]
    assert recipes.load(name, changed).network.name


def test_a_trained_network_needs_the_weights_it_began_with_no_more(tmp_path: Path) -> None:
    begun = EfficientNetLite0()
    torch.save(begun.state_dict(), tmp_path / "lite0.pth")
    settings = {"streams": ["lite0"], "weights": str(tmp_path / "lite0.pth")}
    wanted = Wanted(name="braid", settings=settings)
    network = predict.build(wanted)
    torch.testing.assert_close(network.objects.backbone.state_dict(), begun.state_dict())
    torch.save(predict.saved(wanted, network.state_dict(), 1, {}), tmp_path / "best.pt")
    (tmp_path / "lite0.pth").unlink()
    again, _ = predict.restored(tmp_path / "best.pt")
    torch.testing.assert_close(again.state_dict(), network.state_dict())
