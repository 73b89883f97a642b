"""Validation: the exact metrics of a network's answers at each picture's own resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tamperscope.data.sequences import edits
from tamperscope.engine.recipe import CLASS, IMAGE, METRICS, PIXEL, POOLED, SEQUENCE
from tamperscope.errors import InputError
from tamperscope.metrics import image, pixel, sequences
from tamperscope.metrics.classes import Table
from tamperscope.metrics.streaming import Pixels
from tamperscope.ops.forge.video.clip import Clip
from tamperscope.types import Prediction, Sample

ALIKE = 0.01
"""Pixels called forged, as a share of the forged ones, below which a map is as good as empty; or the other way."""


@dataclass(slots=True)
class Tally:
    """What the answers for some pictures were; several can be joined, in any order.

    Attributes:
        rows: Values of `pixel_…` by name, of each forged picture, by its place.
        scores: Score and label of each picture, by its place.
        pixels: All pixels of pictures whose truth is known.
        table: The same by editor, where editors are told apart.
        orders: Fixed and adaptive accuracy of each picture whose edits are known, by its place, where they are told.
        unasked: Why a picture was not asked, such as one without a face, by its place; it has no metrics.
    """

    rows: dict[tuple[int, ...], dict[str, float]] = field(default_factory=dict)
    scores: dict[tuple[int, ...], tuple[float, int]] = field(default_factory=dict)
    pixels: Pixels = field(default_factory=Pixels)
    table: Table | None = None
    orders: dict[tuple[int, ...], tuple[float, float]] | None = None
    unasked: dict[tuple[int, ...], str] = field(default_factory=dict)

    def add(self, place: tuple[int, ...], sample: Sample, answer: Prediction) -> None:
        """Take in the answer for a picture, or for a frame of a clip, which has a place of its own.

        Raises:
            InputError: The label is not known.
        """
        if answer.status != "ok":
            self.unasked[place] = answer.cause
            return
        if sample.label is None:
            raise InputError(f"validation: expected a label of '{sample.id}', found none")
        self.scores[place] = (answer.score, sample.label)
        if self.table is not None and sample.classes is not None and answer.classes is not None:
            self.table.add(answer.classes, sample.classes)
        truth = None if self.orders is None else edits(sample.meta, sample.label)
        if self.orders is not None and truth is not None:
            called = answer.evidence.get("sequence", [])
            self.orders[place] = sequences.fixed_accuracy(called, truth), sequences.adaptive_accuracy(called, truth)
        if sample.mask is None or answer.heatmap is None:
            return
        self.pixels.add(answer.heatmap, sample.mask)
        if sample.mask.any():
            self.rows[place] = pixel.measure(answer.heatmap, sample.mask, PIXEL)

    def join(self, other: Tally) -> None:
        """Take in what another one has seen."""
        self.rows |= other.rows
        self.scores |= other.scores
        self.pixels += other.pixels
        self.unasked |= other.unasked
        if self.table is not None and other.table is not None:
            self.table += other.table
        if self.orders is not None and other.orders is not None:
            self.orders |= other.orders

    @property
    def alike(self) -> str:
        """What all maps say alike, "" where they do not: a network that teaches itself may end so, at no loss."""
        counts = self.pixels.counts
        if counts.tp + counts.fp < ALIKE * (counts.tp + counts.fn):
            return "hardly a pixel is called forged"
        if counts.tn + counts.fn < ALIKE * (counts.tn + counts.fp):
            return "hardly a pixel is called authentic"
        return ""

    def metrics(self) -> dict[str, float]:
        """Return every one of `METRICS`, nan where it is not defined; those of editors and edits where they are told.

        `pixel_…` are means over forged pictures at the fixed threshold 0.5, `pooled_…` are of all pixels together,
        `image_…` of the scores, `class_…` of the maps of editors, `sequence_…` means over pictures.
        """
        rows = [self.rows[place] for place in sorted(self.rows)]
        listed = [self.scores[place] for place in sorted(self.scores)]
        found = {f"pixel_{n}": _mean([row[n] for row in rows]) for n in PIXEL}
        counts = self.pixels.counts
        pooled = {"f1": counts.f1, "iou": counts.iou, "auc": self.pixels.curve.auc}
        found |= {f"pooled_{n}": pooled[n] for n in POOLED}
        scores, labels = np.array([s for s, _ in listed]), np.array([bool(label) for _, label in listed])
        if listed and labels.any() and not labels.all():
            found |= {f"image_{n}": v for n, v in image.measure(scores, labels, IMAGE).items()}
        if self.table is not None:
            found |= {f"{CLASS}{n}": v for n, v in self.table.metrics().items()}
        orders = [self.orders[place] for place in sorted(self.orders)] if self.orders else []
        found |= {f"{SEQUENCE}{n}": _mean([row[i] for row in orders]) for i, n in enumerate(("fixed", "adaptive"))}
        without = tuple(n for n, held in ((CLASS, self.table), (SEQUENCE, self.orders)) if held is None)
        wanted = [name for name in METRICS if not name.startswith(without)]
        return {name: float(found.get(name, math.nan)) for name in wanted}


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return math.fsum(known) / len(known) if known else math.nan


def tally(
    predictor: Callable[[Sample], Prediction],
    pictures: Iterable[tuple[int, Sample | Clip]],
    clips: Callable[[Sequence[Sample]], Sequence[Prediction]] | None = None,
    editors: int = 0,
    ordered: bool = False,
) -> Tally:
    """Return what a predictor answers for pictures and clips, and which of them it was not asked.

    Args:
        predictor: Answers for a picture.
        pictures: Pictures and clips, each with its place in the whole list.
        clips: Answers for the frames of a clip; None = frames are pictures.
        editors: Number of editors that are told apart; 0 = none.
        ordered: Whether answers tell edits in their order.
    """
    found = Tally(table=Table(editors + 1) if editors else None, orders={} if ordered else None)
    for place, opened in pictures:
        frames = opened.frames if isinstance(opened, Clip) else (opened,)
        answers = [predictor(frame) for frame in frames] if clips is None else clips(frames)
        for number, (frame, answer) in enumerate(zip(frames, answers, strict=True)):
            found.add((place, number), frame, answer)
    return found


def table(metrics: Mapping[str, float], before: Mapping[str, float] | None = None) -> str:
    """Return metrics as lines of text, with those of another time beside them; what neither has is left out."""
    earlier = {} if before is None else before
    metrics = {n: v for n, v in metrics.items() if not (math.isnan(v) and math.isnan(earlier.get(n, math.nan)))}
    width = max(map(len, metrics), default=0)
    lines = []
    for name, value in metrics.items():
        beside = "" if before is None else f"  (at first {_shown(earlier.get(name, math.nan))})"
        lines.append(f"{name:{width}}  {_shown(value)}{beside}")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
