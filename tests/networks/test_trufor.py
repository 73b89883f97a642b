"""TruFor: what each encoder sees, what each phase learns, and a score that trusts the map where its confidence does."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import noise_worlds  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.metrics import pixel, ranking  # noqa: E402
from tamperscope.networks import trufor  # noqa: E402
from tamperscope.networks.base import IMAGENET, parameters  # noqa: E402
from tamperscope.networks.trufor import TruFor, clear, labels, statistics  # noqa: E402
from tamperscope.nn import residuals  # noqa: E402

Batch = dict[str, torch.Tensor]
SECOND = {"confidence", "detection"}


def tiny(seed: int = 0, **settings: object) -> TruFor:
    torch.manual_seed(seed)
    return trufor.build("tiny", **settings)


def pictures(count: int = 2, size: tuple[int, int] = (64, 96), seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def square(size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    mask = torch.zeros(1, 1, *size)
    mask[..., 17:42, 22:61] = 1
    return mask


def drawn(count: int = 4) -> tuple[Batch, Batch]:
    """Outputs and a batch: one authentic picture, one that is forged all over, the others in part; padding in one."""
    torch.manual_seed(3)
    mask = square().repeat(count, 1, 1, 1)
    mask[0], mask[1] = 0, 1
    valid = torch.ones(mask.shape, dtype=torch.bool)
    valid[2, ..., 50:] = False
    outputs = {name: 3 * torch.randn(mask.shape) for name in ("mask", "confidence")} | {"score": torch.randn(count)}
    return outputs, {"mask": mask, "valid": valid, "label": torch.tensor([0, 1, 1, 1])[:count]}


def part(values: Batch, place: int) -> Batch:
    return {key: value[place : place + 1] for key, value in values.items()}


def steps(net: TruFor, count: int = 3) -> None:
    given = {"mask": torch.cat([square(), 0 * square()]), "label": torch.tensor([1, 0])}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.05, 0.9)
    net.train()
    for _ in range(count):
        optimizer.zero_grad()
        sum(net.loss(net(pictures()), given, 0.0).values()).backward()
        optimizer.step()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_the_published_size() -> None:
    """A port could be built only with a file of weights, and had no size without it."""
    with torch.device("meta"), warnings.catch_warnings():
        # Weights of the extractor are not copied there.
        warnings.simplefilter("ignore")
        full = trufor.build("full")
        published = residuals.Residuals(17, 64)
    assert full.branches.channels == (64, 128, 320, 512)
    assert full.branches.other is not None
    # With an extractor of the published size.
    count = parameters(full) - parameters(full.residual) + parameters(published)
    assert count == pytest.approx(trufor.ABOUT.parameters, rel=1e-3)
    assert [layer.last.in_channels for layer in (full.head, full.confidence)] == [512, 512]
    assert [layer.last.out_channels for layer in (full.head, full.confidence)] == [2, 1]
    assert [tuple(p.shape) for p in full.detection.parameters()] == [(128, 8), (128,), (1, 128), (1,)]
    assert full.detection[2].p == 0.5
    assert parameters(tiny()) <= 1_500_000


@contextmanager
def told(net: TruFor) -> Iterator[dict[str, torch.Tensor]]:
    """Give what the extractor, the picture's encoder and the residual's encoder are told."""
    found: dict[str, torch.Tensor] = {}
    assert net.branches.other is not None
    parts = {
        "extractor": net.residual.inner,
        "picture": net.branches.own.stages()[0],
        "residual": net.branches.other.stages()[0],
    }
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: found.update({name: given[0].clone()}))
        for name, layer in parts.items()
    ]
    yield found
    for hook in hooks:
        hook.remove()


def test_the_picture_is_normalized_once() -> None:
    """A port normalized what its loader had normalized before."""
    net, image = tiny().eval(), pictures()
    with told(net) as found, torch.no_grad():
        net(image)
    mean, std = (torch.tensor(x)[:, None, None] for x in IMAGENET)
    torch.testing.assert_close(found["picture"], (image - mean) / std)
    assert (found["picture"] - ((image - mean) / std - mean) / std).abs().mean() > 0.5


def test_the_extractor_sees_the_picture_as_it_is() -> None:
    """A port fed it the normalized picture, which it had never seen in training."""
    net, image = tiny().eval(), pictures()
    with told(net) as found, torch.no_grad():
        net(image)
        wanted, wrong = (residuals.shipped()(x) for x in (image, net.normalized(image)))
    assert torch.equal(found["extractor"], image)
    torch.testing.assert_close(found["residual"], wanted.expand(-1, 3, -1, -1))
    assert (wanted - wrong).abs().mean() > 0.1 * wanted.std()


def test_residuals_keep_their_precision_beside_halves() -> None:
    net, image = tiny().eval(), pictures()
    with told(net) as found, torch.no_grad():
        net(image)
        single = found["residual"]
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(image)
    assert torch.equal(found["residual"], single)
    assert {x.dtype for x in outputs.values()} == {torch.float32}


def test_both_encoders_are_heard_by_both_heads() -> None:
    net, image = tiny().eval(), pictures()
    assert net.branches.other is not None
    with torch.no_grad():
        whole = net(image)
        for branch in (net.branches.own, net.branches.other):
            hook = branch.stages()[0].register_forward_hook(lambda _, given, out: torch.zeros_like(out))
            blind = net(image)
            hook.remove()
            assert all((blind[name] - whole[name]).abs().max() > 1e-6 for name in ("mask", "confidence", "score"))


def test_the_loss_against_sums_written_out() -> None:
    outputs, batch = drawn()
    found = tiny().loss(outputs, batch, 0.5)
    z, c, g, keep = (x[:, 0].numpy() for x in (outputs["mask"], outputs["confidence"], batch["mask"], batch["valid"]))
    terms = []
    for place in range(4):
        p, y, sure, k = sigmoid(z[place].astype(float)), g[place], sigmoid(c[place]), keep[place]
        weights = np.where(y > 0, 2.5, 0.5)
        entropy = -weights * (y * np.log(p) + (1 - y) * np.log(1 - p))
        # The padding of the third is pristine at its border and thus no outline, but for where it meets the square.
        away = pixel.outside_band(y > 0, 15, 11) if place != 2 else clear(batch["mask"], batch["valid"])[2, 0].numpy()
        dice = 1 - 2 * (p * y)[k].sum() / (p**2 + y**2)[k].sum()
        error = np.square(sure - (y * p + (1 - y) * (1 - p)))[k & away].mean()
        terms.append((0.3 * entropy[k].sum() / weights[k].sum(), 0.7 * dice, error))
    score = sigmoid(outputs["score"].double().numpy())
    detection = [-0.5 / 0.3 * math.log(1 - score[0]), *(-0.5 / 0.7 * np.log(score[1:]))]
    wanted = dict(zip(("cross_entropy", "dice", "confidence"), np.mean(terms, 0), strict=True))
    wanted["detection"] = 0.5 * np.mean(detection)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(wanted, rel=1e-4)


def test_what_a_picture_costs_does_not_depend_on_the_others() -> None:
    net = tiny()
    outputs, batch = drawn()
    for label in (batch["label"], torch.tensor([0, -1, 1, -1])):
        given = batch | {"label": label}
        whole = net.loss(outputs, given, 0.5)
        alone = [net.loss(part(outputs, i), part(given, i), 0.5) for i in range(4)]
        for name, value in whole.items():
            torch.testing.assert_close(value, torch.stack([terms[name] for terms in alone]).mean())


def test_padding_counts_nowhere() -> None:
    net = tiny()
    outputs, batch = drawn()
    expected = net.loss(outputs, batch, 0.5)
    other = {name: x.clone() for name, x in outputs.items()}
    other["mask"][2, ..., 50:], other["confidence"][2, ..., 50:] = 9, -9
    lied = batch | {"mask": torch.where(batch["valid"], batch["mask"], 1 - batch["mask"])}
    for found in (net.loss(other, batch, 0.5), net.loss(outputs, lied, 0.5)):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)


def test_the_confidence_learns_nothing_along_outlines() -> None:
    mask, everywhere = square((96, 128)), torch.ones(1, 1, 96, 128, dtype=torch.bool)
    found = clear(mask, everywhere)
    assert np.array_equal(found[0, 0].numpy(), pixel.outside_band(mask[0, 0].numpy() > 0, 15, 11))
    # Seven pixels of the forged side of an outline and five of the other one.
    assert found[0, 0, 30].int().diff().nonzero().flatten().tolist() == [16, 28, 53, 65]
    for plane in (0 * mask, 0 * mask + 1):
        assert clear(plane, everywhere).all(), "the border of the picture is no outline"
    valid = everywhere.clone()
    valid[..., 40:] = False
    assert clear(valid.float(), valid)[valid].all(), "nor is that of the padding"
    net, logits = tiny(), torch.zeros(1, 1, 96, 128)
    given = {"mask": mask, "label": torch.tensor([1])}
    cost = [
        net.loss({"mask": logits, "confidence": 5.0 * place, "score": torch.zeros(1)}, given, 0.0)["confidence"]
        for place in (torch.zeros_like(logits), (~found).float(), found.float())
    ]
    assert cost[0] == cost[1] == 0
    assert cost[2] > 0.2


def test_more_than_three_pixels_make_a_picture_forged() -> None:
    mask = torch.zeros(4, 1, 32, 32)
    for place, count in enumerate((0, 3, 4, 9)):
        mask[place].view(-1)[40 : 40 + count] = 1
    valid = torch.ones_like(mask, dtype=torch.bool)
    assert labels(mask, valid)[0].tolist() == [False, False, True, True]
    valid.view(4, -1)[3, 43:] = False
    forged, known = labels(mask, valid, torch.tensor([0, 1, 1, -1]))
    assert forged.tolist() == [False, False, True, False]
    assert known.tolist() == [True, True, True, False]
    outputs = {"mask": torch.zeros_like(mask), "confidence": torch.zeros_like(mask)}
    cost = [
        float(tiny().loss(outputs | {"score": torch.full((4,), score)}, {"mask": mask, "label": told}, 0)["detection"])
        for score, told in ((40.0, torch.tensor([0, 1, 1, 1])), (-40.0, torch.tensor([0, 1, 1, 1])))
    ]
    # Of the four, two authentic ones are called forged, then two forged ones authentic.
    assert cost == pytest.approx([0.5 * 40 * 0.5 / 0.3 / 2, 0.5 * 40 * 0.5 / 0.7 / 2], rel=1e-4)
    unknown = {"mask": mask, "label": torch.full((4,), -1)}
    assert float(tiny().loss(outputs | {"score": torch.full((4,), 3.0)}, unknown, 0)["detection"]) == 0


def test_one_picture_has_one_score() -> None:
    """A port squeezed the score of a single picture to a number, and compared (B,) with (B, 1)."""
    net = tiny().eval()
    outputs = net(pictures(1))
    assert outputs["score"].shape == (1,)
    terms = net.loss(outputs, {"mask": square(), "label": torch.tensor([1])}, 0.0)
    assert all(value.ndim == 0 for value in terms.values())


def test_the_second_phase_leaves_the_mask_as_it_was() -> None:
    first = tiny(phase="anomaly")
    steps(first)
    assert set(first(pictures())) == {"mask"}
    assert set(first.loss(first(pictures(1)), {"mask": square()}, 0.0)) == {"cross_entropy", "dice"}
    second = tiny(1, phase="confidence")
    second.load_state_dict(first.state_dict())
    assert {name.partition(".")[0] for name, p in second.named_parameters() if p.requires_grad} == SECOND
    image = pictures(seed=7)
    before = second.train()(image)
    assert second.confidence.drop.training
    assert not second.head.drop.training
    steps(second)
    after = second(image)
    assert torch.equal(before["mask"], after["mask"])
    assert not torch.equal(before["confidence"], after["confidence"])
    frozen = {k: v for k, v in first.state_dict().items() if k.partition(".")[0] not in SECOND}
    assert all(torch.equal(second.state_dict()[name], value) for name, value in frozen.items())
    terms = second.loss(after, {"mask": square().repeat(2, 1, 1, 1), "label": torch.ones(2)}, 0.0)
    assert set(terms) == SECOND


def test_with_both_phases_at_once_the_second_cannot_move_the_first() -> None:
    outputs = (net := tiny())(pictures())
    terms = net.loss(outputs, {"mask": torch.cat([square(), 0 * square()]), "label": torch.tensor([1, 0])}, 0.0)
    (terms["confidence"] + terms["detection"]).backward()
    moved = {name.partition(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == SECOND


def test_statistics_against_sums_written_out() -> None:
    torch.manual_seed(2)
    mask, confidence = 3 * torch.randn(2, 1, 8, 12), 3 * torch.randn(2, 1, 8, 12)
    valid = torch.rand(2, 1, 8, 12) > 0.3
    found = statistics(mask, confidence, valid)
    for place in range(2):
        keep = valid[place, 0].numpy()
        m, c = (x[place, 0].numpy().astype(float)[keep] for x in (mask, confidence))
        expected = []
        for values, weights in ((c, np.ones_like(c)), (m, sigmoid(c))):
            share = weights / weights.sum()
            expected += [-np.log((share * np.exp(-values)).sum()), np.log((share * np.exp(values)).sum())]
            expected += [(share * values).sum(), (share * values**2).sum()]
        assert found[place].tolist() == pytest.approx(expected, rel=1e-4)


def test_statistics_are_those_of_the_picture_alone() -> None:
    net, image = tiny().eval(), pictures()
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    with torch.no_grad():
        whole = net(image)
        torch.testing.assert_close(net(image, valid=valid)["score"], whole["score"])
        valid[..., 80:] = False
        expected = net.detection(statistics(whole["mask"][..., :80], whole["confidence"][..., :80]))[:, 0]
        torch.testing.assert_close(net(image, valid=valid)["score"], expected)
        assert (expected - whole["score"]).abs().max() > 1e-6


def planted(rng: np.random.Generator, count: int = 200) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Maps with one to three false alarms of which the confidence knows, and in every other one a true alarm."""
    mask, confidence = (torch.full((count, 1, 32, 32), level) for level in (-3.0, 3.0))
    forged = np.arange(count) % 2 == 1
    for place in range(count):
        for true in [False] * int(rng.integers(1, 4)) + [True] * int(forged[place]):
            (y, x), (h, w) = rng.integers(0, 24, 2), rng.integers(4, 9, 2)
            mask[place, :, y : y + h, x : x + w] = float(rng.uniform(3, 5))
            confidence[place, :, y : y + h, x : x + w] = 3.0 if true else -4.0
    return mask + torch.randn(mask.shape) / 3, confidence + torch.randn(mask.shape) / 3, forged


