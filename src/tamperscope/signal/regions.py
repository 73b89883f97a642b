"""From a heatmap to the regions that stand out of it."""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.types import BoolArray, Box, FloatArray, Region

LARGE = 36_000_000
"""Pixels from which on components are told apart in cells of 2 x 2 pixels, for labels take four bytes each."""


def components(mask: BoolArray, min_area: int = 1, limit: int = 20) -> list[Region]:
    """Return the 8-connected components of `mask` of at least `min_area` pixels, largest first.

    In pictures of `LARGE` or more pixels, what one or two pixels part may be one component, and areas are those of
    the cells that it touches.
    """
    step = 1 if mask.size < LARGE else 2
    marked = mask.view(np.uint8)
    if step > 1:
        cells = cv2.dilate(marked, np.ones((step, step), np.uint8), anchor=(0, 0))
        marked = np.array(cells[::step, ::step], order="C")
        del cells  # as large as the picture
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA] * step**2
    found = []
    for index in sorted(range(1, count), key=lambda i: (-int(areas[i]), i))[:limit]:
        if areas[index] < min_area:
            break
        x, y, w, h = (int(v) for v in stats[index][:4])
        inside = labels[y : y + h, x : x + w] == index
        box = x * step, y * step, min((x + w) * step, mask.shape[1]), min((y + h) * step, mask.shape[0])
        found.append(Region(box, _refined(inside, mask, box, step)))
    return found


def _refined(cells: BoolArray, mask: BoolArray, box: Box, step: int) -> BoolArray:
    """Return the pixels of `mask` inside of a box whose cells are marked."""
    if step == 1:
        return cells
    x0, y0, x1, y1 = box
    fine = cells.repeat(step, 0).repeat(step, 1)[: y1 - y0, : x1 - x0]
    return np.asarray(fine & mask[y0:y1, x0:x1])


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
