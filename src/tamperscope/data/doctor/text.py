"""The findings for a terminal: problems first, each with how to mend it, then the numbers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from tamperscope.data.doctor.schema import Bar, Example, Findings, Leak, Problem

_STYLES = {"warning": "bold red", "notice": "yellow", "info": "dim"}
_SIGNS = {"warning": "✗", "notice": "!", "info": "·"}
_SHOWN, _BAR = 3, 24


def render(findings: Findings, width: int, color: bool) -> str:
    """Return the findings as lines of at most `width` characters, with colours for a terminal if wanted."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=color, color_system="standard" if color else None)
    _heading(findings, console)
    for problem in findings.problems:
        _problem(problem, console)
    _leaks(findings.leaks, console)
    _balance(findings, console)
    _bars("Forged share of the masks", findings.mask_areas, console)
    _bars("Megapixels", findings.megapixels, console)
    _bars("Most frequent sizes", findings.sizes, console)
    _bars("File types", findings.file_types, console)
    lines = stream.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def summary(findings: Findings) -> str:
    """Return in one sentence what was examined and how many kinds of problems there are."""
    part = f" of split '{findings.split}'" if findings.split is not None else ""
    drawn = ", drawn at random" if findings.sampled else ""
    counts = [sum(p.severity == level for p in findings.problems) for level in ("warning", "notice")]
    return (
        f"{findings.pictures:,} pictures{part}{drawn}; {findings.opened:,} could be opened. "
        f"Kinds of problems to mend: {counts[0]}, to look at: {counts[1]}."
    )


def _heading(findings: Findings, console: Console) -> None:
    console.print(Text(findings.manifest, style="bold"))
    console.print(Text(summary(findings)))
    if not findings.problems:
        console.print(Text("\nNo problem was found.", style="green"))


def _problem(problem: Problem, console: Console) -> None:
    style = _STYLES[problem.severity]
    line = Text(f"\n{_SIGNS[problem.severity]} {problem.title}", style=style)
    console.print(line.append(f"  {problem.code}", style="not bold dim"))
    console.print(Text(f"  Mend: {problem.mend}"))
    for example in problem.examples[:_SHOWN]:
        console.print(Text(f"    {example_line(example)}", style="dim", overflow="fold"))
    if problem.count > _SHOWN:
        console.print(Text(f"    … and {problem.count - _SHOWN:,} more", style="dim"))


def example_line(example: Example) -> str:
    """Return an example on one line."""
    names = example.image if example.other is None else f"{example.image} | {example.other}"
    return f"{names}: {example.note}" if example.note else names


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(f"\n{title}", style="bold"), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in ("pictures", "pristine", "forged", "unknown") else "left")
    return table


def _leaks(leaks: list[Leak], console: Console) -> None:
    table = _table("Can the label be told from the file alone? (AUC, 0.5 = no)", "features", "AUC", "pictures")
    table.add_column("what tells", overflow="fold")
    for leak in leaks:
        telling = "; ".join(leak.telling[:1])
        style = "" if leak.severity == "info" else _STYLES[leak.severity]
        table.add_row(leak.title, Text(leak.interval, style=style), f"{leak.pictures:,}", Text(telling))
    console.print(table)


def _balance(findings: Findings, console: Console) -> None:
    table = _table("Pictures by split and domain", "split", "domain", "pristine", "forged", "unknown")
    for row in findings.balance:
        counts = (f"{n:,}" for n in (row.pristine, row.forged, row.unknown))
        table.add_row(Text(row.split or "–"), Text(row.domain or "–"), *counts)
    console.print(table)


def _bars(title: str, bars: list[Bar], console: Console) -> None:
    if not bars:
        return
    most = max(1, *(bar.count for bar in bars))
    table = _table(title, "", "pictures", " ")
    table.show_header = False
    for bar in bars:
        table.add_row(Text(bar.label), f"{bar.count:,}", "█" * round(_BAR * bar.count / most))
    console.print(table)
