"""One `tamperscope scan`: which pictures, and where their reports go."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tamperscope.errors import InputError, TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.media import Limits
from tamperscope.report import terminal
from tamperscope.report.files import plain_name
from tamperscope.report.schema import ErrorReport, Report, Row
from tamperscope.scanning.ledger import Ledger
from tamperscope.scanning.many import failure, find_files, scan_many
from tamperscope.scanning.one import FRAMES, Scanner

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Job:
    """What to scan and what to write; the fields are the options of the command line.

    Attributes:
        paths: Files, folders, patterns, or `-`.
        recursive: Go into subfolders.
        detectors: Names; all when empty.
        quick: Only the fast ones.
        max_pixels: Largest picture to open, or None for the default.
        html: File for one picture, folder for many.
        json: File, or `-` for standard output; one picture only.
        out: `.jsonl` or `.csv` to append to; files that it holds already are passed over.
        save_maps: Folder for maps.
        network: Whether the shipped network may be asked.
        models: Folders of exported networks.
        frames: How many frames of a video to look at.
    """

    paths: Sequence[str]
    recursive: bool = False
    detectors: Sequence[str] = ()
    quick: bool = False
    max_pixels: int | None = None
    html: Path | None = None
    json: str = ""
    out: Path | None = None
    save_maps: Path | None = None
    network: bool = True
    models: Sequence[Path] = ()
    frames: int = FRAMES

    def run(self) -> int:
        """Scan, write, show; return the exit code.

        Raises:
            InputError: A path names nothing, or options contradict each other.
            UnknownNameError: No detector of that name.
        """
        limits = Limits() if self.max_pixels is None else Limits(max_pixels=self.max_pixels)
        scanner = Scanner(
            self.detectors,
            self.quick,
            limits=limits,
            network=self.network,
            models=self.models,
            frames=self.frames,
        )
        if list(self.paths) == [STDIN]:
            with _told(scanner):
                row = _from_stdin(scanner)
            return self._one(row, "stdin")
        files = find_files(self.paths, self.recursive)
        if not files:
            raise InputError(f"expected pictures, found none in {', '.join(self.paths)}; try -r for subfolders")
        if len(files) == 1 and not Path(self.paths[0]).is_dir() and self.out is None:
            with _told(scanner):
                row = next(scan_many(files, scanner))
            return self._one(row, files[0].stem)
        return self._many(files, scanner)

    def _one(self, row: Row, stem: str) -> int:
        if isinstance(row, ErrorReport):
            if self.json == STDIN:
                sys.stdout.write(row.to_json() + "\n")
            raise InputError(f"{row.name}: {row.message}")
        html = self.html / f"{plain_name(stem)}.html" if self.html and self.html.is_dir() else self.html
        if html:
            row.save_html(html)
        if self.save_maps:
            row.save_maps(self.save_maps)
        if self.json == STDIN:
            sys.stdout.write(row.to_json() + "\n")
        elif self.json:
            write_atomic(self.json, (row.to_json() + "\n").encode())
        if self.json != STDIN:
            terminal.render(row, Console(), html)
        return row.exit_code

    def _many(self, files: list[Path], scanner: Scanner) -> int:
        if self.json:
            raise InputError("--json takes one picture; for many use --out FILE.jsonl")
        ledger = Ledger(self.out, scanner.names, scanner.models_sha256) if self.out else None
        seen: list[Row] = []
        for row in self._progress(files, scanner, ledger):
            if isinstance(row, Report):
                self._write_pictures(row)
                seen.append(row.model_copy(update={"facts": {}, "findings": [], "predictions": []}).with_pictures(None))
            else:
                seen.append(row)
            if ledger:
                ledger.add(row)
        terminal.render_many(seen, Console())
        if ledger and len(seen) < len(files):
            Console(stderr=True).print(f"{len(files) - len(seen)} files were in {self.out} already", markup=False)
        return max([ledger.worst if ledger else 0, *(row.exit_code for row in seen)])

    def _progress(self, files: list[Path], scanner: Scanner, ledger: Ledger | None) -> Iterator[Row]:
        columns = (TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=len(files))

            def is_done(name: str, sha256: str | None) -> bool:
                return ledger is not None and ledger.key(name, sha256) in ledger.done

            yield from scan_many(files, scanner, is_done, lambda: bar.advance(task))

    def _write_pictures(self, report: Report) -> None:
        # The hash keeps two files of one name apart.
        digest = (report.intake.sha256 or "")[:8]
        name = f"{plain_name(Path(report.intake.name).stem)}-{digest}"
        if self.html:
            report.save_html(self.html / f"{name}.html")
        if self.save_maps:
            report.save_maps(self.save_maps / name)


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
