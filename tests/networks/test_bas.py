"""BAS: a frozen copy, a detached whole, a constant for more than all; maps beyond what tells classes apart."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch import nn  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import bas  # noqa: E402
from tamperscope.networks.bas import Bas  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.nn import backbones  # noqa: E402
from tamperscope.nn.averages import valid_mean  # noqa: E402
from tamperscope.nn.erasing import suppression  # noqa: E402
from tamperscope.nn.heads import resized  # noqa: E402

SIDE, CLASSES, SEED = 64, 4, 0
DISCS = ((0.95, 0.1, 0.1), (0.1, 0.85, 0.1), (0.15, 0.2, 0.95), (0.95, 0.9, 0.1))  # colours by class


def tiny(seed: int = 1, **settings: object) -> Bas:
    torch.manual_seed(seed)
    return bas.build("tiny", **settings).eval()


def drawn(count: int = 4, classes: int = 3) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Outputs and a batch: a picture of no class, two with one, one of unknown label; the last has padding."""
    generator = torch.Generator().manual_seed(3)
    outputs = {
        "features": torch.randn(count, 128, 8, 12, generator=generator).relu(),
        "maps": torch.randn(count, classes, 8, 12, generator=generator),
        "evidence": torch.randn(count, classes, 4, 6, generator=generator),
    }
    valid = torch.ones(count, 1, 32, 48, dtype=torch.bool)
    valid[-1, ..., 33:] = False
    return outputs, {"label": torch.tensor([0, 1, 3, -1])[:count], "valid": valid}