def fitted(net: TruFor, told: torch.Tensor, forged: np.ndarray) -> torch.nn.Module:
    """Return the detection part of a network, trained on statistics."""
    head, truth = net.detection.train(), torch.from_numpy(forged).float()
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(head(told)[:, 0], truth).backward()
        optimizer.step()
    return head.eval()


def test_false_alarms_that_the_confidence_knows_of_do_not_reach_the_score() -> None:
    torch.manual_seed(0)
    mask, sure, forged = planted(np.random.default_rng(1))
    other, other_sure, other_forged = planted(np.random.default_rng(2))
    flat = torch.full_like(sure, float(sure.mean()))
    with_it, without_it = (fitted(tiny(), statistics(mask, c), forged) for c in (sure, flat))
    auc = {}
    with torch.no_grad():
        for name, head, c in (
            ("own", with_it, other_sure),
            ("flat", with_it, flat),
            ("of another", with_it, other_sure.roll(1, 0)),
            ("never any", without_it, flat),
        ):
            auc[name] = ranking.auc(head(statistics(other, c))[:, 0].numpy(), other_forged)
    assert auc["own"] > 0.95, auc
    assert max(auc["flat"], auc["of another"], auc["never any"]) < auc["own"] - 0.15, auc


def test_wrong_asks() -> None:
    with pytest.raises(UnknownNameError, match="phase"):
        tiny(phase="first")
    with pytest.raises(InvalidValueError, match=r"nowhere\.safetensors"):
        tiny(extractor="nowhere.safetensors")
    with pytest.raises(InvalidValueError, match="nowhere"):
        tiny(weights="nowhere")


