"""Fit a calibration card from detector outputs on pictures whose truth is known.

Likelihood ratios come from binned counts made monotone (isotonic regression); families are weighed by a logistic
regression with weights that cannot be negative; thresholds are quantiles of pristine pictures in folds that took no
part in the fit, and folds never share a source.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from tamperscope.metrics import intervals
from tamperscope.types import Prediction
from tamperscope.verdict.card import CalibrationCard, Curve, Level, Threshold
from tamperscope.verdict.fusion import family_evidence

Values = NDArray[np.float64]
NOMINAL: Mapping[Level, float] = {"inconclusive": 0.15, "suspicious": 0.05, "strong_evidence": 0.01}
HEAT_KNOTS = 17
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Observation:
    """Outputs on one picture.

    Attributes:
        source: Group of the picture that it was made from.
        stratum: Folder or kind of picture; strata weigh equally in the thresholds.
        forged: Truth.
        scores: By detector; absent where it did not apply.
    """

    source: str
    stratum: str
    forged: bool
    scores: Mapping[str, float]

    @property
    def fold(self) -> int:
        """Fold of the source: the same on every machine."""
        return zlib.crc32(self.source.encode()) % FOLDS


def _edges(scores: Values, bins: int) -> Values:
    """Return inner bin edges at quantiles; one value is never cut in two.

    A detector that mostly finds nothing piles up at its lowest score: that value gets a bin of its own, and the rest
    are cut by their own quantiles, ten to a bin at least.
    """
    low = scores.min()
    rest = scores[scores > low]
    if len(rest) == 0:
        return np.empty(0)
    if np.mean(scores == low) < 1.0 / bins:
        rest, inner = scores, bins - 1
    else:
        inner = int(np.clip(len(rest) // 10, 1, bins - 1)) - 1
        low = rest.min()
    cuts = np.quantile(rest, np.linspace(0, 1, inner + 2)[1:-1])
    first = np.array([low]) if rest is not scores else np.empty(0)
    return np.unique(np.concatenate([first, cuts[cuts > low]]))


def binned_llr(pristine: Values, forged: Values, edges: Values) -> Values:
    """Return monotone log-likelihood ratios of the bins that `edges` cut, half a count added to each."""
    bins = len(edges) + 1
    p, f = (np.bincount(np.searchsorted(edges, s, "right"), minlength=bins) + 0.5 for s in (pristine, forged))
    llr = np.log(f / f.sum()) - np.log(p / p.sum())
    weight = 1.0 / (1.0 / f + 1.0 / p)
    return np.asarray(optimize.isotonic_regression(llr, weights=weight).x)


def fit_curve(
    rows: Sequence[Observation], detector: str, family: str, counts: bool, why: str, heat_llr: Sequence[float]
) -> Curve:
    """Return the curve of one detector from all rows on which it applied.

    Args:
        rows: Observations of pristine and forged pictures.
        detector: Its name.
        family: Its trace family.
        counts: Whether it may move the verdict, and `why`.
        why: In words.
        heat_llr: Log-likelihood ratios of its heat (see `fit_heat`).
    """
    used = [r for r in rows if detector in r.scores]
    scores = np.array([r.scores[detector] for r in used])
    forged = np.array([r.forged for r in used])
    edges = _edges(scores, bins=10)
    which = np.searchsorted(edges, scores, "right")
    knots = np.array([scores[which == b].mean() for b in range(len(edges) + 1)])
    llr = binned_llr(scores[~forged], scores[forged], edges)
    rng = np.random.default_rng(0)
    sources = sorted({r.source for r in used})
    members = {s: i for i, s in enumerate(sources)}
    owner = np.array([members[r.source] for r in used])
    draws = np.empty((200, len(llr)))
    for draw in draws:
        times = np.bincount(rng.integers(0, len(sources), len(sources)), minlength=len(sources))[owner]
        again, truth = np.repeat(scores, times), np.repeat(forged, times)
        draw[:] = binned_llr(again[~truth], again[truth], edges)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    # A network's scores crowd near 1, where four digits would make knots equal.
    digits = ((knots, 8), (llr, 4), (low, 4), (high, 4))
    as_tuple = [tuple(round(float(v), places) for v in column) for column, places in digits]
    return Curve(
        family=family,
        counts=counts,
        why=why,
        scores=as_tuple[0],
        llr=as_tuple[1],
        low=as_tuple[2],
        high=as_tuple[3],
        heat_llr=tuple(round(float(v), 4) for v in heat_llr),
    )


def fit_heat(inside: Values, outside: Values) -> Values:
    """Return the monotone log-likelihood ratio of a forged pixel at `HEAT_KNOTS` levels of heat.

    Args:
        inside: (N, 256) histograms of the quantized heat over forged pixels, one row a picture.
        outside: (N, 256) the same over the other pixels.
    """
    knot = np.rint(np.arange(256) / 255.0 * (HEAT_KNOTS - 1)).astype(int)
    shares = []
    for part in (inside, outside):
        rows = part / np.maximum(part.sum(axis=1, keepdims=True), 1.0)
        shares.append(np.bincount(knot, weights=rows.sum(axis=0), minlength=HEAT_KNOTS) + 0.5)
    f, p = shares
    llr = np.log(f / f.sum()) - np.log(p / p.sum())
    return np.asarray(optimize.isotonic_regression(llr, weights=1.0 / (1.0 / f + 1.0 / p)).x)


def fit_weights(evidence: Values, forged: NDArray[np.bool_]) -> tuple[Values, float]:
    """Return (weights, intercept) of a logistic regression with weights >= 0 and balanced classes.

    Args:
        evidence: (N, F) log-likelihood ratios by family; 0 where a family is silent.
        forged: (N,) truth.
    """
    sign = np.where(forged, 1.0, -1.0)
    share = np.where(forged, 0.5 / max(forged.sum(), 1), 0.5 / max((~forged).sum(), 1))

    def loss(x: Values) -> tuple[float, Values]:
        margin = sign * (evidence @ x[:-1] + x[-1])
        pull = -share * sign * special.expit(-margin)
        # The ridge holds weights near 1, where independent families would put them.
        value = float(share @ np.logaddexp(0, -margin)) + 0.01 * float(((x[:-1] - 1) ** 2).sum())
        slope = np.append(evidence.T @ pull + 0.02 * (x[:-1] - 1), pull.sum())
        return value, slope

    start = np.append(np.ones(evidence.shape[1]), 0.0)
    bounds = [(0.0, 1.5)] * evidence.shape[1] + [(None, None)]
    found = optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    return found.x[:-1], float(found.x[-1])


def fused_llr(row: Observation, card: CalibrationCard) -> float:
    """Return the fused log-likelihood ratio of one picture under `card`."""
    predictions = [Prediction(name, (1, 1), score) for name, score in row.scores.items()]
    calibrated = {p.detector: c for p in predictions if (c := card.calibrate(p)) is not None}
    return card.intercept + sum(value for _, value in family_evidence(calibrated, card).values())


def with_weights(card: CalibrationCard, rows: Sequence[Observation]) -> CalibrationCard:
    """Return `card` with family weights and intercept fitted on `rows`."""
    families = sorted({c.family for c in card.detectors.values() if c.counts})
    even = card.model_copy(update={"weights": dict.fromkeys(families, 1.0), "intercept": 0.0})
    table = np.zeros((len(rows), len(families)))
    for i, row in enumerate(rows):
        predictions = [Prediction(name, (1, 1), score) for name, score in row.scores.items()]
        calibrated = {p.detector: c for p in predictions if (c := even.calibrate(p)) is not None}
        for family, (_, value) in family_evidence(calibrated, even).items():
            table[i, families.index(family)] = value
    weights, intercept = fit_weights(table, np.array([r.forged for r in rows]))
    rounded = {f: round(float(w), 4) for f, w in zip(families, weights, strict=True)}
    return even.model_copy(update={"weights": rounded, "intercept": round(intercept, 4)})


def threshold(llr: Values, strata: Sequence[str], rate: float) -> float:
    """Return the smallest value that at most `rate` of the pictures reach, every stratum weighing the same.

    Args:
        llr: (N,) fused log-likelihood ratios of pristine pictures.
        strata: (N,) names.
        rate: Nominal false-alarm rate.
    """
    names = np.asarray(strata)
    _, which, sizes = np.unique(names, return_inverse=True, return_counts=True)
    weight = 1.0 / sizes[which]
    weight /= weight.sum()
    order = np.argsort(llr)
    above = 1.0 - np.cumsum(weight[order])
    index = int(np.searchsorted(-above, -rate, "left"))
    return float(np.nextafter(llr[order][min(index, len(llr) - 1)], math.inf))


def as_threshold(llr: float, alarms: int, total: int) -> Threshold:
    """Return a threshold with its measured false-alarm rate and Wilson's 95 % interval."""
    found = intervals.share(alarms, total)
    low, high = round(found.low, 5), round(found.high, 5)
    return Threshold(llr=round(llr, 4), false_alarm_rate=round(found.value, 5), low=low, high=high)
