"""Validation: the exact metrics of a network's answers at each picture's own resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tamperscope.engine.recipe import IMAGE, METRICS, PIXEL, POOLED
from tamperscope.errors import InputError
from tamperscope.metrics import image, pixel
from tamperscope.metrics.streaming import Pixels
from tamperscope.types import Prediction, Sample


@dataclass(slots=True)
class Tally:
    """What the answers for some pictures were; several can be joined, in any order.

    Attributes:
        rows: Values of `pixel_…` by name, of each forged picture, by its place.
        scores: Score and label of each picture, by its place.
        pixels: All pixels of pictures whose truth is known.
    """

    rows: dict[int, dict[str, float]] = field(default_factory=dict)
    scores: dict[int, tuple[float, int]] = field(default_factory=dict)
    pixels: Pixels = field(default_factory=Pixels)

    def add(self, place: int, sample: Sample, answer: Prediction) -> None:
        """Take in the answer for a picture.

        Raises:
            InputError: The label is not known.
        """
        if sample.label is None:
            raise InputError(f"validation: expected a label of '{sample.id}', found none")
        self.scores[place] = (answer.score, sample.label)
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

    def metrics(self) -> dict[str, float]:
        """Return every one of `METRICS`; nan where it is not defined.

        `pixel_…` are means over forged pictures at the fixed threshold 0.5, `pooled_…` are of all pixels together,
        `image_…` of the scores.
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
        return {name: float(found.get(name, math.nan)) for name in METRICS}


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return math.fsum(known) / len(known) if known else math.nan


def tally(predictor: Callable[[Sample], Prediction], pictures: Iterable[tuple[int, Sample]]) -> Tally:
    """Return what a predictor answers for pictures, each with its place in the whole list."""
    found = Tally()
    for place, sample in pictures:
        found.add(place, sample, predictor(sample))
    return found


def table(metrics: Mapping[str, float], before: Mapping[str, float] | None = None) -> str:
    """Return metrics as lines of text, with those of another time beside them."""
    width = max(map(len, metrics), default=0)
    lines = []
    for name, value in metrics.items():
        beside = "" if before is None else f"  (at first {_shown(before.get(name, math.nan))})"
        lines.append(f"{name:{width}}  {_shown(value)}{beside}")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
