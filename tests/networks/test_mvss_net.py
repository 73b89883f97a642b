"""MVSS-Net: gates of gradients, residuals of grey, outlines of a quarter, and a score that is the highest logit."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import noise_worlds  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import mvss_net  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.mvss_net import EdgeStream, MvssNet, SobelGate, grey, highest, outlines  # noqa: E402
from tamperscope.nn import backbones, losses  # noqa: E402
from tamperscope.nn.dilation import dilated  # noqa: E402


def tiny(seed: int = 1, **settings: object) -> MvssNet:
    torch.manual_seed(seed)
    return mvss_net.build("tiny", **settings).eval()


def square(size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    mask = torch.zeros(1, 1, *size)
    mask[..., 17:42, 22:51] = 1
    return mask


def drawn(count: int = 4, size: tuple[int, int] = (64, 96)) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Outputs and a batch: one authentic picture, one that is forged all over, two in part; the last has padding."""
    torch.manual_seed(3)
    logits, edge = 3 * torch.randn(count, 1, *size), 3 * torch.randn(count, 1, size[0] // 4, size[1] // 4)
    mask = square(size).repeat(count, 1, 1, 1)
    mask[0], mask[1] = 0, 1
    valid = torch.ones(mask.shape, dtype=torch.bool)
    valid[-1, ..., 60:] = False
    outputs = {"mask": logits, "score": highest(logits, valid), "edge": edge}
    return outputs, {"mask": mask, "valid": valid, "label": torch.tensor([0, 1, 1, 1])[:count]}


def part(values: dict[str, torch.Tensor], place: int) -> dict[str, torch.Tensor]:
    return {key: value[place : place + 1] for key, value in values.items()}


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = mvss_net.build("full")
    assert parameters(full.colours) == parameters(full.noise) == pytest.approx(23.508e6, rel=1e-4)
    assert full.colours.channels == (256, 512, 1024, 2048)
    assert full.colours.strides == full.noise.strides == (4, 8, 16, 16)
    assert full.multiple == 16
    last = full.noise.body.encoder.stages[3].layers
    assert [block.layer[1].convolution.dilation for block in last] == [(1, 1), (2, 2), (4, 4)]
    assert tuple(full.bayar.weight.shape) == (3, 1, 5, 5)
    assert [tuple(side[0][0].weight.shape) for side in (full.head.position, full.head.channel)] == [
        (1024, 4096, 3, 3)
    ] * 2
    assert (full.seg, full.clf, full.edge) == (0.16, 0.04, 0.80)
    assert parameters(mvss_net.build("tiny")) <= 1_500_000


def test_dilated_stages_keep_size_and_weights() -> None:
    torch.manual_seed(0)
    plain = backbones.build("resnet", "18").eval()
    weights = {key: value.clone() for key, value in plain.state_dict().items()}
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        coarse = plain(image)
        fine = dilated(plain, ((1, 1), (2, 4)))(image)
    assert all(torch.equal(value, weights[key]) for key, value in plain.state_dict().items())
    assert [tuple(x.shape[2:]) for x in coarse] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [tuple(x.shape[2:]) for x in fine] == [(16, 24), (8, 12), (8, 12), (8, 12)]
    assert torch.equal(fine[1], coarse[1])
    assert plain.multiple == 8
    for stage, dilations in zip(plain.body.encoder.stages[2:], ((1, 1), (2, 4)), strict=True):
        for block, dilation in zip(stage.layers, dilations, strict=True):
            found = {(c.kernel_size, c.stride, c.dilation) for c in block.modules() if isinstance(c, torch.nn.Conv2d)}
            assert found <= {((1, 1), (1, 1), (dilation,) * 2), ((3, 3), (1, 1), (dilation,) * 2)}


def test_grey_is_of_red_green_and_blue() -> None:
    """The port takes the first channel for blue."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    image = torch.from_numpy(picture.transpose(2, 0, 1)[None] / 255).float()
    expected, wrong = (cv2.cvtColor(picture, code) for code in (cv2.COLOR_RGB2GRAY, cv2.COLOR_BGR2GRAY))
    found = grey(image)[0, 0].numpy()
    assert np.abs(found - expected).max() < 0.6
    assert np.abs(found - wrong).max() > 20
    net, noise = tiny(), 0.1 * torch.rand(64, 64)
    energy = []
    with torch.no_grad():
        for channel in range(3):
            image = torch.full((1, 3, 64, 64), 0.4)
            image[0, channel] += noise
            energy.append(float(net.residuals(image).square().mean().sqrt()))
    assert energy[0] / energy[2] == pytest.approx(0.299 / 0.114, rel=1e-3)
    assert energy[1] / energy[2] == pytest.approx(0.587 / 0.114, rel=1e-3)


def test_residuals_know_no_content_and_no_border() -> None:
    net = tiny()
    with torch.no_grad():
        assert net.residuals(torch.full((1, 3, 32, 48), 0.7)).abs().max() < 1e-3
        image = torch.rand(1, 3, 32, 48) / 4
        torch.testing.assert_close(net.residuals(image), net.residuals(image + 0.5), atol=2e-3, rtol=1e-3)
        kernels = net.bayar.weight
        torch.testing.assert_close(kernels[..., 2, 2], -torch.ones(3, 1))
        torch.testing.assert_close(kernels.sum((2, 3)), torch.zeros(3, 1), atol=1e-5, rtol=0)


def test_each_stream_sees_its_own() -> None:
    net = tiny()
    image = torch.rand(1, 3, 64, 64) / 2
    with torch.no_grad():
        residuals = net.residuals(image)
        brighter = net.residuals(image + 0.4)
        assert (brighter - residuals).abs().max() < 2e-3
        assert (net.normalized(image + 0.4) - net.normalized(image)).abs().min() > 1
        net.noise.body.apply(lambda m: torch.nn.init.zeros_(m.weight) if isinstance(m, torch.nn.Conv2d) else None)
        blind = net(image)
        assert not torch.allclose(blind["mask"], net(image.flip(3))["mask"], atol=1e-4), "colours are left"


def test_flat_places_pass_half_and_steep_ones_more() -> None:
    gate = SobelGate().eval()
    features = torch.full((1, 5, 16, 24), 0.3)
    features[..., 12:] = 0.9
    with torch.no_grad():
        share = gate(features) / features
        assert torch.allclose(share, gate.gate(features).expand_as(share))
        steep = torch.zeros(16, 24, dtype=torch.bool)
        steep[:, 11:13] = True
        assert share[0, 0][steep].min() > 0.99
        torch.testing.assert_close(share[0, 0][~steep], torch.full((16 * 22,), 0.5), atol=1e-5, rtol=0)
        # Only where gradients are something changes when the gates do.
        assert torch.allclose(gate(features)[..., :11], features[..., :11] / 2, atol=1e-5)
        x = torch.rand(2, 5, 16, 24)
        turned = torch.rot90(gate.gate(x), 1, (2, 3))
        torch.testing.assert_close(gate.gate(torch.rot90(x, 1, (2, 3))), turned)


def test_gradients_are_normed_before_their_magnitude() -> None:
    torch.manual_seed(0)
    gate, features = SobelGate().train(), torch.rand(4, 8, 24, 24)
    small, large = gate.gate(features), gate.gate(30 * features)
    assert 0.6 < small.mean().item() < 0.85
    torch.testing.assert_close(small, large, atol=1e-3, rtol=1e-3)
    assert gate.gate(features).min() >= 0.5


def test_edges_go_from_shallow_to_deep() -> None:
    torch.manual_seed(0)
    stream = EdgeStream((4, 6, 8, 10), 5).eval()
    maps = [torch.rand(1, c, 24 >> i, 32 >> i) for i, c in enumerate((4, 6, 8, 10))]

    def heard() -> list[bool]:
        with torch.no_grad():
            before = stream(maps)
            assert before.shape == (1, 1, 24, 32)
            changed = [[x + torch.rand_like(x) if i == j else x for j, x in enumerate(maps)] for i in range(4)]
            return [not torch.allclose(stream(c), before, atol=1e-6) for c in changed]

    assert heard() == [True] * 4
    for place, expected in ((0, [False, False, True, True]), (1, [False, False, False, True]), (2, [False] * 4)):
        torch.nn.init.zeros_(stream.turns[place].first.weight)
        assert heard() == expected


def test_edges_teach_colours_and_are_seen_by_no_map() -> None:
    net, image = tiny(), torch.rand(1, 3, 64, 96)
    ungated = tiny(gated=False)
    ungated.load_state_dict(net.state_dict(), strict=False)
    outputs, other = net(image), ungated(image)
    assert torch.equal(outputs["mask"], other["mask"])
    assert not torch.allclose(outputs["edge"], other["edge"], atol=1e-4)
    assert outputs["edge"].shape == (1, 1, 16, 24)
    net.loss(outputs, {"mask": square(), "label": torch.tensor([1])}, 0.5)["edge"].backward()
    taught = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert taught == {"colours", "edges"}


def test_the_score_is_the_highest_logit_of_any_shape() -> None:
    """The port's pool has the height for both sides, and gives a wide picture several scores."""
    logits = torch.full((2, 1, 32, 96), -3.0)
    logits[0, 0, 5, 90], logits[1, 0, 5, 90] = 4.0, 9.0
    valid = torch.ones(logits.shape, dtype=torch.bool)
    valid[1, ..., 80:] = False
    assert highest(logits).tolist() == [4.0, 9.0]
    assert highest(logits, valid).tolist() == [4.0, -3.0]
    assert highest(logits, torch.zeros_like(valid)).tolist() == [-3.0, -3.0]
    net = tiny()
    with torch.no_grad():
        for size in ((64, 160), (160, 64), (96, 96)):
            found = net(torch.rand(2, 3, *size))
            assert found["score"].shape == (2,)
            assert torch.equal(found["score"], found["mask"].amax((1, 2, 3)))


def test_the_score_is_a_logit_once() -> None:
    """After two sigmoids an authentic picture would cost .693 at least, and a forged one .313."""
    outputs, batch = drawn(2)
    net = tiny()
    for score, label, cost in ((-3.0, 0, math.log1p(math.exp(-3))), (-3.0, 1, 3 + math.log1p(math.exp(-3)))):
        told = outputs | {"score": torch.tensor([score, score])}
        loss = net.loss(told, batch | {"label": torch.tensor([label, label])}, 0.5)["clf"]
        assert float(loss) == pytest.approx(0.04 * cost, rel=1e-5)


def test_the_loss_against_sums_written_out() -> None:
    outputs, batch = drawn()
    found = tiny().loss(outputs, batch, 0.5)
    cells, counted = outlines(batch["mask"], (16, 24), batch["valid"])
    expected = []
    for logits, truth, valid in ((outputs["mask"], batch["mask"], batch["valid"]), (outputs["edge"], cells, counted)):
        p, g = logits.sigmoid().double().numpy(), truth.double().numpy()
        keep = valid.numpy()
        each = [
            1 - (2 * (a * b)[k].sum() + 1) / ((a**2)[k].sum() + (b**2)[k].sum() + 1)
            for a, b, k in zip(p, g, keep, strict=True)
        ]
        expected.append(np.mean(each))
    assert float(found["seg"]) == pytest.approx(0.16 * expected[0], rel=1e-5)
    assert float(found["edge"]) == pytest.approx(0.80 * expected[1], rel=1e-5)
    nothing = {"mask": torch.full((1, 1, 64, 96), -40.0), "score": torch.tensor([-40.0])}
    nothing["edge"] = torch.full((1, 1, 16, 24), -40.0)
    clear = tiny().loss(nothing, {"mask": torch.zeros(1, 1, 64, 96), "label": torch.tensor([0])}, 0.5)
    assert float(sum(clear.values())) < 1e-6


def test_what_a_picture_costs_does_not_depend_on_the_others() -> None:
    net = tiny()
    outputs, batch = drawn()
    for label in (batch["label"], torch.tensor([0, -1, 1, -1])):
        told = batch | {"label": label}
        whole = net.loss(outputs, told, 0.5)
        alone = [net.loss(part(outputs, i), part(told, i), 0.5) for i in range(4)]
        for name, value in whole.items():
            torch.testing.assert_close(value, torch.stack([terms[name] for terms in alone]).mean())
    # Of a flattened batch it would.
    p, g = (x.flatten()[None, None, None] for x in (outputs["mask"], batch["mask"]))
    each = losses.dice(outputs["mask"], batch["mask"], None, 1.0, True)
    assert abs(float(losses.dice(p, g, None, 1.0, True) - each)) > 0.05


def test_an_unknown_label_leaves_its_weight_to_the_map() -> None:
    net = tiny()
    outputs, batch = drawn(3)
    known = net.loss(outputs, batch, 0.5)
    unlabelled = {key: value for key, value in batch.items() if key != "label"}
    for told in (unlabelled, batch | {"label": torch.full((3,), -1)}):
        found = net.loss(outputs, told, 0.5)
        assert float(found["clf"]) == 0
        torch.testing.assert_close(found["seg"], known["seg"] * 0.20 / 0.16)
        assert torch.equal(found["edge"], known["edge"])


def test_outlines_of_a_quarter() -> None:
    mask = square()
    cells, counted = outlines(mask, (16, 24))
    assert counted.all()
    inside = mask[0, 0].numpy() > 0
    for row in range(16):
        for column in range(24):
            rows, columns = (slice(max(4 * n - 1, 0), 4 * n + 5) for n in (row, column))
            # Of the pixels of the cell one has a neighbour of the other kind, up, down, left or right.
            near = inside[rows, columns]
            top, left = min(row, 1), min(column, 1)
            crossed = any(
                near[i, j] != near[k, m]
                for i in range(top, top + 4)
                for j in range(left, left + 4)
                for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1))
                if 0 <= k < near.shape[0] and 0 <= m < near.shape[1]
            )
            assert bool(cells[0, 0, row, column]) is crossed
    thin = torch.zeros(1, 1, 64, 64)
    thin[..., 30, 30] = 1
    assert outlines(thin, (16, 16))[0].sum() > 0, "what is small has an outline, too"
    for plane in (torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)):
        assert outlines(plane, (16, 16))[0].sum() == 0, "the border of the picture is none"
    valid = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    valid[..., 42:] = False
    found, counted = outlines(valid.float(), (16, 16), valid)
    assert found.sum() == 0, "nor is that of the padding"
    assert counted[..., :11].all()
    assert not counted[..., 11:].any()


