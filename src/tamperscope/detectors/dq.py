"""Finds the part of a JPEG that was compressed once inside a picture that was compressed twice (aligned DQ).

How. Quantizing with a step q1 and then with q2 leaves periodic gaps and peaks in the histogram of a DCT
coefficient; content that was pasted in between went through q2 alone and has none. For the first 28 AC
coefficients of the luma, the law after one compression is taken from the decoded picture shifted by four
pixels, where the block grid leaves no trace; the law after two follows for every q1. A mixture of both is fitted
for every IJG quality of a first compression, and with free steps when that explains clearly more. Each block then
gets the log-likelihood ratio of "once" against "twice"; ratios are summed over a neighbourhood wide enough to decide.

A region counts only if its own histograms are those of a single compression while the rest of the picture is
double, so a picture that was merely saved twice stays quiet; one that shows no first compression is not judged.

Limits. The first compression must have been coarser than the last (q1 > q2): for q1 < q2 hardly a trace is left.
The grids must agree: the picture was not cropped or resized in between. Pasted JPEG content on the same grid with the
same history is invisible. The map marks what was compressed once, even where that is the larger part; a double part
of about a tenth of the picture mostly goes unnoticed. Where q1 was finer than q2 and a first save is found all the
same, a picture that was merely saved twice can reach the decision level.

Sources. Z. Lin, J. He, X. Tang, C.-K. Tang, Pattern Recognition 42, 2009 (mapping and posterior); T. Bianchi,
A. De Rosa, A. Piva, ICASSP 2011 (shifted reference histogram, mixture, rounding error). Departures: the second law is
the first one moved exactly, not a count of bins times a histogram; reference histograms are taken per class of block
activity; the primary table is fitted jointly; zeros, clipped and nearly flat blocks are left out; ratios are clipped,
smoothed by a Gaussian as wide as the evidence needs, and tested region by region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.media.quantization import ijg_table, nearest_quality
from tamperscope.signal.blocks import BLOCK, DCT_MATRIX, spread
from tamperscope.signal.quantized import (
    ORDER,
    informative,
    magnitude_cdf,
    readable_luma,
    saturated_share,
    step_models,
)
from tamperscope.signal.regions import from_heatmap
from tamperscope.types import BoolArray, Finding, FloatArray, Jpeg, Prediction, Sample, UInt8Array

Float64Array = NDArray[np.float64]

_AT_ONCE = 1 << 17  # blocks
_LEVELS = 20  # magnitudes 1 .. 20 are modelled; larger ones are rare and say little
_FIRSTS = np.arange(1, 41)  # candidate first steps; what is coarser at low qualities is left out
_QUALITIES = np.arange(30, 101)
_SHARES = np.array([0.125, 0.25, 0.5, 0.75, 1.0])  # tried shares of double coefficients while q1 is sought
_FINE_SHARES = np.linspace(0, 1, 41)
_SHIFT = 4
_REFERENCE_BLOCKS = 16384  # one megapixel gives the reference histograms all the precision they can use
_OUTLIERS = 0.03  # share of double coefficients that the model fails to predict; bounds one coefficient's say
_LEAST_GAIN = 60.0  # nats that prove a first save, in all
_LEAST_GAIN_PER_1000 = (8.0, 30.0)  # and per 1000 coefficients: with an IJG table, with free steps
_FREE_STEP_COST = 5.0  # nats that a free first step of one coefficient must earn
_CLIP = 3.0  # nats; makes decisive blocks vote with one weight, so that a region does not swell


@dataclass(frozen=True, slots=True)
class _Levels:
    """The quantized magnitudes from 1 to _LEVELS of blocks that bear witness."""

    block: NDArray[np.int32]  # (m,) flat index of the block that each belongs to
    code: NDArray[np.int32]  # (m,) index into a flat (rows, _LEVELS) table
    rows: int  # activity classes * coefficients
    usable: BoolArray  # (block rows, block columns): blocks that can bear witness

    def histogram(self, blocks: BoolArray | None = None) -> Float64Array:
        """Return the (rows, _LEVELS) counts over the marked blocks."""
        code = self.code if blocks is None else self.code[blocks.ravel()[self.block]]
        counts = np.bincount(code, minlength=self.rows * _LEVELS)
        return counts.reshape(self.rows, _LEVELS).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Fit:
    """The first compression that explains the histograms best."""

    quality: int  # IJG quality, 0 when the steps are free
    steps: NDArray[np.intp]  # (K,) first steps, 0 = none found
    gain: float  # nats above "compressed once"
    ratio: Float64Array  # (rows, _LEVELS) P(level | twice) / P(level | once)


@dataclass(frozen=True, slots=True)
class _Part:
    """A connected candidate region."""

    blocks: BoolArray
    score: float  # log10 of the likelihood ratio that it was compressed once and the rest twice
    double_inside: float
    double_outside: float


class DoubleQuantization(Detector):
    """Aligned double quantization of the luma coefficients."""

    family = "jpeg_history"
    needs = frozenset({"jpeg"})
    min_side = 96
    guide = Guide(
        looks_at="Whether each 8×8 block carries the marks of an earlier, stronger JPEG compression of the same file.",
        how_to_read="Bright parts lack the marks that the rest of the picture bears: they came in after that save.",
        when_it_lies="It sees nothing when the last save was coarser than the first, or the picture was cropped or "
        "resized between; very smooth, very dark or burnt-out parts can stand out by mistake.",
    )

    def __init__(self, coefficients: int = 28, classes: int = 4, decision: float = 4.0) -> None:
        """Set up the detector.

        Args:
            coefficients: AC coefficients used, in zig-zag order, 1 to 63.
            classes: Classes of block activity with a reference histogram of their own.
            decision: log10 likelihood ratio from which a region counts.
        """
        self.coefficients = coefficients
        self.classes = classes
        self.decision = decision

    def analyze(self, sample: Sample) -> Prediction:
        """Return the map of blocks that were compressed once inside a doubly compressed picture."""
        if sample.jpeg is None or not readable_luma(sample.jpeg, sample.size):
            raise NotApplicable("the first component is subsampled, so its blocks are not 8×8 pixels of luma")
        levels, model = self._models(sample.rgb, sample.jpeg)
        if levels.usable.sum() < 60:
            raise NotApplicable("almost every block is flat or clipped, so no histogram can be read")
        fit = _fit_first(levels.histogram(), model, self._order)
        evidence = self._evidence(sample.jpeg, levels, fit)
        if fit.gain < _LEAST_GAIN or evidence["gain_per_1000"] < _LEAST_GAIN_PER_1000[fit.quality == 0]:
            raise NotApplicable("no earlier JPEG compression was found on this block grid, so none can be missing")
        support = _smoothed(_log_ratio(levels, fit))
        parts = _tested(levels, fit, support)
        heatmap = self._heatmap(support, parts, sample.size)
        score = max((p.score for p in parts), default=0.0)
        evidence["regions"] = [_describe(p) for p in parts[:10]]
        return Prediction(
            self.name,
            sample.size,
            score=score,
            heatmap=heatmap,
            regions=from_heatmap(heatmap, self.name),
            reasons=[self._reason(score, parts, evidence)],
            evidence=evidence,
        )

    @property
    def _order(self) -> NDArray[np.intp]:
        return ORDER[1 : self.coefficients + 1]

    def _models(self, rgb: UInt8Array, jpeg: Jpeg) -> tuple[_Levels, tuple[Float64Array, Float64Array]]:
        """Return the coded levels and the laws of a level after one and after two compressions."""
        order = self._order
        steps = jpeg.qtables[0].reshape(64)[order].astype(np.intp)
        levels, group, groups = _code_levels(rgb, jpeg.coefficients[0], order, steps, self.classes)
        reference, where = _reference(rgb, order, group)
        top = int((_LEVELS + 1) * steps.max() + 2 * _FIRSTS[-1])
        cdf = magnitude_cdf(reference, where, groups, top)
        second = np.tile(steps, groups)
        single, double = step_models(cdf, second, _FIRSTS, _LEVELS)
        poor = cdf[:, -1] - cdf[np.arange(len(cdf)), second] < 50
        poor |= levels.histogram().sum(axis=1) < 20
        double[poor] = single[poor][:, None]
        return levels, (single, (1 - _OUTLIERS) * double + _OUTLIERS * single[:, None])

    def _evidence(self, jpeg: Jpeg, levels: _Levels, fit: _Fit) -> dict[str, Any]:
        histogram = levels.histogram()
        likelihood = _mixture(histogram, fit.ratio)
        count = float(histogram.sum())
        return {
            "first_quality": fit.quality or None,
            "first_steps": [int(s) for s in fit.steps],
            "last_quality": nearest_quality(jpeg.qtables[:1]).quality,
            "last_steps": [int(s) for s in jpeg.qtables[0].reshape(64)[self._order]],
            "double_share": float(_FINE_SHARES[likelihood.argmax()]),
            "gain": fit.gain,
            "gain_per_1000": 1000 * fit.gain / max(count, 1.0),
            "coefficients": int(count),
        }

    def _heatmap(self, support: FloatArray, parts: list[_Part], size: tuple[int, int]) -> FloatArray:
        accepted = np.zeros(support.shape, bool)
        for part in parts:
            if part.score >= self.decision:
                accepted |= part.blocks
        chance = _chance(support)
        heat = np.where(accepted, chance, 0.49 * chance)
        return spread(heat, size, smooth=True)

    def _reason(self, score: float, parts: list[_Part], evidence: dict[str, Any]) -> Finding:
        quality = evidence["first_quality"]
        first = f"at about quality {quality}" if quality else "with other tables"
        found = sum(p.score >= self.decision for p in parts)
        values = {"log10_likelihood_ratio": score, "first_quality": quality, "parts": found}
        if found:
            text = (
                f"The picture was first saved as JPEG {first} and later saved again; {found} part(s) of it "
                "went through the last save only."
            )
            return Finding("dq.single_inside_double", text, "warning", values, self.name)
        text = f"The whole picture was saved as JPEG twice, first {first}; no part lacks the traces of the first save."
        return Finding("dq.double_throughout", text, "info", values, self.name)


def _chance(support: FloatArray) -> FloatArray:
    """Return the posterior of "compressed once": prior odds e^-4, evidence tempered by 4 as blocks correlate."""
    return np.asarray(1 / (1 + np.exp(-np.clip((support - 4) / 4, -30, 30))), dtype=np.float32)


def _code_levels(
    rgb: UInt8Array, blocks: NDArray[np.int16], order: NDArray[np.intp], steps: NDArray[np.intp], classes: int
) -> tuple[_Levels, NDArray[np.intp], int]:
    """Return the levels of all blocks, the activity class of each block, and the number of classes."""
    shape = (blocks.shape[0], blocks.shape[1])
    magnitude = np.abs(blocks.reshape(-1, 64)[:, order])
    active = np.count_nonzero(magnitude, axis=1).reshape(shape)
    usable = informative(active, saturated_share(rgb, shape))
    energy = magnitude.astype(np.float32) @ steps.astype(np.float32)
    group, groups = _activity(energy.reshape(shape), classes)
    magnitude[(magnitude > _LEVELS) | ~usable.reshape(-1, 1)] = 0
    parts = [_coded(magnitude, group.ravel(), first) for first in range(0, len(magnitude), _AT_ONCE)]
    block, code = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Levels(block, code, groups * len(order), usable), group, groups


def _coded(
    magnitude: NDArray[np.int16], group: NDArray[np.intp], first: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return block and code of the levels in some blocks, from `first` on; pictures may be large."""
    some = magnitude[first : first + _AT_ONCE]
    block, coefficient = np.nonzero(some)
    row = group[first + block] * some.shape[1] + coefficient
    code = row * _LEVELS + some[block, coefficient] - 1
    return (first + block).astype(np.int32), code.astype(np.int32)


