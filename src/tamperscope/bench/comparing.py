"""Results side by side: what changed from one run to another, and who leads over many of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tamperscope.bench import view
from tamperscope.bench.results import Number, Results, Tested
from tamperscope.bench.tables import escape_markdown, markdown_row, markdown_rule

Key = tuple[str, str, str, str, str]
Ranks = list[tuple[int, list["Placed"]]]

_COMPARED = ["test", "attack", "subject", "number", "A", "B", "B − A", "intervals", "n"]
_RANKED = ["rank", "subject", "number", "n", "file", "version"]


def compare(a: Results, b: Results) -> str:
    """Return Markdown that sets every number of A against the same number of B.

    Intervals that overlap do not prove that nothing changed, as both runs may share pictures; intervals that lie apart
    do show a change. What makes two runs incomparable is said first: another version, seed, number of rounds, or other
    pictures.
    """
    first, second = _by_key(a), _by_key(b)
    both = [key for key in first if key in second]
    lines = ["# A against B", "", f"- A: {escape_markdown(_about(a))}", f"- B: {escape_markdown(_about(b))}"]
    lines += [f"- **Differs:** {escape_markdown(said)}" for said in _flags(a, b)]
    lines += ["", f"{len(both)} numbers are in both.", ""]
    if both:
        lines += [markdown_row(_COMPARED), markdown_rule(_COMPARED)]
        lines += [markdown_row(_compared(first[key], second[key])) for key in both]
    for name, own, other in (("A", first, second), ("B", second, first)):
        alone = [key for key in own if key not in other]
        lines += ["", f"## Only in {name}: {len(alone)}", ""]
        lines += [f"- {escape_markdown(' · '.join(key))}" for key in alone]
    return "\n".join([*lines, ""])


def _by_key(results: Results) -> dict[Key, Number]:
    return {(n.test, n.attack, n.subject, n.suite, n.metric): n for n in results.numbers}


def _about(results: Results) -> str:
    return f"{results.title}, version {results.version}, seed {results.seed}, {results.rounds} rounds"


def _flags(a: Results, b: Results) -> Iterator[str]:
    for name in ("title", "version", "seed", "rounds"):
        old, new = getattr(a, name), getattr(b, name)
        if old != new:
            yield f"{name}, {old} in A and {new} in B"
    others = {t.name: _holds(t) for t in b.tests}
    for test in a.tests:
        for name, old in _holds(test).items() if test.name in others else ():
            new = others[test.name][name]
            if old != new:
                yield f"{test.name}: {name}, {old} in A and {new} in B"


def _holds(test: Tested) -> dict[str, int | str]:
    held = {name: getattr(test, name) for name in ("pictures", "forged", "pristine")}
    return {**held, "failed": len(test.failed), "missing": test.missing or "no"}


def _compared(a: Number, b: Number) -> list[str]:
    change = None if a.value is None or b.value is None else b.value - a.value
    n = str(a.n) if a.n == b.n else f"{a.n} → {b.n}: not the same pictures"
    where = [a.test, a.attack, a.subject, f"{a.suite} {view.heading(a.metric)}"]
    return [*where, view.with_interval(a), view.with_interval(b), view.decimal(change, sign=True), overlap(a, b), n]


def overlap(a: view.Measure, b: view.Measure) -> str:
    """Return `overlap`, `apart`, or `unknown` where an interval is missing."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return "unknown"
    return "overlap" if a.low <= b.high and b.low <= a.high else "apart"


@dataclass(frozen=True, slots=True)
class Placed:
    """One row of a leaderboard: its rank, number, and where that comes from; equal values share a rank."""

    rank: int
    number: Number
    source: str
    version: str

    @property
    def name(self) -> str:
        """The subject, and whether it is one that a result must be clear of."""
        return f"{self.number.subject} (trivial)" if self.number.subject in view.TRIVIAL else self.number.subject


@dataclass(frozen=True, slots=True)
class Group:
    """The ranking of one suite on one test set, untouched pictures only.

    Attributes:
        test: Test set.
        suite: Suite.
        metric: Its first column, by which rows are ranked.
        ranks: By number of pictures, the most first; only rows over the same number are ranked together.
        warnings: What a reader must know before comparing rows.
    """

    test: str
    suite: str
    metric: str
    ranks: Ranks
    warnings: list[str]


def leaderboard(files: Mapping[str, Results]) -> str:
    """Return many results, by file name, as Markdown that ranks all subjects per test set and suite.

    Rows measured on different numbers of pictures are ranked apart, and the text says so.
    """
    lines = ["# Leaderboard", ""]
    for group in rankings(files):
        lines += [f"## {escape_markdown(f'{group.test} · {group.suite}')}", ""]
        lines += [line for said in group.warnings for line in (f"**{escape_markdown(said)}**", "")]
        for n, rows in group.ranks:
            lines += [f"{escape_markdown(view.heading(group.metric))} over {n} pictures:", ""]
            lines += [markdown_row(_RANKED), markdown_rule(_RANKED)]
            lines += [markdown_row(_ranked(row)) for row in rows]
            lines.append("")
    return "\n".join(lines)


def leaderboard_html(files: Mapping[str, Results]) -> str:
    """Return what `leaderboard` says as one HTML page that needs nothing else."""
    from tamperscope import __version__
    from tamperscope.bench.page import render

    context = {"sources": list(files), "groups": list(rankings(files))}
    return render("leaderboard.html.j2", title="Leaderboard", version=__version__, **context)


def _ranked(row: Placed) -> list[str]:
    number = row.number
    return [
        str(row.rank) if number.value is not None else view.DASH,
        row.name,
        view.with_interval(number),
        str(number.n),
        row.source,
        row.version,
    ]


def rankings(files: Mapping[str, Results]) -> Iterator[Group]:
    """Yield one ranking per test set and suite, in the order in which they first appear."""
    held: dict[tuple[str, str], list[tuple[Number, str, Results]]] = {}
    metrics: dict[tuple[str, str], str] = {}
    for source, results in files.items():
        for table in view.tables(results):
            place = table.test, table.suite
            metric = metrics.setdefault(place, table.metrics[0])
            numbers = [n for n in table.column(metric) if n is not None]
            held.setdefault(place, []).extend((n, source, results) for n in numbers)
    for (test, suite), rows in held.items():
        metric = metrics[(test, suite)]
        counts = sorted({number.n for number, _, _ in rows}, reverse=True)
        ranks = [(n, _placed([row for row in rows if row[0].n == n], metric)) for n in counts]
        yield Group(test, suite, metric, ranks, list(_warnings(rows, counts)))


def _placed(rows: Sequence[tuple[Number, str, Results]], metric: str) -> list[Placed]:
    ordered = view.ranked([(row, row[0]) for row in rows], metric)
    values = [number.value for number, _, _ in ordered]
    return [
        Placed(values.index(number.value) + 1, number, source, results.version) for number, source, results in ordered
    ]


def _warnings(rows: Sequence[tuple[Number, str, Results]], counts: Sequence[int]) -> Iterator[str]:
    if len(counts) > 1:
        listed = ", ".join(map(str, counts))
        yield f"Measured on different numbers of pictures ({listed}): these are ranked apart and do not compare."
    for name in ("version", "seed", "rounds", "trained_on"):
        found = dict.fromkeys(str(getattr(results, name)) or "not stated" for _, _, results in rows)
        if len(found) > 1:
            yield f"Measured with different {name.replace('_', ' ')}: {', '.join(found)}."
