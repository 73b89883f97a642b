"""Results as one self-contained HTML page; it is built, guarded and styled as the report of a scan is.

Nothing is loaded and no script runs: the content security policy admits data URIs and the page's own style only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from statistics import mean
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from tamperscope.bench import charts, view
from tamperscope.bench.charts import Series
from tamperscope.bench.results import MEAN, Alarms, Comparison, Results, Tested, Worst
from tamperscope.bench.view import UNTOUCHED, Table
from tamperscope.errors import TamperscopeError, UnknownNameError
from tamperscope.metrics.suites import named
from tamperscope.report import html as house
from tamperscope.report import imaging

Pictures = Callable[[Worst], tuple[bytes | None, ...]]

_WORST = 8
_PANELS = ("picture", "map over it", "outline of the truth")


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on which a subject does badly, with the panels there are: (what, data URI)."""

    worst: Worst
    panels: list[tuple[str, Markup]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure: which family and number, the drawing, what it says in words."""

    family: str
    metric: str
    drawing: Markup


@dataclass(frozen=True, slots=True)
class Robustness:
    """The charts of one suite on one test set, and the legend that they share."""

    table: Table
    legend: list[tuple[str, Markup]]
    charts: list[Chart]


@dataclass(frozen=True, slots=True)
class Rates:
    """False alarms: one row a category, one column a subject, at one attack."""

    attack: str
    subjects: list[str]
    rows: list[tuple[str, list[Alarms | None]]]


@dataclass(frozen=True, slots=True)
class Section:
    """All that the page shows of one test set."""

    tested: Tested
    tables: list[Table]
    comparisons: list[Comparison]
    attacked: list[Comparison]
    robustness: list[Robustness]
    rates: list[Rates]
    forged: list[Shown]
    pristine: list[Shown]


def html(results: Results, pictures: Pictures | None = None) -> str:
    """Return the results as one HTML page that needs nothing else.

    Args:
        results: Of a bench.
        pictures: Gives the PNG bytes of a picture, of the map over it and of the truth's outline; None where there is
            none. A picture for which it raises an error of this package, or of the file system, is shown in words.
    """
    tables = view.tables(results)
    styles = _styles(tables)
    sections = [_section(results, t, [x for x in tables if x.test == t.name], styles, pictures) for t in results.tests]
    means = [table for table in tables if table.test == MEAN]
    shown = {"results": results, "sections": sections, "means": means}
    return render("bench.html.j2", title=results.title, version=results.version, **shown)


def render(template: str, **context: Any) -> str:
    """Return a page of this room, with the style of the house and the functions that its templates call."""
    return (
        _environment()
        .get_template(template)
        .render(**context, **_style(), view=view, charts=charts, about=_about, untouched=UNTOUCHED)
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return house.environment().overlay(loader=PackageLoader("tamperscope.bench"))


@lru_cache(maxsize=1)
def _style() -> dict[str, Markup]:
    own = resources.files("tamperscope.bench").joinpath("templates/bench.css").read_text(encoding="utf-8")
    css = f"\n{house.own_text('report.css')}\n{own}".replace("\r\n", "\n")
    policy = (
        f"default-src 'none'; img-src data:; style-src {house.policy_source(css)}; base-uri 'none'; form-action 'none'"
    )
    return {"css": Markup(css), "policy": Markup(policy)}


def _about(suite: str) -> str:
    try:
        return named.load(suite).about
    except UnknownNameError:
        return ""


def _styles(tables: Sequence[Table]) -> dict[str, int]:
    """Give the subjects that rank best over all tables the same look everywhere; the trivial ones are grey."""
    places: dict[str, list[int]] = defaultdict(list)
    for table in tables:
        for place, subject in enumerate(table.rows):
            places[subject].append(place)
    best = sorted(places, key=lambda s: (mean(places[s]), s))[: charts.STYLES]
    return {subject: style for style, subject in enumerate(best)} | dict.fromkeys(view.TRIVIAL, charts.STYLES)


def _section(
    results: Results, tested: Tested, tables: list[Table], styles: Mapping[str, int], pictures: Pictures | None
) -> Section:
    compared = [c for c in results.comparisons if c.test == tested.name]
    worst = [w for w in results.worst if w.test == tested.name]
    by_label = {k: [_shown(w, pictures) for w in [w for w in worst if w.label == k][:_WORST]] for k in (0, 1)}
    return Section(
        tested=tested,
        tables=tables,
        comparisons=[c for c in compared if c.attack == UNTOUCHED],
        attacked=[c for c in compared if c.attack != UNTOUCHED],
        robustness=[found for t in tables if (found := _robustness(results, t, styles)).charts],
        rates=list(_rates([a for a in results.alarms if a.test == tested.name])),
        forged=by_label[1],
        pristine=by_label[0],
    )


def _shown(worst: Worst, pictures: Pictures | None) -> Shown:
    try:
        found = pictures(worst) if pictures is not None else ()
    except (TamperscopeError, OSError):
        found = ()
    named_panels = zip(_PANELS, found, strict=False)
    return Shown(worst, [(what, Markup(imaging.data_uri(data, "png"))) for what, data in named_panels if data])


def _rates(alarms: Sequence[Alarms]) -> Iterator[Rates]:
    """Yield one table per attack, the untouched pictures first as the results have them."""
    for attack in dict.fromkeys(a.attack for a in alarms):
        held = {(a.category, a.subject): a for a in alarms if a.attack == attack}
        subjects = list(dict.fromkeys(subject for _, subject in held))
        kinds = sorted({category for category, _ in held})
        yield Rates(attack, subjects, [(kind, [held.get((kind, s)) for s in subjects]) for kind in kinds])


def _robustness(results: Results, table: Table, styles: Mapping[str, int]) -> Robustness:
    look = {subject: style for subject, style in styles.items() if subject in table.subjects}
    drawn = [
        chart
        for family, points in view.families(results)
        for metric in table.leads
        if (chart := _chart(table, look, family, metric, [(p.label, p.strength) for p in points])) is not None
    ]
    legend = [(name, charts.swatch(style)) for name, style in look.items() if style < charts.STYLES]
    if table.trivial:
        legend.append((", ".join(table.trivial), charts.swatch(charts.STYLES)))
    return Robustness(table, legend, drawn)


def _chart(
    table: Table, look: Mapping[str, int], family: str, metric: str, points: list[tuple[str, float | None]]
) -> Chart | None:
    labels = [UNTOUCHED, *(label for label, _ in points)]
    series = [Series(s, style, [table.number(s, metric, a) for a in labels]) for s, style in look.items()]
    series = [one for one in series if any(p is not None and p.value is not None for p in one.points[1:])]
    if not series:
        return None
    said = f"{metric} under {family}, from {', '.join(labels)}. " + "; ".join(map(charts.described, series))
    strengths = [strength for _, strength in points if strength is not None]
    if len(strengths) == len(points):
        return Chart(family, metric, charts.curves(series, strengths, said))
    return Chart(family, metric, charts.dots(series, labels, said))
