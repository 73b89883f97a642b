"""TIFDM: one attention over all pairs, products of fine and coarse, and words whose paper has another grain."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import forged_pages  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from forged_pages import NOISY, QUIET  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import tifdm  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.tifdm import Decoder, JointAttention, Tifdm, TwoWay  # noqa: E402


def tiny(seed: int = 1, **settings: object) -> Tifdm:
    torch.manual_seed(seed)
    return tifdm.build("tiny", **settings).eval()


def attention(seed: int = 0, channels: int = 6, inner: int = 3) -> JointAttention:
    torch.manual_seed(seed)
    return JointAttention(channels, inner).eval()


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = tifdm.build("full")
    assert parameters(full.backbone) == pytest.approx(23.508e6, rel=1e-4)
    assert [layer[0].weight.shape[:2] for layer in full.squeeze] == [(64, c) for c in (256, 512, 1024, 2048)]
    assert full.backbone.strides == (4, 8, 16, 32)
    assert [len(decoder.blocks) for decoder in full.decoders] == [3]
    assert full.attention.query.weight.shape == full.attention.key.weight.shape == (16, 64, 1, 1)
    assert full.attention.value.weight.shape == full.attention.last.weight.shape == (64, 64, 3, 3)
    assert full.last.weight.shape == (1, 64, 3, 3)
    assert full.residuals is None
    assert full.backbone.inputs == 3
    assert parameters(tifdm.build("tiny")) <= 1_500_000


def test_shares_of_all_pairs_add_to_one() -> None:
    layer = attention()
    x = 2 * torch.randn(2, 6, 5, 7)
    with torch.no_grad():
        shares = layer.shares(x)
        assert shares.shape == (2, 35, 35)
        torch.testing.assert_close(shares.sum((1, 2)), torch.ones(2))
        rows = shares.sum(2)
    assert rows.max() < 0.9, "not those of the answers to one place"
    assert rows.max() > 2 * rows.min(), "places differ in how much they ask"


def test_attention_against_sums_written_out() -> None:
    layer = attention(1)
    x = torch.randn(2, 6, 4, 5)
    with torch.no_grad():
        found = layer(x)
        value = F.conv2d(x, layer.value.weight, layer.value.bias, padding=1)
        got = torch.zeros_like(x, dtype=torch.double)
        for picture in range(2):
            places = [(i, j) for i in range(4) for j in range(5)]
            query, key = (
                [(c.weight[:, :, 0, 0] @ x[picture, :, i, j] + c.bias).double() for i, j in places]
                for c in (layer.query, layer.key)
            )
            weights = torch.stack([torch.stack([(q * k).sum() for k in key]) for q in query]).exp()
            weights /= weights.sum()
            for a, (i, j) in enumerate(places):
                for b, (k, m) in enumerate(places):
                    got[picture, :, i, j] += weights[a, b] * value[picture, :, k, m].double()
        expected = layer.last(x + got.float())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    # Taken apart along the wrong axis, as in the copy, it is another map.
    mixed = got.float().flatten(2).transpose(1, 2).reshape(x.shape)
    with torch.no_grad():
        assert not torch.allclose(layer.last(x + mixed), found, atol=1e-3)


def test_a_place_that_asks_loudly_takes_from_all_others() -> None:
    """Where shares add to 1 for each asking place, the others would not know of it."""
    layer, x = attention(2), torch.rand(1, 6, 4, 6)
    with torch.no_grad():
        for part, channels in ((layer.query, (0, 1, 2)), (layer.key, (3, 4, 5))):
            part.weight.copy_(torch.eye(6)[list(channels)][:, :, None, None])
            part.bias.zero_()
        loud = x.clone()
        loud[0, :3, 2, 3] = 12.0
        quiet, taken = layer.shares(x)[0], layer.shares(loud)[0]
    place = 2 * 6 + 3
    others = torch.arange(24) != place
    assert taken[place].sum() > 0.99
    assert (taken[others] < 0.01 * quiet[others]).all()
    torch.testing.assert_close(*(p[others] / p[others].sum(1, keepdim=True) for p in (quiet, taken)))


def test_what_is_none_of_the_picture_neither_asks_nor_answers() -> None:
    layer, x = attention(3), torch.randn(1, 6, 4, 6)
    valid = torch.ones(1, 1, 4, 6, dtype=torch.bool)
    valid[..., 4:] = False
    with torch.no_grad():
        shares = layer.shares(x, valid)[0]
        known = valid.flatten()
        assert float(shares[~known].sum() + shares[:, ~known].sum()) == 0
        torch.testing.assert_close(shares[known][:, known], layer.shares(x[..., :4])[0])
        assert torch.isfinite(layer(x, torch.zeros_like(valid))).all()


def test_fusion_against_what_is_written_out() -> None:
    torch.manual_seed(4)
    block = TwoWay(5).eval()
    fine, coarse = torch.rand(2, 5, 8, 12), torch.rand(2, 5, 4, 6)
    with torch.no_grad():
        found = block(fine, coarse)
        one, other = block.fine[0](fine), block.coarse[0](F.interpolate(coarse, (8, 12), mode="bilinear"))
        shared = block.fine[1](one) * block.coarse[1](other)
        expected = block.fine[3](block.fine[2](shared) + one), block.coarse[3](block.coarse[2](shared) + other)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
        # The two sides have one role: with their layers exchanged they give each other's results.
        block.fine, block.coarse = block.coarse, block.fine
        turned = block(F.interpolate(coarse, (8, 12), mode="bilinear"), fine)
    torch.testing.assert_close(turned[1], found[0])
    torch.testing.assert_close(turned[0], found[1])


def test_only_what_both_sides_see_is_shared() -> None:
    torch.manual_seed(5)
    block = TwoWay(4).eval()
    fine, coarse = torch.rand(1, 4, 16, 16), torch.rand(1, 4, 16, 16)
    fine[..., 8:] = 0
    with torch.no_grad():
        for layers in (block.fine, block.coarse):
            for layer in layers[:2]:
                # Each channel for itself, so that where nothing is nothing stays.
                layer[0].weight.zero_()
                layer[0].weight[range(4), range(4), 1, 1] = 1.0
        block.coarse[2][0].weight.abs_()
        block.coarse[3][0].weight.abs_()
        mended, alone = block(fine, coarse)[1], block(torch.zeros_like(fine), coarse)[1]
        assert torch.equal(mended[..., 11:], alone[..., 11:]), "where the fine map is silent"
        own = block.coarse[0](coarse)
        torch.testing.assert_close(alone, block.coarse[3](block.coarse[2](torch.zeros_like(own)) + own))
        assert (mended[..., :8] > alone[..., :8] + 1e-3).float().mean() > 0.9


def test_what_goes_nowhere_is_not_made() -> None:
    torch.manual_seed(6)
    maps = [torch.rand(1, 8, 32 >> i, 48 >> i) for i in range(4)]
    for both in (False, True):
        decoder = Decoder(8, both).eval()
        with torch.no_grad():
            mended, result = decoder(maps)
        assert result.shape == maps[0].shape
        assert len(mended) == 4
        assert mended[-1] is maps[-1]
        assert all((x is not None) is both for x in mended[:-1])
        assert [len(block.fine) for block in decoder.blocks] == [4 if both else 2] * 3
    twice = tiny(rounds=2).train()
    twice(torch.rand(2, 3, 64, 64))["mask"].square().mean().backward()
    assert not [n for n, p in twice.named_parameters() if p.grad is None]
    assert [decoder.blocks[0].both for decoder in twice.decoders] == [True, False]
    first = parameters(twice) - parameters(tiny())
    assert first == parameters(Decoder(32, True))


@pytest.mark.parametrize("rounds", [1, 2])
def test_every_scale_is_heard(rounds: int) -> None:
    net = tiny(rounds=rounds)
    maps = [torch.rand(1, 32, 16 >> i, 24 >> i) for i in range(4)]
    with torch.no_grad():
        before = net.located(maps)
        assert before.shape == (1, 1, 16, 24)
        for place in range(4):
            other = [x + (i == place) * torch.rand_like(x) for i, x in enumerate(maps)]
            assert not torch.allclose(net.located(other), before, atol=1e-5), place


def test_what_fills_a_canvas_up_changes_nothing() -> None:
    net, image = tiny(), torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    valid = torch.ones(1, 1, 64, 96, dtype=torch.bool)
    valid[..., 70:] = False
    other = torch.where(valid, image, torch.rand_like(image))
    with torch.no_grad():
        found = net(image, valid=valid)["mask"]
        assert torch.equal(found, net(other, valid=valid)["mask"])
        assert not torch.allclose(net(image)["mask"], net(other)["mask"], atol=1e-4)
        assert not torch.allclose(found, net(torch.where(valid, 1 - image, image), valid=valid)["mask"], atol=1e-4)


def test_residuals_stand_beside_the_colours() -> None:
    net, image = tiny(), torch.rand(1, 3, 64, 64) / 2
    assert net.backbone.inputs == 6
    plain = tiny(limit=None)
    noisy = (image + torch.randn_like(image) / 255).clamp(0, 1)
    first = next(m for m in net.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight[:, :3] = 0
        torch.testing.assert_close(net(image)["mask"], net(image + 0.25)["mask"], atol=2e-3, rtol=1e-2)
        assert not torch.allclose(net(image)["mask"], net(noisy)["mask"], atol=1e-2)
        assert not torch.allclose(plain(image)["mask"], plain(image + 0.25)["mask"], atol=1e-2)


def test_the_loss_is_cross_entropy_picture_by_picture() -> None:
    torch.manual_seed(7)
    logits, mask = 3 * torch.randn(2, 1, 16, 24), torch.zeros(2, 1, 16, 24)
    mask[0, :, 3:9, 4:10] = 1
    valid = torch.ones(mask.shape, dtype=torch.bool)
    valid[1, ..., 6:] = False
    found = tiny().loss({"mask": logits}, {"mask": mask, "valid": valid}, 0.5)
    p, g = logits.double().sigmoid(), mask.double()
    cost = -(g * p.log() + (1 - g) * (1 - p).log())
    expected = (cost[0].mean() + cost[1][valid[1]].mean()) / 2
    assert set(found) == {"mask"}
    assert float(found["mask"]) == pytest.approx(float(expected), rel=1e-5)


def test_wrong_asks() -> None:
    for settings in ({"width": 0}, {"inner": 0}, {"rounds": 0}):
        with pytest.raises(InvalidValueError, match="width, inner and rounds from 1"):
            tifdm.build("tiny", **settings)
    with pytest.raises(UnknownNameError, match="size of resnet"):
        tifdm.build("tiny", backbone="51")
    with pytest.raises(InvalidValueError, match="limit"):
        tifdm.build("tiny", limit=0.0)


@pytest.mark.slow
def test_a_word_is_found_by_what_is_around_it() -> None:
    """The finest map tells where noise is, the coarser ones whether it should be there: neither can do without."""
    torch.manual_seed(0)
    net, rng = tifdm.build("tiny"), np.random.default_rng(10**6)
    forged_pages.train(net, 300)
    f1: dict[str, list[float]] = {}
    inside: dict[str, list[float]] = {}
    alarms: dict[str, list[float]] = {}
    for _ in range(24):
        made = forged_pages.page(rng)
        word = int(rng.integers(len(made.words)))
        truth = made.inside(word)
        pictures = {"forged": made.made(QUIET, word), "quiet": made.made(QUIET), "noisy": made.made(NOISY)}
        with torch.inference_mode():
            maps = {name: net.maps(forged_pages.tensor([picture])) for name, picture in pictures.items()}
            seen = dict(maps)
            for name in ("quiet", "noisy"):
                seen[f"fine of {name}"] = [maps[name][0], *maps["forged"][1:]]
                seen[f"coarse of {name}"] = [maps["forged"][0], *maps[name][1:]]
            for name, scales in seen.items():
                logits = F.interpolate(net.located(scales), scale_factor=4, mode="bilinear")[0, 0].numpy()
                f1.setdefault(name, []).append(forged_pages.f1(logits, truth))
                inside.setdefault(name, []).append(float(logits[truth].mean()))
                alarms.setdefault(name, []).append(float((logits > 0).mean()))
    scores, levels = ({k: float(np.mean(v)) for k, v in found.items()} for found in (f1, inside))
    assert scores["forged"] > 0.8, scores
    for history in ("quiet", "noisy"):
        # The word made again as its page, and the page made again as its word, which keeps all its pixels.
        assert max(alarms[history]) < 0.01, history
        assert levels[history] < levels["forged"] - 5, levels
    assert scores["fine of quiet"] < 0.1, scores
    assert scores["coarse of quiet"] > 0.75, scores
    assert scores["coarse of noisy"] < 0.6, scores
    assert levels["coarse of noisy"] < levels["coarse of quiet"] - 3, levels
