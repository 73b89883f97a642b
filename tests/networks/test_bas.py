"""BAS: a frozen copy, a detached whole, a constant for more than all; maps beyond what tells classes apart."""

from __future__ import annotations

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

SIDE, CLASSES = 64, 8


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
