"""ManTra-Net: what is far from its surroundings is marked, whichever of two operations is the background."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import noise_worlds  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.networks import mantra_net  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.mantra_net import ConvLstm, MantraNet, ZPool  # noqa: E402

WINDOWS = (31, 15, 7)


def small(seed: int = 1, **settings: object) -> MantraNet:
    torch.manual_seed(seed)
    return mantra_net.build("tiny", **{"widths": (8, 8), "channels": 4, "hidden": 3, **settings}).eval()


def plane(*size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(2))


def test_the_published_shapes() -> None:
    with torch.device("meta"):
        full = mantra_net.build("full")
    assert full.adapt.weight.shape == (64, 256, 1, 1)
    assert full.pool.windows == WINDOWS
    assert full.pool.floor.shape == (64, 1, 1)
    assert full.compare.gates.weight.shape == (4 * 8, 64 + 8, 7, 7)
    assert full.last.weight.shape == (1, 8, 7, 7)
    assert parameters(mantra_net.build("tiny")) <= 1_500_000


def test_scores_are_deviations_of_means_written_out() -> None:
    pool, x = ZPool(2), 3 * plane(1, 2, 20, 23) + 50
    found = pool(x)[0]
    sigma = (x[0].var((1, 2), unbiased=False) + pool.floor[:, 0, 0].square()).sqrt()
    torch.testing.assert_close(found[0], (x[0].mean((1, 2), keepdim=True) - x[0]).abs() / sigma[:, None, None])
    for scale, side in enumerate(WINDOWS, 1):
        for row, column in ((0, 0), (10, 11), (19, 3), (5, 22)):
            rows, columns = (slice(max(c - side // 2, 0), c + side // 2 + 1) for c in (row, column))
            # What lies beyond the picture is not counted as 0: there is nothing.
            mean = x[0, :, rows, columns].mean((1, 2))
            expected = (mean - x[0, :, row, column]).abs() / sigma
            torch.testing.assert_close(found[scale, :, row, column], expected, atol=1e-4, rtol=1e-4)


def test_padding_is_in_no_mean_and_no_deviation() -> None:
    pool, x = ZPool(3), plane(2, 3, 24, 24)
    valid = torch.zeros(2, 1, 24, 24, dtype=torch.bool)
    valid[..., :17, :20] = True
    found = pool(x, valid)
    torch.testing.assert_close(found[..., :17, :20], pool(x[..., :17, :20]), atol=1e-4, rtol=1e-4)
    assert torch.equal(found, pool(torch.where(valid, x, 100.0), valid))
    assert (found[..., 20:] == 0).all()
    assert torch.isfinite(pool(x, valid & False)).all()


def test_either_of_two_operations_may_be_the_background() -> None:
    """What is where is the same, only the roles are turned: every score is the same."""
    pool, noise = ZPool(4), 0.1 * plane(1, 4, 40, 40)
    first, second = plane(2, 1, 4, 1, 1)
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:20, 22:32] = 1
    one, other = (torch.where(mask > 0, a + noise, b - noise) for a, b in ((first, second), (second, first)))
    swapped = torch.where(mask > 0, second - noise, first + noise)
    assert not torch.allclose(one, other)
    # first + second - one is the other picture, pixel by pixel.
    torch.testing.assert_close(first + second - one, swapped)
    found = pool(one), pool(swapped)
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)
    for scores in (*found, pool(other)):
        inside, outside = (scores[:, 0].mean(1)[mask[:, 0] == side] for side in (1, 0))
        assert inside.min() > outside.max(), "the few are marked"


def test_the_unit_of_a_feature_does_not_matter_until_the_floor() -> None:
    pool, x = ZPool(2), plane(1, 2, 20, 20)
    torch.testing.assert_close(pool(100 * x - 7), pool(x), atol=1e-3, rtol=1e-3)
    assert pool(torch.full((1, 2, 20, 20), 3.0)).abs().max() < 1e-3
    with torch.no_grad():
        pool.floor[0] = 10.0
    raised = pool(x)
    assert raised[:, :, 0].max() < 0.5
    assert raised[:, :, 1].max() > 1
    tiny = torch.zeros(1, 2, 20, 20, requires_grad=True)
    pool(tiny).sum().backward()
    assert torch.isfinite(tiny.grad).all()
    pool(x).sum().backward()
    assert (pool.floor.grad != 0).all()


def test_the_lstm_is_told_coarse_first_and_its_gates_count() -> None:
    torch.manual_seed(0)
    cell = ConvLstm(3, 2, 3).eval()
    sequence = plane(1, 4, 3, 9, 9)
    with torch.no_grad():
        assert not torch.allclose(cell(sequence), cell(sequence.flip(1)), atol=1e-3)
        # Nothing is kept: the last plane alone counts, beside the state that was shown.
        cell.gates.weight[:, 3:] = 0
        cell.gates.bias[2:4] = -1e4
        other = sequence.clone()
        other[:, :3] = 0
        torch.testing.assert_close(cell(sequence), cell(other))
        cell.gates.bias[2:4] = 1
        assert not torch.allclose(cell(sequence), cell(other), atol=1e-3)
    pool = ZPool(1, (3, 9))
    peak = torch.zeros(1, 1, 21, 21)
    peak[..., 6:15, 6:15] = 1
    scores = pool(peak)[0, :, 0, 10, 10].detach()
    assert scores[0] > 1, "the whole picture comes first"
    assert scores[1:].max() < 1e-4, "windows inside see nothing"
    assert pool.windows == (9, 3)


def test_the_loss_is_one_cross_entropy_of_logits() -> None:
    """A port put a sigmoid before a cross-entropy of logits: a sure answer then still costs .313 or .693."""
    net, truth = small(), torch.zeros(1, 1, 16, 16)
    truth[..., 8:] = 1
    sure = torch.where(truth > 0, 30.0, -30.0)
    terms = net.loss({"mask": sure}, {"mask": truth}, 0.5)
    assert list(terms) == ["mask"]
    assert terms["mask"] < 1e-6
    assert net.loss({"mask": -sure}, {"mask": truth}, 0.5)["mask"] == pytest.approx(30, rel=1e-4)
    with torch.no_grad():
        net.last.weight.mul_(100)
        found = net(torch.rand(1, 3, 32, 32))["mask"]
    assert found.min() < 0 or found.max() > 1, "no probabilities"


def test_padding_of_a_picture_is_not_seen() -> None:
    net, image = small(), torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    valid = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    valid[..., :30] = True
    other = torch.where(valid, image, 1 - image)
    with torch.no_grad():
        assert torch.equal(net(image, valid)["mask"], net(other, valid)["mask"])
        assert not torch.allclose(net(image)["mask"][..., :20], net(other)["mask"][..., :20], atol=1e-4)


def test_pictures_of_any_size_and_two_forwards() -> None:
    net = small()
    with torch.no_grad():
        for size in ((8, 8), (21, 50), (64, 40)):
            image = torch.rand(1, 3, *size)
            found = net(image)["mask"]
            assert found.shape == (1, 1, *size)
            assert torch.equal(net(image)["mask"], found)


def test_wrong_asks() -> None:
    for settings in ({"windows": ()}, {"windows": (7, 8)}, {"windows": (1,)}, {"channels": 0}, {"hidden": 0}):
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            mantra_net.build("tiny", **settings)


class Streaks(torch.nn.Module):
    """A front end that needs no pretraining: how much a place differs from the next along rows, and along columns."""

    def forward(self, image: torch.Tensor, valid: Any = None) -> torch.Tensor:
        wide = F.pad(image, (0, 1, 0, 1), mode="replicate")
        along, down = (wide[..., :-1, 1:] - image).abs(), (wide[..., 1:, :-1] - image).abs()
        levels = torch.cat([x.mean(1, keepdim=True) for x in (along, down)], 1)
        return (F.avg_pool2d(levels, 7, 1, 3, count_include_pad=False) + 1e-3).log()


def draw(rng: np.random.Generator, count: int = 4, turned: bool = False) -> noise_worlds.World:
    """Pictures of noise smeared along rows, with a square of noise smeared along columns; turned, the other way."""
    pictures, masks, side = [], [], 48
    for _ in range(count):
        size = int(rng.integers(14, 22))
        top, left = rng.integers(3, side - size - 3, 2)
        mask = np.zeros((side, side), bool)
        mask[top : top + size, left : left + size] = True
        noise = 12 * rng.standard_normal((2, side, side, 3))
        rows, columns = (
            noise[i] + np.roll(noise[i], 1, axis) + np.roll(noise[i], 2, axis) for i, axis in ((0, 1), (1, 0))
        )
        smeared = np.where((mask ^ turned)[..., None], columns, rows)
        pictures.append((noise_worlds.content(rng, side) + smeared).clip(0, 255))
        masks.append(mask)
    return noise_worlds.world(pictures, masks, [1.0] * count)


def test_the_few_stand_out_whichever_way_they_were_made_and_their_class_does_not_tell() -> None:
    net = small(0)
    net.traces, net.adapt = Streaks(), torch.nn.Conv2d(2, 4, 1, bias=False)
    found = {}
    for turned in (False, True):
        truth = draw(np.random.default_rng(9), 12, turned)
        inner = truth.mask.numpy().reshape(-1) > 0
        with torch.no_grad():
            scores, levels = net.scores(truth.image)[:, 0].mean(1), net.traces(truth.image)
        for kind, values in (("scores", scores), ("class", levels[:, 0] - levels[:, 1])):
            found[kind, turned] = noise_worlds.auc(values.numpy().reshape(-1, 1), inner)
    assert min(found["scores", False], found["scores", True]) > 0.8, found
    assert abs(found["scores", False] - found["scores", True]) < 0.05, found
    assert found["class", False] > 0.9, found
    assert found["class", True] < 0.1, found