def test_wrong_asks() -> None:
    for settings in ({"seg": 0.0}, {"clf": -0.1}, {"edge": -1}, {"edge_width": 0}, {"dropout": 1.0}):
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            mvss_net.build("tiny", **settings)
    for dilations in ([[1, 2]], [[2], [0]], [[1]] * 4):
        with pytest.raises(InvalidValueError, match="dilations"):
            mvss_net.build("tiny", dilations=dilations)
    with pytest.raises(UnknownNameError, match="size of resnet"):
        mvss_net.build("tiny", backbone="51")


class Labelled(noise_worlds.World):
    """Pictures with labels."""

    @property
    def batch(self) -> dict[str, torch.Tensor]:
        """As networks are told."""
        return super().batch | {"label": self.mask.amax((1, 2, 3)).long()}


def mixed(rng: np.random.Generator, count: int = 8) -> Labelled:
    """Half the pictures are authentic: noise everywhere as in the background of forged ones, or as in their objects."""
    made = noise_worlds.feathered(rng, count, 64, blur=1.0)
    for place in np.flatnonzero(rng.random(count) < 0.5):
        sigma = float(made.strength[place]) * float(rng.choice([1.0, 3.0]))
        flat = noise_worlds.noisy(rng, noise_worlds.content(rng, 64), np.zeros((64, 64)), sigma)
        made.image[place] = torch.from_numpy(flat.transpose(2, 0, 1) / 255).float()
        made.mask[place] = 0
    return Labelled(made.image, made.mask, made.strength)


@pytest.mark.slow
def test_edges_and_labels_keep_authentic_pictures_clear() -> None:
    truth = mixed(np.random.default_rng(99), 60)
    forged = truth.mask.amax((1, 2, 3)) > 0
    inside = truth.mask.numpy()[:, 0] > 0
    f1, alarms, apart = {}, {}, {}
    for name, weights in {"three": {}, "map": {"seg": 1.0, "clf": 0.0, "edge": 0.0}}.items():
        net = tiny(1, **weights)
        noise_worlds.train(net, mixed, 100, seed=1)
        logits = noise_worlds.answer(net, truth.image)
        called = logits.numpy()[:, 0]
        f1[name] = np.mean([noise_worlds.f1(c, t) for c, t in zip(called[forged], inside[forged], strict=True)])
        alarms[name] = (called[~forged.numpy()] > 0).mean()
        score = highest(logits)
        apart[name] = float((score[forged][:, None] > score[~forged]).float().mean())
    assert f1["three"] > 0.75, f1
    assert abs(f1["three"] - f1["map"]) < 0.08, f1
    assert alarms["three"] < 0.02, alarms
    assert alarms["map"] > alarms["three"] + 0.05, alarms
    assert apart["three"] > 0.95, apart
