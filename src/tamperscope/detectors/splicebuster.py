"""Splicebuster: finds areas whose noise residual follows other statistics than the rest of the picture.

How: third-order residuals of the luma, horizontal and vertical, quantised to three levels; histograms of 4-pixel
co-occurrences along and across the filter (25 + 25 classes under sign change and mirroring); their square roots per
block; 25 whitened principal components; a Gaussian plus uniform outliers fitted by expectation-maximisation from 30
seeded samples. The map is each block's squared Mahalanobis distance from the Gaussian.

Decision level: the logarithm of that distance, minus its median over the picture, in units of the distance from the
median down to the 16 % quantile (never less than a chi-square variable of that many dimensions has). 0.5 on the map is
4 such units. The lower half sets the unit because an alteration only lengthens the upper tail; natural content does so
too, which is why the level lies far above a chi-square quantile. The score is the share of the judged blocks that the
largest outlying area covers, times the share of all outlying blocks that lie in it: 0 (nothing outlying, or scattered)
to 1.

Limits: content is confounded with traces. Flat, blurred or saturated parts of an untouched picture are outliers among
textured ones, so the map guides the eye and proves nothing alone; an area more typical than the rest (added noise, the
picture's main texture) is not seen; a final JPEG of low quality or down-scaling removes the trace.

Departures from the published method: below 0.75 megapixels blocks are 64 px instead of 128, on the same stride of 8
(the method as described does so, with stride 4, for tiny pictures only); the mixture is fitted on at most 2,048 blocks
drawn with a seed (blocks overlap by 15/16), the map covers all of them; the outliers' cost is scaled to the number of
components where fewer than 25 exist; blocks that are mostly saturated are shown at the median, not judged.

Source: Cozzolino, Poggi, Verdoliva, "Splicebuster: a new blind image splicing detector", WIFS 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal import regions
from tamperscope.signal.blocks import spread
from tamperscope.signal.robust_em import GaussianWithOutliers, fit_gaussian_with_outliers, fit_whitening
from tamperscope.types import BoolArray, Finding, FloatArray, Prediction, Sample, Severity, UInt8Array

if TYPE_CHECKING:
    from tamperscope.types import Region

CELL = 8
STEP = 3.0 * 2.0 / 256.0 * 255.0
SMALL_PICTURE = 750_000
COMPONENTS = 25
OUTLIER_COST = 42.0
DARK, BRIGHT = 6, 252
MIN_VALID = 0.85
MIN_BLOCKS = 200
LEVEL = 4.0
# 5 % of 802 untouched training pictures (cameras, web, objects, people, portraits) scored above it.
NOTICE = 0.3
_SOFTNESS = 1.0


class Splicebuster(Detector):
    """Blind splicing localisation from co-occurrences of the noise residual.

    Args:
        block: Side of a block in pixels, a multiple of 8; None takes 128, or 64 below 0.75 megapixels.
        starts: Random starts of the mixture fit.
        max_fit: Blocks that the mixture is fitted on, at most.
        seed: Of the sample of blocks and the starts.
    """

    family = "noise"
    min_side = 128
    guide = Guide(
        looks_at="The fine residual left after the picture's content is filtered out, compared block by block.",
        how_to_read="A compact bright area whose texture looks like its surroundings has another processing history.",
        when_it_lies="Sky, blur, text and saturated parts stand out in untouched pictures too.",
    )

    def __init__(self, block: int | None = None, starts: int = 30, max_fit: int = 2048, seed: int = 0) -> None:
        self.block, self.starts, self.max_fit, self.seed = block, starts, max_fit, seed

    def analyze(self, sample: Sample) -> Prediction:
        """Return the map of outlying blocks.

        Raises:
            NotApplicable: Too few blocks hold a residual that can be read.
        """
        height, width = sample.size
        block = self.block or (64 if height * width < SMALL_PICTURE else 128)
        features, valid = _features(sample.rgb, block // CELL)
        if valid.sum() < MIN_BLOCKS:
            raise NotApplicable(
                f"{int(valid.sum())} blocks of {block} px are neither saturated nor cut; needs {MIN_BLOCKS}"
            )
        distance, fit = self._distances(features, valid)
        excess, unit = _excess(distance, valid, len(fit.mean))
        del features  # some hundred megabytes of a large picture
        heatmap = _to_pixels(excess, sample.size, block)
        found = regions.from_heatmap(heatmap, self.name)
        score, share = _coherence(excess > LEVEL, valid)
        evidence = {
            "block_px": block,
            "blocks": int(valid.size),
            "judged_share": float(valid.mean()),
            "components": len(fit.mean),
            "inlier_share": fit.inlier_share,
            "mean_log_likelihood": fit.log_likelihood,
            "median_squared_distance": float(np.median(distance[valid])),
            "log_distance_unit": unit,
            "outlying_share": share,
        }
        reasons = _reasons(found, score, evidence)
        return Prediction(self.name, sample.size, score, heatmap, found, reasons, evidence=evidence)

    def _distances(self, features: FloatArray, valid: BoolArray) -> tuple[FloatArray, GaussianWithOutliers]:
        """Return every block's squared distance from the typical ones, and the fit."""
        judged = features[valid]
        whitening = fit_whitening(judged, COMPONENTS)
        dims = whitening.basis.shape[1]
        if dims < 2:
            raise NotApplicable("the residual is the same in every block")
        rng = np.random.default_rng(self.seed)
        if len(judged) > self.max_fit:
            judged = judged[np.sort(rng.choice(len(judged), self.max_fit, replace=False))]
        fit = fit_gaussian_with_outliers(
            whitening(judged), rng, self.starts, outlier_cost=OUTLIER_COST * dims / COMPONENTS
        )
        if fit.inlier_share < 0.1:
            raise NotApplicable(f"only {100 * fit.inlier_share:.1f} % of the blocks are alike: nothing is typical")
        return fit.squared_distance(whitening(features)), fit


