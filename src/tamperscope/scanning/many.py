"""Many pictures: scan each, lose none, equal bytes once, in the order given whatever the number of workers."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tamperscope.errors import InputError, TamperscopeError
from tamperscope.media import Limits, isolate
from tamperscope.report.fields import json_ready
from tamperscope.report.schema import ErrorReport, Report, Row
from tamperscope.report.text import shell_command
from tamperscope.scanning.one import Scanner, operand
from tamperscope.scanning.places import Place, digest, place_of

WINDOW = 32
"""Files a worker that may be begun before the first of them is done: a large picture keeps the others waiting."""

_COMMAND = re.compile(r"""^tamperscope scan (?:\$'(?:[^'\\]|\\.)*'|'[^']*'|"[^"]*"|[^\s'"])+""")
"""How a command that `Scanner.reproduce` gave begins, up to the end of the file's name as `shell_quote` writes it."""

Content = tuple[str, str]
"""SHA-256 of a file and the suffix of its name: what a report follows from, but for the name itself."""


@dataclass(frozen=True, slots=True)
class Task:
    """One file for a worker: where it lies on this machine, what it is called, and the page of a PDF file or 0."""

    path: str
    name: str
    page: int = 0


class Memory(Protocol):
    """What is known of earlier rows; asked from several threads."""

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether an earlier run holds the file of that name and content, with a row that stands."""

    def recall(self, content: Content) -> Row | None:
        """Return an earlier row of the same content, if one can be had."""


def failure(name: str, error: Exception, sha256: str | None = None) -> ErrorReport:
    """Return the record of a file that could not be scanned."""
    # The record has the name already.
    message = str(error).removeprefix(f"{name!r}: ").removeprefix(f"{Path(name).name!r}: ")
    return ErrorReport(name=name, error=type(error).__name__, message=message, sha256=sha256)


def renamed(row: Row, name: str) -> Row:
    """Return the row of a file as that of another one with the same bytes."""
    told = json_ready(name)
    if not isinstance(row, Report):
        return row.model_copy(update={"name": told})
    intake = row.intake.model_copy(update={"name": told, "same_as": row.intake.same_as or row.intake.name})
    # The report has the other name with its bytes escaped, so the name in the command cannot be made from it again.
    rest = _COMMAND.sub("", row.reproduce.command, count=1)
    command = shell_command(["tamperscope", "scan", operand(name)]) + rest
    reproduce = row.reproduce.model_copy(update={"command": command})
    return row.model_copy(update={"intake": intake, "reproduce": reproduce}).with_pictures(None)


@dataclass(slots=True)
class Run:
    """Scans files with one function, on as many threads as there are workers behind it.

    Attributes:
        work: Returns the row of a file; whatever it raises becomes the file's record.
        memory: What earlier runs hold; those files are passed over.
        threads: How many files are at work at a time; 1 works in the calling thread.
        share: Whether files of equal bytes get the row of the first of them, with their own name.
        max_bytes: Largest file to fetch from an address.
    """

    work: Callable[[Task], Row]
    memory: Memory
    threads: int = 1
    share: bool = True
    max_bytes: int = field(default_factory=lambda: Limits().max_file_bytes)
    _flight: dict[Content, Future[Row]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, places: Iterable[Place], advance: Callable[[], None] = lambda: None) -> Iterator[Row]:
        """Yield one row a file that is not done yet, in the order of the files.

        Args:
            places: What to scan.
            advance: Called after every file, passed over or not.
        """
        for row, content in self._ordered(places):
            if row is not None:
                yield row
            # Only now is the row where `memory` finds it.
            if content is not None:
                self._flight.pop(content, None)
            advance()

    def _ordered(self, places: Iterable[Place]) -> Iterator[tuple[Row | None, Content | None]]:
        if self.threads == 1:
            yield from map(self._one, places)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            window: deque[Future[tuple[Row | None, Content | None]]] = deque()
            try:
                for place in places:
                    window.append(pool.submit(self._one, place))
                    while len(window) >= self.threads * WINDOW or (window and window[0].done()):
                        yield window.popleft().result()
                while window:
                    yield window.popleft().result()
            finally:
                for waiting in window:
                    waiting.cancel()

    def _one(self, place: Place) -> tuple[Row | None, Content | None]:
        """Return the row of a file, None where an earlier run holds it, and its content where this was its scan."""
        sha256: str | None = None
        try:
            with place.local(self.max_bytes) as path:
                sha256 = digest(path)
                if self.memory.holds(place.name, sha256):
                    return None, None
                task = Task(str(path), place.name, place.page)
                return self._shared((sha256, place.suffix), task) if self.share else (self._row(task, sha256), None)
        except (TamperscopeError, OSError, MemoryError) as error:
            done = self.memory.holds(place.name, sha256)
            return (None if done else failure(place.name, error, sha256)), None

    def _row(self, task: Task, sha256: str) -> Row:
        try:
            return self.work(task)
        except Exception as error:  # a fault of ours at one picture must not end a run of millions
            return failure(task.name, error, sha256)

    def _shared(self, content: Content, task: Task) -> tuple[Row, Content | None]:
        with self._lock:
            other = self._flight.get(content)
            mine = self._flight.setdefault(content, Future())
        if other is not None:
            return renamed(other.result(), task.name), None
        try:
            known = self.memory.recall(content)
            row = self._row(task, content[0]) if known is None else renamed(known, task.name)
        except BaseException as error:
            mine.set_exception(error)
            raise
        mine.set_result(row)
        return row, content


@dataclass(frozen=True, slots=True)
class Pictures:
    """Folders for what people look at; false where there is none.

    Attributes:
        html: For pages.
        pdf: For pages on paper.
        maps: For maps.
    """

    html: Path | None = None
    pdf: Path | None = None
    maps: Path | None = None

    def __bool__(self) -> bool:
        """Return whether anything is to be written."""
        return any((self.html, self.pdf, self.maps))

    def prepare(self) -> None:
        """Make the folders, so that one that cannot be written to is told before the first file is scanned.

        Raises:
            InputError: There is something else, or it cannot be made or written to.
        """
        for option, folder in (("--html", self.html), ("--pdf", self.pdf), ("--save-maps", self.maps)):
            if folder is None:
                continue
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                found = "a file" if folder.is_file() else error.strerror
                raise InputError(
                    f"{option}: for many pictures expected a folder or nothing at '{folder}', found {found}; name "
                    "another place"
                ) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise InputError(f"{option}: expected a folder that may be written to, found '{folder}'")

    def save(self, report: Report, name: str) -> None:
        """Write what is asked for of the report on the file of a name."""
        # The hash keeps two files of one name apart.
        stem = f"{place_of(name).stem}-{(report.intake.sha256 or '')[:8]}"
        if self.html:
            report.save_html(self.html / f"{stem}.html")
        if self.pdf:
            report.save_pdf(self.pdf / f"{stem}.pdf")
        if self.maps:
            report.save_maps(self.maps / stem)


@dataclass(slots=True)
class Desk:
    """Scans one file after another.

    Attributes:
        scanner: Asked for each.
        pictures: What is written of each report.
    """

    scanner: Scanner
    pictures: Pictures = field(default_factory=Pictures)

    def __call__(self, task: Task) -> Row:
        """Return the report on a file, without its pictures.

        Raises:
            InputError: It is no picture that may be opened.
        """
        report = self.scanner.scan(Path(task.path), task.name, task.page)
        self.pictures.save(report, task.name)
        return report.with_pictures(None)


def begin(settings: Mapping[str, Any], pictures: Pictures) -> Desk:
    """Return what a worker process scans with.

    Args:
        settings: Arguments of `Scanner`.
        pictures: What is written of each report.
    """
    isolate.start(settings.get("limits", Limits()))
    return Desk(Scanner(**settings), pictures)
