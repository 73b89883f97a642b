"""Noisesniffer: finds areas that are less noisy than the rest of the picture allows, by an a-contrario test.

How: in each colour channel, 3 x 3 blocks at every pixel are sorted into bins of brightness; of each bin the tenth with
the least low-frequency energy is kept, and of these the less noisy half is red. If noise depends on brightness only,
red falls everywhere like a fair coin. Areas of 100-px cells are grown while their red count grows less likely, and
an area counts when it is expected less than once by chance in the whole picture (NFA < 1), over all connected shapes.

Decision level: 0.5 on the map is NFA = 1. The score is -log10 of the smallest NFA, 0 where none is below 1.

Departures from the published method, each because of what real photographs did: with counts as published, 151 of 181
untouched training pictures of over one megapixel raised an alarm, since neighbouring pixels of a JPEG depend on each
other and texture leaks into the noise. So
- red is the half with the least high-frequency energy (DCT coefficients i + j >= 3) instead of the least standard
  deviation: the low frequencies, by which blocks were chosen, tell of texture;
- a cell counts for at most N / 27 trials (overlap of 9, and three channels that share most of their noise), and for no
  more than the spread of red shares over the picture's own cells allows: m (1 - m) / s^2, with s the distance from the
  median down to the 16 % quantile (the lower side, which an area of low noise does not stretch);
- bins hold whole values of brightness, at least 20,000 blocks each; ties are broken by a hash of the position;
- blocks that touch 0 or 255 are dropped; cells with too few blocks take no part;
- areas are grown from the reddest cells on, and cells of an accepted area are not used again.
With these, 5 of the same 181 raised an alarm (cameras 1 of 52, web 0 of 1, objects 1 of 64, people 1 of 6, scanned
documents 2 of 22, generated portraits 0 of 36; the constants were chosen on these pictures, so expect somewhat more
elsewhere), and none of 240 pictures of synthetic noise, plain or saved as JPEG of quality 60 to 95.

Limits: it sees lower noise only, never higher; it needs over one megapixel and areas of several cells; a final JPEG of
medium quality, denoising in the camera or strong texture leave it blind (few alarms, few finds).

Source: Gardella, Musé, Morel, Colom, "Noisesniffer: a fully automatic image forgery detector based on noise analysis",
IWBF 2021, and its extension in IPOL 2024.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal.blocks import spread
from tamperscope.signal.nfa import log10_binomial_tail
from tamperscope.types import BoolArray, Finding, FloatArray, Prediction, Region, Sample, UInt8Array

MIN_PIXELS = 1_000_000
BLOCK = 3
RED_SHARE = 0.5
BLOCKS_PER_TRIAL = 3 * BLOCK * BLOCK
MIN_BLOCKS_OF_CELL = 90
MIN_CELLS = 30
# Connected shapes of R cells on the square lattice: about 0.316915 / R * 4.062570 ** R (lattice animals).
_ANIMALS_FACTOR, _ANIMALS_GROWTH = 0.316915, 4.062570
_DECADES_OF_HEAT = 4.0

Cell = tuple[int, int]


@dataclass(slots=True)
class Area:
    """A connected set of cells with its trials, its red trials and its log10 NFA."""

    cells: list[Cell]
    trials: float
    red: float
    log10_nfa: float = math.inf

    @property
    def red_share(self) -> float:
        """Share of red among the trials."""
        return self.red / self.trials


@dataclass(frozen=True, slots=True)
class CellCounts:
    """Blocks and red blocks of each cell, (rows, columns) int64, and the share of bins that took part."""

    blocks: NDArray[np.int64]
    red: NDArray[np.int64]
    valid_bins: float


@dataclass(frozen=True, slots=True)
class Background:
    """What the picture's own cells say of chance.

    Attributes:
        usable: (rows, columns) cells with enough blocks.
        share: (rows, columns) share of red; 0 where not usable.
        trials: (rows, columns) independent trials that a cell counts for.
        spread: Standard deviation of the red share over cells.
    """

    usable: BoolArray
    share: NDArray[np.float64]
    trials: NDArray[np.float64]
    spread: float
    _tails: dict[tuple[int, int], float] = field(default_factory=dict)

    def log10_tail(self, trials: float, red: float) -> float:
        """Return log10 P[Bin(floor(trials), 1/2) >= floor(red)]."""
        key = (math.floor(trials), math.floor(red))
        if key not in self._tails:
            self._tails[key] = log10_binomial_tail(*key, RED_SHARE)
        return self._tails[key]


class Noisesniffer(Detector):
    """A-contrario detector of areas with less noise than the rest.

    Args:
        cell: Side of a cell in pixels.
        bin_size: Fewest blocks of a bin of brightness.
        smooth_share: Share of each bin that is kept.
        nfa: An area counts when it is expected fewer times by chance.
    """

    family = "noise"
    min_side = 300
    guide = Guide(
        looks_at="The finest noise of the smoothest spots, compared with equally bright spots elsewhere.",
        how_to_read="A marked area has less noise than the rest of the picture explains: denoised, blurred or pasted.",
        when_it_lies="Blur by the lens, denoising in the camera and strong JPEG also lower noise, mostly everywhere.",
    )

    def __init__(self, cell: int = 100, bin_size: int = 20_000, smooth_share: float = 0.1, nfa: float = 1.0) -> None:
        self.cell, self.bin_size, self.smooth_share = cell, bin_size, smooth_share
        self.log10_level = math.log10(nfa)

    def analyze(self, sample: Sample) -> Prediction:
        """Return the areas of too little noise.

        Raises:
            NotApplicable: Too few pixels, or too few cells with smooth, unclipped blocks.
        """
        height, width = sample.size
        if height * width < MIN_PIXELS:
            raise NotApplicable(f"{height * width / 1e6:.3f} megapixels; needs {MIN_PIXELS / 1e6:.0f}")
        counts = count_cells(sample.rgb, self.cell, self.bin_size, self.smooth_share)
        background = model_background(counts)
        areas, evidence_of_cell = find_areas(background, self.log10_level)
        heatmap = self._heatmap(evidence_of_cell, sample.size)
        found = [self._region(area, counts.blocks.shape, sample.size) for area in areas]
        score = max(0.0, -areas[0].log10_nfa) if areas else 0.0
        evidence = {
            "cells": int(counts.blocks.size),
            "usable_cells": int(background.usable.sum()),
            "valid_bins_share": counts.valid_bins,
            "spread_of_red_share": background.spread,
            "trials_of_cell": float(np.median(background.trials[background.usable])),
            "best_log10_nfa": float(-evidence_of_cell.max()),
        }
        reasons = [_reason(area, self.name) for area in areas]
        if not areas:
            text = "No area is less noisy than the spread of noise over the picture allows."
            reasons = [Finding("noisesniffer.none", text, "info", dict(evidence), self.name)]
        return Prediction(self.name, sample.size, score, heatmap, found, reasons, evidence=evidence)

    def _heatmap(self, evidence: NDArray[np.float64], size: tuple[int, int]) -> FloatArray:
        """Return the (H, W) map: 0.5 where an area's NFA equals the level, a fixed slope on its logarithm."""
        decades = np.clip((evidence + self.log10_level) / _DECADES_OF_HEAT, -30.0, 30.0)
        return spread(1.0 / (1.0 + 10.0**-decades), size, self.cell)

    def _region(self, area: Area, grid: tuple[int, ...], size: tuple[int, int]) -> Region:
        mask = np.zeros(grid, dtype=np.float32)
        mask[tuple(np.array(area.cells).T)] = 1.0
        pixels = spread(mask, size, self.cell) > 0
        rows, cols = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
        values = {"log10_nfa": area.log10_nfa, "cells": len(area.cells), "red_share": area.red_share}
        return Region((x0, y0, x1, y1), pixels[y0:y1, x0:x1], -area.log10_nfa, self.name, values=values)


