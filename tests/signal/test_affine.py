"""Fits equal their references, and clusters recover planted transforms among random matches."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tamperscope.signal import affine


def similarity(scale: float, degrees: float, shift: tuple[float, float], mirror: bool = False) -> np.ndarray:
    a = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return np.column_stack([linear @ np.diag([1.0, -1.0 if mirror else 1.0]), shift])


@pytest.mark.parametrize("mirror", [False, True])
def test_similarity_fit_and_decomposition(rng, mirror: bool) -> None:  # type: ignore[no-untyped-def]
    truth = similarity(1.3, 57.0, (12.0, -40.0), mirror)
    source = rng.uniform(0, 300, (40, 2)).astype(np.float32)
    fitted = affine.fit_similarity(source, affine.apply(truth, source).astype(np.float32), mirror)
    np.testing.assert_allclose(fitted, truth, atol=1e-3)
    parts = affine.decompose(truth)
    assert parts["scale"] == pytest.approx(1.3)
    assert parts["rotation"] == pytest.approx(57.0)
    assert parts["mirrored"] is mirror
    np.testing.assert_allclose(affine.apply(affine.invert(truth), affine.apply(truth, source)), source, atol=1e-4)


def test_affine_fit_equals_opencv(rng) -> None:  # type: ignore[no-untyped-def]
    source = rng.uniform(0, 300, (60, 2)).astype(np.float32)
    target = (source @ np.array([[1.1, 0.2], [-0.1, 0.9]]).T + (5, 7) + rng.normal(0, 0.5, source.shape)).astype(
        np.float32
    )
    mine = affine.fit_affine(source, target)
    table = np.column_stack([source, np.ones(len(source))])
    expected = np.linalg.lstsq(table, target, rcond=None)[0].T
    np.testing.assert_allclose(mine, expected, atol=1e-4)
    robust, _ = cv2.estimateAffine2D(source, target, ransacReprojThreshold=3)
    np.testing.assert_allclose(mine, robust, atol=0.5)


def test_degenerate_points_give_no_fit() -> None:
    line = np.column_stack([np.arange(9), 2 * np.arange(9)]).astype(np.float32)
    assert affine.fit_affine(line, line) is None
    assert affine.fit_similarity(line[:1], line[:1]) is None
    assert affine.fit_similarity(np.zeros((5, 2), np.float32), line[:5]) is None


def planted(rng: np.random.Generator, transforms: list[np.ndarray], each: int, noise: int) -> affine.Matches:
    """Return matches of the transforms, with the errors of single keypoints, among random ones."""
    parts = []
    for t in transforms:
        d = affine.decompose(t)
        source = (rng.uniform(0, 90, (each, 2)) + rng.uniform(50, 300, 2)).astype(np.float32)
        target = (affine.apply(t, source) + rng.normal(0, 0.4, source.shape)).astype(np.float32)
        scale = (d["scale"] * np.exp(rng.normal(0, 0.05, each))).astype(np.float32)
        turn = (np.deg2rad(d["rotation"]) + rng.normal(0, 0.05, each)).astype(np.float32)
        parts.append(
            affine.Matches(source, target, scale, turn, np.full(each, d["mirrored"]), np.full(each, 0.4, np.float32))
        )
    wild = [rng.uniform(0, 500, (noise, 2)).astype(np.float32) for _ in range(2)]
    scale, turn = np.exp(rng.normal(0, 0.4, noise)).astype(np.float32), rng.uniform(-3, 3, noise).astype(np.float32)
    parts.append(affine.Matches(*wild, scale, turn, rng.random(noise) < 0.5, np.full(noise, 0.2, np.float32)))
    names = affine.Matches.__slots__
    return affine.Matches(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def test_clusters_recover_planted_transforms_among_noise(rng) -> None:  # type: ignore[no-untyped-def]
    truths = [
        similarity(1.0, 0.0, (120.0, 33.0)),
        similarity(1.25, 30.0, (60.0, -20.0)),
        similarity(1, 15, (20, 390), True),
    ]
    found = affine.clusters(planted(rng, truths, 20, 400))
    points = np.array([[150.0, 150.0], [250.0, 200.0]])
    for truth in truths:
        ways = [t for c in found[:3] for t in (c.transform, affine.invert(c.transform))]
        errors = [np.abs(affine.apply(t, points) - affine.apply(truth, points)).max() for t in ways]
        assert min(errors) < 6
    assert all(c.places >= 12 for c in found[:3])
    again = affine.clusters(planted(np.random.default_rng(20261125), truths, 20, 400))
    np.testing.assert_array_equal(found[0].transform, again[0].transform)


def test_random_matches_hold_no_large_cluster(rng) -> None:  # type: ignore[no-untyped-def]
    found = affine.clusters(planted(rng, [], 0, 400))
    assert all(c.places < 8 for c in found)
