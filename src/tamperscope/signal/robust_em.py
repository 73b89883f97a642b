"""Fit one Gaussian and a uniform background of outliers by expectation-maximisation; whiten by principal components.

Source: Cozzolino, Poggi, Verdoliva, "Splicebuster: a new blind image splicing detector", WIFS 2015, section 3.
The background is a constant -log likelihood, so it only means something when the Gaussian's density is complete:
(d / 2) log 2 pi belongs to it. Without that term a 25-dimensional fit gains 23 nats and absorbs every outlier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamperscope.types import FloatArray

LOG_2PI = math.log(2.0 * math.pi)
_RIDGE = 1e-6
_TINY = 1e-12
_AT_ONCE = 1 << 16  # rows, so that a large picture's features are not copied whole


@dataclass(frozen=True, slots=True)
class Whitening:
    """An affine map to uncorrelated components of unit variance.

    Attributes:
        mean: (n,) what is subtracted first.
        basis: (n, d) directions, scaled by the inverse standard deviation along them.
    """

    mean: FloatArray
    basis: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return (..., d) components of (..., n) features."""
        return np.asarray((features - self.mean) @ self.basis, dtype=np.float32)


def fit_whitening(features: FloatArray, components: int, floor: float = 1e-9) -> Whitening:
    """Return the whitening of the leading principal components of (N, n) features.

    Args:
        features: (N, n), one row a sample.
        components: Keep at most so many.
        floor: Components of less variance are rounding noise and are dropped.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((features.shape[1],) * 2)
    for first in range(0, len(features), _AT_ONCE):
        centred = features[first : first + _AT_ONCE] - mean.astype(np.float32)
        covariance += centred.T @ centred
    covariance /= len(features)
    variance, directions = np.linalg.eigh(covariance)
    kept = [i for i in np.argsort(-variance)[:components] if variance[i] > floor]
    basis = directions[:, kept] / np.sqrt(variance[kept])
    return Whitening(mean.astype(np.float32), basis.astype(np.float32))


@dataclass(frozen=True, slots=True)
class GaussianWithOutliers:
    """A Gaussian, the share of samples that it explains, and the mean log likelihood of the fit.

    Attributes:
        mean: (d,).
        precision_root: (d, d) matrix R with R @ R.T the inverse covariance.
        inlier_share: Mean probability of a sample to belong to the Gaussian.
        log_likelihood: Mean over samples, nats.
    """

    mean: NDArray[np.float64]
    precision_root: NDArray[np.float64]
    inlier_share: float
    log_likelihood: float

    def squared_distance(self, samples: FloatArray) -> FloatArray:
        """Return the squared Mahalanobis distance of (..., d) samples."""
        white = (samples - self.mean.astype(np.float32)) @ self.precision_root.astype(np.float32)
        return np.asarray(np.einsum("...d,...d->...", white, white), dtype=np.float32)


@dataclass(slots=True)
class _Runs:
    """State of K runs at once: means (K, d), covariances (K, d, d), inlier shares and likelihoods (K,)."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    share: NDArray[np.float64]
    likelihood: NDArray[np.float64]


