"""Bands of the cosine transform: which coefficients each holds, that the low one is an L, ranges, and padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import fft

from tamperscope.errors import InvalidValueError
from tamperscope.nn.bands import LEAST, Bands, filled, stretched
from tamperscope.nn.filters import HighPass, dct_matrix


def drawn(*size: int) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("size", [(64, 64), (40, 97), (512, 512)])
def test_the_transform_and_back_is_the_picture(size: tuple[int, int]) -> None:
    image = drawn(1, 3, *size)
    down, across = (dct_matrix(n, image) for n in size)
    coefficients = down @ image @ across.T
    torch.testing.assert_close(down.T @ coefficients @ across, image, atol=1e-4, rtol=0)
    expected = fft.dctn(image[0, 1].double().numpy(), norm="ortho")
    np.testing.assert_allclose(coefficients[0, 1].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("size", [(64, 64), (40, 97), (512, 160)])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_bands_are_scipys(size: tuple[int, int], share: float) -> None:
    image = drawn(1, 3, *size)
    high, low = Bands(share)(image)
    first = [np.arange(n) < n * share for n in size]
    spectrum = fft.dctn(image[0, 2].double().numpy(), norm="ortho")
    corner, ell = first[0][:, None] & first[1], first[0][:, None] | first[1]
    for band, kept in ((high, ~corner), (low, ell)):
        np.testing.assert_allclose(band[0, 2].numpy(), fft.idctn(spectrum * kept, norm="ortho"), atol=1e-5)
    torch.testing.assert_close(high, HighPass("dct", share)(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("row", "column", "in_high", "in_low"),
    [
        (0, 0, False, True),
        (3, 3, False, True),
        (0, 63, True, True),
        (63, 0, True, True),
        (2, 40, True, True),
        (4, 4, True, False),
        (63, 63, True, False),
        (4, 63, True, False),
        (20, 5, True, False),
    ],
)
def test_the_low_band_is_an_l_and_no_square(row: int, column: int, in_high: bool, in_low: bool) -> None:
    """One wave at a time: the finest stripes of one direction are in the low band, and a coarse lattice is not."""
    matrix = dct_matrix(64)
    wave = matrix[row][:, None] * matrix[column][None]
    bands = Bands(0.05)(wave[None, None])
    for band, inside in zip(bands, (in_high, in_low), strict=True):
        torch.testing.assert_close(band[0, 0], wave if inside else torch.zeros(64, 64), atol=1e-5, rtol=0)


def test_a_band_is_the_same_frequencies_at_any_size() -> None:
    """Stripes of eight pixels are in the high band alone, of 80 in the low one alone, at 320 and at 640 pixels."""
    for side in (320, 640):
        for period, where in ((8, 0), (80, 1)):
            wave = torch.cos(2 * torch.pi / period * (torch.arange(side) + 0.5))
            bands = [float(band.square().mean()) for band in Bands(0.05)(wave[:, None] * wave * torch.ones(1, 1, 1, 1))]
            assert bands[where] == pytest.approx(0.25, abs=1e-4)
            assert bands[1 - where] < 1e-6


def test_each_picture_is_stretched_by_itself_from_0_to_1() -> None:
    planes = drawn(3, 3, 16, 16) * torch.tensor([1e-2, 1.0, 300.0])[:, None, None, None] - 7
    found = stretched(planes)
    assert torch.equal(found.amin((1, 2, 3)), torch.zeros(3))
    assert torch.equal(found.amax((1, 2, 3)), torch.ones(3))
    for place in range(3):
        torch.testing.assert_close(stretched(planes[place : place + 1]), found[place : place + 1])
    # One range for all colours: their differences stay.
    assert float(stretched(torch.tensor([0.0, 0.5, 1.0])[None, :, None, None])[0, 1]) == 0.5


def test_what_is_flat_is_not_made_of_rounding() -> None:
    """Greatest less least is zero, or a rounding that would become the whole range."""
    for level in (0.0, 0.3, 1.0):
        high, low = (stretched(band) for band in Bands()(torch.full((1, 3, 96, 64), level)))
        assert torch.isfinite(high).all()
        assert torch.isfinite(low).all()
        assert float(high.max()) < 1e-2
    faint = torch.full((1, 1, 8, 8), 0.2)
    faint[..., 3] += LEAST
    assert float(stretched(faint).max()) == pytest.approx(1, abs=1e-3)


def test_padding_has_no_range_and_the_mean_colour() -> None:
    image, valid = drawn(2, 3, 32, 48), torch.ones(2, 1, 32, 48, dtype=torch.bool)
    valid[1, ..., 30:] = False
    image[1, ..., 30:] = 50
    found = stretched(image, valid)
    torch.testing.assert_close(found[1:, ..., :30], stretched(image[1:, ..., :30]))
    torch.testing.assert_close(found[:1], stretched(image[:1]))
    whole = filled(image, valid)
    assert torch.equal(whole[:1], image[:1])
    assert torch.equal(whole[1, ..., :30], image[1, ..., :30])
    expected = image[1, ..., :30].mean((1, 2))[:, None, None].expand(-1, 32, 18)
    torch.testing.assert_close(whole[1, ..., 30:], expected)
    nothing = torch.zeros(2, 1, 32, 48, dtype=torch.bool)
    assert filled(image, nothing).abs().max() == 0
    assert torch.isfinite(stretched(filled(image, nothing), nothing)).all()
    assert torch.equal(filled(image), image)


def test_half_precision_does_not_reach_the_bands() -> None:
    image = drawn(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        found = Bands()(image)
    for band, expected in zip(found, Bands()(image), strict=True):
        assert band.dtype == torch.float32
        assert torch.equal(band, expected)


def test_wrong_shares() -> None:
    for share in (0.0, 1.0, -0.1):
        with pytest.raises(InvalidValueError, match="share"):
            Bands(share)
