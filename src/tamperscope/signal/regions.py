"""From a heatmap to the regions that stand out of it."""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.types import BoolArray, FloatArray, Region


def components(mask: BoolArray, min_area: int = 1, limit: int = 20) -> list[Region]:
    """Return the 8-connected components of `mask` of at least `min_area` pixels, largest first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    order = sorted(range(1, count), key=lambda i: (-int(stats[i, cv2.CC_STAT_AREA]), i))
    found = []
    for index in order[:limit]:
        x, y, w, h, area = (int(v) for v in stats[index])
        if area < min_area:
            break
        found.append(Region((x, y, x + w, y + h), labels[y : y + h, x : x + w] == index))
    return found


def from_heatmap(
    heatmap: FloatArray, origin: str, threshold: float = 0.5, min_share: float = 0.001, limit: int = 20
) -> list[Region]:
    """Return the connected parts of `heatmap` above `threshold`, scored by their mean value, largest first.

    Args:
        heatmap: (H, W) float32 in [0, 1].
        origin: Who made the map.
        threshold: Strictly above it a pixel counts.
        min_share: Smallest region, as a share of the picture (and never below 64 pixels).
        limit: At most so many.
    """
    min_area = max(64, int(min_share * heatmap.size))
    found = []
    for region in components(heatmap > threshold, min_area, limit):
        x0, y0, x1, y1 = region.box
        score = float(heatmap[y0:y1, x0:x1][region.mask].mean())
        found.append(Region(region.box, region.mask, score, origin))
    return found
