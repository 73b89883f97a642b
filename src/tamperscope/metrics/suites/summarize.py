"""From the rows of all pictures to a suite's numbers with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.metrics import image, regions
from tamperscope.metrics.confusion import Counts
from tamperscope.metrics.intervals import Difference, Interval, Statistic, bootstrap, mean, paired
from tamperscope.metrics.streaming import Pixels
from tamperscope.metrics.suites.base import Row, Rule, Suite
from tamperscope.metrics.suites.observe import RANKS

RANK_METRICS = {"auc", "ap", "eer", "eer_nearest", "tpr_at_fpr_1", "tpr_at_fpr_5"}
_CRITERIA = {"max_box_accuracy": (0.5,), "max_box_accuracy_v2": (0.3, 0.5, 0.7)}


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of a table.

    Attributes:
        metric: Column; a part of the pictures is named after an `@`.
        interval: The number, its interval, how many pictures stand behind it and how many left it undefined.
    """

    metric: str
    interval: Interval


def summarize(suite: Suite, rows: Sequence[Row], rounds: int = 500, seed: int = 0) -> list[Measured]:
    """Return the suite's numbers over all pictures of one detector.

    Args:
        suite: Which.
        rows: One a picture, in any order.
        rounds: Draws of the bootstrap.
        seed: Of the draws.
    """
    rows = sorted(rows, key=lambda r: r.key)
    found = []
    for name in columns(suite):
        values, statistic = samples(suite, name, rows)
        groups = [r.group for r in rows]
        found.append(Measured(name, bootstrap(values, groups, statistic, seed, rounds)))
    found += _parts(suite, rows, rounds, seed)
    return found + _videos(suite, rows, rounds, seed)


def columns(suite: Suite) -> list[str]:
    """Return the names of a suite's numbers over all pictures."""
    return [*(r.name for r in suite.pixel), *suite.regions, *(f"image_{name}" for name in suite.image)]


def compare(
    suite: Suite, name: str, first: Sequence[Row], second: Sequence[Row], rounds: int = 500, seed: int = 0
) -> Difference:
    """Return how much one detector is better than another by a column of the suite, on the pictures that both have.

    Positive means that the first has the higher number, which for rates of error is the worse.
    """
    others = {r.key: r for r in second}
    both = sorted((r for r in first if r.key in others), key=lambda r: r.key)
    a, statistic = samples(suite, name, both)
    b, _ = samples(suite, name, [others[r.key] for r in both])
    return paired(a, b, [r.group for r in both], statistic, seed, rounds)


def samples(suite: Suite, name: str, rows: Sequence[Row]) -> tuple[NDArray[np.float64], Statistic]:
    """Return one value or row of values a picture (nan = left out), and the statistic that makes the number of them."""
    if name.startswith("image_"):
        return _scored(name.removeprefix("image_"), rows)
    rule = next((r for r in suite.pixel if r.name == name), None)
    values = [r.values.get(name) for r in rows]
    if name in _CRITERIA:
        return _stacked(values), partial(regions.max_box_accuracy, criteria=_CRITERIA[name])
    if rule is None or rule.reduce == "image":
        return np.array([math.nan if v is None else float(v) for v in values]), mean
    if rule.metric in RANKS:
        return _stacked([None if v is None else _dense(v) for v in values]), partial(_rank_of, rule)
    return _stacked(values), partial(_counts_of, rule)


def _stacked(values: Sequence[Any]) -> NDArray[np.float64]:
    width = next((len(v) for v in values if v is not None), 1)
    return np.array([[math.nan] * width if v is None else v for v in values], np.float64).reshape(-1, width)


def _dense(value: Any) -> NDArray[np.int64]:
    return Pixels.from_json(value).histogram.ravel()


def _rank_of(rule: Rule, rows: NDArray[np.float64]) -> float:
    total = Pixels.from_histogram(rows.sum(axis=0).astype(np.int64).reshape(-1, 2))
    curve = total.curve
    return {"auc": curve.auc, "ap": curve.average_precision, "best_f1": curve.best_f1}[rule.metric]


def _counts_of(rule: Rule, rows: NDArray[np.float64]) -> float:
    return float(getattr(Counts(*rows.sum(axis=0)), rule.metric.removeprefix("soft_")))


def _scored(metric: str, rows: Sequence[Row]) -> tuple[NDArray[np.float64], Statistic]:
    """Rank metrics read the score, the others the probability; a picture without label or answer is left out."""
    ranks = metric in RANK_METRICS
    table = np.array(
        [[r.score if ranks else r.probability, math.nan if r.label is None else r.label] for r in rows], np.float64
    ).reshape(-1, 2)
    return table, partial(_image_metric, metric)


def _image_metric(metric: str, table: NDArray[np.float64]) -> float:
    return image.measure(table[:, 0], table[:, 1] > 0.5, (metric,))[metric]


def _parts(suite: Suite, rows: Sequence[Row], rounds: int, seed: int) -> list[Measured]:
    """Set the forged pictures of each value of the suite's field against all pristine ones, and add the mean."""
    names = sorted({str(r.fields[suite.by]) for r in rows if suite.by and r.label == 1 and r.fields.get(suite.by)})
    found: list[Measured] = []
    for metric in suite.image if names else ():
        each = []
        for name in names:
            part = [r for r in rows if r.label == 0 or str(r.fields.get(suite.by)) == name]
            values, statistic = _scored(metric, part)
            each.append(bootstrap(values, [r.group for r in part], statistic, seed, rounds))
            found.append(Measured(f"image_{metric}@{name}", each[-1]))
        defined = [i.value for i in each if not math.isnan(i.value)]
        value = float(np.mean(defined)) if defined else math.nan
        found.append(Measured(f"image_{metric}@mean", Interval(value, math.nan, math.nan, len(defined))))
    return found


def _videos(suite: Suite, rows: Sequence[Row], rounds: int, seed: int) -> list[Measured]:
    """Score whole videos: the mean over their frames, which are told by the video's full id."""
    frames = [r for r in rows if suite.video and r.fields.get("video") and r.label is not None]
    found = []
    for metric in suite.image if frames else ():
        ranks = metric in RANK_METRICS
        part = [r for r in frames if not math.isnan(r.score if ranks else r.probability)]
        scores = [r.score if ranks else r.probability for r in part]
        values, labels, names = image.by_video(
            scores, [int(r.label or 0) for r in part], [r.fields["video"] for r in part]
        )
        group = {r.fields["video"]: r.group for r in part}
        table = np.column_stack([values, labels]).astype(np.float64)
        interval = bootstrap(table, [group[n] for n in names], partial(_image_metric, metric), seed, rounds)
        found.append(Measured(f"video_{metric}", interval))
    return found
