"""A whole bench: run, build the results, write every table and the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tamperscope.bench import overlay, page, results, run, tables, view
from tamperscope.bench.cache import Cache
from tamperscope.bench.protocol import Protocol, TestSet
from tamperscope.bench.results import Results, Worst
from tamperscope.bench.subjects import Panel, SavedMaps
from tamperscope.errors import InputError
from tamperscope.files import write_atomic

CACHE = "cache.sqlite"


def execute(
    protocol: Protocol,
    data: Path,
    out: Path,
    command: str,
    workers: int = 1,
    resume: bool = True,
    folder: SavedMaps | None = None,
    console: Console | None = None,
) -> Results:
    """Run a protocol and write `results.json`, `table.md`, `table.csv`, `table.tex` and `index.html` into `out`.

    Args:
        protocol: What to measure.
        data: Where manifests are looked up.
        out: Folder of the output and of the cache.
        command: Shown as the way to make it again.
        workers: Processes.
        resume: Whether answers of earlier runs in `out` are taken.
        folder: Saved predictions of another tool.
        console: For the progress bar.

    Raises:
        InputError: No test set of the protocol was found.
    """
    if not resume:
        for path in out.glob(f"{CACHE}*"):
            path.unlink()
    cache = Cache(out / CACHE)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console or Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=None)
        measured = run.run(
            protocol,
            data,
            cache,
            workers,
            folder,
            lambda name, done, total: bar.update(task, description=name, completed=done, total=total),
        )
        if all(m.missing for m in measured):
            raise InputError(f"no test set was found: {'; '.join(m.missing for m in measured)}")
        bar.update(task, description="computing intervals", total=None)
        found = results.build(protocol, measured, command)
        write(found, out, _panels(protocol, data, folder))
    cache.close()
    return found


def write(found: Results, out: Path, pictures: page.Pictures | None = None) -> None:
    """Write a bench's results in every form; `pictures` gives the panels of the worst ones for the page."""
    write_atomic(out / "results.json", (found.model_dump_json(indent=1) + "\n").encode())
    write_atomic(out / "table.md", tables.markdown(found).encode())
    write_atomic(out / "table.csv", tables.csv_text(found).encode())
    write_atomic(out / "table.tex", tables.latex(found).encode())
    write_atomic(out / "index.html", page.html(found, pictures).encode())


def _panels(protocol: Protocol, data: Path, folder: SavedMaps | None) -> page.Pictures:
    """Return what draws a picture on which a subject does badly."""
    tests = {t.name: t for t in protocol.tests}
    loaded: dict[str, Panel] = {}

    def pictures(worst: Worst) -> tuple[bytes | None, ...]:
        if worst.subject not in loaded:
            own = folder if folder is not None and worst.subject == folder.name else None
            loaded[worst.subject] = Panel([worst.subject], own)
        return overlay.panels(worst, tests[worst.test].path(data), loaded[worst.subject])

    return pictures


def evaluation(manifest: Path, split: str, limit: int | None, fields: Mapping[str, Any]) -> Protocol:
    """Return the protocol of one manifest; its data folder is the one that the manifest lies in.

    Args:
        manifest: Path.
        split: Only entries of this split; all when empty.
        limit: At most so many pictures.
        fields: `detectors`, `suites` and `attacks` of the protocol.
    """
    where = {"split": split} if split else {}
    name = manifest.resolve().parent.name or "manifest"
    test = TestSet(name=name, manifest=manifest.name, where=where, limit=limit)
    return Protocol.model_validate({"title": f"Evaluation on {name}", "tests": (test,), **fields})


def summary(found: Results) -> list[str]:
    """Return a few lines for the terminal: the main numbers of each test set and their means, best subject first."""
    lines = []
    for test in found.tests:
        if test.missing:
            lines.append(f"{test.name}: skipped, {test.missing}")
            continue
        counts = f"{test.pictures} pictures ({test.forged} forged, {test.pristine} pristine, {len(test.failed)} failed)"
        lines += [f"{test.name}: {counts}", *_numbers(found, test.name)]
    means = _numbers(found, results.MEAN)
    heading = [f"{results.MEAN}: {view.MEANS}"] if means else []
    return [*lines, *heading, *means]


def _numbers(found: Results, test: str) -> list[str]:
    """Return a line a suite and subject of a test set, or of the means: the suite's first number."""
    lines = []
    numbers = [n for n in found.numbers if n.test == test and n.attack == run.UNTOUCHED.label]
    for suite in dict.fromkeys(n.suite for n in numbers):
        # Of all numbers, for a mean has none where a set lacks it.
        first = next(n.metric for n in found.numbers if n.suite == suite)
        part = sorted((n for n in numbers if n.suite == suite and n.metric == first), key=lambda n: -(n.value or 0))
        lines += [f"  {suite} {first}: {n.subject:14} {_shown(n.value, n.low, n.high)} n={n.n}" for n in part]
    return lines


def _shown(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
