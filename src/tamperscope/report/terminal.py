"""The report on a terminal: short, width-aware, and deaf to what a file's strings try to make it do."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tamperscope.report import words
from tamperscope.report.schema import PredictionModel, Reason, Report, Row
from tamperscope.report.text import safe
from tamperscope.report.timeline import clock

_SEVERITY_STYLES = {"warning": "bold red", "notice": "yellow", "info": "dim"}
_MANY = 6
_BLOCKS = "▁▂▃▄▅▆▇█"


def _line(text: str, style: str = "", limit: int = 400) -> Text:
    """Return untrusted text as one styled run; nothing in it is read as markup."""
    return Text(safe(text, limit), style=style)


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _more(total: int) -> list[RenderableType]:
    return [Text(f"  … and {total - _MANY} more in the full report", style="dim")] if total > _MANY else []


def _grid(*columns: str) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    for style in columns:
        table.add_column(style=style, overflow="fold")
    return table


def _indented(block: RenderableType, by: int = 2) -> Padding:
    return Padding(block, (0, 0, 0, by))


def _banner(report: Report) -> Panel:
    verdict = report.verdict
    level = words.LEVELS[verdict.level]
    lines = [_line(verdict.headline, "bold")]
    if verdict.llr is not None:
        weight = f"Weight of evidence {words.signed(verdict.llr)}: {words.weight_words(verdict.llr)}."
        lines.append(Text(weight))
    lines.append(Text(words.alarm_sentence(verdict), style="dim"))
    title = Text(f" {level.sign} {level.title.upper()} ", style=f"bold {level.colour}")
    return Panel(Group(*lines), title=title, title_align="left", border_style=level.colour, padding=(0, 1))


def _file(report: Report) -> Text:
    intake, picture = report.intake, report.picture
    parts = [
        safe(intake.type_by_magic or intake.source, 20),
        f"{picture.width} × {picture.height}",
        *([f"{clock(report.timeline.duration)} min"] if report.timeline else []),
        words.size(intake.bytes),
    ]
    if intake.sha256:
        parts.append(f"sha256 {safe(intake.sha256[:12], 24)}…")
    text = _line(intake.name or words.UNNAMED, "bold", limit=120)
    return text.append(f"   {' · '.join(parts)}", style="not bold dim")


def _reasons(title: str, reasons: list[Reason], sign: str, style: str) -> list[RenderableType]:
    if not reasons:
        return []
    table = _grid("", "dim")
    for reason in reasons[:_MANY]:
        weight = "" if not reason.weight else f" {words.signed(reason.weight)}"
        table.add_row(Text(sign, style=style), _line(reason.text), _line(f"{reason.origin}{weight}"))
    return [_heading(title), _indented(table), *_more(len(reasons))]


def _start(report: Report) -> list[RenderableType]:
    sentence = words.start_sentence(report.verdict)
    return [_indented(Text(sentence, style="dim"))] if sentence else []


def _regions(report: Report) -> list[RenderableType]:
    regions = report.verdict.regions
    if not regions:
        return []
    table = _grid("", "dim")
    for index, region in enumerate(regions[:_MANY], start=1):
        share = f"{words.percent(region.area_share)} of the picture" if region.area_share is not None else ""
        where = f"{words.box_words(region.box)} {f'· {region.words}' if region.words else ''}"
        table.add_row(Text(str(index), style="bold"), _line(where), Text(share))
    return [_heading("Regions (pixels as stored)"), _indented(table), *_more(len(regions))]


def _timeline(report: Report) -> list[RenderableType]:
    timeline = report.timeline
    if timeline is None:
        return []
    table = _grid("", "dim")
    for track in timeline.tracks:
        scores = [frame.scores.get(track.name) for frame in timeline.frames]
        table.add_row("", _line(track.name, limit=24), Text(_curve(scores, track.limit)))
    found = _grid("", "dim")
    for interval in timeline.intervals[:_MANY]:
        found.add_row(Text("●", style="yellow"), _line(interval.text), _line(interval.caveat))
    length = f"{clock(timeline.duration)} min, {len(timeline.frames)} of {timeline.total:,} frames"
    parts: list[RenderableType] = [_heading(f"Over time ({length}; raw scores)"), _indented(table)]
    if timeline.intervals:
        parts += [_heading("Stands out within this video"), _indented(found), *_more(len(timeline.intervals))]
    return parts


def _curve(scores: list[float | None], limit: float | None) -> str:
    """Return scores as blocks that rise from the lowest one to the highest, or to the limit; dots where none is."""
    known = [score for score in scores if score is not None]
    low, high = min(known, default=0.0), max([*known, limit if limit is not None else -math.inf])
    step = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join("·" if score is None else _BLOCKS[round((score - low) * step)] for score in scores)


def _reading(prediction: PredictionModel) -> Text:
    if prediction.status != "ok":
        return _line(prediction.cause, "dim", limit=160)
    if prediction.calibrated is None:
        return Text("uncalibrated: for the eye only", style="dim")
    llr = prediction.calibrated.llr
    text = Text(words.weight_words(llr), style="bold" if llr is not None and llr > 1 else "")
    return text if prediction.counts else text.append(" (not counted)", style="not bold dim")


def _detectors(report: Report) -> list[RenderableType]:
    if not report.predictions:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("detector", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("weight", justify="right", no_wrap=True)
    table.add_column("reading", overflow="fold")
    styles = {"ok": "", "not_applicable": "dim", "failed": "red"}
    for prediction in report.predictions:
        calibrated = prediction.calibrated
        table.add_row(
            _line(prediction.detector, limit=24),
            Text(words.STATUS_WORDS[prediction.status], style=styles[prediction.status]),
            Text(words.number(prediction.score)),
            Text(words.signed(calibrated.llr) if calibrated else "–"),
            _reading(prediction),
        )
    return [_heading("Detectors"), _indented(table)]


def _container(report: Report) -> list[RenderableType]:
    found = sorted((f for f in report.findings if f.severity != "info"), key=lambda f: f.severity != "warning")
    if not found:
        return []
    table = _grid("", "dim")
    for finding in found[:_MANY]:
        style = _SEVERITY_STYLES[finding.severity]
        sign = Text(words.SEVERITY_SIGNS[finding.severity], style=style)
        table.add_row(sign, _line(finding.text), _line(finding.severity))
    return [_heading("Container"), _indented(table), *_more(len(found))]


def _not_checked(report: Report) -> list[RenderableType]:
    told = {p.detector for p in report.predictions if p.status != "ok"}
    rows = [row for row in report.verdict.not_checked if row.what not in told]
    if not rows:
        return []
    table = _grid("", "dim")
    for row in rows[:_MANY]:
        table.add_row(Text("–", style="dim"), _line(row.what), _line(row.why, limit=200))
    return [_heading("Not checked"), _indented(table), *_more(len(rows))]


def _stability(report: Report) -> list[RenderableType]:
    stability = report.verdict.stability
    unstable = stability.status == "unstable"
    sentence = Text(words.stability_sentence(stability), style="bold yellow" if unstable else "")
    trials = [_line(f"{t.delivery}: {words.LEVELS[t.level].title}", "dim") for t in stability.trials]
    # A level can change while the verdict counts as stable.
    changed = unstable or any(t.level != report.verdict.level for t in stability.trials)
    lines = [_indented(trial, by=4) for trial in trials] if changed else []
    return [_heading("Stability"), _indented(sentence), *lines]


def render(report: Report, console: Console, html: str | Path | None = None) -> None:
    """Print the report as a summary of about a screen.

    Args:
        report: What to print.
        console: Where to.
        html: Where the HTML report was written, or None.
    """
    console.print(_file(report), soft_wrap=False)
    console.print(_banner(report))
    parts = [
        *_reasons("Speaks for alteration", report.verdict.reasons_for, "+", "bold red"),
        *_reasons("Speaks against", report.verdict.reasons_against, "−", "bold cyan"),
        *_start(report),
        *_timeline(report),
        *_regions(report),
        *_container(report),
        *_detectors(report),
        *([] if report.timeline else _stability(report)),
        *_not_checked(report),
    ]
    console.print(Group(*parts))
    if html is not None:
        console.print(Text("\nFull report: ", style="bold").append(safe(str(html), 1000), style="not bold"))


def cells(row: Row) -> tuple[Text, Text, Text, Text]:
    """Return one file of many in a line: verdict, weight of evidence, name, what is said of it."""
    if not isinstance(row, Report):
        return (
            Text("✕ error", style="red"),
            Text("–"),
            _line(row.name, limit=200),
            _line(f"{row.error}: {row.message}", "dim", limit=200),
        )
    level = words.LEVELS[row.verdict.level]
    verdict = Text(f"{level.sign} {row.verdict.level.replace('_', ' ')}", style=level.colour)
    if row.verdict.stability.status == "unstable":
        verdict.append(" ~", style="bold yellow")
    return (
        verdict,
        Text(words.signed(row.verdict.llr)),
        _line(row.intake.name or words.UNNAMED, limit=200),
        _line(row.verdict.headline, "dim"),
    )