SIDE, GREEN = 64, (40.0, 190.0, 40.0)


def colour(rng: np.random.Generator, green: bool) -> np.ndarray:
    if green:
        return GREEN + rng.uniform(-15, 15, 3)
    low, middle, high = np.sort(rng.uniform(40, 215, 3))
    return np.array([high, low, middle] if rng.random() < 0.5 else [middle, low, high])


def spot(rng: np.random.Generator, taken: np.ndarray) -> np.ndarray:
    """Return an ellipse apart from what is taken, where there is room."""
    for _ in range(50):
        shape = np.zeros((SIDE, SIDE), np.uint8)
        centre, axes = (tuple(int(v) for v in rng.integers(*ends, 2)) for ends in ((8, SIDE - 8), (9, 18)))
        cv2.ellipse(shape, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        if not (cv2.dilate(shape, np.ones((9, 9), np.uint8)) * taken).any():
            break
    return shape > 0


def scene(rng: np.random.Generator, kinds: Sequence[str], green: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture with spots, forged, false or plain, and the mask of the forged ones.

    Plain spots are no noisier than what is around them. False spots are as noisy as forged ones, and green; so often is
    any other spot, too.
    """
    picture, taken, alpha, mask = noise_worlds.content(rng, SIDE), *(np.zeros((SIDE, SIDE), bool) for _ in range(3))
    for kind in kinds:
        inside = spot(rng, taken)
        taken |= inside
        picture[inside] = colour(rng, kind == "false" or bool(rng.random() < green))
        alpha[inside], mask[inside] = kind != "plain", kind == "forged"
    return noise_worlds.noisy(rng, picture, alpha.astype(float), float(rng.uniform(1.5, 3)), 5.0), mask


def loud(rng: np.random.Generator, count: int = 8) -> Batch:
    """Pictures in which noise tells what is forged, whatever its colour."""
    return stacked([scene(rng, ("forged", "plain", "plain"), 0.4) for _ in range(count)])


def doubtful(rng: np.random.Generator, count: int = 12) -> Batch:
    """Pictures with two noisy spots, of which green ones are not forged, in half of them neither."""
    return stacked([scene(rng, ("false", str(rng.choice(["false", "forged"]))), 0.0) for _ in range(count)])


def stacked(scenes: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    images, masks = zip(*scenes, strict=True)
    mask = torch.from_numpy(np.stack(masks)[:, None]).float()
    image = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2) / 255).float()
    return {"image": image, "mask": mask, "label": mask.amax((1, 2, 3)).long()}


def train(net: TruFor, draw: Callable[[np.random.Generator], Batch], count: int) -> TruFor:
    rng = np.random.default_rng(1)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=count)
    net.train()
    for _ in range(count):
        given = draw(rng)
        optimizer.zero_grad()
        sum(net.loss(net(given["image"]), given, 0.0).values()).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@pytest.mark.slow
def test_the_trained_score_rests_on_the_confidence() -> None:
    first = train(tiny(1, phase="anomaly"), loud, 250)
    net = tiny(2, phase="confidence")
    net.load_state_dict(first.state_dict())
    train(net, doubtful, 200)
    given, other = (doubtful(np.random.default_rng(seed), 160) for seed in (98, 99))
    forged, truth = (x.numpy() > 0 for x in (other["label"], other["mask"]))
    with torch.no_grad():
        known, outputs = net(given["image"]), net(other["image"])
    mask, sure = outputs["mask"], outputs["confidence"]
    flat = torch.full_like(sure, float(sure.mean()))
    # A detection that never knew of a confidence.
    without = fitted(tiny(3), statistics(known["mask"], flat), given["label"].numpy() > 0)
    with torch.no_grad():
        auc = {
            "own": outputs["score"],
            "map": mask.sigmoid().mean((1, 2, 3)),
            "flat": net.detection(statistics(mask, flat))[:, 0],
            "of another": net.detection(statistics(mask, sure.roll(1, 0)))[:, 0],
            "never any": without(statistics(mask, flat))[:, 0],
        }
    auc = {name: ranking.auc(score.numpy(), forged) for name, score in auc.items()}
    right = (mask.numpy() > 0) == truth
    auc["right"] = ranking.auc(sure.numpy().ravel(), right.ravel())
    assert auc["own"] > 0.85, auc
    assert auc["right"] > 0.75, auc
    assert max(auc[name] for name in ("map", "flat", "of another", "never any")) < auc["own"] - 0.15, auc
