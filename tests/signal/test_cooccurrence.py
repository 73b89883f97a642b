"""The co-occurrence histograms against the definition, written out with NumPy differences."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest

from tamperscope.signal import cooccurrence as co

# No integer residual lies on a rounding edge of this step.
STEP = 5.98


def orbit(word: tuple[int, ...]) -> set[tuple[int, ...]]:
    negative = tuple(2 - v for v in word)
    return {word, word[::-1], negative, negative[::-1]}


def naive_counts(gray: np.ndarray) -> np.ndarray:
    """(codes over the whole picture) 81 along, 81 across, cropped to where all four codes exist."""
    plane = gray.astype(np.int64)
    high, wide = plane.shape[0] - 6, plane.shape[1] - 6

    def quantise(axis: int) -> np.ndarray:
        return np.clip(np.rint(-np.diff(plane, n=3, axis=axis) / STEP), -1, 1).astype(int) + 1

    def codes(levels: np.ndarray, axis: int) -> np.ndarray:
        digits = [levels[k : k + high, :wide] if axis == 0 else levels[:high, k : k + wide] for k in range(4)]
        return sum(d * 3 ** (3 - k) for k, d in enumerate(digits))

    h, v = quantise(1), quantise(0)
    along = np.bincount(codes(h, 1).ravel(), minlength=81) + np.bincount(codes(v, 0).ravel(), minlength=81)
    across = np.bincount(codes(h, 0).ravel(), minlength=81) + np.bincount(codes(v, 1).ravel(), minlength=81)
    return np.stack([along, across])


def folded(counts: np.ndarray) -> np.ndarray:
    """(2, 81) counts summed over the classes."""
    return np.stack([np.bincount(co.CLASS_OF_CODE, weights=c, minlength=co.CLASSES) for c in counts])


def gray_to_rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def test_classes_are_the_orbits_of_sign_change_and_mirroring() -> None:
    # Burnside: (81 fixed by identity + 1 by sign + 9 by mirror + 9 by both) / 4.
    assert (81 + 1 + 9 + 9) // 4 == co.CLASSES == len(set(co.CLASS_OF_CODE.tolist()))
    words = list(product(range(3), repeat=4))
    index = {w: i for i, w in enumerate(words)}
    for word in words:
        same = {w for w in words if co.CLASS_OF_CODE[index[w]] == co.CLASS_OF_CODE[index[word]]}
        assert same == orbit(word)


@pytest.mark.parametrize("shape", [(86, 134), (600, 38)])
def test_counts_equal_the_definition(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    gray = np.clip(rng.normal(120, 3, shape), 0, 255).astype(np.uint8)
    counts = co.cell_counts(gray_to_rgb(gray), STEP)
    rows, cols = counts.shape[:2]
    assert (rows, cols) == ((shape[0] - 6) // 8, (shape[1] - 6) // 8)
    expected = folded(naive_counts(gray[: rows * 8 + 6, : cols * 8 + 6]))
    np.testing.assert_array_equal(counts.sum(axis=(0, 1), dtype=int).reshape(2, -1), expected)
    # One cell in the middle, alone: strips and cells are placed where they belong.
    y, x = rows - 1, cols // 2
    part = gray[y * 8 : y * 8 + 14, x * 8 : x * 8 + 14]
    np.testing.assert_array_equal(counts[y, x].reshape(2, -1), folded(naive_counts(part)))


def test_quadratic_ramps_leave_no_residual_and_noise_does(rng: np.random.Generator) -> None:
    y, x = np.mgrid[:70, :70].astype(float)
    ramp = 20 + 0.5 * x + 0.02 * x * x + 0.01 * y * y + 0.3 * y
    zero = co.CLASS_OF_CODE[40]  # 1111 in base 3: four residuals of level zero
    flat = co.cell_counts(gray_to_rgb(np.rint(ramp)), STEP)
    assert flat[..., zero].min() > 100, "rounding alone must not fill other classes much"
    noisy = co.cell_counts(gray_to_rgb(np.clip(ramp + rng.normal(0, 4, ramp.shape), 0, 255)), STEP)
    assert noisy[..., zero].mean() < 0.2 * flat[..., zero].mean()


def test_negative_mirrored_and_transposed_pictures_have_the_same_histogram(photo) -> None:
    def total(gray: np.ndarray) -> np.ndarray:
        return co.cell_counts(gray_to_rgb(gray), STEP).sum(axis=(0, 1), dtype=int)

    # A flat frame keeps every code that is not all zero inside the counted area, whichever way it is turned.
    gray = np.pad(photo("coffee")[:174, :174, 1], 12, constant_values=120)
    for other in (255 - gray, gray[:, ::-1], gray[::-1], gray.T):
        np.testing.assert_array_equal(total(other), total(gray))
    assert (total(cv2.GaussianBlur(gray, (0, 0), 0.7)) != total(gray)).any()


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (4, 1), (5, 2), (7, 3)])
def test_box_sums_equal_brute_force(rng: np.random.Generator, side: int, stride: int) -> None:
    cells = rng.integers(0, 255, (11, 9, 3)).astype(np.uint8)
    got = co.box_sums(cells, side, stride)
    for i, y in enumerate(range(0, 11 - side + 1, stride)):
        for j, x in enumerate(range(0, 9 - side + 1, stride)):
            np.testing.assert_array_equal(got[i, j], cells[y : y + side, x : x + side].sum(axis=(0, 1)))
    assert got.shape == (i + 1, j + 1, 3)


def test_features_are_roots_of_two_distributions(photo) -> None:
    features = co.block_features(co.cell_counts(photo("chelsea"), STEP), 8)
    np.testing.assert_allclose((features[..., :25] ** 2).sum(axis=-1), 1.0, atol=1e-5)
    np.testing.assert_allclose((features[..., 25:] ** 2).sum(axis=-1), 1.0, atol=1e-5)
