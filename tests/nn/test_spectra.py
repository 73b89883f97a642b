"""What goes on between Fourier's transform and its inverse, against the transform itself."""

from __future__ import annotations

import pytest
import torch

from tamperscope.errors import InvalidValueError
from tamperscope.nn.spectra import ChannelHighPass, SpectrumConv, lows, turned, without_low

SIZES = [(64, 96), (50, 37), (9, 16), (7, 5), (4, 3), (2, 2), (1, 1)]
"""Of which the last are too small for a fourth to be dropped."""


def sizes(*maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.tensor([x.shape[n] for x in maps for _ in range(len(x))]) for n in (2, 3))


def high(maps: torch.Tensor) -> torch.Tensor:
    return without_low(maps, lows(*sizes(maps), maps))


def dropped(maps: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """The published way: transform, shift, a centred block to zero, all of it back, the real part."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(maps.double(), dim=axes), dim=axes)
    block = [slice(None)] * maps.ndim
    for axis in axes:
        count = maps.shape[axis]
        block[axis] = slice(count // 2 - count // 4, count // 2 + count // 4)
    spectrum[tuple(block)] = 0
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=axes), dim=axes).real.float()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_low_frequencies_are_dropped_as_by_a_transform(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size)
    torch.testing.assert_close(high(maps), dropped(maps, (2, 3)), atol=2e-5, rtol=0)
    if min(size) >= 4:
        assert (high(maps) - maps).abs().max() > 0.1


def test_half_of_the_wave_at_the_border_is_left() -> None:
    place = torch.arange(32)
    for frequency, left in ((0, 0.0), (7, 0.0), (8, 0.5), (9, 1.0), (16, 1.0)):
        wave = (2 * torch.pi * frequency * place / 32 + 0.4).cos().expand(1, 1, 32, 32)
        torch.testing.assert_close(high(wave), left * wave, atol=1e-5, rtol=0)
    # Of both ways: the one that has lost its counterpart is a wave the other way.
    both = (2 * torch.pi * 8 * (place[:, None] + place) / 32).cos()[None, None]
    torch.testing.assert_close(high(both), 0.5 * both, atol=1e-5, rtol=0)
    across = (2 * torch.pi * 8 * (place[:, None] - place) / 32).cos()[None, None]
    torch.testing.assert_close(high(across), across, atol=1e-5, rtol=0)


def test_pictures_of_several_sizes_in_their_corners() -> None:
    parts = [torch.randn(1, 3, *size) for size in ((40, 48), (37, 21), (48, 6))]
    canvas = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    convolution = SpectrumConv(3)
    for place, part in enumerate(parts):
        canvas[place, :, : part.shape[2], : part.shape[3]] = part[0]
    known = sizes(*parts)
    with torch.no_grad():
        found = without_low(canvas, lows(*known, canvas))
        other, convolved = turned(canvas, *known), convolution(canvas, *known)
        for place, part in enumerate(parts):
            area = (slice(place, place + 1), ..., slice(part.shape[2]), slice(part.shape[3]))
            torch.testing.assert_close(found[area], high(part), atol=1e-5, rtol=0)
            assert torch.equal(other[area], turned(part, *sizes(part)))
            torch.testing.assert_close(convolved[area], convolution(part, *sizes(part)))
    nothing = torch.zeros(3, dtype=torch.long)
    assert torch.isfinite(without_low(canvas, lows(nothing, nothing, canvas))).all()
    assert torch.isfinite(turned(canvas, nothing, nothing)).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_half_a_turn_conjugates_the_spectrum(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size)
    other = turned(maps, *sizes(maps))
    torch.testing.assert_close(torch.fft.fft2(other), torch.fft.fft2(maps).conj(), atol=1e-3, rtol=1e-4)
    assert torch.equal(turned(other, *sizes(maps)), maps)
    assert torch.equal(other[..., 0, 0], maps[..., 0, 0])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_spectra_are_convolved_as_by_a_transform(size: tuple[int, int]) -> None:
    maps, layer = torch.randn(2, 5, *size), SpectrumConv(5)
    spectrum = torch.fft.fft2(maps)
    with torch.no_grad():
        changed = torch.complex(layer.real(spectrum.real), layer.imaginary(spectrum.imag))
        torch.testing.assert_close(
            layer(maps, *sizes(maps)), torch.fft.ifft2(changed).real.contiguous(), atol=1e-5, rtol=1e-4
        )
    assert (layer.real.bias, layer.imaginary.bias) == (None, None)


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 16, 64])
def test_channels_lose_their_low_frequencies_as_by_a_transform(channels: int) -> None:
    maps, layer = torch.randn(2, channels, 3, 4), ChannelHighPass(channels)
    torch.testing.assert_close(layer(maps), dropped(maps, (1,)), atol=1e-5, rtol=0)
    assert not layer.state_dict()
    if channels >= 4:
        assert layer(torch.ones(1, channels, 2, 2)).abs().max() < 1e-5


def test_small_remains_of_large_values_keep_their_precision_beside_halves() -> None:
    maps, layer = 100 + torch.randn(1, 8, 32, 32), ChannelHighPass(8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(high(maps), without_low(maps, lows(*sizes(maps), maps)))
        found, across = high(maps), layer(maps)
    torch.testing.assert_close(found, dropped(maps, (2, 3)), atol=1e-3, rtol=0)
    torch.testing.assert_close(across, dropped(maps, (1,)), atol=1e-3, rtol=0)


def test_no_channel_is_no_line() -> None:
    with pytest.raises(InvalidValueError, match="expected at least 1, found 0"):
        ChannelHighPass(0)
