"""The traces of quantization against brute force, simulation and re-encoded pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tamperscope.media.coefficients import read_coefficients
from tamperscope.media.quantization import ijg_table
from tamperscope.media.recompress import encode_jpeg, recompress
from tamperscope.signal.quantized import (
    ORDER,
    ROUNDING_SIGMA,
    informative,
    luma_planes,
    magnitude_cdf,
    otsu,
    readable_luma,
    requantization_trace,
    saturated_share,
    step_models,
)
from tamperscope.types import Jpeg, Sample


def tables(*qualities: int) -> np.ndarray:
    return np.stack([ijg_table(q).reshape(64)[ORDER] for q in qualities]).astype(np.float32)


def jpeg_sample(data: bytes, rgb: np.ndarray) -> Sample:
    return Sample(rgb=rgb, jpeg=read_coefficients(data))


def test_order_is_the_zigzag_of_a_jpeg_file() -> None:
    assert list(ORDER[:10]) == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert sorted(ORDER) == list(range(64))


def test_planes_of_a_file_agree_with_those_of_its_pixels(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")[:200, :304]
    grey = np.repeat(rgb[..., 1:2], 3, axis=2)  # no chroma, so that decoding rounds the luma only
    data, decoded = encode_jpeg(grey, 80), recompress(grey, 80)
    own, shape = luma_planes(jpeg_sample(data, decoded))
    pixels, same = luma_planes(Sample(rgb=decoded))
    assert shape == same == (25, 38)
    inside = (decoded.reshape(25, 8, 38, 8, 3).min((1, 3, 4)) > 0) & (
        decoded.reshape(25, 8, 38, 8, 3).max((1, 3, 4)) < 255
    )
    assert np.abs(own - pixels)[:, inside.ravel()].max() < 4.01  # a flat block: all 64 pixels rounded alike
    assert np.std((own - pixels)[:, inside.ravel()]) < ROUNDING_SIGMA
    assert np.array_equal(luma_planes(jpeg_sample(data, decoded), 5)[0], own[:5])


def test_subsampled_luma_is_not_taken_for_full(rng) -> None:  # type: ignore[no-untyped-def]
    small = Jpeg((np.ones((8, 8), np.uint16),), (np.zeros((10, 10, 8, 8), np.int16),), ((1, 1),))
    assert readable_luma(small, (80, 73))
    assert not readable_luma(small, (81, 80))
    planes, shape = luma_planes(Sample(rgb=rng.integers(0, 256, (160, 160, 3), dtype=np.uint8), jpeg=small))
    assert shape == (20, 20)
    assert planes.any()


def test_saturated_share_counts_clipped_pixels_and_padding() -> None:
    rgb = np.full((20, 24, 3), 128, np.uint8)
    rgb[0:4, 8:16, 1] = 255  # half of block (0, 1)
    rgb[8:16, 0:2, 2] = 0  # a quarter of block (1, 0)
    expected = [[0, 0.5, 0, 1], [0.25, 0, 0, 1], [1, 1, 1, 1]]
    assert np.array_equal(saturated_share(rgb, (3, 4)), np.array(expected, np.float32))


def test_informative_blocks_have_coefficients_and_room() -> None:
    active, share = np.array([[2, 3, 9]]), np.array([[0, 1 / 8, 0.2]], np.float32)
    assert informative(active, share).tolist() == [[False, True, False]]


def test_trace_matches_brute_force(rng) -> None:  # type: ignore[no-untyped-def]
    values, steps = rng.laplace(0, 12, (10, 1300)).astype(np.float32), tables(60, 90)[:, :10]
    sums, counts = requantization_trace(values, steps)
    for row, (total, count) in zip(steps.astype(float), zip(sums, counts, strict=True), strict=True):
        level = np.rint(values / row[:, None])
        error = 12 * (values / row[:, None] - level) ** 2 * (level != 0)
        assert np.allclose(total, error.sum(axis=0), rtol=1e-3, atol=1e-2)
        assert np.array_equal(count, (level != 0).sum(axis=0))


def test_trace_is_one_without_and_small_with_a_history(rng) -> None:  # type: ignore[no-untyped-def]
    smooth = rng.uniform(-400, 400, (28, 4000)).astype(np.float32)
    steps = tables(60)[:, :28]
    sums, counts = requantization_trace(smooth, steps)
    assert sums.sum() / counts.sum() == pytest.approx(1, abs=0.02)
    before = np.rint(smooth / steps[0][:, None]) * steps[0][:, None] + rng.normal(0, ROUNDING_SIGMA, smooth.shape)
    sums, counts = requantization_trace(before.astype(np.float32), steps)
    expected = np.mean(12 * ROUNDING_SIGMA**2 / steps[0] ** 2)
    assert sums.sum() / counts.sum() == pytest.approx(expected, rel=0.05)


def test_otsu_agrees_with_opencv_and_with_an_exhaustive_search(rng) -> None:  # type: ignore[no-untyped-def]
    values = np.concatenate([rng.normal(60, 12, 3000), rng.normal(170, 20, 1500)]).clip(0, 255)
    grey = values.astype(np.uint8)
    reference, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    threshold, separability = otsu(values, np.ones(values.size), bins=256)
    assert threshold == pytest.approx(reference + 1, abs=3)
    best = 0.0
    for cut in np.quantile(values, np.linspace(0.01, 0.99, 199)):
        low, high = values[values <= cut], values[values > cut]
        share = low.size / values.size
        best = max(best, share * (1 - share) * (low.mean() - high.mean()) ** 2 / values.var())
    assert separability == pytest.approx(best, abs=0.01)


def test_otsu_weights_count_as_copies(rng) -> None:  # type: ignore[no-untyped-def]
    values, weights = rng.normal(0, 1, 400) + (rng.random(400) < 0.3) * 4, rng.integers(1, 5, 400)
    threshold, share = otsu(values, weights)
    copies = np.repeat(values, weights)
    index = np.linspace(*np.quantile(values, (0.002, 0.998)), 65)
    assert np.abs(index - threshold).min() < 1e-9
    split = copies > threshold
    between = split.mean() * (1 - split.mean()) * (copies[split].mean() - copies[~split].mean()) ** 2
    assert share == pytest.approx(between / copies.var(), abs=0.02)
    assert otsu(np.full(9, 2.5), np.ones(9)) == (2.5, 0.0)


def test_cdf_counts_magnitudes_per_group(rng) -> None:  # type: ignore[no-untyped-def]
    values, group = rng.laplace(0, 4, (500, 3)).astype(np.float32), rng.integers(0, 2, 500)
    cdf = magnitude_cdf(values, group, 2, 30)
    assert cdf.shape == (6, 61)
    for g in range(2):
        for k in range(3):
            inside = np.abs(values[group == g, k])
            expected = [np.count_nonzero(inside < i / 2) for i in range(60)]
            assert np.array_equal(cdf[3 * g + k, :60], expected)
            assert cdf[3 * g + k, 60] == inside.size


@pytest.mark.parametrize(("first", "second"), [(7, 3), (5, 2), (10, 4), (6, 5), (3, 5), (12, 1)])
def test_laws_agree_with_a_simulation(rng, first: int, second: int) -> None:  # type: ignore[no-untyped-def]
    levels = 12
    values = rng.laplace(0, 14, (400_000, 1)).astype(np.float32)
    cdf = magnitude_cdf(values, np.zeros(len(values), np.intp), 1, 13 * second + 2 * 40)
    single, double = step_models(cdf, np.array([second]), np.arange(1, 41), levels)
    noise = rng.normal(0, ROUNDING_SIGMA, values.shape)

    def law(quantized: np.ndarray) -> np.ndarray:
        counts = np.bincount(np.abs(quantized).astype(int).ravel(), minlength=levels + 1)[1 : levels + 1]
        return counts / counts.sum()

    once = law(np.rint(values / second))
    twice = law(np.rint((np.rint(values / first) * first + noise) / second))
    assert np.abs(single[0] - once).sum() < 0.02
    assert np.abs(double[0, first - 1] - twice).sum() < 0.03
    others = [q for q in range(4, 21) if q != first]
    if first > second:
        assert min(np.abs(double[0, q - 1] - twice).sum() for q in others) > 0.1


def test_laws_of_the_same_or_a_unit_step_are_the_single_law(rng) -> None:  # type: ignore[no-untyped-def]
    values = rng.laplace(0, 14, (400_000, 1)).astype(np.float32)
    cdf = magnitude_cdf(values, np.zeros(len(values), np.intp), 1, 200)
    single, double = step_models(cdf, np.array([6]), np.arange(1, 9), 10)
    assert np.abs(double[0, 5] - single[0]).sum() < 0.02
    assert np.abs(double[0, 0] - single[0]).sum() < 0.02
    assert np.allclose(double.sum(axis=2), 1)
    assert np.allclose(single.sum(axis=1), 1)
