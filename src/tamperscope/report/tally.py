"""The end of a long run on a terminal: every file of a short one, the strongest and the failed of a long one."""

from __future__ import annotations

import heapq
import math
from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tamperscope.report import words
from tamperscope.report.schema import Report, Row
from tamperscope.report.terminal import cells
from tamperscope.verdict.card import LEVELS

ALL, SHOWN = 200, 25
"""Up to `ALL` files each has its line; of more, the `SHOWN` strongest and as many failed ones."""

Line = tuple[Text, Text, Text, Text]


class Tally:
    """Counts the rows of a run of any length, and keeps the few that are shown."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: list[Line] = []
        self._failed: list[Line] = []
        self._strongest: list[tuple[int, float, int, Line]] = []

    @property
    def total(self) -> int:
        """Number of rows."""
        return sum(self.counts.values())

    def add(self, row: Row) -> None:
        """Count a row."""
        told = isinstance(row, Report)
        self.counts[row.verdict.level if isinstance(row, Report) else "error"] += 1
        line = cells(row)
        if self.total <= ALL:
            self._first.append(line)
        if not told and len(self._failed) < SHOWN:
            self._failed.append(line)
        if isinstance(row, Report):
            # What a file declares can set a level without any weight.
            weight = -math.inf if row.verdict.llr is None else row.verdict.llr
            keep = heapq.heappush if len(self._strongest) < SHOWN else heapq.heappushpop
            keep(self._strongest, (LEVELS.index(row.verdict.level), weight, -self.total, line))

    def render(self, console: Console) -> None:
        """Print the files, then the counts by verdict; `~` marks a verdict that re-delivery changes."""
        if not self.total:
            console.print(Text("No new files", style="bold"))
            return
        if self.total <= ALL:
            console.print(_table(self._first))
        else:
            console.print(Text(f"The {len(self._strongest)} strongest of {self.total:,} files", style="bold"))
            console.print(_table([line for *_, line in sorted(self._strongest, reverse=True, key=lambda s: s[:3])]))
            if self._failed:
                console.print(Text(f"\n{len(self._failed)} of {self.counts['error']:,} that failed", style="bold"))
                console.print(_table(self._failed))
        order = (*list(words.LEVELS)[::-1], "error")
        summary = ", ".join(f"{self.counts[key]:,} {key.replace('_', ' ')}" for key in order if self.counts[key])
        console.print(Text(f"\n{self.total:,} files: {summary}", style="bold"))


def _table(lines: list[Line]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column("verdict", no_wrap=True, min_width=19)
    table.add_column("weight", justify="right", no_wrap=True, min_width=6)
    table.add_column("file", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("says", no_wrap=True, overflow="ellipsis", ratio=1)
    for line in lines:
        table.add_row(*line)
    return table
