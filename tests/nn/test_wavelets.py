"""Wavelets that lose nothing, weighted fits against least squares, and what FFDN's decoder carries where."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.nn.wavelets import Attention, Carried, Crosses, WaveletPyramid, haar, weighted_fit  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


def test_bands_give_the_maps_back_and_are_pairwise_differences() -> None:
    maps = torch.randint(-50, 50, (2, 3, 8, 12), generator=torch.Generator().manual_seed(0)).float()
    bands = haar(maps)
    assert all(band.shape == (2, 3, 4, 6) for band in bands)
    low, rows, columns, both = bands
    back = torch.empty_like(maps)
    back[..., ::2, ::2] = (low - rows - columns + both) / 2
    back[..., ::2, 1::2] = (low - rows + columns - both) / 2
    back[..., 1::2, ::2] = (low + rows - columns - both) / 2
    back[..., 1::2, 1::2] = (low + rows + columns + both) / 2
    assert torch.equal(back, maps)
    assert sum(band.square().sum() for band in bands) == maps.square().sum()
    slope = torch.arange(8.0)[:, None].expand(1, 1, 8, 8)
    _, rows, columns, both = haar(slope)
    assert torch.equal(rows, torch.ones_like(rows))
    assert not columns.any()
    assert not both.any()
    _, rows, columns, both = haar(slope.transpose(2, 3))
    assert torch.equal(columns, torch.ones_like(columns))
    assert not rows.any()
    chess = (torch.arange(6)[:, None] + torch.arange(6)).remainder(2)[None, None].float()
    low, rows, columns, both = haar(chess)
    assert torch.equal(both, -torch.ones_like(both))
    assert not rows.any()
    assert not columns.any()


@pytest.mark.parametrize("size", [(9, 11), (3, 4), (2, 2)], ids=str)
def test_lines_are_those_of_weighted_least_squares(size: tuple[int, int]) -> None:
    rng, radius, eps = np.random.default_rng(1), 2, 1e-2
    guide, source = rng.normal(size=(2, *size))
    weight = rng.random(size) ** 3 + 1e-3
    told = [torch.from_numpy(x)[None, None] for x in (guide, source, weight)]
    found = weighted_fit(*told, radius=radius, eps=eps)[0, :, 0].numpy()

    def box(y: int, x: int) -> tuple[slice, slice]:
        return slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)

    lines = np.zeros((2, *size))
    for y, x in np.ndindex(size):
        w = weight[box(y, x)].ravel() / weight[box(y, x)].sum()
        root = np.sqrt(w)[:, None]
        rows = np.stack([guide[box(y, x)].ravel(), np.ones(w.size)], 1)
        # The slope alone is kept small.
        system = np.concatenate([root * rows, [[np.sqrt(eps), 0]]])
        right = np.concatenate([root[:, 0] * source[box(y, x)].ravel(), [0]])
        lines[:, y, x] = np.linalg.lstsq(system, right, rcond=None)[0]
    wanted = np.array([[[line[box(y, x)].mean() for x in range(size[1])] for y in range(size[0])] for line in lines])
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_what_does_not_count_is_not_fitted() -> None:
    generator = torch.Generator().manual_seed(2)
    guide, source, wild = (torch.randn(1, 1, 8, 8, generator=generator) for _ in range(3))
    weight = torch.ones(1, 1, 8, 8)
    weight[..., 3:5] = 0
    other = torch.where(weight > 0, source, 99 * wild)
    torch.testing.assert_close(weighted_fit(guide, other, weight), weighted_fit(guide, source, weight))
    assert not torch.allclose(weighted_fit(guide, other, torch.ones_like(weight)), weighted_fit(guide, source, weight))


def test_a_band_that_is_a_line_of_the_finer_one_is_carried_as_it_is() -> None:
    torch.manual_seed(3)
    for low in (True, False):
        layer = Carried(4, low).eval()
        finest = torch.nn.functional.interpolate(torch.randn(1, 4, 4, 4), (32, 32), mode="bilinear")
        bands = [finest]
        for _ in range(3):
            bands.append(torch.nn.functional.interpolate(bands[-1], scale_factor=0.5, mode="bilinear"))
        with torch.inference_mode():
            same = layer([x * 8 for x in bands])
            shifted = layer([*(x * 8 for x in bands[:3]), bands[3] * 8 + 40])
        # But for what the slope is kept small by.
        torch.testing.assert_close(same, finest * 8, atol=0.5, rtol=0.1)
        torch.testing.assert_close(shifted, finest * 8 + 40, atol=0.7, rtol=0.1)


def test_low_attention_looks_at_deviations_and_high_attention_at_values() -> None:
    torch.manual_seed(4)
    x = torch.randn(1, 8, 6, 6)
    low, high = Attention(8, True).eval(), Attention(8, False).eval()
    for layer in (low, high):
        assert layer(x).shape == x.shape
    for shift in low.moments:
        torch.nn.init.zeros_(shift[2].weight)
        torch.nn.init.ones_(shift[2].bias)
    torch.testing.assert_close(low(3 * x + 7), low(x), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(high(3 * x + 7), high(x), atol=1e-3)


def test_crosses_reach_as_far_as_their_dilations() -> None:
    torch.manual_seed(5)
    layer = Crosses(2, 4).eval()
    x = torch.zeros(1, 2, 41, 41, requires_grad=True)
    layer(x + torch.randn(1, 2, 41, 41))[0, :, 20, 20].sum().backward()
    assert x.grad is not None
    rows = torch.nonzero(x.grad.abs().amax((0, 1, 3)) > 0)[:, 0]
    # Lines of 7 reach 3, those 7 apart 7, and the last convolution 1.
    assert (rows.min(), rows.max()) == (20 - 11, 20 + 11)


def told_of(net: WaveletPyramid, maps: list[torch.Tensor]) -> list[torch.Tensor]:
    """What the pyramid is told."""
    seen: list[torch.Tensor] = []
    handle = net.pyramid.register_forward_pre_hook(lambda module, given: seen.extend(given[0]))
    with torch.inference_mode():
        net(maps)
    handle.remove()
    return seen


def test_high_bands_go_to_the_finest_map_and_low_ones_to_the_coarsest() -> None:
    torch.manual_seed(6)
    net = WaveletPyramid((4, 6, 8, 10), 8).eval()
    maps = [torch.randn(1, c, 32 >> i, 32 >> i) for i, c in enumerate((4, 6, 8, 10))]
    with torch.inference_mode():
        assert [x.shape for x in net(maps)] == [(1, 8, 32 >> i, 32 >> i) for i in range(4)]
        plain = [layer(x) for layer, x in zip(net.crosses, maps, strict=True)]
    first = told_of(net, maps)
    assert torch.equal(first[1], plain[1])
    assert torch.equal(first[2], plain[2])
    for carried, place in ((net.high, 0), (net.low, 3)):
        handle = carried.register_forward_hook(lambda module, given, out: out + 1)
        changed = [not torch.equal(x, y) for x, y in zip(told_of(net, maps), first, strict=True)]
        handle.remove()
        assert changed == [i == place for i in range(4)]
