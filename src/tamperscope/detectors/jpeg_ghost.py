"""Finds parts whose JPEG history has another quality: they resist, or do not resist, saving at that quality again.

How. Saving a picture at the quality at which it was saved before changes it least: a "ghost". For every quality from
51 to 100 the luma coefficients are rounded to the lattice of that quality's table, and the error of those that
survive is summed over 3 × 3 blocks (24 pixels) and divided by its expectation, so that 1 means "no trace of this
quality" and 0 "was on this lattice", whatever the texture. The dip is that ratio over the mean ratio at a lower and a
higher quality. At each quality the blocks are split in two by the depth of their dip; the quality counts at which one
part dips, the other does not, and both are compact. The part without the ghost is marked, unless it covers most
of the picture; then the part with the ghost is.

Limits. The ghost's quality must be lower than that of the last save, the grids must agree (a part pasted on another
grid carries no ghost of its own, but stands out from a background that has one), and tables must be close to
those of the IJG. A picture that was saved twice throughout has a ghost everywhere and stays quiet.

Source. H. Farid, "Exposing digital forgeries from JPEG ghosts", IEEE TIFS 4(1), 2009. Departures: the difference is
taken between DCT coefficients (of the file itself, where it is a JPEG) instead of pixels of 50 re-encoded pictures, on
the luma, for one grid; each block is normalized by the expected rounding error instead of its minimum and maximum over
the qualities, and coefficients that round to 0 are left out, as they carry no trace; clipped and flat blocks are left
out; the quality and the split are found automatically.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.media.quantization import ijg_table, nearest_quality
from tamperscope.signal.blocks import spread
from tamperscope.signal.quantized import (
    ORDER,
    informative,
    luma_planes,
    otsu,
    requantization_trace,
    saturated_share,
)
from tamperscope.signal.regions import from_heatmap
from tamperscope.types import BoolArray, Finding, FloatArray, Prediction, Sample, UInt8Array

_FIRST, _LAST = 51, 100
_QUALITIES = np.arange(_FIRST - 7, _LAST + 1)  # the margin below holds the neighbours of the lowest quality
_COEFFICIENTS = 28  # DC and the 27 lowest AC; higher ones rarely survive
_BESIDE_LAST = 3  # qualities this near to the last save are ghosts of that save
_SURVIVORS = 24  # coefficients that a 3 x 3 neighbourhood needs
_WITNESSES = 5  # blocks of the nine that must be neither flat nor clipped
_LEAST_BLOCKS = 12  # on either side of the split
_VARIANCE = 0.8  # of 12 e^2 for e uniform on [-1/2, 1/2]


@dataclass(frozen=True, slots=True)
class _Split:
    """The picture split by the depth of its dip at one quality."""

    quality: int
    dip: FloatArray  # (rows, cols) error ratio over its neighbours' mean: 1 = no ghost, 0 = full ghost
    readable: BoolArray  # (rows, cols) enough surviving coefficients around
    threshold: float
    with_ghost: float  # dip of the two parts as a whole
    without_ghost: float
    share: float  # of readable blocks without the ghost
    coherence: float  # 0 = blocks of the two parts are mixed at random, 1 = two solid parts
    score: float
    z: float  # standard deviations between the parts' errors, were all of them uniform


class JpegGhost(Detector):
    """JPEG ghosts in the DCT domain."""

    family = "jpeg_history"
    min_side = 96
    guide = Guide(
        looks_at="How much each part changes when it is saved at each JPEG quality; it changes least at the quality at "
        "which it was saved before.",
        how_to_read="Bright parts do not share the earlier JPEG quality that the rest of the picture shows.",
        when_it_lies="It is blind when the last save was the strongest; smooth, very dark or burnt-out parts "
        "cannot be judged and stay dark.",
    )

    def __init__(self, decision: float = 0.3, majority: float = 0.65) -> None:
        """Set up the detector.

        Args:
            decision: Score from which the two parts count as different; below it no pixel of the map exceeds 0.5.
            majority: Share of the picture above which the part without the ghost is taken for the original.
        """
        self.decision = decision
        self.majority = majority

    def analyze(self, sample: Sample) -> Prediction:
        """Return the map at the quality whose ghost covers one part of the picture and not the other."""
        last = nearest_quality(sample.jpeg.qtables[:1]).quality if sample.jpeg else None
        split = _best_split(sample, last)
        if split is None:
            raise NotApplicable("too few coefficients survive quantization to compare parts of the picture")
        heatmap = self._heatmap(split, sample.size)
        evidence = {
            "ghost_quality": split.quality,
            "last_quality": last,
            "dip_with_ghost": split.with_ghost,
            "dip_without_ghost": split.without_ghost,
            "share_without_ghost": split.share,
            "coherence": split.coherence,
            "standard_deviations": split.z,
        }
        return Prediction(
            self.name,
            sample.size,
            score=split.score,
            heatmap=heatmap,
            regions=from_heatmap(heatmap, self.name),
            reasons=[self._reason(split)],
            evidence=evidence,
        )

    def _heatmap(self, split: _Split, size: tuple[int, int]) -> FloatArray:
        width = max((split.without_ghost - split.with_ghost) / 8, 0.03)
        side = 1.0 if split.share <= self.majority else -1.0
        odds = np.clip(side * (split.dip - split.threshold) / width, -30, 30)
        heat = np.where(split.readable, 1 / (1 + np.exp(-odds)), 0.3)
        if split.score < self.decision:
            heat *= 0.5 * split.score / self.decision
        return spread(heat, size, smooth=True)

    def _reason(self, split: _Split) -> Finding:
        values = {"ghost_quality": split.quality, "score": split.score, "standard_deviations": split.z}
        if split.score >= self.decision:
            text = f"One part of the picture was saved before at about JPEG quality {split.quality}, another was not."
            return Finding("jpeg_ghost.partial", text, "warning", values, self.name)
        text = "No earlier JPEG quality is found in one part of the picture and missing from another."
        return Finding("jpeg_ghost.none", text, "info", values, self.name)


def _best_split(sample: Sample, last: int | None) -> _Split | None:
    """Return the split with the highest score over all qualities, or None where nothing can be read."""
    planes, shape = luma_planes(sample, _COEFFICIENTS)
    floor = 0.5 if sample.jpeg else 4.0  # without a file's own zeros, noise must not pass for coefficients
    active = np.count_nonzero(np.abs(planes[1:]) > floor, axis=0).reshape(shape)
    usable = informative(active, saturated_share(sample.rgb, shape))
    tables = np.stack([ijg_table(int(q)).reshape(64)[ORDER[:_COEFFICIENTS]] for q in _QUALITIES])
    sums, counts = requantization_trace(planes, tables.astype(np.float32))
    sums *= usable.ravel()
    counts *= usable.ravel()
    covered = cv2.boxFilter(usable.astype(np.float32), -1, (3, 3), normalize=False) > _WITNESSES - 0.5
    top = _LAST - 2 if last is None else min(last - _BESIDE_LAST, _LAST - 2)
    best: _Split | None = None
    for quality in range(_FIRST, top + 1):
        beside = max(2, math.ceil(0.13 * (100 - quality)))  # where the steps differ by about a fifth
        rows = [quality + d - int(_QUALITIES[0]) for d in (0, -beside, beside)]
        here = _Errors.of(sums[rows[:1]], counts[rows[:1]], shape)
        split = _split(quality, here, _Errors.of(sums[rows[1:]], counts[rows[1:]], shape), covered)
        if split and (best is None or split.score > best.score):
            best = split
    return best


@dataclass(frozen=True, slots=True)
class _Errors:
    """Summed errors and counts of surviving coefficients, (rows, cols) each."""

    sums: FloatArray
    counts: FloatArray

    @classmethod
    def of(cls, sums: FloatArray, counts: UInt8Array, shape: tuple[int, int]) -> _Errors:
        """Add up the given qualities."""
        return cls(sums.sum(axis=0).reshape(shape), counts.sum(axis=0, dtype=np.float32).reshape(shape))

    def around(self) -> _Errors:
        """Return sums over 3 x 3 blocks."""
        sums, counts = (cv2.boxFilter(a, -1, (3, 3), normalize=False) for a in (self.sums, self.counts))
        return _Errors(np.asarray(sums, np.float32), np.asarray(counts, np.float32))

    def ratio(self, part: BoolArray) -> float:
        """Return the error of a part of the picture over its expectation."""
        return (float(self.sums[part].sum()) + 0.1) / (float(self.counts[part].sum()) + 0.1)

    def shrunk(self) -> FloatArray:
        """Return the ratio of each block, drawn towards that of the whole by four coefficients."""
        whole = (float(self.sums.sum()) + 0.1) / (float(self.counts.sum()) + 0.1)
        return np.asarray((self.sums + np.float32(4 * whole + 1e-3)) / (self.counts + np.float32(4)))


def _split(quality: int, here: _Errors, beside: _Errors, covered: BoolArray) -> _Split | None:
    """Split the blocks by their dip: Otsu's threshold first, then half-way between the two parts' dips."""
    local, neighbours = here.around(), beside.around()
    readable = covered & (local.counts >= _SURVIVORS)
    if np.count_nonzero(readable) < 5 * _LEAST_BLOCKS:
        return None
    dip = np.minimum(local.shrunk() / neighbours.shrunk(), np.float32(1.5))
    threshold, _ = otsu(dip[readable], np.minimum(local.counts[readable], 200))
    for last_pass in (False, True):
        parts = readable & (dip > threshold), readable & (dip <= threshold)
        if min(np.count_nonzero(p) for p in parts) < _LEAST_BLOCKS:
            return None
        without, with_ghost = (here.ratio(p) / beside.ratio(p) for p in parts)
        if not last_pass:
            threshold = (without + with_ghost) / 2
    split = _Split(quality, dip, readable, threshold, with_ghost, without, 0.0, 0.0, 0.0, 0.0)
    return _scored(split, here, parts)


def _scored(split: _Split, here: _Errors, parts: tuple[BoolArray, BoolArray]) -> _Split:
    """Fill in how far apart and how compact the two parts are.

    The score is the smaller of two contrasts, of the dips and of the errors themselves, times the coherence:
    textures and multiples of the last table's steps move one of them, a ghost moves both.
    """
    without, with_ghost = (here.ratio(p) for p in parts)
    counts = [max(float(here.counts[p].sum()), 1.0) for p in parts]
    z = (without - with_ghost) / math.sqrt(_VARIANCE * sum(1 / c for c in counts))
    coherence = _coherence(parts[0].astype(np.float32) - parts[1])
    dips = min(split.without_ghost, 1.2) - split.with_ghost
    errors = (without - with_ghost) / max(without, 1.0)
    share = np.count_nonzero(parts[0]) / np.count_nonzero(split.readable)
    score = max(0.0, min(dips, errors)) * coherence
    return replace(split, share=float(share), coherence=coherence, score=float(score), z=float(z))


def _coherence(labels: NDArray[np.floating]) -> float:
    """Return how much more often neighbours agree than by chance, in [0, 1]; labels are 1, -1, or 0 = none."""
    pairs = [labels[:, 1:] * labels[:, :-1], labels[1:] * labels[:-1]]
    total = sum(float(np.abs(p).sum()) for p in pairs)
    if not total:
        return 0.0
    agreement = sum(float(p.sum()) for p in pairs) / total
    chance = (float(labels.sum()) / float(np.abs(labels).sum())) ** 2
    return max(0.0, (agreement - chance) / max(1 - chance, 1e-6))
