"""Whitening against scikit-learn, the mixture against SciPy's densities and planted truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from tamperscope.signal import robust_em
from tamperscope.signal.robust_em import fit_gaussian_with_outliers, fit_whitening

COST = 42.0


@pytest.fixture
def mixture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """25-dimensional samples, 15 % of them in another place, whitened together; truth; the inliers' mean."""
    dims, count = 25, 3000
    outlier = np.arange(count) < 0.15 * count
    raw = rng.standard_normal((count, dims)) @ np.diag(np.linspace(0.3, 1.0, dims))
    raw[outlier] += 1.5
    samples = fit_whitening(raw.astype(np.float32), dims)(raw.astype(np.float32))
    return samples, outlier, samples[~outlier].mean(axis=0)


def test_whitening_equals_whitened_pca(rng: np.random.Generator) -> None:
    features = (rng.standard_normal((500, 12)) @ rng.standard_normal((12, 12))).astype(np.float32)
    ours = fit_whitening(features, 7)(features)
    theirs = PCA(7, whiten=True, svd_solver="full").fit_transform(features.astype(np.float64))
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs * signs, atol=5e-3)
    np.testing.assert_allclose(np.cov(ours.T), np.eye(7), atol=5e-3)


def test_directions_without_variance_are_dropped(rng: np.random.Generator) -> None:
    features = np.repeat(rng.standard_normal((200, 3)), 2, axis=1).astype(np.float32)
    assert fit_whitening(features, 6).basis.shape == (6, 3)
    assert fit_whitening(np.ones((200, 4), np.float32), 4).basis.shape == (4, 0)


def test_fit_finds_the_planted_gaussian(mixture) -> None:
    samples, outlier, mean = mixture
    fit = fit_gaussian_with_outliers(samples, np.random.default_rng(1))
    assert np.linalg.norm(fit.mean - mean) < 0.2
    assert abs(fit.inlier_share - 0.85) < 0.05
    far = fit.squared_distance(samples)
    assert np.median(far[outlier]) > 3 * np.median(far[~outlier])


def test_likelihood_and_distance_equal_scipy(mixture) -> None:
    samples, _, _ = mixture
    fit = fit_gaussian_with_outliers(samples, np.random.default_rng(1), max_iterations=400, tolerance=0.0)
    covariance = np.linalg.inv(fit.precision_root @ fit.precision_root.T)
    inlier = multivariate_normal(fit.mean, covariance).logpdf(samples) + math.log(fit.inlier_share)
    outlier = math.log(1 - fit.inlier_share) - COST
    assert fit.log_likelihood == pytest.approx(np.logaddexp(inlier, outlier).mean(), abs=2e-3)
    distance = cdist(samples, fit.mean[None], "mahalanobis", VI=fit.precision_root @ fit.precision_root.T)
    np.testing.assert_allclose(fit.squared_distance(samples), distance[:, 0] ** 2, rtol=2e-3)


def test_without_the_normalisation_every_outlier_is_absorbed(mixture) -> None:
    samples, _, _ = mixture
    dropped = fit_gaussian_with_outliers(samples, np.random.default_rng(1), constant=0.0)
    assert dropped.inlier_share > 0.99


def test_more_starts_never_fit_worse_and_a_seed_repeats(mixture) -> None:
    samples, _, _ = mixture
    few = fit_gaussian_with_outliers(samples, np.random.default_rng(3), starts=1)
    many = fit_gaussian_with_outliers(samples, np.random.default_rng(3), starts=30)
    again = fit_gaussian_with_outliers(samples, np.random.default_rng(3), starts=30)
    assert many.log_likelihood >= few.log_likelihood - 1e-6
    np.testing.assert_array_equal(many.mean, again.mean)


def test_far_outliers_do_not_break_the_likelihood(mixture) -> None:
    raw = mixture[0].copy()
    raw[:20] *= 1000.0
    samples = fit_whitening(raw, 25)(raw)
    fit = fit_gaussian_with_outliers(samples, np.random.default_rng(0))
    # The mixture is never less likely than its outlier part alone, however far a sample lies.
    assert fit.log_likelihood > math.log(1 - fit.inlier_share) - COST
    assert fit.squared_distance(samples)[:20].min() > 1e4 > fit.squared_distance(samples)[20:].max()


def test_equal_samples_do_not_raise() -> None:
    samples = np.zeros((300, 25), np.float32)
    samples[150:] = 1.0
    fit = fit_gaussian_with_outliers(samples, np.random.default_rng(0))
    assert np.isfinite(fit.squared_distance(samples)).all()


def test_rows_may_be_taken_in_parts(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    features = (rng.standard_normal((500, 12)) @ rng.standard_normal((12, 12))).astype(np.float32)
    whole = fit_whitening(features, 7)(features)
    monkeypatch.setattr(robust_em, "_AT_ONCE", 64)
    parts = fit_whitening(features, 7)(features)
    signs = np.sign((whole * parts).sum(axis=0))
    np.testing.assert_allclose(parts * signs, whole, atol=1e-3)
