"""Small charts as inline SVG: intervals on a line, bars, curves over an attack's strength, rows of dots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from tamperscope.bench.view import Measure, decimal
from tamperscope.report.text import safe

Domain = tuple[float, float]
UNIT: Domain = (0.0, 1.0)
STYLES = 6
"""How many series have a colour and a shape of their own; any other is grey."""

_SMALL = 120.0, 14.0
_WIDE, _LEFT, _RIGHT, _TOP = 480.0, 40.0, 14.0, 10.0
_PLOT = 190.0
_ROW = 9.0
_LABEL_GAP = 34.0


@dataclass(frozen=True, slots=True)
class Series:
    """One subject's line or dots.

    Attributes:
        name: For the legend.
        style: 0 to STYLES - 1, or STYLES for grey.
        points: By tick; None where nothing was measured.
    """

    name: str
    style: int
    points: Sequence[Measure | None] = field(default_factory=tuple)


def domain(measures: Iterable[Measure | None]) -> Domain:
    """Return the range of an axis: [0, 1], widened by halves where values or bounds lie outside."""
    values = [round(2 * v, 2) for m in measures if m is not None for v in (m.value, m.low, m.high) if v is not None]
    return min([0.0, *(math.floor(v) / 2 for v in values)]), max([1.0, *(math.ceil(v) / 2 for v in values)])


def _at(value: float, axis: Domain, start: float, end: float) -> float:
    low, high = axis
    return start + (min(max(value, low), high) - low) / (high - low) * (end - start)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    text = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return Markup(text).format(kind, x1, y1, x2, y2)


def _text(kind: str, x: float, y: float, words: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, safe(words, 60))


def _svg(kind: str, width: float, height: float, label: str, parts: Iterable[Markup]) -> Markup:
    said = Markup('role="img" aria-label="{}"').format(safe(label, 300)) if label else Markup('aria-hidden="true"')
    head = Markup('<svg class="{}" viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" height="{:.0f}" {}>')
    return head.format(kind, width, height, width, height, said) + Markup("").join(parts) + Markup("</svg>")


def mark(style: int, x: float, y: float) -> Markup:
    """Return the shape of a series at a place; shapes differ as well as colours."""
    corners = {
        1: "-3.5,-3.5 3.5,-3.5 3.5,3.5 -3.5,3.5",
        2: "0,-4.5 4.2,3.4 -4.2,3.4",
        3: "0,-4.8 4.8,0 0,4.8 -4.8,0",
        4: "0,4.5 4.2,-3.4 -4.2,-3.4",
        5: "-4,-1.4 -1.4,-1.4 -1.4,-4 1.4,-4 1.4,-1.4 4,-1.4 4,1.4 1.4,1.4 1.4,4 -1.4,4 -1.4,1.4 -4,1.4",
    }.get(style)
    if corners is None:
        return Markup('<circle class="mark s{}" cx="{:.1f}" cy="{:.1f}" r="3.8"/>').format(style, x, y)
    text = '<polygon class="mark s{}" transform="translate({:.1f} {:.1f})" points="{}"/>'
    return Markup(text).format(style, x, y, corners)


def swatch(style: int) -> Markup:
    """Return the shape of a series for the legend."""
    parts = [_line(f"curve s{style}", 1, 7, 27, 7), mark(style, 14, 7)]
    return _svg("swatch", 28, 14, "", parts)


def interval(measure: Measure | None, axis: Domain = UNIT, bar: bool = False) -> Markup:
    """Return a value with its interval on one axis, as a dot or as a bar; empty where nothing is defined.

    Args:
        measure: What to show.
        axis: Range of the axis.
        bar: Draw a bar from the axis's low end, as for rates.
    """
    width, height = _SMALL
    middle = height / 2
    if measure is None or measure.value is None:
        return Markup("")
    x = _at(measure.value, axis, 4, width - 4)
    parts = [_line("axis", 4, middle, width - 4, middle)]
    if bar:
        text = '<rect class="bar" x="4" y="3" width="{:.1f}" height="8"/>'
        parts.append(Markup(text).format(max(x - 4, 0.5)))
    if measure.low is not None and measure.high is not None:
        low, high = (_at(v, axis, 4, width - 4) for v in (measure.low, measure.high))
        parts += [_line("reach", low, middle, high, middle)]
        parts += [_line("reach", end, middle - 4, end, middle + 4) for end in (low, high)]
    if not bar:
        parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.6"/>').format(x, middle))
    return _svg("forest", width, height, "", parts)


def places(strengths: Sequence[float]) -> list[float]:
    """Return where the untouched pictures and each strength stand on the horizontal axis, in pixels.

    The untouched ones stand apart at the left; strengths keep their distances, the first on the left.
    """
    start, end = _LEFT + 70, _WIDE - _RIGHT - 8
    first, last = strengths[0], max(strengths, key=lambda s: abs(s - strengths[0]))
    if first == last:
        return [_LEFT + 14, *[(start + end) / 2] * len(strengths)]
    low, high = min(strengths), max(strengths)
    shares = [(s - low) / (high - low) for s in strengths]
    return [_LEFT + 14, *(start + (s if first < last else 1 - s) * (end - start) for s in shares)]


def curves(series: Sequence[Series], strengths: Sequence[float], label: str) -> Markup:
    """Return curves with interval bands over an attack's strength, the untouched value at the left.

    Args:
        series: Each with one point for the untouched pictures and one per strength.
        strengths: In the order of the protocol; the axis runs from the first on.
        label: What a reader who cannot see it should know.
    """
    axis = domain(p for s in series for p in s.points)
    xs = places(strengths)
    bottom = _TOP + _PLOT
    parts = [*_grid(axis, bottom), _line("apart", (xs[0] + xs[1]) / 2, _TOP, (xs[0] + xs[1]) / 2, bottom)]
    parts += [_text("tick", xs[0] + 4, bottom + 16, "untouched"), *_strengths(xs[1:], strengths, bottom + 16)]
    for one in reversed(series):
        for run in _runs(one, xs):
            parts += _curve(one.style, run, axis, bottom)
    return _svg("chart", _WIDE, bottom + 24, label, parts)


def ticks(axis: Domain) -> list[float]:
    """Return at most nine round values along an axis whose ends are multiples of one half."""
    step = 0.25
    while (axis[1] - axis[0]) / step > 8:
        step *= 2
    return [step * k for k in range(math.ceil(axis[0] / step), math.floor(axis[1] / step) + 1)]


def _grid(axis: Domain, bottom: float) -> Iterator[Markup]:
    for value in ticks(axis):
        y = _at(value, axis, bottom, _TOP)
        yield _line("grid", _LEFT, y, _WIDE - _RIGHT, y)
        yield _text("side", _LEFT - 6, y + 4, f"{value:g}")


def _strengths(xs: Sequence[float], strengths: Sequence[float], y: float) -> Iterator[Markup]:
    """Yield labels from left to right, leaving out what would stand on its neighbour."""
    last = -math.inf
    for x, strength in sorted(zip(xs, strengths, strict=True)):
        if x - last >= _LABEL_GAP:
            last = x
            yield _text("tick", x, y, f"{strength:g}")


def _runs(one: Series, xs: Sequence[float]) -> Iterator[list[tuple[float, Measure]]]:
    """Yield the unbroken parts of a curve; it breaks where a value is undefined."""
    run: list[tuple[float, Measure]] = []
    for x, point in sorted(zip(xs, one.points, strict=True), key=lambda pair: pair[0]):
        if point is not None and point.value is not None:
            run.append((x, point))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _curve(style: int, run: Sequence[tuple[float, Measure]], axis: Domain, bottom: float) -> Iterator[Markup]:
    def place(x: float, value: float) -> str:
        return f"{x:.1f},{_at(value, axis, bottom, _TOP):.1f}"

    known = [(x, p.low, p.high) for x, p in run if p.low is not None and p.high is not None]
    edge = [place(x, high) for x, _, high in known] + [place(x, low) for x, low, _ in reversed(known)]
    if len(known) > 1:
        yield Markup('<polygon class="band s{}" points="{}"/>').format(style, " ".join(edge))
    middle = [(x, p.value) for x, p in run if p.value is not None]
    yield Markup('<polyline class="curve s{}" points="{}"/>').format(style, " ".join(place(x, v) for x, v in middle))
    for x, value in middle:
        yield mark(style, x, _at(value, axis, bottom, _TOP))


def dots(series: Sequence[Series], labels: Sequence[str], label: str) -> Markup:
    """Return one row of dots with intervals per label, for attacks that have no scale.

    Args:
        series: Each with one point per label.
        labels: Rows, from above.
        label: What a reader who cannot see it should know.
    """
    axis = domain(p for s in series for p in s.points)
    left, right = _LEFT, _WIDE - _RIGHT
    tall = 20 + _ROW * len(series)
    bottom = _TOP + tall * len(labels)
    parts = []
    for value in ticks(axis):
        x = _at(value, axis, left, right)
        parts += [_line("grid", x, _TOP, x, bottom), _text("tick", x, bottom + 16, f"{value:g}")]
    for row, name in enumerate(labels):
        top = _TOP + tall * row
        parts += [_line("grid", left, top, right, top), _text("name", left + 4, top + 13, name)]
        for number, one in enumerate(series):
            parts += _dot(one.style, one.points[row], axis, top + 20 + _ROW * number)
    return _svg("chart", _WIDE, bottom + 24, label, parts)


def _dot(style: int, point: Measure | None, axis: Domain, y: float) -> Iterator[Markup]:
    if point is None or point.value is None:
        return
    left, right = _LEFT, _WIDE - _RIGHT
    if point.low is not None and point.high is not None:
        yield _line(f"curve s{style}", _at(point.low, axis, left, right), y, _at(point.high, axis, left, right), y)
    yield mark(style, _at(point.value, axis, left, right), y)


def described(one: Series) -> str:
    """Return a series in words, for those who cannot see it."""
    values = ", ".join(decimal(None if p is None else p.value) for p in one.points)
    return f"{one.name}: {values}"
