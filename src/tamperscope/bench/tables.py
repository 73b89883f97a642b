"""Results as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tamperscope.bench import view
from tamperscope.bench.results import MEAN, Alarms, Comparison, LevelShare, Number, Results
from tamperscope.report.text import formula_safe, safe

_PLACE = [
    "kind",
    "test",
    "attack",
    "family",
    "strength",
    "subject",
    "bar",
    "category",
    "level",
    "label",
    "suite",
    "metric",
]
_ABREAST = 6  # subjects that fit the width of a page
_VALUES = ["value", "low", "high", "p", "clear", "n", "undefined"]
_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: "\\" + c for c in "\\|*`~$#"}
_LATEX = {c: "\\" + c for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After the end of a row these two would be read as its options.
    "[": "{[}",
    "*": "{*}",
    "−": "$-$",
    "–": "--",
    "↓": r"$\downarrow$",
    "✓": r"$\checkmark$",
    "·": r"\textperiodcentered{}",
}


@dataclass(frozen=True, slots=True)
class Block:
    """One table as plain text cells.

    Attributes:
        caption: Above it.
        head: Headings, the first over the names of the rows.
        rows: Cells.
        foot: Rows set apart at the end.
    """

    caption: str
    head: list[str]
    rows: list[list[str]]
    foot: list[list[str]]


def escape_markdown(text: str) -> str:
    """Return text on one line that GitHub's Markdown shows as it is, also inside a table."""
    shown = "".join(_MARKDOWN.get(c, c) for c in safe(text, 2000))
    # Underscores inside words, and brackets that open no link, stand for themselves.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])", r"\\\g<0>", shown)


def escape_latex(text: str) -> str:
    """Return text on one line that LaTeX sets as it is, also inside a table."""
    return "".join(_LATEX.get(c, c) for c in safe(text, 2000))


def blocks(table: view.Table) -> Iterator[Block]:
    """Yield the main table of a suite on a test set, then one per number that is followed under attack."""
    yield Block(
        f"{table.test} · {table.suite}",
        ["subject", *(table.title(m) for m in table.main)],
        [[s, *(table.cell(s, m) for m in table.main)] for s in table.rows],
        [[s, *(table.cell(s, m) for m in table.main)] for s in table.trivial],
    )
    if table.attacks == (view.UNTOUCHED,):
        return
    for metric in table.leads:
        measured = [s for s in table.subjects if any(table.number(s, metric, a) for a in table.attacks)]
        parts = [measured[i : i + _ABREAST] for i in range(0, len(measured), _ABREAST)]
        for number, part in enumerate(parts, 1):
            caption = f"{table.test} · {table.suite} · {view.heading(metric)} by attack"
            yield Block(
                caption if len(parts) == 1 else f"{caption} ({number} of {len(parts)})",
                ["attack", *part],
                [[a, *(table.cell(s, metric, a) for s in part)] for a in table.attacks],
                [],
            )


def verdict_block(results: Results, test: str) -> Block | None:
    """Return how often the scan's verdict reaches each level, or None where it was not measured."""
    rows = [[a, v, *map(view.with_count, shares)] for a, v, *shares in view.verdicts(results, test)]
    head = ["attack", "verdict or stronger", "forged", "pristine"]
    return Block(f"{test} · verdicts of the scan", head, rows, []) if rows else None


def all_blocks(results: Results) -> Iterator[Block]:
    """Yield every table of the results."""
    for table in view.tables(results):
        yield from blocks(table)
    for test in results.tests:
        if (block := verdict_block(results, test.name)) is not None:
            yield block


def notes(results: Results) -> list[str]:
    """Return the sentences below the tables: bars, what the means are of, thresholds, counts with licences."""
    means = [view.MEANS] if any(n.test == MEAN for n in results.numbers) else []
    said = [view.bars_words(results), *means, *(f"Threshold of {line}" for line in view.thresholds(results))]
    return said + [view.counts(results, test) for test in results.tests]


def markdown(results: Results) -> str:
    """Return the results as Markdown: a table per test set and suite, robustness, and what they rest on."""
    lines = [f"# {escape_markdown(results.title)}", ""]
    lines += [line for said in view.protocol_words(results) for line in (escape_markdown(said), "")]
    for block in all_blocks(results):
        lines += [f"## {escape_markdown(block.caption)}", "", *_markdown_table(block), ""]
    lines += [f"- {escape_markdown(said)}" for said in notes(results)]
    return "\n".join([*lines, "", "Made by:", "", f"    {safe(results.command, 2000)}", ""])


def _markdown_table(block: Block) -> Iterator[str]:
    yield markdown_row(block.head)
    yield markdown_rule(block.head)
    yield from (markdown_row(row) for row in block.rows)
    if block.foot:
        yield markdown_row(["*trivial*", *[""] * (len(block.head) - 1)], lambda text: text)
        yield from (markdown_row(row) for row in block.foot)


def markdown_rule(cells: Sequence[str]) -> str:
    """Return the line below the headings of a Markdown table."""
    return "|---" * len(cells) + "|"


def markdown_row(cells: Sequence[str], escape: Callable[[str], str] = escape_markdown) -> str:
    """Return one row of a Markdown table."""
    return f"| {' | '.join(map(escape, cells))} |"


def latex(results: Results) -> str:
    """Return the results as LaTeX tables for the packages booktabs and amssymb."""
    lines = [r"% \usepackage{booktabs,amssymb}", ""]
    for block in all_blocks(results):
        lines += [*_latex_table(block), ""]
    said = [results.title, *view.protocol_words(results), *notes(results)]
    lines += [rf"\par\noindent{{\footnotesize {escape_latex(line)}}}" for line in said]
    return "\n".join([*lines, rf"\par\noindent{{\footnotesize\texttt{{{escape_latex(results.command)}}}}}", ""])


def _latex_table(block: Block) -> Iterator[str]:
    yield r"\begin{table*}"
    yield rf"\caption{{{escape_latex(block.caption)}}}"
    yield r"\centering\scriptsize\setlength{\tabcolsep}{3pt}"
    yield rf"\begin{{tabular}}{{l{'r' * (len(block.head) - 1)}}}"
    yield r"\toprule"
    yield _latex_row(block.head)
    yield r"\midrule"
    yield from map(_latex_row, block.rows)
    if block.foot:
        yield r"\midrule"
        yield from map(_latex_row, block.foot)
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table*}"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"


def csv_text(results: Results) -> str:
    """Return every number, comparison and false-alarm rate, one a line; the column `kind` tells them apart.

    Undefined values are empty cells; texts that a spreadsheet would run as a formula get an apostrophe.
    """
    points = {p.label: {"family": p.family, "strength": p.strength} for p in results.attacks}
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*_PLACE, *_VALUES], restval="", lineterminator="\n")
    writer.writeheader()
    kinds: dict[str, Sequence[Number | Comparison | Alarms | LevelShare]]
    kinds = {"number": results.numbers, "comparison": results.comparisons, "alarms": results.alarms}
    kinds["verdicts"] = results.levels
    for kind, items in kinds.items():
        for item in items:
            fields = {"kind": kind, **points.get(item.attack, {}), **item.model_dump()}
            writer.writerow({k: formula_safe(v) if isinstance(v, str) else v for k, v in fields.items()})
    return buffer.getvalue()
