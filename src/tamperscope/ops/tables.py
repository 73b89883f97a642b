"""Quantization tables as other software might write them: what was made with the IJG's alone teaches only those."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamperscope.media.quantization import Table, ijg_table

# Assumed shares and spans: wide enough that the tables of cameras, editors and web services lie among those drawn.
_FORMULA, _CAPPED, _FOLDED, _SAME = 0.5, 0.5, 0.15, 0.15


def drawn(seed: int, quality: int) -> tuple[Table, Table]:
    """Return luma and chroma tables (8, 8) uint16, 1 to 255, about as coarse as the IJG's at a quality.

    Half of them bend and tilt the IJG's base tables; half follow a formula, where steps grow with the frequency. Some
    are cut off at a greatest step, as most cameras' and editors' are, and some fall to it again where the frequencies
    are high, as Photoshop's do.

    Args:
        seed: Says which tables.
        quality: 1 to 100.

    Raises:
        InvalidValueError: `quality` is outside 1 to 100.
    """
    rng = np.random.default_rng(seed)
    formula, same = rng.random() < _FORMULA, rng.random() < _SAME
    level = _level(ijg_table(quality)) + rng.normal(0, 0.1)
    luma = _table(rng, ijg_table(50), level, formula)
    if same:
        return luma, luma
    coarser = level + rng.uniform(0.0, 0.8)
    return luma, _table(rng, ijg_table(50, chroma=True), coarser, formula)


def _table(rng: np.random.Generator, base: Table, level: float, formula: bool) -> Table:
    rows, columns = np.mgrid[:8, :8] / 7.0
    steps = _grown(rng, rows, columns) if formula else np.log(base) * rng.uniform(0.6, 1.25)
    steps = steps + rng.normal(0, 0.12) * rows + rng.normal(0, 0.12) * columns
    if not formula or rng.random() < 0.3:
        steps = steps + rng.normal(0, rng.uniform(0.0, 0.12), (8, 8))
    if rng.random() < _CAPPED:
        cap = float(np.quantile(steps, rng.uniform(0.3, 0.95)))
        steps = np.minimum(steps, cap)
        if rng.random() < _FOLDED / _CAPPED:
            steps = np.where(rows + columns > rng.uniform(0.7, 1.2), min(cap, float(np.median(steps))), steps)
    found = np.exp(steps - _level(np.exp(steps)) + level)
    return np.clip(np.rint(found), 1, 255).astype(np.uint16)


def _grown(rng: np.random.Generator, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logarithms of steps that grow with the distance from the mean value, from a flat start."""
    power = rng.uniform(1.0, 2.0)
    distance = (rows**power + columns**power) ** (1 / power) / 2 ** (1 / power)
    flat = rng.uniform(0.0, 0.3)
    rise = np.maximum(distance - flat, 0) / (1 - flat)
    # Linear, exponential or between: both are met.
    shape = rng.uniform(0.7, 1.5)
    most = rng.uniform(0.5, 3.0)
    straight, bent = np.log1p((np.exp(most) - 1) * rise**shape), most * rise**shape
    mix = rng.random()
    return np.asarray(mix * straight + (1 - mix) * bent)


def _level(table: NDArray[np.generic]) -> float:
    """Return the mean logarithm of the steps of the low half of the frequencies, which files keep."""
    rows, columns = np.mgrid[:8, :8]
    return float(np.log(np.asarray(table, np.float64)[rows + columns < 7]).mean())