def count_cells(rgb: UInt8Array, cell: int, bin_size: int, smooth_share: float) -> CellCounts:
    """Count the smoothest blocks and the red ones among them in every cell, over the three channels.

    The last row and column of cells take what is left of the picture.
    """
    from tamperscope.signal.noise_blocks import smoothest_blocks

    rows, cols = max(1, rgb.shape[0] // cell), max(1, rgb.shape[1] // cell)
    blocks, red = np.zeros(rows * cols, dtype=np.int64), np.zeros(rows * cols, dtype=np.int64)
    bins = valid = 0
    for channel in range(3):
        found = smoothest_blocks(np.ascontiguousarray(rgb[..., channel]), bin_size, smooth_share, RED_SHARE, channel)
        y, x = np.minimum(found.rows // cell, rows - 1), np.minimum(found.cols // cell, cols - 1)
        index = y * cols + x
        blocks += np.bincount(index, minlength=rows * cols)
        red += np.bincount(index[found.red], minlength=rows * cols)
        bins, valid = bins + found.bins, valid + found.valid_bins
        del found, y, x, index  # hundreds of megabytes of a large picture, before the next channel
    return CellCounts(blocks.reshape(rows, cols), red.reshape(rows, cols), valid / max(bins, 1))


def model_background(counts: CellCounts) -> Background:
    """Return how many trials each cell counts for, given how red shares spread over the picture.

    Raises:
        NotApplicable: Too few cells hold enough blocks.
    """
    blocks = counts.blocks
    typical = float(np.median(blocks[blocks > 0])) if (blocks > 0).any() else 0.0
    usable = blocks >= max(MIN_BLOCKS_OF_CELL, 0.1 * typical)
    if usable.sum() < MIN_CELLS:
        raise NotApplicable(
            f"{int(usable.sum())} of {blocks.size} cells hold enough smooth, unclipped pixels; needs {MIN_CELLS}"
        )
    share = np.where(usable, counts.red / np.maximum(blocks, 1), 0.0)
    low, median = np.quantile(share[usable], (0.16, 0.5))
    deviation = float(median - low)
    most = RED_SHARE * (1.0 - RED_SHARE) / max(deviation, 1e-6) ** 2
    trials = np.where(usable, np.minimum(blocks / BLOCKS_PER_TRIAL, most), 0.0)
    return Background(usable, share, trials, deviation)


def log10_tests(cells: int, size: int) -> float:
    """Return log10 of the number of areas of `size` cells tested in a picture of `cells` cells.

    Half the block's area, times pairs of positions, times the number of lattice animals of that size.
    """
    animals = math.log10(_ANIMALS_FACTOR / size) + size * math.log10(_ANIMALS_GROWTH)
    return math.log10(0.5 * BLOCK**2) + 2.0 * math.log10(cells) + animals


def find_areas(background: Background, log10_level: float) -> tuple[list[Area], NDArray[np.float64]]:
    """Return the meaningful areas, best first, and the (rows, columns) best -log10 NFA of an area through each cell."""
    share, cells = background.share, background.share.size
    taken = ~background.usable
    lowest = -log10_tests(cells, 1)
    evidence = np.full(share.shape, lowest)
    found = []
    for flat in np.argsort(-share, axis=None, kind="stable"):
        seed = divmod(int(flat), share.shape[1])
        if share[seed] <= RED_SHARE:
            break
        if taken[seed]:
            continue
        area = grow(background, seed, taken)
        tail = background.log10_tail(area.trials, area.red)
        area.log10_nfa = tail + log10_tests(cells, len(area.cells))
        where = tuple(np.array(area.cells).T)
        evidence[where] = np.maximum(evidence[where], -area.log10_nfa)
        if area.log10_nfa < log10_level:
            taken[where] = True
            found.append(area)
    return sorted(found, key=lambda a: a.log10_nfa), evidence


def grow(background: Background, seed: Cell, taken: BoolArray) -> Area:
    """Return the area grown from `seed` over 4-neighbours that make its red count less likely, shapes considered."""
    area = Area([seed], float(background.trials[seed]), _red(background, seed))
    tail = background.log10_tail(area.trials, area.red)
    inside = {seed}
    for cell in area.cells:  # grows while it is walked: breadth first
        for near in _neighbours(cell, background.share.shape):
            if near in inside or taken[near]:
                continue
            trials, red = area.trials + float(background.trials[near]), area.red + _red(background, near)
            wider, size = background.log10_tail(trials, red), len(area.cells)
            # tail / size > 4 * wider / (size + 1): the number of shapes grows about fourfold with each cell.
            if tail - math.log10(size) > math.log10(4.0) + wider - math.log10(size + 1):
                area.cells.append(near)
                inside.add(near)
                area.trials, area.red, tail = trials, red, wider
    return area


def _red(background: Background, cell: Cell) -> float:
    return float(background.trials[cell] * background.share[cell])


def _neighbours(cell: Cell, grid: tuple[int, ...]) -> Iterator[Cell]:
    y, x = cell
    for row, col in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
        if 0 <= row < grid[0] and 0 <= col < grid[1]:
            yield row, col


def _reason(area: Area, origin: str) -> Finding:
    text = (
        f"An area of {len(area.cells)} cells has less noise than the rest: {100 * area.red_share:.0f} % of its smooth "
        f"spots are among the less noisy half (log10 of the number of false alarms: {area.log10_nfa:.1f})."
    )
    values = {"log10_nfa": area.log10_nfa, "cells": len(area.cells), "red_share": area.red_share}
    return Finding("noisesniffer.low_noise", text, "notice", values, origin)