def _activity(energy: FloatArray, classes: int) -> tuple[NDArray[np.intp], int]:
    """Return the activity class of each block, from equal shares of the smoothed energy, and their number."""
    smooth = cv2.blur(energy, (3, 3))
    active = smooth[smooth > 0.5]
    count = max(1, min(classes, energy.size // 250)) if active.size else 1
    edges = np.quantile(active, np.arange(1, count) / count) if count > 1 else np.empty(0)
    return np.searchsorted(edges, smooth, side="right").astype(np.intp), count


def _reference(
    rgb: UInt8Array, order: NDArray[np.intp], group: NDArray[np.intp]
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return coefficients of blocks on a grid shifted by 4 pixels, where quantization has left no lattice.

    At most `_REFERENCE_BLOCKS` blocks are transformed, in whole rows spread evenly over the picture.

    Returns:
        (n, K) float32 and the (n,) activity class of each.
    """
    rows, cols = ((n - _SHIFT) // BLOCK for n in rgb.shape[:2])
    every = max(1, -(-rows * cols // _REFERENCE_BLOCKS))
    basis = np.einsum("ui,vj->uvij", DCT_MATRIX, DCT_MATRIX).reshape(64, 64)[order].T
    found, classes = [], []
    for row in range(0, rows, every):
        top = _SHIFT + row * BLOCK
        strip = cv2.cvtColor(rgb[top : top + BLOCK, _SHIFT : _SHIFT + cols * BLOCK], cv2.COLOR_RGB2GRAY)
        tiles = strip.reshape(BLOCK, cols, BLOCK).swapaxes(0, 1).reshape(cols, 64)
        found.append(tiles.astype(np.float32) @ basis)
        classes.append(group[row, :cols])
    return np.concatenate(found), np.concatenate(classes)


def _mixture(histogram: Float64Array, ratio: Float64Array) -> Float64Array:
    """Return the log-likelihood of every share in `_FINE_SHARES` of double coefficients, above a share of 0."""
    excess, counts = (ratio - 1).ravel(), histogram.ravel()
    used = counts > 0
    return np.asarray(np.log1p(_FINE_SHARES[:, None] * excess[used]) @ counts[used])


def _fit_first(histogram: Float64Array, model: tuple[Float64Array, Float64Array], order: NDArray[np.intp]) -> _Fit:
    """Return the first compression that explains the histograms best: an IJG quality, or steps of their own."""
    single, double = model
    count = len(order)
    groups = len(single) // count
    excess = (double / single[:, None] - 1).astype(np.float32)
    counts = histogram.astype(np.float32)[:, :, None]
    gains = np.stack([(np.log1p(np.float32(s) * excess) @ counts)[..., 0] for s in _SHARES], axis=1)
    gains = gains.reshape(groups, count, len(_SHARES), len(_FIRSTS)).sum(axis=0, dtype=np.float64)
    tables = np.stack([ijg_table(int(q)).reshape(64)[order] for q in _QUALITIES]).astype(np.intp)
    tables[tables > _FIRSTS[-1]] = 0
    padded = np.pad(gains, ((0, 0), (0, 0), (1, 0)))  # step 0 = coefficient left out, gains nothing
    joint = sum(padded[k][:, tables[:, k]] for k in range(count))
    free = np.maximum(gains.max(axis=2) - _FREE_STEP_COST, 0).sum(axis=0)
    share, at = np.unravel_index(int(np.argmax(joint)), np.shape(joint))
    own = int(free.argmax())
    if joint[share, at] * 1.05 + 20 >= free[own]:
        quality, steps, gain = int(_QUALITIES[at]), tables[at], float(joint[share, at])
    else:
        quality, gain = 0, float(free[own])
        steps = np.where(gains[:, own].max(axis=1) > _FREE_STEP_COST, gains[:, own].argmax(axis=1) + 1, 0)
    chosen = np.tile(steps, groups)
    ratio = double[np.arange(len(double)), np.maximum(chosen, 1) - 1] / single
    return _Fit(quality, steps, gain, np.where(chosen[:, None] > 0, ratio, 1.0))


def _log_ratio(levels: _Levels, fit: _Fit) -> FloatArray:
    """Return the (rows, cols) log-likelihood ratio of each block: compressed once against twice."""
    votes = -np.log(fit.ratio).ravel()[levels.code]
    total = np.bincount(levels.block, votes, minlength=levels.usable.size)
    return np.asarray(total.reshape(levels.usable.shape), dtype=np.float32)


def _smoothed(ratio: FloatArray, needed: float = 16.0) -> FloatArray:
    """Sum clipped ratios under a Gaussian (peak 1) wide enough that about `needed` nats decide a block."""
    clipped = np.clip(ratio, -_CLIP, _CLIP)
    strength = float(np.abs(clipped).mean())
    sigma = min(max(math.sqrt(needed / max(strength, 1e-3) / (2 * math.pi)), 0.7), 2.5)
    reach = math.ceil(2.5 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    return np.asarray(cv2.sepFilter2D(clipped, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


def _tested(levels: _Levels, fit: _Fit, support: FloatArray, least: int = 12, limit: int = 20) -> list[_Part]:
    """Return the connected regions that look single, each tested on its own histograms, best first.

    A region needs `least` blocks that bear witness, and a quarter of its blocks must: the few readable ones
    between clipped paper and ink are no sample of what lies around them.
    """
    marked = support > 4
    rest = levels.histogram(~marked)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8), connectivity=4)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    witnesses = np.bincount(labels[levels.usable], minlength=len(stats))[1:]
    parts = []
    for index in np.argsort(-sizes, kind="stable")[:limit]:
        if witnesses[index] >= max(least, sizes[index] / 4):
            blocks = labels == index + 1
            parts.append(_test(blocks, levels.histogram(blocks), rest, fit.ratio))
    return sorted(parts, key=lambda p: -p.score)


def _test(blocks: BoolArray, inside: Float64Array, outside: Float64Array, ratio: Float64Array) -> _Part:
    """Compare "mostly once inside, mostly twice outside" with half-and-half on either side and with no split."""
    a, b = _mixture(inside, ratio), _mixture(outside, ratio)
    half = len(_FINE_SHARES) // 2
    once_inside = a[_FINE_SHARES <= 0.25].max() - a[half]
    twice_outside = b[_FINE_SHARES >= 0.7].max() - b[half]
    split = a.max() + b.max() - (a + b).max()
    score = max(0.0, min(once_inside, twice_outside, split)) / math.log(10)
    return _Part(blocks, float(score), float(_FINE_SHARES[a.argmax()]), float(_FINE_SHARES[b.argmax()]))


def _describe(part: _Part) -> dict[str, float | int]:
    return {
        "blocks": int(part.blocks.sum()),
        "log10_likelihood_ratio": part.score,
        "double_share_inside": part.double_inside,
        "double_share_outside": part.double_outside,
    }
