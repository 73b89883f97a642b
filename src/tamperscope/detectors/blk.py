"""Finds parts whose 8 × 8 JPEG block artefacts lie on another grid than those of the rest.

How. JPEG leaves faint steps at block borders. Second differences, summed along an edge over 33 pixels, less the
median of their 33 neighbours across it, and then a median over five lines eight pixels apart keep what repeats every
eight pixels. In a block of the picture's own grid that energy lies at the border; pasted JPEG content brings it inside.
The block score is (largest of the six inner sums - smallest of the two border sums), for rows plus columns, with sums
pooled over 5 × 5 blocks, and expressed in robust standard deviations of the picture's own blocks.

Limits. Works without a false-alarm bound, and degrades slowly as the last quality falls, where `zero` goes blind at
once. A paste on the same grid is invisible; strong textures of period 8 are not.

Source. W. Li, Y. Yuan, N. Yu, "Passive detection of doctored JPEG image via block artifact grid extraction", Signal
Processing 89, 2009. Departures: the grid's origin is estimated first, so that a cropped picture does not light up, and
the method abstains where no grid is found; sums are pooled before the maximum is taken, so that only lines of one
phase add up; the score is standardized within the picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal import regions
from tamperscope.signal.blocks import BLOCK, luma, spread
from tamperscope.types import Finding, FloatArray, Prediction, Sample

_REACH = 16  # half of the 33 pixels that are summed along and ranked across an edge
_PAD = 2 * _REACH  # the median's window beside the outermost of the five lines
_EDGE = 50.0  # second differences above it are edges of the scene
_STRIP = 256  # rows handled at once, which bounds memory


class Blk(Detector):
    """Block artefact grid.

    Args:
        decision: Robust standard deviations at which the heatmap reaches 0.5.
        agreement: Share of the strips of a picture that must see the same grid origin for a grid to exist.
    """

    family = "jpeg_grid"
    min_side = 64
    guide = Guide(
        looks_at="The faint 8 × 8 pixel grid that JPEG compression leaves in a picture.",
        how_to_read="A compact bright area carries a grid that is shifted against the rest, as a pasted part would.",
        when_it_lies="Fine regular patterns (textiles, tiles, text) imitate a grid; resizing removes it.",
    )

    def __init__(self, decision: float = 4.0, agreement: float = 0.5) -> None:
        self.decision = decision
        self.agreement = agreement

    def analyze(self, sample: Sample) -> Prediction:
        """Return the map of blocks whose artefacts lie inside them; see `Detector.analyze`."""
        plane = luma(sample.rgb)
        across, along = _grid_strength(plane), _grid_strength(np.ascontiguousarray(plane.T))
        left, sure_x = _origin(across)
        top, sure_y = _origin(along)
        if min(sure_x, sure_y) < self.agreement:
            raise NotApplicable("no 8 × 8 JPEG grid is seen in this picture")
        rows, cols = (sample.size[0] - top) // BLOCK, (sample.size[1] - left) // BLOCK
        if min(rows, cols) < 5:
            raise NotApplicable("fewer than five whole blocks along a side")
        inner = _excess(across, left, rows, cols, top) + _excess(along, top, cols, rows, left).T
        z = _standardized(inner)
        heat = special.expit((z - self.decision) * 1.5).astype(np.float32)
        heatmap = spread(heat, sample.size, offset=(top, left), smooth=True)
        score, size = _strongest(z, self.decision - 1.0)
        found = regions.from_heatmap(heatmap, self.name)
        return Prediction(
            self.name,
            sample.size,
            score,
            heatmap,
            regions=found,
            reasons=_reasons(size, top, left),
            evidence={"grid_origin": [left, top], "agreement": [sure_x, sure_y], "largest_blocks": size},
        )


def _grid_strength(plane: FloatArray) -> FloatArray:
    """Return (H, W) float32: what repeats every eight columns in the second differences along rows."""
    height, width = plane.shape
    strength = np.empty_like(plane)
    for start in range(0, height, _STRIP):
        low, high = max(0, start - _REACH), min(height, start + _STRIP + _REACH)
        part = plane[low:high]
        second = np.abs(2 * part - np.roll(part, 1, 1) - np.roll(part, -1, 1))
        second[:, [0, -1]] = 0
        second[second > _EDGE] = 0
        summed = cv2.boxFilter(second, -1, (1, 2 * _REACH + 1), normalize=False, borderType=cv2.BORDER_REFLECT_101)[
            start - low : min(height, start + _STRIP) - low
        ]
        padded = np.pad(summed, ((0, 0), (_PAD, _PAD)), mode="reflect")
        # One long row: the padding keeps neighbouring rows out of each other's windows.
        middle = ndimage.median_filter(padded.ravel(), 2 * _REACH + 1).reshape(padded.shape)
        lifted = padded - middle
        lags = [lifted[:, _PAD + lag : _PAD + lag + width] for lag in (-16, -8, 0, 8, 16)]
        strength[start : start + _STRIP] = _median_of_five(*lags)
    return strength


def _median_of_five(a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray, e: FloatArray) -> FloatArray:
    """Return the elementwise median by a selection network, several times faster than a sort."""
    low = np.maximum(np.minimum(a, b), np.minimum(c, d))
    high = np.minimum(np.maximum(a, b), np.maximum(c, d))
    return np.asarray(np.maximum(np.minimum(low, high), np.minimum(np.maximum(low, high), e)), np.float32)


def _origin(strength: FloatArray) -> tuple[int, float]:
    """Return the column (0 .. 7) where blocks begin, and the share of the picture's strips that agree on it."""
    columns = strength.shape[1] // BLOCK * BLOCK
    lines = min(24, max(1, strength.shape[0] // 16))
    votes = []
    for part in np.array_split(strength[:, :columns], lines):
        profile = part.mean(axis=0, dtype=np.float64).reshape(-1, BLOCK).mean(axis=0)
        votes.append(int(np.argmax(profile + np.roll(profile, 1))))
    counts = np.bincount(votes, minlength=BLOCK)
    return int(counts.argmax()), float(counts.max() / len(votes))


def _excess(strength: FloatArray, offset: int, rows: int, cols: int, start: int) -> FloatArray:
    """Return (rows, cols): largest inner column sum less the smaller border column sum, pooled over 5 × 5 blocks."""
    whole = strength[start : start + rows * BLOCK, offset : offset + cols * BLOCK]
    sums = whole.reshape(rows, BLOCK, cols, BLOCK).sum(axis=1)
    sums = cv2.blur(sums, (5, 5), borderType=cv2.BORDER_REFLECT_101)
    border = np.minimum(sums[..., 0], sums[..., BLOCK - 1])
    return np.asarray(sums[..., 1 : BLOCK - 1].max(axis=-1) - border, dtype=np.float32)


def _standardized(inner: FloatArray) -> NDArray[np.float32]:
    middle = float(np.median(inner))
    deviation = 1.4826 * float(np.median(np.abs(inner - middle)))
    if deviation <= 1e-6:
        raise NotApplicable("the picture is too flat for a grid to show")
    return np.asarray((inner - middle) / deviation, dtype=np.float32)


def _strongest(z: NDArray[np.float32], floor: float) -> tuple[float, int]:
    """Return (score, blocks) of the part that stands out most: mean excess times the root of its area."""
    best, blocks = 0.0, 0
    for region in regions.components(z > floor, min_area=9):
        x0, y0, x1, y1 = region.box
        value = float(z[y0:y1, x0:x1][region.mask].mean()) * region.area**0.5
        if value > best:
            best, blocks = value, region.area
    return best, blocks


def _reasons(blocks: int, top: int, left: int) -> list[Finding]:
    found = []
    if blocks:
        text = f"A part of {blocks} blocks carries JPEG block artefacts that do not lie on the picture's own grid."
        found.append(Finding("blk.shifted_grid", text, "notice", {"blocks": blocks}, "blk"))
    if top or left:
        text = f"The JPEG grid begins at column {left}, row {top}: the picture was cropped after a JPEG save."
        found.append(Finding("blk.grid_origin", text, "notice", {"left": left, "top": top}, "blk"))
    return found