class Watched(dict):
    """A batch that notes which of its parts are read."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> object:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: object = None) -> object:
        self.read.add(key)
        return super().get(key, default)


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = bas.build("full", classes=200, top=80)
        features = full.features(torch.rand(2, 3, 224, 224))
        maps, evidence = full.generator(features), full.classifier(features)
        encoder = parameters(backbones.build("resnet", "50"))
    assert features.shape == (2, 1024, 28, 28)
    assert maps.shape == (2, 200, 28, 28)
    assert evidence.shape == (2, 200, 14, 14)
    assert encoder == pytest.approx(23.508e6, rel=1e-4)
    generator = 9 * 1024 * 200 + 200
    head = 9 * 2048 * 1024 + 1024 + 9 * 1024 * 1024 + 1024 + 1024 * 200 + 200
    assert parameters(full) == encoder + generator + head
    assert (full.again, full.area, full.multiple) == (0.5, 1.5, 16)
    assert parameters(bas.build("tiny")) <= 1_500_000


def test_it_reads_the_label_and_no_other_truth() -> None:
    net, (outputs, batch) = tiny(classes=3), drawn()
    told = Watched(batch | {"mask": torch.ones(4, 1, 32, 48), "classes": torch.ones(4, 32, 48)})
    found = net.loss(outputs, told, 0.5)
    assert told.read == {"label", "valid"}
    other = net.loss(outputs, batch | {"label": torch.tensor([1, 1, 3, -1])}, 0.5)
    assert all(float(found[key]) != float(other[key]) for key in found)
    assert net.supervision == "label"


def test_the_loss_against_sums_written_out() -> None:
    net, (outputs, batch) = tiny(classes=3), drawn()
    found = net.loss(outputs, batch, 0.5)
    expected = dict.fromkeys(found, 0.0)
    for place, label in enumerate((0, 1, 3)):
        evidence, maps = outputs["evidence"][place], outputs["maps"][place].sigmoid()
        logits = evidence.mean((1, 2))
        chosen = label - 1 if label else int(logits.argmax())
        m = maps[chosen]
        pairs = m.unflatten(0, (4, 2)).unflatten(2, (6, 2)).mean((1, 3))
        own = (evidence * pairs).mean((1, 2))
        for name, values, weight in (("label", logits, 1.0), ("again", own, 0.5)):
            total = 1 + values.exp().sum()
            right = values[label - 1].exp() if label else torch.tensor(1.0)
            expected[name] -= weight * float((right / total).log())
        with torch.no_grad():
            left = net.classifier((outputs["features"][place] * (1 - m))[None])[0, chosen].mean()
        if label:
            share = 1.0 if left > logits[chosen] else float(left.relu() / (logits[chosen].relu() + 1e-8))
            expected["background"] += share
        expected["area"] += 1.5 * float(m.mean())
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value / 4, rel=1e-4, abs=1e-6), name


def test_for_one_class_it_is_the_cross_entropy_of_a_logit() -> None:
    net, (outputs, batch) = tiny(), drawn(3, 1)
    label = torch.tensor([0, 1, 1])
    found = net.loss(outputs, batch | {"label": label}, 0.5)["label"]
    logits = valid_mean(outputs["evidence"], batch["valid"])[:, 0]
    torch.testing.assert_close(found, nn.functional.binary_cross_entropy_with_logits(logits, label.float()))


def test_the_erased_share_teaches_the_map_alone() -> None:
    """Whatever else it could reach would lower what is left without covering anything."""
    net, (outputs, batch) = tiny(classes=3).train(), drawn()
    outputs = {key: value.requires_grad_() for key, value in outputs.items()}
    with torch.no_grad():
        # So that there is something to suppress.
        net.classifier[-1].bias += 0.5
        outputs["evidence"] += 4
    net.loss(outputs, batch, 0.5)["background"].backward()
    assert all(p.grad is None for p in net.parameters())
    assert outputs["features"].grad is None
    assert outputs["evidence"].grad is None or outputs["evidence"].grad.abs().max() == 0
    reached = outputs["maps"].grad.abs().amax((2, 3)) > 0
    assert reached.tolist() == [[False] * 3, [True, False, False], [False, False, True], [False] * 3]
    whole = net(torch.rand(2, 3, 64, 64))
    net.loss(whole, {"label": torch.tensor([1, 2])}, 0.5)["background"].backward()
    taught = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert "generator" in taught
    assert "classifier" not in taught


def test_nothing_covered_leaves_all_and_all_covered_nothing() -> None:
    net = tiny(classes=3)
    outputs = net(torch.rand(2, 3, 64, 96))
    nothing = net.left(outputs["features"], torch.zeros(2, 1, 16, 24))
    torch.testing.assert_close(nothing, outputs["evidence"].mean((2, 3)))
    empty = net.classifier(torch.zeros(1, 128, 16, 24)).mean((2, 3))
    torch.testing.assert_close(net.left(outputs["features"], torch.ones(2, 1, 16, 24)), empty.expand(2, -1))
    half = torch.zeros(2, 1, 16, 24)
    half[..., :12] = 1
    cut = outputs["features"].clone()
    cut[..., :12] = 0
    torch.testing.assert_close(net.left(outputs["features"], half), net.classifier(cut).mean((2, 3)))


def test_more_than_all_counts_as_all_and_moves_nothing() -> None:
    net, (outputs, batch) = tiny(classes=3), drawn(3)
    outputs["maps"].requires_grad_()
    with torch.no_grad():
        net.classifier[-1].bias += 100
    terms = net.loss(outputs, batch, 0.5)
    assert float(terms["background"].detach()) == pytest.approx(2 / 3)
    assert torch.autograd.grad(terms["background"], outputs["maps"])[0].abs().max() == 0


def test_the_answer_is_the_mean_map_of_the_likeliest_classes() -> None:
    net, image = tiny(classes=5, top=2), torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = net(image)
    logits = found["evidence"].mean((2, 3))
    for place in range(3):
        first, second = logits[place].sort(descending=True).indices[:2].tolist()
        plane = found["maps"][place].sigmoid()[[first, second]].mean(0)
        whole = nn.functional.interpolate(plane[None, None], (64, 64), mode="bilinear")
        torch.testing.assert_close(found["mask"][place : place + 1].sigmoid(), whole, atol=1e-5, rtol=1e-4)
        odds = logits[place].exp().sum().log()
        torch.testing.assert_close(found["score"][place], odds)


def test_padding_counts_nowhere() -> None:
    net, (outputs, batch) = tiny(classes=3), drawn()
    batch["label"] = torch.tensor([0, 1, 3, 2])
    found = net.loss(outputs, batch, 0.5)
    other = {key: value.clone() for key, value in outputs.items()}
    other["evidence"][-1, ..., 5:] += 7
    changed = net.loss(other, batch, 0.5)
    other["maps"][-1, ..., 10:] += 7
    assert all(torch.equal(found[key], changed[key]) for key in ("label", "again"))
    assert torch.equal(net.loss(other, batch, 0.5)["area"], found["area"])
    assert not torch.equal(net.loss(other, batch | {"valid": None}, 0.5)["area"], found["area"])
    image = torch.rand(1, 3, 64, 96)
    valid = torch.ones(1, 1, 64, 96, dtype=torch.bool)
    valid[..., 48:] = False
    given = net(image, valid)
    torch.testing.assert_close(given["score"], given["evidence"][..., :6].mean((2, 3)).logsumexp(1))


def test_what_a_picture_costs_does_not_depend_on_the_others() -> None:
    net, (outputs, batch) = tiny(classes=3).train(), drawn()
    whole = net.loss(outputs, batch, 0.5)

    def alone(place: int) -> dict[str, torch.Tensor]:
        cut = slice(place, place + 1)
        return net.loss({k: v[cut] for k, v in outputs.items()}, {k: v[cut] for k, v in batch.items()}, 0.5)

    parts = [alone(place) for place in range(4)]
    for name, value in whole.items():
        torch.testing.assert_close(value, torch.stack([terms[name] for terms in parts]).mean())
    assert all(float(value) == 0 for value in parts[3].values()), "of an unknown label nothing is learned"


def test_weights_of_a_folder_and_wrong_asks() -> None:
    for settings in ({"again": -0.1}, {"area": -1.0}, {"classes": 0}, {"classes": 3, "top": 4}, {"top": 0}):
        with pytest.raises(InvalidValueError, match=next(reversed(settings))):
            bas.build("tiny", **settings)
    with pytest.raises(InvalidValueError, match="use size full"):
        bas.build("tiny", weights="folder")
    with pytest.raises(InvalidValueError, match="expected a folder"):
        bas.build("full", weights="nowhere")
    with pytest.raises(UnknownNameError, match="stem"):
        bas.build("tiny", stem=("infrared",))


def objects(seed: int, count: int) -> dict[str, torch.Tensor]:
    """Long striped objects, each with a small disc in the colour of its class; one picture in five has none.

    Stripes lean as the class says in most pictures alone, and now and then the disc is missing: the disc tells the
    class at once, and the body does, too, less surely. `mask` is the object with its disc, `part` the disc.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(count, generator=generator))[:, None, None]

    label = torch.randint(1, CLASSES + 1, (count,), generator=generator) * (
        torch.rand(count, generator=generator) > 0.2
    )
    kind, stranger = (label - 1).clamp(min=0), torch.randint(CLASSES, (count,), generator=generator)
    soft = torch.rand(count, 3, 4, 4, generator=generator)
    image = 0.25 + 0.5 * nn.functional.interpolate(soft, (SIDE, SIDE), mode="bicubic", align_corners=False)
    image += 0.06 * torch.randn(image.shape, generator=generator)
    line = torch.arange(SIDE) + 0.5
    down, across = line[None, :, None] - uniform(24, 40), line[None, None] - uniform(24, 40)
    turn, length = uniform(0, 2 * math.pi), uniform(20, 26)
    along, beside = across * turn.cos() + down * turn.sin(), down * turn.cos() - across * turn.sin()
    there = (label > 0)[:, None, None]
    part = ((along - 0.7 * length).square() + beside.square() < 4.5**2) & there & (uniform(0, 1) > 0.2)
    body = ((along / length).square() + (beside / uniform(8, 11)).square() < 1) & there
    lean = torch.where(uniform(0, 1) < 0.8, kind[:, None, None], stranger[:, None, None]) * math.pi / CLASSES
    stripes = (2 * math.pi / 7 * (across * lean.cos() + down * lean.sin()) + uniform(0, 2 * math.pi)).sin()
    colour = 0.35 + 0.3 * torch.rand(count, 3, 1, 1, generator=generator)
    image = torch.where(body[:, None], colour + 0.3 * stripes[:, None], image)
    image = torch.where(part[:, None], torch.tensor(DISCS)[kind][..., None, None], image)
    return {"image": image.clamp(0, 1), "label": label, "mask": body | part, "part": part}


