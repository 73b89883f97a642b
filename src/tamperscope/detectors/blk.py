"""Finds areas whose block artefacts lie on another 8 x 8 grid than the picture's own (BLK).

JPEG leaves faint steps at the borders of its blocks. Lines that recur every eight pixels are extracted from second
differences of the luma (0 above 50, summed over 33 pixels along the line, minus the median over 33 across it, then the
median of five lines eight pixels apart), their phase in the whole picture gives the main grid, and an area in which
lines *inside* the main blocks outweigh those on the borders carries a foreign grid. Degrades slowly with the quality of
the last save, where ZERO goes blind at once, but has no bound on false alarms.

Departures from the published method:

* The main grid's phase is estimated first, by a vote of all blocks, so that cropped pictures do not light up;
  where no phase leads the second by 10 % of the votes in one direction at least, the detector abstains.
* Luma is rounded, which makes all sums and medians exact integers.
* Per block and direction the eight line sums are divided by their mean magnitude + 5 and averaged over 9 x 9 blocks; a
  step shows in two neighbouring lines, so the smaller of each pair counts. The score of a block is the strongest inner
  pair minus the border pair (if positive), in the direction where that is larger (published: largest inner line minus
  smallest border line, both directions added). Chosen on training pictures.
* The map is a fixed logistic of that score, 0.5 at 1.8, which less than 1 % of the area of pristine pictures exceeds.
  A robust z against the picture's own blocks is worse: areas without any grid then stand out of a strong one.

Source: Li, Yuan, Yu, "Passive detection of doctored JPEG image via block artifact grid extraction", Signal
Processing 89 (9), 2009.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal.blocks import BLOCK, spread
from tamperscope.signal.regions import from_heatmap
from tamperscope.types import Finding, FloatArray, Prediction, Sample, UInt8Array

_BASE = 5.0  # keeps flat blocks, whose lines are noise, near zero
_POOL = 9  # blocks
_LEAD = 0.1
_WIDTH = 0.3


class Blk(Detector):
    """Detector of block artefacts off the main grid.

    Args:
        decision: Score of a block at which the heatmap is 0.5.
    """

    family = "jpeg_grid"
    min_side = 96
    guide = Guide(
        looks_at="Faint lines every 8 pixels that JPEG compression leaves at block borders.",
        how_to_read="A bright area has such lines at another position than the rest: it may come from another JPEG.",
        when_it_lies="Fine regular patterns (textiles, blinds, text) can mimic lines; strong compression hides them.",
    )

    def __init__(self, decision: float = 1.8) -> None:
        self.decision = decision

    def analyze(self, sample: Sample) -> Prediction:
        """Return the map of lines off the main grid; score = that of the most suspicious block.

        Raises:
            NotApplicable: The picture shows no 8 x 8 grid of block artefacts.
        """
        down, across = _lines(sample.rgb)
        top, lead_y = _phase(down)
        left, lead_x = _phase(across)
        if max(lead_y, lead_x) < _LEAD:
            raise NotApplicable(
                f"no grid of block artefacts stands out (lead of the best phase {max(lead_y, lead_x):.3f}, "
                f"needs {_LEAD}): never a JPEG, resized, or compressed lightly"
            )
        values = np.maximum(_foreign(down, top, left), _foreign(across, left, top).T)
        score = float(values.max())
        heat = 1 / (1 + np.exp(np.clip((self.decision - values) / _WIDTH, -50, 50)))
        del down, across  # as large as the picture
        heatmap = spread(heat, sample.size, BLOCK, (top, left), smooth=True)
        evidence = {"grid_origin": [left, top], "lead": [lead_x, lead_y], "decision": self.decision}
        return Prediction(
            self.name,
            sample.size,
            score,
            heatmap,
            from_heatmap(heatmap, self.name),
            _reasons(self.name, score, self.decision, left, top),
            evidence=evidence,
        )


def _lines(rgb: UInt8Array) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return the strength of horizontal lines, (H, W), and of vertical ones, transposed: (W, H)."""
    from tamperscope.signal.grid_lines import grid_lines
    from tamperscope.signal.grid_votes import luma8

    luma = luma8(np.ascontiguousarray(rgb))
    return grid_lines(luma), grid_lines(np.ascontiguousarray(luma.T))


def _blocks(lines: NDArray[np.int16], first: int, second: int) -> FloatArray:
    """Return (rows, columns, 8) line sums of the blocks that start at (first, second), by their mean magnitude."""
    rows, cols = (lines.shape[0] - first) // BLOCK, (lines.shape[1] - second) // BLOCK
    whole = lines[first : first + rows * BLOCK, second : second + cols * BLOCK]
    sums = whole.reshape(rows, BLOCK, cols, BLOCK).sum(axis=3, dtype=np.float32).transpose(0, 2, 1)
    return np.asarray(sums / (np.abs(sums).mean(axis=2, keepdims=True) + _BASE), dtype=np.float32)


def _pairs(sums: FloatArray) -> FloatArray:
    """Return twice the smaller of the two lines beside each of the eight borders; 0 is the block's own border."""
    return np.asarray(2 * np.minimum(sums, np.roll(sums, 1, axis=-1)), dtype=np.float32)


def _phase(lines: NDArray[np.int16]) -> tuple[int, float]:
    """Return the phase (0 to 7) that most blocks hold for the strongest, and the share by which it leads the second."""
    blocks = _blocks(lines, 0, 0)
    seen = np.any(blocks, axis=2)
    share = np.bincount(_pairs(blocks).argmax(axis=2)[seen], minlength=BLOCK) / max(int(seen.sum()), 1)
    order = np.argsort(share, kind="stable")
    return int(order[-1]), float(share[order[-1]] - share[order[-2]])


def _foreign(lines: NDArray[np.int16], first: int, second: int) -> FloatArray:
    """Return (rows, columns): the strongest pair of lines inside each block minus that on its border."""
    sums = np.ascontiguousarray(_blocks(lines, first, second))
    pooled = cv2.boxFilter(sums, -1, (_POOL, _POOL), borderType=cv2.BORDER_REFLECT_101)
    pairs = _pairs(np.asarray(pooled, dtype=np.float32))
    return np.asarray(pairs[..., 1:].max(axis=-1) - np.maximum(pairs[..., 0], 0), dtype=np.float32)


def _reasons(name: str, score: float, decision: float, left: int, top: int) -> list[Finding]:
    found = []
    if score > decision:
        text = "An area has block artefacts off the picture's own JPEG grid."
        found.append(Finding("blk.shifted_grid", text, "notice", {"score": score, "decision": decision}, name))
    if left or top:
        text = f"The picture's block artefacts start at ({left}, {top}), not (0, 0): it was cropped after a JPEG save."
        found.append(Finding("blk.grid_origin", text, "notice", {"left": left, "top": top}, name))
    return found