def _features(rgb: UInt8Array, side: int) -> tuple[FloatArray, BoolArray]:
    """Return the (rows, columns, 50) features of blocks of `side` cells, and which blocks may be judged."""
    from tamperscope.signal.cooccurrence import MARGIN, block_features, box_sums, cell_counts

    cells_high, cells_wide = ((n - 2 * MARGIN) // CELL for n in rgb.shape[:2])
    if min(cells_high, cells_wide) < side:
        raise NotApplicable(f"the picture is smaller than one block of {side * CELL} px")
    clean = _unsaturated(rgb)[MARGIN : MARGIN + cells_high * CELL, MARGIN : MARGIN + cells_wide * CELL]
    per_cell = clean.reshape(cells_high, CELL, cells_wide, CELL).sum(axis=(1, 3), dtype=np.int32)
    share = box_sums(per_cell, side) / float((side * CELL) ** 2)
    return block_features(cell_counts(rgb, STEP, CELL), side), share >= MIN_VALID


def _unsaturated(rgb: UInt8Array) -> BoolArray:
    """Return True where no clipped area larger than a speck is near."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    clipped = ((gray < DARK) | (gray > BRIGHT)).astype(np.uint8)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    opened = cv2.morphologyEx(clipped, cv2.MORPH_OPEN, disk)
    return np.asarray(cv2.dilate(opened, np.ones((9, 9), np.uint8)) == 0)


def _excess(distance: FloatArray, valid: BoolArray, dims: int) -> tuple[FloatArray, float]:
    """Return each block's log distance above the median, in robust units (0 where not judged), and the unit."""
    logs = np.log(np.maximum(distance, np.float32(1e-6)))
    low, median = np.quantile(logs[valid], (0.16, 0.5))
    unit = max(float(median - low), float(np.sqrt(2.0 / dims)))
    return np.where(valid, (logs - median) / unit, 0.0).astype(np.float32), unit


def _to_pixels(excess: FloatArray, size: tuple[int, int], block: int) -> FloatArray:
    """Return the (H, W) map: 0.5 at `LEVEL`, each block's value at its centre."""
    heat = 1.0 / (1.0 + np.exp(np.clip((LEVEL - excess) / _SOFTNESS, -30.0, 30.0)))
    first = 3 + (block - CELL) // 2
    return spread(heat, size, CELL, (first, first), smooth=True)


def _coherence(outlying: BoolArray, valid: BoolArray) -> tuple[float, float]:
    """Return the score (see the module), and the share of judged blocks that are outlying."""
    total = int(outlying.sum())
    if not total:
        return 0.0, 0.0
    _, _, stats, _ = cv2.connectedComponentsWithStats(outlying.astype(np.uint8), connectivity=8)
    largest = int(stats[1:, cv2.CC_STAT_AREA].max())
    judged = int(valid.sum())
    return largest / judged * (largest / total), total / judged


def _reasons(found: list[Region], score: float, evidence: dict[str, float]) -> list[Finding]:
    if not found:
        text = "The noise residual follows the same statistics all over the picture."
        return [Finding("splicebuster.uniform", text, "info", {"score": score}, "splicebuster")]
    text = (
        f"The noise residual of {100.0 * evidence['outlying_share']:.1f} % of the picture follows other statistics "
        "than the rest; flat, blurred or saturated content can look so without any alteration."
    )
    values = {"score": score, "regions": len(found)}
    values |= {k: evidence[k] for k in ("outlying_share", "inlier_share")}
    severity: Severity = "notice" if score > NOTICE else "info"
    return [Finding("splicebuster.outlying_area", text, severity, values, "splicebuster")]
