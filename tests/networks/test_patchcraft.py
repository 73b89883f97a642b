"""PatchCraft: what both mosaics share counts nothing, where patches lie counts nothing, one mosaic alone knows less."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import patchcraft  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.patchcraft import LIMIT, PatchCraft  # noqa: E402
from tamperscope.nn.smash import PATCH  # noqa: E402

SIDE = 96
SIGMAS = (1.5, 4.0)
"""Deviations of noise, in grey levels, of the two worlds that a place may be of."""


def small(seed: int = 1, **settings: object) -> PatchCraft:
    torch.manual_seed(seed)
    return patchcraft.build("tiny", **{"side": 2, "draws": 24, **settings}).eval()


def loud(seed: int = 1, **settings: object) -> PatchCraft:
    """A network whose last layer and norms are as after a training, so that scores differ by more than rounding."""
    net = small(seed, **settings)
    torch.nn.init.normal_(net.last.weight)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_var.fill_(0.05)
            torch.nn.init.normal_(layer.bias, std=0.1)
    return net


def mosaics(seed: int, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Poor ones with little noise and rich ones with much."""
    noise = torch.randn(2, count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return tuple((0.5 + sigma * x).clamp(0, 1) for sigma, x in zip((0.01, 0.1), noise, strict=True))


def answer(net: PatchCraft, image: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return net(image)["score"].numpy()


def auc(low: np.ndarray, high: np.ndarray) -> float:
    """How often a score of the latter is above one of the former."""
    return float(ranking.auc(np.concatenate([low, high]), np.arange(len(low) + len(high)) >= len(low)))


def test_the_published_shapes() -> None:
    with torch.device("meta"):
        full = patchcraft.build("full")
    assert (full.smash.side, full.smash.draws) == (8, 192)
    # 90 residual maps to 32, ten convolutions of 32, a scale and a shift of each, and the last layer.
    assert parameters(full) == 9 * 90 * 32 + 10 * 9 * 32 * 32 + 11 * 64 + 33
    assert parameters(full) == pytest.approx(0.12e6, rel=0.03)
    names = [type(layer).__name__ for layer in full.layers if not isinstance(layer, torch.nn.BatchNorm2d)]
    one = ["Conv2d", "ReLU"]
    assert names == [*4 * one, "AvgPool2d", *2 * one, "AvgPool2d", *2 * one, "AvgPool2d", *2 * one]
    assert full.layers(torch.empty(1, 32, 256, 256, device="meta")).shape == (1, 32, 32, 32)
    assert [type(layer).__name__ for layer in full.features] == ["Conv2d", "BatchNorm2d", "Hardtanh"]
    torch.manual_seed(0)
    drawn = patchcraft.build("full")
    assert float(drawn.last.weight.detach().std()) == pytest.approx(0.01, rel=0.4)
    deviation = float(drawn.layers[0].weight.detach().std())
    assert deviation == pytest.approx(math.sqrt(2 / (9 * 32)), rel=0.05)
    assert parameters(patchcraft.build("tiny")) <= 1_500_000


def test_it_judges_whole_pictures_by_thirty_fixed_kernels_a_channel() -> None:
    net = small()
    assert net(torch.rand(2, 3, 64, 96))["score"].shape == (2,)
    assert net(torch.rand(2, 3, 64, 96)).keys() == {"score"}
    assert not [key for key in net.state_dict() if "kernels" in key or "shares" in key]
    image = torch.rand(1, 3, 64, 64)
    residuals = net.bank(image)
    assert residuals.shape == (1, 90, 64, 64)
    for channel in range(3):
        changed = image.clone()
        changed[:, channel] = torch.rand(64, 64)
        heard = (net.bank(changed) - residuals).abs().amax((0, 2, 3)) > 1e-6
        assert heard.tolist() == [place // 30 == channel for place in range(90)]


def test_what_both_mosaics_share_counts_nothing() -> None:
    net = loud()
    poor, rich = mosaics(1)
    with torch.no_grad():
        assert (net.contrast(rich, rich) == 0).all()
        path = net.last(net.layers(torch.zeros(1, 16, 64, 64)).mean((2, 3)))[:, 0]
        for same in (poor, rich, torch.rand(2, 3, 64, 64)):
            torch.testing.assert_close(net.judged(same, same), path.expand(2))
        assert (net.judged(poor, rich) - path).abs().min() > 1e-3
    flat = torch.tensor([0.0, 0.2, 1.0])[:, None, None, None].expand(3, 3, 64, 96)
    np.testing.assert_allclose(answer(net, flat), path.expand(3), rtol=1e-5)
    # A picture of one patch has the same patches in both.
    np.testing.assert_allclose(answer(net, torch.rand(1, 3, 32, 32)), path, rtol=1e-5)
    assert abs(answer(net, torch.rand(1, 3, 64, 96)) - path.numpy()).min() > 1e-4


def test_roles_are_poor_less_rich_and_features_are_limited_before() -> None:
    net = loud()
    poor, rich = mosaics(2)
    with torch.no_grad():
        found = net.contrast(poor, rich)
        torch.testing.assert_close(net.contrast(rich, poor), -found)
        assert (net.judged(poor, rich) - net.judged(rich, poor)).abs().min() > 1e-3
        ends = {}
        for branch, kept in (("poor", poor), ("rich", rich)):
            one = loud(branch=branch)
            ends[branch] = one.contrast(poor, rich)
            torch.testing.assert_close(ends[branch], net.features(net.bank(kept)))
            torch.testing.assert_close(one.judged(poor, rich), one.judged(*(2 * [kept])))
        torch.testing.assert_close(found, ends["poor"] - ends["rich"])
        assert net.contrast(poor, 20 * rich).abs().max() > 1.2 * LIMIT
        assert ends["rich"].abs().max() <= LIMIT
        assert net.features(net.bank(20 * rich)).abs().max() == LIMIT


def test_both_mosaics_are_normed_alike() -> None:
    """Each normed by itself, as by two passes, poor and rich would differ in training by nothing but their shapes."""
    net = small().train()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    poor, rich = mosaics(3, 6)
    with torch.no_grad():
        found = net.contrast(poor, rich)
        # Statistics of both: what was learned in training is what is answered with.
        torch.testing.assert_close(net.eval().contrast(poor, rich), found, atol=1e-2, rtol=1e-2)
        # Beyond a mosaic are zeros, an outline in both.
        quiet, strong = (net.features(net.bank(x))[..., 4:-4, 4:-4].std() for x in (poor, rich))
    assert strong > 5 * quiet


def test_padding_and_other_pictures_change_no_score() -> None:
    net = loud()
    image = torch.rand(1, 3, 70, 90)
    alone = answer(net, image)
    canvas, valid = torch.rand(2, 3, 96, 128), torch.ones(2, 1, 96, 128, dtype=torch.bool)
    canvas[0, :, :70, :90] = image[0]
    valid[0, :, 70:], valid[0, ..., 90:] = False, False
    with torch.no_grad():
        found = net(canvas, valid=valid)["score"].numpy()
    np.testing.assert_allclose(found[:1], alone, rtol=1e-4, atol=1e-5)
    assert abs(answer(net, canvas)[:1] - alone).max() > 1e-3


def test_the_loss_against_sums_written_out() -> None:
    net, score = small(), torch.tensor([2.0, -1.0, 0.5, 9.0])

    def cost(labels: list[int]) -> float:
        return float(net.loss({"score": score}, {"label": torch.tensor(labels)}, 0.5)["score"])

    each = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.exp(-0.5))]
    assert cost([1, 0, 1, -1]) == pytest.approx(sum(each) / 4, rel=1e-5)
    assert cost([-1, -1, -1, -1]) == 0
    # What a picture costs does not depend on whether others are known.
    assert cost([1, -1, -1, -1]) == pytest.approx(each[0] / 4, rel=1e-5)
    assert cost([-1, 0, -1, -1]) == pytest.approx(each[1] / 4, rel=1e-5)


def test_residuals_keep_their_precision_beside_halves() -> None:
    """In bfloat16 light greys are rounded by up to half a level."""
    net = loud()
    poor, rich = mosaics(4)
    seen: list[torch.Tensor] = []
    net.bank.register_forward_hook(lambda *found: seen.append(found[2]))
    with torch.no_grad():
        net.contrast(poor, rich)
        with torch.autocast("cpu", torch.bfloat16):
            net.contrast(poor, rich)
    assert torch.equal(*seen)


def test_wrong_asks() -> None:
    for settings in ({"width": 0}, {"depths": ()}, {"depths": (2, 0)}, {"branch": "both"}, {"draws": 7}):
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            small(**settings)


def scene(rng: np.random.Generator, poor: int, rich: int) -> np.ndarray:
    """Half a picture is soft, half is textured; each has noise of one of `SIGMAS`, (3, SIDE, SIDE) in [0, 1]."""
    coarse, fine = (torch.from_numpy(rng.normal(0, 1, (1, c, n, n))) for c, n in ((3, 3), (1, SIDE // 6)))
    soft, texture = (
        torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bicubic", align_corners=False)[0].numpy()
        for x in (coarse, fine)
    )
    textured = np.rot90(np.arange(SIDE)[None] < SIDE // 2 * np.ones((SIDE, 1)), rng.integers(4))
    pixels = 128 + 25 * soft + textured * texture * rng.uniform(30, 50)
    noise = rng.normal(0, 1, pixels.shape) * np.where(textured, SIGMAS[rich], SIGMAS[poor])
    return np.clip(np.rint(pixels + noise), 0, 255) / 255


def batch(scenes: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(scenes)).float()


def trained(branch: str, steps: int) -> PatchCraft:
    """A network that was shown as many pictures with one noise as with two; either noise comes anywhere as often."""
    net, rng = small(0, branch=branch, width=8, depths=(2, 1, 1)).train(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    kinds = [(0, 0), (0, 1), (1, 1), (1, 0)] * 4
    truth = {"label": torch.tensor([int(poor != rich) for poor, rich in kinds])}
    for _ in range(steps):
        optimizer.zero_grad()
        net.loss(net(batch([scene(rng, *kind) for kind in kinds])), truth, 1.0)["score"].backward()
        optimizer.step()
        plan.step()
    return net.eval()


@pytest.mark.slow
def test_two_mosaics_know_what_neither_does() -> None:
    """Photographs have one noise, whatever it is; generated pictures have another one where they are textured."""
    rng = np.random.default_rng(99)
    pictures = {(poor, rich): batch([scene(rng, poor, rich) for _ in range(40)]) for poor in (0, 1) for rich in (0, 1)}
    net = trained("contrast", 60)
    scores = {kind: answer(net, image) for kind, image in pictures.items()}
    same, mixed = (np.concatenate([scores[kind] for kind in pair]) for pair in (((0, 0), (1, 1)), ((0, 1), (1, 0))))
    assert auc(same, mixed) > 0.95
    assert min(auc(same, scores[kind]) for kind in ((0, 1), (1, 0))) > 0.9

    # What makes a picture generated is which two mosaics are in it, of whatever pictures they are.
    with torch.no_grad():
        seen = {kind: net.smash(image) for kind, image in pictures.items()}
        strangers = {
            (poor, rich): net.judged(seen[poor, 1 - rich][0], seen[1 - poor, rich][1]).numpy() for poor, rich in seen
        }
        found = [np.concatenate([strangers[kind] for kind in pair]) for pair in (((0, 0), (1, 1)), ((0, 1), (1, 0)))]
        assert auc(*found) > 0.95
        # And not where their patches lie.
        gap = float(np.median(mixed) - np.median(same))
        for kind, (poor, rich) in seen.items():
            cells = rich.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).flatten(2, 3).transpose(1, 2)
            moved = net.judged(poor, net.smash.laid(cells[:, [3, 2, 0, 1]])).numpy()
            assert not np.allclose(moved, scores[kind], atol=1e-6)
            assert np.median(np.abs(moved - scores[kind])) < 0.15 * gap

    for branch in ("poor", "rich"):
        alone = trained(branch, 60)
        one = {kind: answer(alone, image) for kind, image in pictures.items()}
        found = [np.concatenate([one[kind] for kind in pair]) for pair in (((0, 0), (1, 1)), ((0, 1), (1, 0)))]
        assert abs(auc(*found) - 0.5) < 0.1, branch
