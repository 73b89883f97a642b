"""Mesorch: what each branch and the gate see, shares that add to one, maps that are left out, sizes, and padding."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import noise_worlds  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import mesorch  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.mesorch import Gate, Mesorch  # noqa: E402
from tamperscope.nn.bands import Bands, stretched  # noqa: E402
from tamperscope.nn.heads import resized  # noqa: E402


def tiny(seed: int = 1, **settings: object) -> Mesorch:
    torch.manual_seed(seed)
    return mesorch.build("tiny", **settings).eval()


def drawn(*size: int) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(2))


def shapes(modules: torch.nn.Module) -> list[tuple[int, ...]]:
    return [tuple(m.weight.shape) for m in modules if not isinstance(m, (torch.nn.LayerNorm, torch.nn.GELU))]


def test_the_published_shapes() -> None:
    with torch.device("meta"):
        full = mesorch.build("full")
    assert full.high.backbone.channels == (96, 192, 384, 768)
    assert full.low.backbone.channels == (64, 128, 320, 512)
    assert full.high.backbone.inputs == full.low.backbone.inputs == 6
    for branch, width in ((full.high, 96), (full.low, 64)):
        assert branch.stages == (1, 2, 3, 4)
        assert [len(branch.enlarge[str(stage)]) for stage in branch.stages] == [0, 1, 2, 3]
        steps = [m for m in branch.enlarge.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
        assert {(m.kernel_size, m.stride, m.padding) for m in steps} == {((4, 4), (2, 2), (1, 1))}
        assert all(branch.enlarge[s][-1].out_channels == width for s in "234")
        assert [tuple(branch.heads[s].weight.shape) for s in "1234"] == [(1, width, 1, 1)] * 4
    assert tuple(full.gate.first.weight.shape) == (192, 9, 7, 7)
    assert shapes(full.gate.block) == [(192, 192, 3, 3), (768, 192, 1, 1), (192, 768, 1, 1)]
    assert tuple(full.gate.last.weight.shape) == (8, 192, 7, 7)
    assert full.gate.first.stride == full.gate.last.stride == (2, 2)
    assert parameters(full) == 84_986_448
    assert parameters(mesorch.build("tiny")) <= 1_500_000


def test_the_pruned_form_has_five_maps_no_gate_and_no_stage_for_nothing() -> None:
    with torch.device("meta"):
        pruned, full = mesorch.build("full", pruned=True), mesorch.build("full")
    assert pruned.gate is None
    assert pruned.places == (("high", 1), ("high", 3), ("low", 2), ("low", 3), ("low", 4))
    assert parameters(pruned) == pytest.approx(62.2e6, abs=5e4)
    assert len(pruned.high.backbone.body.encoder.stages) == 3
    assert set(pruned.state_dict()) < set(full.state_dict())
    net, image = tiny(pruned=True), drawn(2, 3, 64, 96)
    with torch.no_grad():
        maps = net.maps(net.views(image))
        torch.testing.assert_close(net(image)["mask"], resized(maps.sum(1, keepdim=True), (64, 96)))


def test_the_mask_is_the_sum_of_maps_by_their_shares() -> None:
    net, image = tiny(), drawn(2, 3, 64, 96)
    with torch.no_grad():
        views = net.views(image)
        maps, shares = net.maps(views), net.gate(views)
        expected = sum(shares[:, i : i + 1] * maps[:, i : i + 1] for i in range(4))
        torch.testing.assert_close(net(image)["mask"], resized(expected, (64, 96)))
    assert maps.shape == shares.shape == (2, 4, 16, 24)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 64), (256, 256)])
def test_the_map_has_the_size_of_the_picture_whatever_it_is(size: tuple[int, int]) -> None:
    """The released code gives one size."""
    net = tiny()
    with torch.no_grad():
        assert net(drawn(1, 3, *size))["mask"].shape == (1, 1, *size)


def test_shares_add_to_one_at_every_place_and_are_not_the_same_everywhere() -> None:
    torch.manual_seed(3)
    gate = Gate(8, 5).eval()
    with torch.no_grad():
        shares = gate(4 * drawn(2, 9, 64, 32))
    assert shares.shape == (2, 5, 16, 8)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 16, 8))
    assert shares.min() > 0
    assert shares.std((2, 3)).min() > 1e-3
    net, image = tiny(), drawn(2, 3, 64, 64)
    with torch.no_grad():
        whole = net.shares(image)
        torch.testing.assert_close(whole, net.gate(net.views(image)).mean((2, 3)))
    torch.testing.assert_close(whole.sum(1), torch.ones(2))


def test_branches_see_their_own_band_and_the_gate_sees_both() -> None:
    net, image = tiny(), drawn(1, 3, 64, 64)
    with torch.no_grad():
        views = net.views(image)
        torch.testing.assert_close(views[:, :3], net.normalized(image))
        for place, band in zip((3, 6), Bands(0.05)(image), strict=True):
            torch.testing.assert_close(views[:, place : place + 3], stretched(band))
        maps, shares = net.maps(views), net.gate(views)
        for place, own in ((0, (0, 1, 2, 3)), (3, (0, 1)), (6, (2, 3))):
            other = views.clone()
            other[:, place : place + 3] = 1 - other[:, place : place + 3]
            changed = (net.maps(other) - maps).abs().amax((0, 2, 3)) > 1e-6
            assert tuple(changed.nonzero().flatten().tolist()) == own
            assert (net.gate(other) - shares).abs().max() > 1e-4


def test_fine_stripes_reach_the_low_branch_where_they_are_coarse_the_other_way() -> None:
    """The low band is an L: stripes of two pixels change it, a chessboard of single pixels does not."""
    net, image = tiny(), drawn(1, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3) * 0.5 + 0.25
    rows, columns = torch.meshgrid(torch.arange(64) % 2, torch.arange(64) % 2, indexing="ij")
    with torch.no_grad():
        high, low = net.bands(image)
        for pattern, in_low in ((rows * torch.ones(64, 64), True), (((rows + columns) % 2).float(), False)):
            change = 0.1 * (pattern - 0.5)
            other_high, other_low = net.bands(image + change)
            assert float((other_high - high).square().mean()) == pytest.approx(0.05**2, rel=0.02)
            expected = 0.05**2 if in_low else 0.0
            assert float((other_low - low).square().mean()) == pytest.approx(expected, rel=0.02, abs=2e-5)


def shaken(branch: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize(("side", "places"), [("high", (0, 1)), ("low", (2, 3))])
def test_a_branch_that_is_removed_has_no_word(side: str, places: tuple[int, ...], gated: bool) -> None:
    net, image = tiny(gated=gated), drawn(1, 3, 64, 64)
    rest = [place for place in range(4) if place not in places]
    pruned = net.pruned(rest, gated)
    assert getattr(pruned, side) is None
    assert parameters(pruned) < parameters(net)
    with torch.no_grad():
        views, before, left = net.views(image), net(image)["mask"], pruned(image)["mask"]
        maps = net.maps(views)
        torch.testing.assert_close(pruned.maps(views), maps[:, rest])
        if gated:
            kept = net.gate(views)[:, rest]
            # What is left shares what was theirs, in proportion.
            expected = (maps[:, rest] * kept / kept.sum(1, keepdim=True)).sum(1, keepdim=True)
        else:
            expected = maps[:, rest].sum(1, keepdim=True)
        torch.testing.assert_close(left, resized(expected, (64, 64)))
        shaken(getattr(net, side))
        assert (net(image)["mask"] - before).abs().max() > 1e-2
        assert torch.equal(net.pruned(rest, gated)(image)["mask"], left)


def test_single_maps_are_removed_with_the_stages_that_only_they_need() -> None:
    net, image = tiny(high=(1, 2, 4), low=(2, 3)), drawn(1, 3, 64, 64)
    pruned = net.pruned([0, 1, 3])
    assert pruned.places == (("high", 1), ("high", 2), ("low", 2))
    assert len(pruned.high.backbone.body.encoder.stages) == 2
    assert len(pruned.low.backbone.body.stages) == 2
    with torch.no_grad():
        views = net.views(image)
        torch.testing.assert_close(pruned.maps(views), net.maps(views)[:, [0, 1, 3]])
        torch.testing.assert_close(pruned.gate(views).sum(1), torch.ones(1, 16, 16))
    ungated = net.pruned([0, 4], gated=False)
    assert ungated.gate is None
    again = mesorch.build("tiny", high=(1,), low=(3,), gated=False)
    assert again.state_dict().keys() == ungated.state_dict().keys()


def test_a_map_without_a_share_has_no_word() -> None:
    net, image = tiny(), drawn(1, 3, 64, 64)
    with torch.no_grad():
        net.gate.last.bias[2:] = -1e4
        before = net(image)["mask"]
        shaken(net.low)
        assert torch.equal(net(image)["mask"], before)
        net.gate.last.bias[2:] = 1e4
        assert not torch.allclose(net(image)["mask"], before, atol=1e-3)


def test_what_is_in_the_padding_changes_nothing() -> None:
    net, image = tiny(), drawn(1, 3, 64, 96)
    valid = torch.ones(1, 1, 64, 96, dtype=torch.bool)
    valid[..., 50:] = False
    with torch.no_grad():
        first = net(image, valid)["mask"]
        other = net(torch.where(valid, image, 7.0), valid)["mask"]
        assert torch.equal(first, other)
        assert torch.equal(net.shares(image, valid), net.shares(torch.where(valid, image, 7.0), valid))
        assert not torch.allclose(net(image)["mask"][..., :40], first[..., :40], atol=1e-4)


def test_the_loss_is_that_of_each_picture() -> None:
    torch.manual_seed(4)
    outputs, truth = {"mask": 3 * torch.randn(3, 1, 32, 32)}, (torch.rand(3, 1, 32, 32) > 0.7).float()
    valid = torch.ones_like(truth, dtype=torch.bool)
    valid[1, ..., 5:] = False
    net = tiny(high=(1,), low=())
    each = []
    for place in range(3):
        part = slice(place, place + 1)
        logits, kept = outputs["mask"][part], valid[part]
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[kept], truth[part][kept])
        each.append(expected)
        alone = net.loss({"mask": logits}, {"mask": truth[part], "valid": kept}, 0.5)
        assert alone.keys() == {"mask"}
        torch.testing.assert_close(alone["mask"], expected)
    torch.testing.assert_close(
        net.loss(outputs, {"mask": truth, "valid": valid}, 0.5)["mask"], torch.stack(each).mean()
    )


def test_wrong_asks() -> None:
    for settings in ({"high": (0, 1)}, {"low": (2, 1)}, {"high": (5,)}, {"width": 0}, {"share": 0.0}, {"low": (1, 1)}):
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            mesorch.build("tiny", **settings)
    with pytest.raises(InvalidValueError, match="a stage"):
        mesorch.build("tiny", high=(), low=())
    with pytest.raises(UnknownNameError, match="size of mit"):
        mesorch.build("tiny", mit="b9")
    net = tiny(gated=False)
    with pytest.raises(InvalidValueError, match="gate"):
        net.shares(drawn(1, 3, 32, 32))
    with pytest.raises(InvalidValueError, match="gate"):
        net.pruned([0])
    for places in ([], [4], [1, 0], [-1, 2]):
        with pytest.raises(InvalidValueError, match="rising"):
            net.pruned(places, gated=False)


def noisy(rng: np.random.Generator, count: int, factor: float = 8.0) -> noise_worlds.World:
    """Pictures with an ellipse of stronger noise."""
    return noise_worlds.feathered(rng, count, 64, blur=1.0, factor=factor)


def lit(rng: np.random.Generator, count: int, gain: float = 0.4) -> noise_worlds.World:
    """Pictures with an ellipse in brighter light, whose border is wide; their noise is the same everywhere."""
    pictures, masks, strengths = [], [], []
    for _ in range(count):
        shape, sigma = np.zeros((64, 64), np.float32), float(rng.uniform(1.5, 3))
        centre, axes = (tuple(int(v) for v in rng.integers(*span, 2)) for span in ((16, 48), (10, 21)))
        cv2.ellipse(shape, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        alpha = cv2.GaussianBlur(shape, (0, 0), 6).astype(np.float64)
        light = noise_worlds.content(rng, 64) * (1 + gain * alpha[..., None])
        pictures.append(noise_worlds.noisy(rng, light, np.zeros_like(alpha), sigma))
        masks.append(alpha > 0.5)
        strengths.append(sigma)
    return noise_worlds.world(pictures, masks, strengths)


def both(rng: np.random.Generator, count: int = 8) -> noise_worlds.World:
    """Half of the pictures have the trace of noise, then half that of light."""
    parts = (noisy(rng, count // 2), lit(rng, count - count // 2))
    return noise_worlds.World(*(torch.cat([getattr(w, n) for w in parts]) for n in ("image", "mask", "strength")))


def inside(net: Mesorch, world: noise_worlds.World) -> np.ndarray:
    """The share of the high branch within the mask of each picture."""
    cells = torch.nn.functional.avg_pool2d(world.mask, 4)
    with torch.no_grad():
        high = net.gate(net.views(world.image))[:, :2].sum(1, keepdim=True)
    return ((high * cells).sum((1, 2, 3)) / cells.sum((1, 2, 3))).numpy()


def routed(swapped: bool) -> Mesorch:
    """A gate that learned between planted maps: one branch sees noise alone, the other one light alone."""
    net, rng = tiny(width=16), np.random.default_rng(1)
    optimizer = torch.optim.AdamW(net.gate.parameters(), 2e-3)
    sees = ((torch.arange(8) < 4) ^ swapped)[:, None, None, None]
    for _ in range(100):
        batch = both(rng).batch
        found, nothing = 8 * torch.nn.functional.avg_pool2d(batch["mask"], 4) - 4, torch.full((8, 1, 16, 16), -4.0)
        high, low = torch.where(sees, found, nothing), torch.where(sees, nothing, found)
        logits = (torch.cat([high, high, low, low], 1) * net.gate(net.views(batch["image"]))).sum(1, keepdim=True)
        optimizer.zero_grad()
        net.loss({"mask": resized(logits, (64, 64))}, batch, 0.0)["mask"].backward()
        optimizer.step()
    return net


@pytest.mark.slow
@pytest.mark.parametrize("swapped", [False, True])
def test_the_gate_moves_to_the_branch_that_sees_the_trace(swapped: bool) -> None:
    net, sign = routed(swapped), -1 if swapped else 1
    noise, light = (inside(net, made(np.random.default_rng(9), 40)) for made in (noisy, lit))
    assert sign * (noise - light).mean() > 0.4, (noise.mean(), light.mean())
    assert stats.ttest_ind(noise, light).pvalue < 1e-9
    # The same pictures without their traces.
    calm, dull = (inside(net, made(np.random.default_rng(9), 40, nothing)) for made, nothing in ((noisy, 1), (lit, 0)))
    assert sign * (dull - light).mean() > 0.4, (dull.mean(), light.mean())
    assert abs((calm - dull).mean()) < 0.05, (calm.mean(), dull.mean())
