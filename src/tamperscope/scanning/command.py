"""One `tamperscope scan`: which pictures, and where their reports go."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from tamperscope.errors import InputError, InvalidValueError, TamperscopeError, unknown_name
from tamperscope.files import write_atomic
from tamperscope.media import Limits
from tamperscope.report import terminal
from tamperscope.report.schema import ErrorReport, Row
from tamperscope.report.tally import Tally
from tamperscope.scanning.cluster import ClusterRun
from tamperscope.scanning.ledger import Ledger, open_ledger
from tamperscope.scanning.many import Desk, Pictures, Run, begin, failure
from tamperscope.scanning.one import FRAMES, Scanner
from tamperscope.scanning.places import Place, find
from tamperscope.workers import Crew

STDIN, ENGINES = "-", ("local", "ray")


@dataclass(frozen=True, slots=True)
class Command:
    """What to scan and what to write; the fields are the options of the command line.

    Attributes:
        paths: Files, folders, patterns, manifests, addresses, or `-`.
        recursive: Go into subfolders.
        detectors: Names; all when empty.
        quick: Only the fast ones.
        limits: What one file may ask for.
        html: File for one picture, folder for many.
        pdf: File for one picture, folder for many.
        json: File, or `-` for standard output; one picture only.
        out: `.jsonl`, `.csv` or `.parquet` to append to; files that it holds already are passed over.
        save_maps: Folder for maps.
        network: Whether the shipped network may be asked.
        models: Folders of exported networks.
        frames: How many frames of a video to look at.
        workers: Processes that scan; with 1, this one does.
        engine: `local`, or `ray` for the machines of a cluster.
        timeout: Longest time for one file in a worker, in seconds.
        memory: Bytes of private memory that a worker may have, 0 for no limit.
    """

    paths: Sequence[str]
    recursive: bool = False
    detectors: Sequence[str] = ()
    quick: bool = False
    limits: Limits = field(default_factory=Limits)
    html: Path | None = None
    pdf: Path | None = None
    json: str = ""
    out: Path | None = None
    save_maps: Path | None = None
    network: bool = True
    models: Sequence[Path] = ()
    frames: int = FRAMES
    workers: int = 1
    engine: str = "local"
    timeout: float = 1800.0
    memory: int = 0
    prepared: bool = False

    def run(self) -> int:
        """Scan, write, show; return the exit code.

        Raises:
            InputError: A path names nothing, or options contradict each other.
            InvalidValueError: Less than one worker.
            UnknownNameError: No detector of that name.
        """
        if self.workers < 1:
            raise InvalidValueError(f"--workers: expected 1 or more, found {self.workers}")
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        scanner = Scanner(**self._settings())
        if list(self.paths) == [STDIN]:
            with _told(scanner):
                row = _from_stdin(scanner)
            return self._one(row, "stdin")
        places = find(self.paths, self.recursive)
        if not places:
            raise InputError(f"expected pictures, found none in {', '.join(self.paths)}; try -r for subfolders")
        if len(places) == 1 and not Path(self.paths[0]).is_dir() and self.out is None:
            with _told(scanner):
                row = next(
                    Run(lambda task: scanner.scan(task.path, task.name, task.page), open_ledger(None, ())).rows(places)
                )
            return self._one(row, places[0].stem)
        return self._many(places, scanner)

    def _settings(self) -> dict[str, Any]:
        return {
            "names": tuple(self.detectors),
            "quick": self.quick,
            "limits": self.limits,
            "network": self.network,
            "models": tuple(self.models),
            "frames": self.frames,
        }

    def _one(self, row: Row, stem: str) -> int:
        if isinstance(row, ErrorReport):
            if self.json == STDIN:
                sys.stdout.write(row.to_json() + "\n")
            raise InputError(f"{row.name}: {row.message}")
        html = self.html / f"{stem}.html" if self.html and self.html.is_dir() else self.html
        if html:
            row.save_html(html)
        if self.pdf:
            row.save_pdf(self.pdf / f"{stem}.pdf" if self.pdf.is_dir() else self.pdf)
        if self.save_maps:
            row.save_maps(self.save_maps)
        if self.json == STDIN:
            sys.stdout.write(row.to_json() + "\n")
        elif self.json:
            write_atomic(self.json, (row.to_json() + "\n").encode())
        if self.json != STDIN:
            terminal.render(row, Console(), html)
        return row.exit_code

    def _many(self, places: Sequence[Place], scanner: Scanner) -> int:
        if self.json:
            raise InputError("--json takes one picture; for many use --out FILE.jsonl")
        Pictures(self.html, self.pdf, self.save_maps).prepare()
        ledger = open_ledger(self.out, scanner.names, scanner.models_sha256)
        tally = Tally()
        with self._run(scanner, ledger) as run, _bar(len(places)) as advance:
            for row in run.rows(places, advance):
                ledger.add(row)
                tally.add(row)
        ledger.finish()
        tally.render(Console())
        if tally.total < len(places):
            told = f"{len(places) - tally.total} files were in {self.out} already"
            if any((self.html, self.pdf, self.save_maps)):
                told += ", so no pages and maps were written for them; another --out has them scanned anew"
            Console(stderr=True).print(told, markup=False)
        return ledger.worst

    @contextmanager
    def _run(self, scanner: Scanner, ledger: Ledger) -> Iterator[Run | ClusterRun]:
        pictures = Pictures(self.html, self.pdf, self.save_maps)
        if self.engine == "ray":
            yield ClusterRun(self._settings(), ledger, self.workers, pictures)
            return
        if self.workers == 1:
            yield Run(Desk(scanner, pictures), ledger, 1, not pictures)
            return
        args = (self._settings(), pictures)
        with Crew(begin, args, self.workers, self.timeout, self.memory, self.prepared) as crew:
            yield Run(lambda task: crew.submit(task).result(), ledger, self.workers, not pictures)


class _Rate(ProgressColumn):
    """Files a second since the start."""

    def render(self, task: Task) -> Text:
        return Text("" if not task.finished_speed and not task.speed else f"{task.finished_speed or task.speed:.2f}/s")


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    columns = (TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=300) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


@contextmanager
def _told(scanner: Scanner) -> Iterator[None]:
    """Show on standard error what a scan of one picture is doing; the first one compiles, which takes its time."""
    with Console(stderr=True).status("") as status:
        scanner.tell = lambda step: status.update(f"{step} …")
        yield


def _from_stdin(scanner: Scanner) -> Row:
    limit = scanner.limits.max_file_bytes
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"standard input: expected at most {limit} bytes, found more")
    try:
        return scanner.scan(data, name=STDIN)
    except TamperscopeError as error:
        return failure(STDIN, error)
