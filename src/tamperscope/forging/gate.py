"""The gate: forgeries that are wrong, invisible or betray themselves are turned away, each for a stated reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import cv2
import numpy as np

from tamperscope.data.annotating import quality
from tamperscope.errors import InputError, InvalidValueError
from tamperscope.forging.making import Made, make
from tamperscope.forging.plan import Plan, draw
from tamperscope.forging.pool import Pool, UnreadableError
from tamperscope.forging.recipe import Gate, Recipe
from tamperscope.ops.forge import shapes
from tamperscope.signal import seam
from tamperscope.types import BoolArray, Sample

M = TypeVar("M")
F = TypeVar("F")
FEATHER = 2
"""Pixels around its mask in which an edit may still change something."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the gate measures.

    Attributes:
        area: Share of the picture that the mask covers.
        agreement: Intersection over union of mask and changed pixels, as delivered.
        change: Mean absolute difference from the twin inside of the mask, grey levels, as delivered.
        certainty: `certainty` of the change, as delivered.
        halo: Colour step across the mask's outline, as a multiple of the twin's, as delivered.
        spill: Pixels that changed before delivery further than `FEATHER` from the mask.
        alike: Whether forgery and twin are files of one format, size, table set and coding.
    """

    area: float
    agreement: float
    change: float
    certainty: float
    halo: float
    spill: int
    alike: bool


@dataclass(slots=True, eq=False)
class Outcome(Generic[M, F]):
    """What came of the draws for one picture or clip.

    Attributes:
        made: The first forgery that passed, or None where none did.
        measured: What the gate measured of it.
        level: Grey levels beyond which a pixel of it counts as changed.
        rejected: Number of draws that were turned away, by reason.
        causes: Number of those that were `impossible`, by what was found amiss.
        unreadable: Photographs that could not be opened, with the cause, by name.
    """

    made: M | None = None
    measured: F | None = None
    level: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)


def pick(recipe: Recipe, pool: Pool, seed: int, index: int) -> Outcome[Made, Measured]:
    """Draw forgeries for one picture until one passes; a photograph that cannot be opened costs one draw."""

    def judge(made: Made, limits: Gate) -> tuple[Measured, str]:
        found = measure(made, limits.level)
        return found, reason(found, limits)

    return first(recipe, lambda attempt: draw(recipe, pool, seed, index, attempt), lambda plan: make(plan, pool), judge)


def first(
    recipe: Recipe,
    draw: Callable[[int], Plan | None],
    make: Callable[[Plan], M],
    judge: Callable[[M, Gate], tuple[F, str]],
) -> Outcome[M, F]:
    """Return the first forgery that passes the gate, of as many draws as the recipe allows.

    Args:
        recipe: Tells the limits.
        draw: From the number of an attempt to a plan, or None where its host has no donor.
        make: From a plan to the forgery.
        judge: From a forgery and its limits to what was measured, and why it is turned away, or "".
    """
    outcome: Outcome[M, F] = Outcome()
    for attempt in range(recipe.tries):
        plan = draw(attempt)
        if plan is None:
            outcome.rejected["donor"] += 1
            continue
        try:
            made = make(plan)
        except UnreadableError as error:
            outcome.unreadable[error.photo] = str(error)
            outcome.rejected["unreadable"] += 1
            continue
        except (InvalidValueError, InputError) as error:
            outcome.rejected["impossible"] += 1
            # Without the picture's name and its own numbers, so that the same cause is counted as one.
            outcome.causes[re.sub(r"^'[^']*': |, found .*", "", str(error))] += 1
            continue
        limits = recipe.gate_of(plan.steps[0].operation)
        found, why = judge(made, limits)
        if not why:
            outcome.made, outcome.measured, outcome.level = made, found, limits.level
            break
        outcome.rejected[why] += 1
    return outcome


def changes(made: Made, level: int) -> BoolArray:
    """Return where forgery and twin differ by more than `level` grey levels in a channel, as delivered; (H, W)."""
    # Much faster than a maximum over the last axis.
    red, green, blue = cv2.split(cv2.absdiff(made.sample.rgb, made.twin.rgb))
    return np.asarray(cv2.max(cv2.max(red, green), blue) > level)


def measure(made: Made, level: int) -> Measured:
    """Return what the gate measures of a forgery; `level` is that of `changes`."""
    mask = made.turns > 0
    alike = _format(made.data, made.sample) == _format(made.twin_data, made.twin)
    if made.sample.size != made.twin.size:
        return Measured(float(mask.mean()), 0.0, 0.0, 0.0, 1.0, 0, False)
    changed = changes(made, level)
    difference = cv2.absdiff(made.sample.rgb, made.twin.rgb)[mask]
    steps = [_step(sample, mask) for sample in (made.sample, made.twin)]
    return Measured(
        area=round(float(mask.mean()), 6),
        agreement=round(float((mask & changed).sum() / (mask | changed).sum()), 4),
        change=round(float(difference.mean()), 3),
        certainty=round(certainty(made.sample, made.twin, level), 4),
        halo=round((steps[0] + 1) / (steps[1] + 1), 3),
        spill=_spill(made),
        alike=alike,
    )


def certainty(sample: Sample, twin: Sample, level: int) -> float:
    """Return how decided a change is: the pixels that surely changed as a share of those that may have; 0 for none.

    The quality score of MIML's automatic masks (Qu et al., CVPR 2024: probability above 15/16 over probability above
    1/16), where the soft map is the mean difference of a pixel's 5 x 5 surroundings, full at twice `level`. A crisp
    edit has a score near 1; one that fades away, or that compression spread, a low one.

    Args:
        sample: The forgery.
        twin: Its twin, of the same size.
        level: Grey levels, as for `changes`.
    """
    difference = cv2.blur(cv2.absdiff(sample.rgb, twin.rgb), (5, 5)).max(axis=2) / max(2 * level, 1)
    return quality.qes(difference.astype(np.float32))


def reason(found: Measured, limits: Gate) -> str:
    """Return why a forgery is turned away, in one word, or "" where it passes."""
    faults = {
        "format": not found.alike,
        "spill": found.spill > 0,
        "area": not limits.area[0] <= found.area <= limits.area[1],
        "invisible": found.change < limits.change,
        "uncertain": found.certainty < limits.certainty,
        "disagreement": not limits.agreement[0] <= found.agreement <= limits.agreement[1],
        "halo": found.halo > limits.halo,
    }
    return next((name for name, wrong in faults.items() if wrong), "")


def _spill(made: Made) -> int:
    """Return how many pixels changed outside of the feather; none counts where an edit encodes all anew."""
    if any(edit.get("reencoded") for edit in made.edits):
        return 0
    size = 2 * FEATHER + 1
    mask = np.zeros(made.after.size, np.uint8) if made.after.mask is None else made.after.mask.astype(np.uint8)
    reach = cv2.dilate(mask, np.ones((size, size), np.uint8)).astype(bool)
    return int(((made.after.rgb != made.before.rgb).any(axis=2) & ~reach).sum())


def _step(sample: Sample, mask: BoolArray) -> float:
    rows, columns = shapes.box(mask)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    return seam.step(sample.rgb, box, mask[rows, columns])


def _format(data: bytes, sample: Sample) -> tuple[object, ...]:
    """Return what a table could tell of a file: its container, size, quantization tables and sampling."""
    jpeg = sample.jpeg
    tables = () if jpeg is None else tuple(table.tobytes() for table in jpeg.qtables)
    return data[:4], sample.size, tables, () if jpeg is None else (jpeg.sampling, jpeg.progressive)
