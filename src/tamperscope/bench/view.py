"""Results arranged for reading: what tables, pages and comparisons show, in which order and in which words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol as Shape
from typing import TypeVar

from tamperscope.bench.baselines import CENTRE_BLOB, RANDOM, TABLE_LOOKUP
from tamperscope.bench.results import ANSWERED, MEAN, Comparison, LevelShare, Number, Point, Results, Tested
from tamperscope.bench.run import UNTOUCHED as _UNTOUCHED

UNTOUCHED = _UNTOUCHED.label
TRIVIAL = (RANDOM, CENTRE_BLOB, "ela", TABLE_LOOKUP)
MEANS = "Means over sets are of who has the number on at least half of the pictures of each set; n counts sets."
DASH = "–"
CLEAR = "✓"

# Shown first where a suite has them; what they leave out is in the full tables.
_MAIN = {
    "imdl": ("pixel_f1", "pixel_iou", "pixel_auc", "authentic_fpr", "image_auc", "image_balanced_accuracy"),
    "benco": ("pixel_f1", "pixel_iou", "pixel_auc", "image_f1", "image_auc", "image_accuracy"),
    "pooled": ("pooled_f1", "pooled_iou", "pooled_mcc", "pooled_fpr", "pooled_auc", "mean_auc"),
    "document": ("pixel_f1", "pixel_iou", "pooled_f1", "pooled_iou", "authentic_fpr", "image_auc"),
}
_MOST = 6
_LOWER = {"eer", "eer_nearest", "ece", "brier", "cllr", "authentic_fpr", "pooled_fpr"}


_Name = TypeVar("_Name")


class Measure(Shape):
    """Anything with a value and an interval."""

    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102


def decimal(value: float | None, sign: bool = False) -> str:
    """Return a number with three decimals and no zero before the point, such as `.448`; a dash for None."""
    if value is None:
        return DASH
    shown = round(value, 3) + 0.0  # turns −0 into 0
    text = f"{shown:+.3f}" if sign else f"{shown:.3f}"
    digits = text.lstrip("+-")
    mark = text[: -len(digits)].replace("-", "−")
    return mark + (digits[1:] if digits.startswith("0.") else digits)


def with_interval(measure: Measure | None, sign: bool = False) -> str:
    """Return value and interval, such as `.448 [.413, .483]`; a dash where nothing is defined."""
    if measure is None or measure.value is None:
        return DASH
    text = decimal(measure.value, sign)
    if measure.low is None or measure.high is None:
        return text
    return f"{text} [{decimal(measure.low, sign)}, {decimal(measure.high, sign)}]"


def with_count(measure: LevelShare | None) -> str:
    """Return value, interval and count."""
    return DASH if measure is None else f"{with_interval(measure)} (n = {measure.n})"


def p_words(p: float | None) -> str:
    """Return a p-value with its relation, such as `p = .012` or `p < .001`."""
    if p is None:
        return f"p {DASH}"
    return "p < .001" if p < 0.0005 else f"p = {decimal(p)}"


def lower_is_better(metric: str) -> bool:
    """Tell whether a column is a rate of error or a loss."""
    plain = metric.partition("@")[0].removeprefix("image_").removeprefix("video_")
    return plain in _LOWER


def heading(metric: str) -> str:
    """Return the name of a column, with an arrow where lower is better."""
    return f"{metric} ↓" if lower_is_better(metric) else metric


def ranked(numbers: Iterable[tuple[_Name, Number | None]], metric: str) -> list[_Name]:
    """Return what stands beside each number, best first; the undefined comes last, ties keep their order."""
    turn = 1.0 if lower_is_better(metric) else -1.0

    def order(pair: tuple[_Name, Number | None]) -> tuple[bool, float]:
        value = None if pair[1] is None else pair[1].value
        return value is None, 0.0 if value is None else turn * value

    return [name for name, _ in sorted(numbers, key=order)]


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers of one suite on one test set.

    Attributes:
        test: Test set.
        suite: Suite.
        metrics: Its columns in the suite's order.
        attacks: Attacks that were measured, in the protocol's order.
        rows: Subjects, best first by the first column on the untouched pictures.
        trivial: Those that a result must be clear of.
    """

    test: str
    suite: str
    metrics: tuple[str, ...]
    attacks: tuple[str, ...]
    rows: tuple[str, ...]
    trivial: tuple[str, ...]
    _numbers: dict[tuple[str, str, str], Number] = field(repr=False)
    _bars: dict[tuple[str, str, str], Comparison] = field(repr=False)

    @property
    def subjects(self) -> tuple[str, ...]:
        """All rows, the trivial ones at the foot."""
        return self.rows + self.trivial

    @property
    def main(self) -> tuple[str, ...]:
        """The columns to show first: at most six, pixels before pictures."""
        chosen = tuple(m for m in _MAIN.get(self.suite, ()) if m in self.metrics)
        if chosen:
            return chosen
        whole = [m for m in self.metrics if "@" not in m]
        pictures = [m for m in whole if m.startswith("image_")]
        others = [m for m in whole if m not in pictures]
        kept = others[: _MOST - min(len(pictures), _MOST // 2)]
        return tuple(kept + pictures[: _MOST - len(kept)])

    @property
    def leads(self) -> tuple[str, ...]:
        """The columns that are followed under attack: the first one, and the first of whole pictures."""
        image = next((m for m in self.main if m.startswith("image_") and m != self.metrics[0]), None)
        return self.metrics[:1] + ((image,) if image is not None else ())

    def number(self, subject: str, metric: str, attack: str = UNTOUCHED) -> Number | None:
        """Return one number, or None where it was not measured."""
        return self._numbers.get((attack, subject, metric))

    def column(self, metric: str, attack: str = UNTOUCHED) -> list[Number | None]:
        """Return the numbers of all rows in one column."""
        return [self.number(s, metric, attack) for s in self.subjects]

    def bar(self, subject: str, metric: str, attack: str = UNTOUCHED) -> Comparison | None:
        """Return the comparison of a number with its bar, or None."""
        return self._bars.get((attack, subject, metric))

    def common_n(self, metric: str, attack: str = UNTOUCHED) -> int | None:
        """Return how many pictures stand behind a column, or None where the rows differ."""
        counts = {x.n for x in self.column(metric, attack) if x is not None and x.value is not None}
        return counts.pop() if len(counts) == 1 else None

    def cell(self, subject: str, metric: str, attack: str = UNTOUCHED) -> str:
        """Return one cell: number, interval, a mark when clear of its bar, and n where the rows differ in it."""
        number, bar = self.number(subject, metric, attack), self.bar(subject, metric, attack)
        if number is None or number.value is None:
            return DASH
        text = with_interval(number) + (f" {CLEAR}" if bar is not None and bar.clear else "")
        return text if self.common_n(metric, attack) is not None else f"{text} (n = {number.n})"

    def title(self, metric: str, attack: str = UNTOUCHED) -> str:
        """Return the heading of a column, with n where the rows share it."""
        n = self.common_n(metric, attack)
        return heading(metric) if n is None else f"{heading(metric)} (n = {n})"


def tables(results: Results) -> list[Table]:
    """Return one table per test set and suite, in the order of the results."""
    numbers: dict[tuple[str, str], dict[tuple[str, str, str], Number]] = {}
    bars: dict[tuple[str, str], dict[tuple[str, str, str], Comparison]] = {}
    for number in results.numbers:
        place = numbers.setdefault((number.test, number.suite), {})
        place[(number.attack, number.subject, number.metric)] = number
    for bar in results.comparisons:
        bars.setdefault((bar.test, bar.suite), {})[(bar.attack, bar.subject, bar.metric)] = bar
    return [_table(results, *key, held, bars.get(key, {})) for key, held in numbers.items()]


def _table(
    results: Results,
    test: str,
    suite: str,
    numbers: dict[tuple[str, str, str], Number],
    bars: dict[tuple[str, str, str], Comparison],
) -> Table:
    attacks = {attack for attack, _, _ in numbers}
    names = list(dict.fromkeys(subject for _, subject, _ in numbers))
    metrics = tuple(dict.fromkeys(metric for _, _, metric in numbers))
    best = ranked(((s, numbers.get((UNTOUCHED, s, metrics[0]))) for s in names), metrics[0])
    known = [p.label for p in results.attacks if p.label in attacks]
    return Table(
        test=test,
        suite=suite,
        metrics=metrics,
        attacks=tuple(dict.fromkeys([*known, *sorted(attacks)])),
        rows=tuple(s for s in best if s not in TRIVIAL),
        trivial=tuple(s for s in TRIVIAL if s in names),
        _numbers=numbers,
        _bars=bars,
    )


def families(results: Results) -> Iterator[tuple[str, list[Point]]]:
    """Yield each attack family with its points in the protocol's order, the untouched pictures left out."""
    found: dict[str, list[Point]] = {}
    for point in results.attacks:
        if point.label != UNTOUCHED:
            found.setdefault(point.family, []).append(point)
    yield from found.items()


def undefined(results: Results, test: str) -> int:
    """Return the most pictures that any number on the untouched pictures of a set had to leave out."""
    return max((n.undefined for n in results.numbers if n.test == test and n.attack == UNTOUCHED), default=0)


def counts(results: Results, test: Tested) -> str:
    """Return what a test set holds, in one sentence."""
    if test.missing:
        return f"{test.name}: not measured, {test.missing}."
    return (
        f"{test.name}: {test.pictures} pictures ({test.forged} forged, {test.pristine} pristine), "
        f"{len(test.failed)} failed; at most {undefined(results, test.name)} left undefined by a number. "
        f"Licence: {'; '.join(test.licences)}."
    )


def bars_words(results: Results) -> str:
    """Return which number is set against which bar, in one sentence."""
    pairs = dict.fromkeys((c.metric, c.bar) for c in results.comparisons)
    if not pairs:
        return "Nothing was compared with a bar."
    listed = ", ".join(f"{metric} against {bar}" for metric, bar in pairs)
    return f"{CLEAR} clear of its bar: the interval of the paired difference lies above 0 ({listed})."


def summary(results: Results) -> list[str]:
    """Return what a reader should know first: the best of each set, whether it is clear of the bar, what failed."""
    said = [_best(table) for table in tables(results)]
    failed = sum(len(t.failed) for t in results.tests)
    pictures = sum(t.pictures for t in results.tests)
    why = ": they could not be read and are not scored" if failed else ""
    said.append(f"{failed} of {pictures} pictures failed{why}.")
    return said + [counts(results, t) for t in results.tests if t.missing]


def _best(table: Table) -> str:
    where, metric = f"On {table.test} ({table.suite})", table.metrics[0]
    told = {s: x for s in table.rows if (x := table.number(s, metric)) and x.value is not None}
    if not told:
        return f"{where} no subject has a defined {metric}."
    # Who answered for few may have been asked the easy ones.
    most = max(number.n for number in told.values())
    best, number = next((s, x) for s, x in told.items() if x.n >= ANSWERED * most)
    counted = "sets" if table.test == MEAN else "pictures"
    text = f"{where} the best subject by {metric} is {best} with {with_interval(number)} over {number.n} {counted}"
    if table.test == MEAN:
        return f"{text}."
    judged = [bar for m in table.metrics if (bar := table.bar(best, m)) is not None]
    return f"{text}; {'; '.join(map(_judged, judged))}." if judged else f"{text}; it was compared with no bar."


def _judged(bar: Comparison) -> str:
    verdict = "is clear of" if bar.clear else "is not clear of"
    gain = with_interval(bar, sign=True)
    return f"its {bar.metric} {verdict} {bar.bar} (difference {gain}, {p_words(bar.p)})"


def thresholds(results: Results) -> list[str]:
    """Return where decision thresholds come from, subjects of one origin together."""
    origins: dict[str, list[str]] = {}
    for subject in results.subjects:
        origins.setdefault(subject.threshold, []).append(subject.name)
    return [f"{', '.join(names)}: {origin}." for origin, names in origins.items()]


def protocol_words(results: Results) -> list[str]:
    """Return what was followed and how intervals were made."""
    said = [f"Follows: {results.source}"] if results.source else []
    said += [f"Learned subjects may train on: {results.trained_on}"] if results.trained_on else []
    drawn = f"Intervals: 95 %, bootstrap over sources, {results.rounds} rounds, seed {results.seed}."
    return [*said, drawn]


def verdicts(results: Results, test: str) -> list[tuple[str, str, LevelShare | None, LevelShare | None]]:
    """Return (attack, level, share of forged, share of pristine pictures at it or above) of the scan on a test set."""
    held = {(s.attack, s.level, s.label): s for s in results.levels if s.test == test}
    places = dict.fromkeys((attack, level) for attack, level, _ in held)
    return [(a, v, held.get((a, v, 1)), held.get((a, v, 0))) for a, v in places]