class Thawed(Bas):
    """The negative control: what is left is judged by the classifier itself, which learns from it."""

    def left(self, features: torch.Tensor, found: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        return valid_mean(self.classifier(features * (1 - found)), valid)


@cache
def trained(area: float = 1.0, terms: tuple[str, ...] = (), build: type[Bas] = Bas, steps: int = 300) -> Bas:
    """A small network of colours alone after some steps; `terms` are those of its loss, none = all."""
    torch.manual_seed(SEED)
    widths = (16, 32, 64)
    deep = nn.Sequential(nn.Conv2d(widths[-1], 64, 3, padding=1), nn.ReLU())
    net = build(
        bas._convolutions(3, widths, (2, 2, 1)), deep, widths[-1], 64, 4, 64, classes=CLASSES, area=area
    ).train()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        batch = objects(100_000 * SEED + step, 32)
        found = net.loss(net(batch["image"]), batch, 0)
        optimizer.zero_grad()
        sum(value for name, value in found.items() if name in (terms or found)).backward()
        optimizer.step()
        plan.step()
    return net.eval()


class Seen(NamedTuple):
    """What a network says of new pictures with an object, (B, SIDE, SIDE) in [0, 1], and shares (B,) of its logit."""

    map: torch.Tensor
    cam: torch.Tensor
    area: float
    left: torch.Tensor
    left_elsewhere: torch.Tensor
    accuracy: float


@cache
def held_out() -> dict[str, torch.Tensor]:
    """Objects with their disc."""
    batch = objects(10**7, 300)
    whole = batch["part"].any(2).any(1)
    return {name: value[whole] for name, value in batch.items()}


@torch.inference_mode()
def seen(net: Bas) -> Seen:
    batch = held_out()
    outputs, rows, own = net(batch["image"]), torch.arange(len(batch["label"])), batch["label"] - 1
    logits, found = outputs["evidence"].mean((2, 3)), outputs["maps"].sigmoid()[rows, own][:, None]
    # As class activation maps are made: what speaks for the class, over its largest value.
    cam = resized(outputs["evidence"][rows, own][:, None].relu(), (SIDE, SIDE))[:, 0]

    def share(plane: torch.Tensor) -> torch.Tensor:
        return suppression(net.left(outputs["features"], plane)[rows, own], logits[rows, own])

    right = nn.functional.pad(logits, (1, 0)).argmax(1) == batch["label"]
    return Seen(
        map=resized(found, (SIDE, SIDE))[:, 0],
        cam=cam / cam.amax((1, 2), keepdim=True).clamp(min=1e-6),
        area=float(found.mean()),
        left=share(found),
        left_elsewhere=share(found.roll(1, 0)),
        accuracy=float(right.float().mean()),
    )


def iou(plane: torch.Tensor, threshold: float) -> float:
    called, truth = plane > threshold, held_out()["mask"]
    return float(((called & truth).sum((1, 2)) / (called | truth).sum((1, 2))).mean())


def best(plane: torch.Tensor) -> float:
    """The threshold that serves a map best."""
    return max((k / 20 for k in range(1, 20)), key=lambda threshold: iou(plane, threshold))


def body_covered(plane: torch.Tensor, threshold: float) -> float:
    body = held_out()["mask"] & ~held_out()["part"]
    return float(((plane > threshold) & body).sum() / body.sum())


@pytest.mark.slow
def test_the_map_covers_the_body_that_labels_alone_leave_out() -> None:
    """One disc is all that a classifier needs; when it is erased the body still tells, so that it is erased, too."""
    suppressed, labels = seen(trained()), seen(trained(terms=("label",)))
    assert min(suppressed.accuracy, labels.accuracy) > 0.85
    own, cam = best(suppressed.map), best(labels.cam)
    assert iou(suppressed.map, own) > iou(labels.cam, cam) + 0.15
    assert body_covered(suppressed.map, own) > body_covered(labels.cam, cam) + 0.15
    # By itself, without looking for a threshold, it does better, too.
    assert iou(suppressed.map, 0.5) > iou(labels.cam, cam) + 0.1
    # Its cells are coarser, which is not what it lacks.
    truth = held_out()["mask"][:, None].float()
    assert iou(resized(nn.functional.avg_pool2d(truth, 8), (SIDE, SIDE))[:, 0], 0.5) > 0.7


@pytest.mark.slow
def test_what_is_left_of_the_class_falls_to_nothing_and_another_place_leaves_it() -> None:
    found, labels = seen(trained()), seen(trained(terms=("label",)))
    assert found.left.mean() < 0.1
    # As large a map, of another picture: what counts is where it lies.
    assert found.left_elsewhere.mean() > 0.3
    # Half of everything, as at the beginning, does not do.
    assert labels.area == pytest.approx(0.5, abs=0.1)
    assert labels.left.mean() > 0.3
    assert found.area < 2 * float(held_out()["mask"].float().mean())


@pytest.mark.slow
def test_a_classifier_that_learns_from_what_is_left_takes_the_map_off_the_object() -> None:
    """It blinds itself to what is left, so that nothing need be covered: why the copy is frozen."""
    found, thawed = seen(trained()), seen(trained(build=Thawed))
    assert iou(found.map, 0.5) > 0.55
    assert iou(thawed.map, 0.5) < iou(found.map, 0.5) - 0.3


@pytest.mark.slow
def test_the_weight_of_the_area_sets_it() -> None:
    """Without any, nothing keeps the map from lying over most of the picture."""
    areas = [seen(trained(area)).area for area in (0.0, 0.5, 1.0, 2.0)]
    truth = float(held_out()["mask"].float().mean())
    assert all(larger > 1.1 * smaller for larger, smaller in pairwise(areas))
    assert areas[0] > 3 * truth
    assert areas[-1] < 1.2 * truth
    assert seen(trained(0.0)).left.mean() < 0.1
