"""CAFTB-Net: channels of one branch and places of the other are weighed, and either carries what the other cannot."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import forged_pages  # noqa: E402
from forged_pages import NOISY, QUIET  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import caftb  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.caftb import Caftb, Crossing  # noqa: E402
from tamperscope.nn.heads import resized  # noqa: E402


def tiny(seed: int = 1, **settings: object) -> Caftb:
    torch.manual_seed(seed)
    return caftb.build("tiny", **settings).eval()


def crossing(seed: int = 0, channels: int = 6) -> Crossing:
    torch.manual_seed(seed)
    return Crossing(channels).eval()


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = caftb.build("full")
    assert parameters(full.local) == pytest.approx(25.57e6 - 2.053e6, rel=2e-4)
    assert parameters(full.spread) == pytest.approx(81.44e6, rel=1e-3)
    assert full.local.channels == (64, 256, 512, 1024, 2048)
    assert full.local.strides == (4, 8, 16, 32, 32), "reduced, so that maps lie on those of the transformer"
    assert full.spread.channels == (64, 128, 320, 512)
    assert [layer.channel.weight.shape for layer in full.cross] == [(c, c, 1, 1) for c in (64, 256, 512, 1024)]
    assert [layer.place.weight.shape for layer in full.cross] == [(1, 1, 7, 7)] * 4
    assert full.decoder[0].weight.shape == (64, 1856, 3, 3)
    assert (caftb.CROSS_ENTROPY, caftb.DICE) == (0.3, 0.7)
    assert parameters(caftb.build("tiny")) <= 1_500_000


def test_maps_of_both_branches_lie_on_each_other() -> None:
    net = tiny()
    with torch.no_grad():
        local, spread = net.features(torch.rand(2, 3, 64, 96))
    expected = [(2, c, 64 // s, 96 // s) for c, s in zip((16, 32, 64, 96), (4, 8, 16, 32), strict=True)]
    assert [tuple(x.shape) for x in local] == [tuple(x.shape) for x in spread] == expected


def test_channels_of_one_and_places_of_the_other_are_weighed() -> None:
    layer = crossing()
    local, spread = torch.randn(2, 6, 9, 11), torch.randn(2, 6, 9, 11)
    with torch.no_grad():
        channels, places = layer.of_channels(local), layer.of_places(spread)
        assert channels.shape == (2, 6, 1, 1)
        assert places.shape == (2, 1, 9, 11)
        torch.testing.assert_close(layer(local, spread), layer.join(local * channels + spread * places))
        means = local.double().mean((2, 3))
        expected = (means @ layer.channel.weight[:, :, 0, 0].double().T + layer.channel.bias.double()).sigmoid()
        torch.testing.assert_close(channels[:, :, 0, 0].double(), expected, atol=1e-6, rtol=1e-5)
        seen = np.pad((spread.mean(1) + spread.max(1).values).double().numpy(), ((0, 0), (3, 3), (3, 3)))
        kernel, offset = layer.place.weight[0, 0].double().numpy(), float(layer.place.bias)
        for i, j in ((0, 0), (4, 5), (8, 10)):
            cost = (seen[:, i : i + 7, j : j + 7] * kernel).sum((1, 2)) + offset
            np.testing.assert_allclose(places[:, 0, i, j].numpy(), 1 / (1 + np.exp(-cost)), rtol=1e-4)
        assert not torch.allclose(layer(spread, local), layer(local, spread), atol=1e-3), "the roles are not one"


def test_where_the_picture_is_no_matter_to_channels_nor_which_channel_to_places() -> None:
    layer = crossing(1)
    x = torch.randn(1, 6, 8, 8)
    with torch.no_grad():
        moved, turned = x.roll((3, 2), (2, 3)), x[:, torch.randperm(6)]
        torch.testing.assert_close(layer.of_channels(moved), layer.of_channels(x))
        torch.testing.assert_close(layer.of_places(turned), layer.of_places(x))
        assert not torch.allclose(layer.of_channels(turned), layer.of_channels(x), atol=1e-4)
        assert not torch.allclose(layer.of_places(moved), layer.of_places(x), atol=1e-4)


def test_means_are_of_the_picture_alone() -> None:
    layer = crossing(2)
    x, counted = torch.randn(1, 6, 8, 12), torch.ones(1, 1, 8, 12)
    counted[..., 7:] = 0
    with torch.no_grad():
        torch.testing.assert_close(layer.of_channels(x, counted), layer.of_channels(x[..., :7]))
        assert torch.isfinite(layer.of_channels(x, torch.zeros_like(counted))).all()


def test_each_branch_sees_its_own() -> None:
    net, plain = tiny(), tiny(noise="rgb")
    image = torch.rand(1, 3, 64, 64) / 2
    with torch.no_grad():
        local, spread = net.features(image)
        brighter = net.features(image + 0.25)
        for a, b in zip(spread, brighter[1], strict=True):
            torch.testing.assert_close(a, b, atol=5e-3, rtol=1e-2)
        assert all((a - b).abs().max() > 0.05 for a, b in zip(local, brighter[0], strict=True))
        both = [plain.features(x)[1][0] for x in (image, image + 0.25)]
        assert (both[0] - both[1]).abs().max() > 0.05


def test_every_scale_of_both_branches_is_heard() -> None:
    net = tiny()
    maps = [[torch.rand(1, c, 16 >> i, 24 >> i) for i, c in enumerate((16, 32, 64, 96))] for _ in range(2)]
    with torch.no_grad():
        before = net.located(*maps)
        assert before.shape == (1, 1, 16, 24)
        for side in range(2):
            for place in range(4):
                other = [list(branch) for branch in maps]
                other[side][place] = other[side][place] + torch.rand_like(other[side][place])
                assert not torch.allclose(net.located(*other), before, atol=1e-6), (side, place)


def test_what_fills_a_canvas_up_changes_nothing() -> None:
    net, image = tiny(), torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    valid = torch.ones(1, 1, 64, 96, dtype=torch.bool)
    valid[..., 70:] = False
    other = torch.where(valid, image, torch.rand_like(image))
    with torch.no_grad():
        found = net(image, valid=valid)["mask"]
        assert torch.equal(found, net(other, valid=valid)["mask"])
        assert not torch.allclose(net(image)["mask"], net(other)["mask"], atol=1e-4)


def test_the_loss_against_sums_written_out() -> None:
    torch.manual_seed(3)
    logits, mask = 3 * torch.randn(3, 1, 16, 24), torch.zeros(3, 1, 16, 24)
    mask[0, :, 3:9, 4:10], mask[1] = 1, 1
    valid = torch.ones(mask.shape, dtype=torch.bool)
    valid[2, ..., 10:] = False
    found = tiny().loss({"mask": logits}, {"mask": mask, "valid": valid}, 0.5)
    p, g, keep = logits.sigmoid().double().numpy(), mask.double().numpy(), valid.numpy()
    cost = -(g * np.log(p) + (1 - g) * np.log(1 - p))
    crossed = np.mean([c[k].mean() for c, k in zip(cost, keep, strict=True)])
    overlap = [1 - (2 * (a * b)[k].sum() + 1) / ((a + b)[k].sum() + 1) for a, b, k in zip(p, g, keep, strict=True)]
    assert float(found["mask"]) == pytest.approx(0.3 * crossed, rel=1e-4)
    assert float(found["dice"]) == pytest.approx(0.7 * np.mean(overlap), rel=1e-4)
    clear = tiny().loss({"mask": torch.full((1, 1, 8, 8), -40.0)}, {"mask": torch.zeros(1, 1, 8, 8)}, 0.5)
    assert float(sum(clear.values())) < 1e-6


def test_wrong_asks() -> None:
    for settings in ({"joined": 0}, {"width": 0}, {"widths": (32, 64, 96)}):
        with pytest.raises(InvalidValueError, match="four widths, joined and width from 1"):
            caftb.build("tiny", **settings)
    with pytest.raises(InvalidValueError, match="limit"):
        caftb.build("tiny", limit=0.0)
    with pytest.raises(InvalidValueError, match="a stem of 16 channels, found 24"):
        caftb.build("tiny", stem=24)
    with pytest.raises(UnknownNameError, match="noise"):
        caftb.build("tiny", noise="srmm")
    with pytest.raises(UnknownNameError, match="size of mit"):
        caftb.build("tiny", mit="b9")


@pytest.mark.slow
def test_either_branch_carries_what_the_other_cannot() -> None:
    """A word on paper of another colour is the residual network's, one with other noise than its page the MiT's."""
    torch.manual_seed(0)
    net, rng = caftb.build("tiny"), np.random.default_rng(10**6)
    forged_pages.train(net, 450, tinted=True)
    f1: dict[tuple[str, str], list[float]] = {}
    alarms: dict[str, list[float]] = {}
    for _ in range(24):
        made = forged_pages.page(rng)
        word = int(rng.integers(len(made.words)))
        truth = made.inside(word)
        pictures = {
            "noise": made.made(QUIET, word),
            "tint": made.made(QUIET, word, QUIET, 15.0),
            "quiet": made.made(QUIET),
            "noisy": made.made(NOISY),
        }
        with torch.inference_mode():
            seen = {name: net.features(forged_pages.tensor([picture])) for name, picture in pictures.items()}
            for one in seen:
                for other in seen:
                    logits = resized(net.located(seen[one][0], seen[other][1]), truth.shape)[0, 0].numpy()
                    f1.setdefault((one, other), []).append(forged_pages.f1(logits, truth))
                    if one == other:
                        alarms.setdefault(one, []).append(float((logits > 0).mean()))
    scores = {pair: float(np.mean(found)) for pair, found in f1.items()}
    assert scores["noise", "noise"] > 0.75, scores
    assert scores["tint", "tint"] > 0.75, scores
    # The word made again as its page, and the page made again as its word, which keeps all its pixels.
    assert max(alarms["quiet"] + alarms["noisy"]) < 0.01
    # What the residual network saw, what the transformer saw.
    assert scores["tint", "quiet"] > 0.75, scores
    assert scores["quiet", "tint"] < 0.05, scores
    assert scores["quiet", "noise"] > 0.75, scores
    assert scores["noise", "quiet"] < 0.05, scores
    assert scores["noise", "noisy"] < 0.05, scores
