"""Windows graded by their cosine transform: against scipy, by what is planted, and of the picture alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from tamperscope.errors import InvalidValueError
from tamperscope.nn.grading import STRIDE, WINDOW, Grader, band_weights


def weights_written_out() -> np.ndarray:
    total = np.zeros((32, 32))
    for band in range(6):
        start, end = (64 * k / 6 for k in (band, band + 1))
        inside = [(i, j) for i in range(32) for j in range(32) if start <= i + j <= end]
        for place in inside:
            total[place] += 2**band / len(inside)
    return total


def brute_force(image: torch.Tensor) -> np.ndarray:
    """Grades of every window of one picture (C, H, W)."""
    pixels, weights = image.double().numpy(), weights_written_out()
    rows, columns = ((n - WINDOW) // STRIDE + 1 for n in pixels.shape[1:])
    grades = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = pixels[:, 16 * i : 16 * i + 32, 16 * j : 16 * j + 32]
            grades[i, j] = (np.log1p(np.abs(dctn(window, norm="ortho", axes=(1, 2)))) * weights).sum()
    return grades


def picture(seed: int, *size: int) -> torch.Tensor:
    """Noise that differs from place to place, (1, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 4, 4, generator=generator)
    strength = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return (0.5 + 0.3 * strength * torch.randn(1, 3, *size, generator=generator)).clamp(0, 1)


def chosen(image: torch.Tensor, count: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The windows of the lowest and of the highest grades of one picture, by brute force."""
    grades = brute_force(image[0])
    order = np.argsort(grades, axis=None)
    corners = [(16 * (n // grades.shape[1]), 16 * (n % grades.shape[1])) for n in order]
    windows = [image[0, :, y : y + 32, x : x + 32] for y, x in corners]
    return windows[:count], windows[::-1][:count]


def test_weights_of_the_bands() -> None:
    weights = band_weights()
    np.testing.assert_allclose(weights, weights_written_out(), rtol=1e-6)
    # Each band is a mean times a power of two, the middle diagonal is in two of them.
    assert weights.sum().item() == pytest.approx(63, rel=1e-5)
    diagonal = torch.arange(32)[:, None] + torch.arange(32)
    assert [int((weights == weights[0, n]).sum()) for n in (0, 11)] == [66, 187]
    middle = weights[diagonal == 32].unique()
    assert len(middle) == 1
    assert middle > weights[diagonal == 33].max()


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (32, 48), (32, 32)])
def test_grades_are_those_of_brute_force(size: tuple[int, int]) -> None:
    image = torch.cat([picture(1, *size), picture(2, *size)])
    found = Grader().grades(image)
    assert found.shape == (2, size[0] // 16 - 1, size[1] // 16 - 1)
    for one, grades in zip(image, found, strict=True):
        np.testing.assert_allclose(grades, brute_force(one), atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Grader().grades(image), found)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_windows_are_the_lowest_and_the_highest(count: int) -> None:
    image = torch.cat([picture(seed, 96, 128) for seed in (3, 4)])
    found = Grader(count)(image)
    for place in range(2):
        for windows, expected in zip(found, chosen(image[place : place + 1], count), strict=True):
            assert torch.equal(windows[place], torch.stack(expected))


def test_flat_places_are_low_and_noise_is_high() -> None:
    grader, noise = Grader(), torch.rand(1, 3, 96, 80, generator=torch.Generator().manual_seed(5))
    image = torch.full((1, 3, 96, 160), 0.5)
    image[..., 80:] = noise
    for turned in (image, image.flip(3), image.transpose(2, 3)):
        low, high = grader(turned)
        assert low.std() == 0
        assert high.std((1, 2, 3, 4)).min() > 0.25
        # Not one pixel of the flat half.
        assert (high == 0.5).float().mean() < 0.01
    swapped = torch.full_like(image, 0.5)
    swapped[..., :80] = noise
    assert grader(swapped)[0].std() == 0


def test_grades_rise_with_the_frequency() -> None:
    """In steps in which it does not matter how a wave fits into a window.

    Along one way alone row + column ends in the middle, and the grade does not rise any more.
    """
    place, phases = torch.arange(WINDOW), torch.linspace(0, 2 * math.pi, 9)[:-1, None]
    both, one = [], []
    for frequency in torch.linspace(0, 0.48, 13):
        wave = (2 * math.pi * frequency * place + phases).sin()
        crossed = (wave[:, None, :, None] * wave[None, :, None, :]).flatten(0, 1)
        for sweep, image in ((both, crossed), (one, wave[:, None].expand(-1, WINDOW, -1))):
            sweep.append(Grader().grades(0.5 + 0.3 * image[:, None]).mean())
    assert (torch.stack(both).diff() > 0).all()
    assert both[-1] > 30 * both[1]
    assert max(one) < 2 * one[1]


def test_what_fills_a_canvas_up_is_in_no_window() -> None:
    grader, image = Grader(), picture(6, 70, 90)
    expected = chosen(image, 2)
    for top, left in ((0, 0), (0, 6), (26, 38)):
        canvas = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(7))
        valid = torch.zeros(1, 1, 96, 128, dtype=torch.bool)
        area = (..., slice(top, top + 70), slice(left, left + 90))
        canvas[area], valid[area] = image, True
        for found, windows in zip(grader(canvas, valid), expected, strict=True):
            assert torch.equal(found[0], torch.stack(windows))
    assert not torch.equal(grader(canvas)[1][0], torch.stack(expected[1])), "noise is higher"


@pytest.mark.parametrize("size", [(20, 50), (50, 7), (31, 31), (1, 1), (40, 40)])
def test_short_sides_are_mirrored_and_one_window_stands_for_two(size: tuple[int, int]) -> None:
    grader, image = Grader(), picture(8, 64, 64)[..., : size[0], : size[1]]
    canvas, valid = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    canvas[..., : size[0], : size[1]], valid[..., : size[0], : size[1]] = image, True
    wide = np.pad(image.numpy(), [(0, 0), (0, 0), *((0, max(0, 32 - n)) for n in size)], "symmetric")
    low, high = grader(canvas, valid)
    if max(size) < 48:
        expected = torch.from_numpy(wide)[..., :32, :32]
        assert all(torch.equal(x[:, place], expected) for x in (low, high) for place in range(2))
    else:
        expected = chosen(torch.from_numpy(wide), 2)
        assert torch.equal(low[0], torch.stack(expected[0]))
        assert torch.equal(low.flip(1), high)
    assert all(torch.isfinite(x).all() for x in grader(canvas, torch.zeros_like(valid)))
    alone = grader(canvas[..., :32, :32])
    assert torch.equal(alone[0], canvas[..., :32, :32][:, None].expand(-1, 2, -1, -1, -1))


def test_of_equal_grades_the_first_window_comes_first() -> None:
    """And what differs by rounding alone is equal."""
    image = torch.full((1, 3, 64, 64), 0.25)
    image[..., 1::2] += 1e-6
    image[..., 48:] += 1e-6
    assert len(Grader().grades(image).unique()) > 1
    for windows in Grader(3)(image):
        for place, column in enumerate((0, 16, 32)):
            assert torch.equal(windows[0, place], image[0, :, :32, column : column + 32])


def test_no_window_is_no_grader() -> None:
    with pytest.raises(InvalidValueError, match="expected at least 1, found 0"):
        Grader(0)