def fit_gaussian_with_outliers(
    samples: FloatArray,
    rng: np.random.Generator,
    starts: int = 30,
    outlier_share: float = 0.01,
    outlier_cost: float = 42.0,
    max_iterations: int = 100,
    tolerance: float = 1e-5,
    constant: float = 0.5 * LOG_2PI,
) -> GaussianWithOutliers:
    """Return the likeliest fit of a Gaussian plus uniform outliers over several random starts.

    Each start takes one sample as the mean and the samples' variances as a diagonal covariance.

    Args:
        samples: (N, d) float32; N well above d.
        rng: Draws the starts.
        starts: How many.
        outlier_share: Outliers' share at the start of each run.
        outlier_cost: -log likelihood of an outlier, nats.
        max_iterations: Of each run.
        tolerance: A run ends when the mean log likelihood grows by less, relative to its size.
        constant: Nats per dimension of the Gaussian's normalisation; 0 shows what goes wrong without it.
    """
    products, dims = _products(samples), samples.shape[1]
    chosen = rng.choice(len(samples), size=min(starts, len(samples)), replace=False)
    count = len(chosen)
    runs = _Runs(
        samples[chosen].astype(np.float64),
        np.tile(np.diag(samples.var(axis=0, dtype=np.float64) + _RIDGE), (count, 1, 1)),
        np.full(count, 1.0 - outlier_share),
        np.full(count, -np.inf),
    )
    active = np.arange(count)
    for _ in range(max_iterations):
        weights, likelihood = _expect(products, runs, active, outlier_cost, constant * dims)
        grown = likelihood - runs.likelihood[active]
        _maximise(products, runs, active, weights)
        runs.likelihood[active] = likelihood
        active = active[grown >= tolerance * np.abs(likelihood)]
        if not len(active):
            break
    best = int(np.argmax(runs.likelihood))
    root = np.linalg.cholesky(np.linalg.inv(runs.covariance[best]))
    return GaussianWithOutliers(runs.mean[best], root, float(runs.share[best]), float(runs.likelihood[best]))


def _products(samples: FloatArray) -> NDArray[np.float64]:
    """Return (N, (d+1)(d+2)/2) products of the components and 1: every moment and distance is linear in them."""
    whole = np.concatenate([samples.astype(np.float64), np.ones((len(samples), 1))], axis=1)
    first, second = np.triu_indices(whole.shape[1])
    return np.asarray(whole[:, first] * whole[:, second])


def _expect(
    products: NDArray[np.float64], runs: _Runs, active: NDArray[np.intp], outlier_cost: float, constant: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, k) probabilities to be an inlier and (k,) mean log likelihoods of the active runs."""
    mean, share = runs.mean[active], runs.share[active]
    precision = np.linalg.inv(runs.covariance[active])
    pull = np.einsum("kij,kj->ki", precision, mean)
    dims = mean.shape[1]
    form = np.empty((len(active), dims + 1, dims + 1))
    form[:, :dims, :dims] = precision
    form[:, :dims, dims] = form[:, dims, :dims] = -pull
    form[:, dims, dims] = np.einsum("ki,ki->k", pull, mean)
    first, second = np.triu_indices(dims + 1)
    weights = form[:, first, second] * np.where(first == second, 1.0, 2.0)
    log_det = np.linalg.slogdet(precision)[1]
    inlier = -0.5 * (products @ weights.T) + (0.5 * log_det - constant + np.log(np.maximum(share, _TINY)))
    outlier = np.log(np.maximum(1.0 - share, _TINY)) - outlier_cost
    gap = inlier - outlier
    rest = np.exp(-np.abs(gap))
    likelihood = (outlier + np.maximum(gap, 0.0) + np.log1p(rest)).mean(axis=0)
    return np.where(gap > 0.0, 1.0, rest) / (1.0 + rest), likelihood


def _maximise(
    products: NDArray[np.float64], runs: _Runs, active: NDArray[np.intp], weights: NDArray[np.float64]
) -> None:
    """Set the active runs' parameters to the weighted moments."""
    dims = runs.mean.shape[1]
    moments = weights.T @ products
    first, second = np.triu_indices(dims + 1)
    table = np.empty((len(active), dims + 1, dims + 1))
    table[:, first, second] = table[:, second, first] = moments
    mass = np.maximum(table[:, dims, dims], _TINY)
    mean = table[:, :dims, dims] / mass[:, None]
    covariance = table[:, :dims, :dims] / mass[:, None, None] - mean[:, :, None] * mean[:, None, :]
    covariance += _RIDGE * np.eye(dims)
    runs.mean[active], runs.covariance[active] = mean, covariance
    runs.share[active] = mass / len(weights)
