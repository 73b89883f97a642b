"""Error level analysis: how much each part changes when the picture is saved once more as JPEG.

How. The picture is saved at one probe quality and subtracted from itself; differences are averaged over 8 × 8 blocks
and divided by the local contrast, since edges always change more than flat parts. A part with another compression
history can change by another amount.

Limits. A display layer for people, never evidence by itself: what differs in texture differs in ELA. A probe at the
quality of the last save is blind (every residual is near zero), so the probe keeps its distance from that quality.

Source. N. Krawetz, "A picture's worth", Black Hat 2007. Departures: one probe instead of several; the residual is
normalized by contrast; the map is the deviation from the picture's own median, 0.5 at four robust standard deviations.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import special

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.media.quantization import nearest_quality
from tamperscope.media.recompress import recompress
from tamperscope.signal.blocks import BLOCK, spread
from tamperscope.signal.regions import from_heatmap
from tamperscope.types import Finding, FloatArray, Prediction, Sample

PROBES = (90, 85, 95, 75)
"""In order of preference."""

_CONTRAST = 4.0  # grey levels: keeps the ratio finite in flat blocks


class Ela(Detector):
    """Error level analysis.

    Args:
        distance: Least difference between the probe and the quality of the last save.
        decision: Robust standard deviations at which the heatmap reaches 0.5.
    """

    family = "jpeg_history"
    min_side = 32
    guide = Guide(
        looks_at="How much each part of the picture changes when it is saved as JPEG once more.",
        how_to_read="Parts that are evenly brighter than comparable texture elsewhere may have another history.",
        when_it_lies="Texture, sharp edges and saturated colours are bright in every picture; it is never a proof.",
    )

    def __init__(self, distance: int = 4, decision: float = 4.0) -> None:
        self.distance = distance
        self.decision = decision

    def analyze(self, sample: Sample) -> Prediction:
        """Return the map of relative error levels; see `Detector.analyze`."""
        last = nearest_quality(sample.jpeg.qtables).quality if sample.jpeg is not None else None
        probe = next(q for q in PROBES if last is None or abs(q - last) >= self.distance)
        level = self._level(sample, probe)
        middle = float(np.median(level))
        deviation = 1.4826 * float(np.median(np.abs(level - middle)))
        if deviation <= 1e-6:
            raise NotApplicable("the picture is flat: it does not change when saved again")
        z = (level - middle) / deviation
        heatmap = spread(special.expit(z - self.decision).astype(np.float32), sample.size, smooth=True)
        text = f"Error levels at JPEG {probe}; the strongest part lies {float(z.max()):.1f} deviations above the rest."
        return Prediction(
            self.name,
            sample.size,
            float(np.quantile(z, 0.99)),
            heatmap,
            regions=from_heatmap(heatmap, self.name),
            reasons=[Finding("ela.level", text, "info", {"probe": probe, "last": last}, self.name)],
            evidence={"probe_quality": probe, "last_quality": last, "median_level": middle},
        )

    def _level(self, sample: Sample, probe: int) -> FloatArray:
        """Return (rows, cols) of blocks: mean absolute residual over local contrast, smoothed over 3 × 3 blocks."""
        rgb = sample.rgb
        size = (max(1, rgb.shape[1] // BLOCK), max(1, rgb.shape[0] // BLOCK))
        whole = np.s_[: size[1] * BLOCK, : size[0] * BLOCK]
        residual = cv2.absdiff(rgb, recompress(rgb, probe))[whole]
        error = cv2.resize(cv2.cvtColor(residual, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[whole]
        step = cv2.add(cv2.absdiff(grey, np.roll(grey, 1, 0)), cv2.absdiff(grey, np.roll(grey, 1, 1)))
        contrast = cv2.resize(step, size, interpolation=cv2.INTER_AREA)
        ratio = error.astype(np.float32) / (contrast.astype(np.float32) + _CONTRAST)
        return np.asarray(cv2.blur(ratio, (3, 3), borderType=cv2.BORDER_REFLECT_101), np.float32)
