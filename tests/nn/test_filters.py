"""Filters in front of networks: what they annihilate, what they keep, and that constraints outlast training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft, signal

from tamperscope.errors import InvalidValueError
from tamperscope.nn import filters


def polynomial(degree: int, size: int = 16) -> torch.Tensor:
    """A picture whose every line, row, column and diagonal is a polynomial of a degree: (1, 3, size, size)."""
    rows, columns = np.mgrid[:size, :size] / size
    plane = sum((0.3 + i) * rows**i * columns**j for i in range(degree + 1) for j in range(degree + 1 - i))
    return torch.tensor(np.stack([plane, 2 * plane, -plane])[None], dtype=torch.float32)


def inner(response: torch.Tensor) -> torch.Tensor:
    return response[..., 2:-2, 2:-2]


def test_the_thirty_kernels_in_their_order() -> None:
    bank = filters.srm30()
    assert bank.shape == (30, 5, 5)
    assert bank.sum(dim=(1, 2)).abs().max() < 1e-6
    assert torch.equal(bank[:, 2, 2], torch.full((30,), -1.0))
    assert len({tuple(kernel.flatten().tolist()) for kernel in bank}) == 30
    assert torch.equal(bank[28], filters.srm3()[0])
    assert torch.equal(bank[29], filters.srm3()[1])
    # Halves keep the top, right, bottom and left lines of their squares.
    for place, (rows, columns) in enumerate([((3, 5), ()), ((), (0, 2)), ((0, 2), ()), ((), (3, 5))]):
        for first, square in ((20, bank[28]), (24, bank[29])):
            expected = square.clone()
            if rows:
                expected[slice(*rows)] = 0
            if columns:
                expected[:, slice(*columns)] = 0
            assert torch.equal(bank[first + place], expected)


@pytest.mark.parametrize(("kernels", "degree"), [(range(30), 0), (range(8, 12), 1), (range(12, 20), 2)])
def test_what_each_order_annihilates(kernels: range, degree: int) -> None:
    planes = polynomial(degree)[:, :1]
    for place in kernels:
        response = torch.nn.functional.conv2d(planes, filters.srm30()[place][None, None])
        assert response.abs().max() < 2e-5
        if degree:
            beyond = torch.nn.functional.conv2d(polynomial(degree + 1)[:, :1], filters.srm30()[place][None, None])
            assert beyond.abs().max() > 1e-4


def test_modes_against_scipy() -> None:
    image = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    bank = filters.srm3().numpy()
    apart = filters.Srm("rgb9", clip=None)(image)
    summed = filters.Srm("sum3", clip=None)(image)
    assert apart.shape == (2, 9, 20, 24)
    for channel in range(3):
        for k in range(3):
            expected = signal.correlate2d(image[1, channel].numpy(), bank[k], mode="same")
            np.testing.assert_allclose(apart[1, 3 * channel + k].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(summed.numpy(), apart.reshape(2, 3, 3, 20, 24).sum(1).numpy(), atol=1e-5)
    assert filters.Srm("bank30", clip=None)(image).shape == (2, 90, 20, 24)


def test_the_summed_bank_reaches_the_known_bounds_and_is_clipped() -> None:
    bounds = [float(kernel.clamp(min=0).sum() * 3) for kernel in filters.srm3()]
    assert bounds == pytest.approx([6, 12, 3])
    loud = torch.zeros(1, 3, 9, 9)
    loud[..., 4, 4] = 10
    assert filters.Srm("sum3", clip=2.0)(loud).abs().max() == 2
    assert inner(filters.Srm("sum3")(polynomial(1)))[:, :2].abs().max() < 1e-4
    with pytest.raises(InvalidValueError, match="bank30"):
        filters.Srm("sum9")  # type: ignore[arg-type]


def test_bayar_keeps_its_constraint_after_every_step_of_any_optimizer() -> None:
    torch.manual_seed(3)
    layer = filters.Bayar()
    optimizer = torch.optim.SGD(layer.parameters(), lr=50.0)
    image, wanted = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    before = layer.weight.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(layer(image), wanted).backward()
        optimizer.step()
        weight = layer.weight.detach()
        assert torch.equal(weight[..., 2, 2], torch.full((3, 3), -1.0))
        assert weight.sum(dim=(-2, -1)).abs().max() < 1e-4
        assert inner(layer(torch.full((1, 3, 12, 12), 0.7))).abs().max() < 1e-3
    assert not torch.equal(before, layer.weight)


def test_bayar_is_finite_where_the_published_division_is_not() -> None:
    layer = filters.Bayar(1, 1, 3)
    free = torch.tensor([[1.0, -1, 1], [-1, 5, 1], [-1, 1, -1]])
    layer.parametrizations.weight.original.data.copy_(free[None, None])  # type: ignore[union-attr, operator]
    weight = layer.weight
    assert torch.isfinite(weight).all()
    assert float(weight.detach().sum()) == pytest.approx(0, abs=1e-2)
    weight.square().sum().backward()
    with pytest.raises(InvalidValueError, match="odd"):
        filters.Bayar(size=4)


def test_sobel_turns_with_the_picture() -> None:
    image = torch.rand(1, 3, 14, 14, generator=torch.Generator().manual_seed(2))
    magnitude = filters.Sobel()(image)
    turned = filters.Sobel()(torch.rot90(image, 1, (2, 3)))
    assert torch.allclose(torch.rot90(magnitude, 1, (2, 3)), turned, atol=1e-5)
    across = signal.correlate2d(image[0, 0].numpy(), [[1, 0, -1], [2, 0, -2], [1, 0, -1]], mode="valid")
    down = signal.correlate2d(image[0, 0].numpy(), [[-1, -2, -1], [0, 0, 0], [1, 2, 1]], mode="valid")
    np.testing.assert_allclose(magnitude[0, 0, 1:-1, 1:-1].numpy(), np.hypot(across, down), atol=1e-5)
    assert filters.Sobel()(torch.full((1, 1, 6, 6), 0.4)).max() < 1e-5
    assert filters.Sobel(summed=True)(image).shape == (1, 1, 14, 14)


@given(st.sampled_from(["fft", "dct"]), st.floats(0, 1), st.integers(3, 20), st.integers(3, 20), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_high_and_low_parts_add_to_the_picture(kind: str, share: float, height: int, width: int, seed: int) -> None:
    image = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(seed))
    layer = filters.HighPass(kind, share)  # type: ignore[arg-type]
    high = layer(image)
    # What was dropped holds nothing high, and what was kept nothing low.
    assert torch.allclose(layer(high), high, atol=1e-4)
    assert layer(image - high).abs().max() < 1e-4
    if share == 0:
        assert torch.allclose(high, image, atol=1e-5)


def test_the_dct_is_scipys() -> None:
    image = torch.rand(1, 1, 12, 17, generator=torch.Generator().manual_seed(4))
    spectrum = fft.dctn(image[0, 0].double().numpy(), norm="ortho")
    spectrum[:3, :5] = 0  # a quarter of 12 and of 17, rounded up
    np.testing.assert_allclose(
        filters.HighPass("dct", 0.25)(image)[0, 0].numpy(), fft.idctn(spectrum, norm="ortho"), atol=1e-5
    )
    with pytest.raises(InvalidValueError, match="fft or dct"):
        filters.HighPass("wavelet")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(12, 17), (64, 64), (1, 5)])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_transform_is_numpys(size: tuple[int, int], share: float) -> None:
    image = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(6))
    spectrum = np.fft.fft2(image[0, 0].double().numpy())
    down, across = (np.abs(np.fft.fftfreq(n)) * 2 < share for n in size)
    spectrum[down[:, None] & across[None]] = 0
    found = filters.HighPass("fft", share)(image)[0, 0].numpy()
    np.testing.assert_allclose(found, np.fft.ifft2(spectrum).real, atol=1e-5)


def test_npr_is_zero_on_a_picture_enlarged_by_nearest_neighbour_and_only_on_its_grid() -> None:
    small = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert filters.Npr()(large).abs().max() == 0
    assert filters.Npr()(large[..., 1:, 1:]).abs().mean() > 0.05
    odd = filters.Npr()(torch.rand(1, 3, 7, 9))
    assert odd.shape == (1, 3, 7, 9)
    assert odd[..., ::2, ::2].abs().max() == 0
