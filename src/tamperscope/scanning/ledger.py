"""The output of a long run: one row a picture, appended whole, and read back to go on after a stop."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from tamperscope.errors import InputError
from tamperscope.report import tables
from tamperscope.report.fields import json_ready
from tamperscope.report.schema import EXIT_CODES, Report, Row
from tamperscope.report.text import formula_safe, safe
from tamperscope.scanning.many import Content, Memory

RECENT = 1000


class Ledger(Memory, Protocol):
    """Where rows go, and what is known of those that went there; see `open_ledger`.

    A row is on disk when `add` returns. Files are known by name and SHA-256, contents by SHA-256 and suffix.
    """

    worst: int
    """Highest exit code of all rows."""

    def add(self, row: Row) -> None:
        """Append one row."""

    def finish(self) -> None:
        """Bring the output to its final form: all rows are there."""


def open_ledger(path: Path | None, detectors: Sequence[str], models: Mapping[str, str] | None = None) -> Ledger:
    """Open or create the output of a run.

    Args:
        path: A `.jsonl` or `.csv` file, a folder that ends in `.parquet`, or None to keep nothing on disk.
        detectors: Detectors of this run, which those of an earlier run must equal.
        models: SHA-256 of the exported networks among them; a `.csv` holds none and cannot tell.

    Raises:
        InputError: Another suffix, a missing extra, or rows that another kind of run wrote.
    """
    suffix = None if path is None else path.suffix.lower()
    asked = sorted(detectors), dict(models or {})
    if path is None:
        return Recent()
    if suffix == ".jsonl":
        return Lines(path, *asked)
    if suffix == ".csv":
        return Sheet(path, *asked)
    if suffix == ".parquet":
        from tamperscope.scanning.dataset import Dataset

        return Dataset(path, *asked)
    raise InputError(f"--out: expected a name that ends in .jsonl, .csv or .parquet, found '{path.name}'")


def other_run(path: Path) -> InputError:
    """Return the error for rows that another kind of run wrote."""
    return InputError(
        f"'{path.name}' holds rows of a scan with other detectors or networks; name another file with --out, or delete "
        "it"
    )


def file_of(row: Row) -> tuple[str, str | None]:
    """Return name and SHA-256 of the file of a row."""
    return (row.intake.name, row.intake.sha256) if isinstance(row, Report) else (row.name, row.sha256)


def compact(*parts: str) -> bytes:
    """Return 16 bytes that stand for some texts: ten million of them fit into memory."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def known_by(name: str, sha256: str | None) -> tuple[bytes, bytes | None]:
    """Return what a file is known by, and what its content is, where it could be read."""
    content = compact(sha256, PurePosixPath(name).suffix.lower()) if sha256 else None
    return compact(json_ready(name), sha256 or ""), content


class Recent:
    """Keeps the latest rows in memory, for a run that writes none."""

    def __init__(self) -> None:
        self.worst = 0
        self._rows: OrderedDict[Content, Row] = OrderedDict()

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return False: there was no earlier run."""
        return False

    def recall(self, content: Content) -> Row | None:
        """Return a row of that content, if it is among the latest."""
        return self._rows.get(content)

    def add(self, row: Row) -> None:
        """Keep a row; the oldest one goes."""
        self.worst = max(self.worst, row.exit_code)
        name, sha256 = file_of(row)
        if sha256:
            slim = row.with_pictures(None) if isinstance(row, Report) else row
            self._rows[sha256, PurePosixPath(name).suffix.lower()] = slim
        if len(self._rows) > RECENT:
            self._rows.popitem(last=False)

    def finish(self) -> None:
        """Do nothing."""


class Lines:
    """A `.jsonl` file of whole reports; a last line that a killed run left unfinished is cut off."""

    def __init__(self, path: Path, detectors: Sequence[str], models: Mapping[str, str]) -> None:
        self.path, self.worst = path, 0
        self._asked = list(detectors), dict(models)
        self._done: set[bytes] = set()
        self._places: dict[bytes, int] = {}
        self._end = 0
        self._lock = threading.Lock()
        _cut(path)
        try:
            for line in self.lines():
                self._read(line)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"'{path.name}' holds no rows of a scan; name another file with --out") from error

    def _read(self, line: bytes) -> None:
        row = json.loads(line)
        whole = row["status"] == "ok"
        if whole and not self._like(row["reproduce"]["options"]):
            raise other_run(self.path)
        told = row["intake"] if whole else row
        code = EXIT_CODES[row["verdict"]["level"]] if whole else 1
        self._note(told["name"], told["sha256"], code, len(line))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._done)

    def lines(self) -> Iterator[bytes]:
        """Yield the rows as bytes, each with its line break."""
        with self.path.open("rb") as stream:
            yield from stream

    def _note(self, name: str, sha256: str | None, code: int, length: int) -> None:
        file, content = known_by(name, sha256)
        self._done.add(file)
        if content is not None:
            self._places.setdefault(content, self._end)
        self.worst = max(self.worst, code)
        self._end += length

    def _like(self, options: Mapping[str, Any]) -> bool:
        return (sorted(options.get("detectors", [])), options.get("models", {})) == self._asked

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether there is a row of the file of that name and content."""
        return compact(json_ready(name), sha256 or "") in self._done

    def recall(self, content: Content) -> Row | None:
        """Return the first row of that content."""
        with self._lock:
            place = self._places.get(compact(*content))
            if place is None:
                return None
            with self.path.open("rb") as stream:
                stream.seek(place)
                return tables.from_line(stream.readline(), self.path.name)

    def add(self, row: Row) -> None:
        """Append one row."""
        line = (tables.to_jsonl_line(row) + "\n").encode("utf-8")
        with self._lock:
            _append(self.path, line)
            self._note(*file_of(row), row.exit_code, len(line))

    def clear(self) -> None:
        """Forget all rows: they lie elsewhere now."""
        with self._lock:
            os.truncate(self.path, 0)
            self._done.clear()
            self._places.clear()
            self._end = 0

    def finish(self) -> None:
        """Do nothing: every row is in its final form."""


class Sheet:
    """A `.csv` file for spreadsheets; it holds no reports, so equal bytes are scanned again."""

    def __init__(self, path: Path, detectors: Sequence[str], models: Mapping[str, str]) -> None:
        self.path, self._detectors = path, list(detectors)
        _cut(path)
        header = tables.csv_header(self._detectors)
        with path.open(encoding="utf-8", newline="") as stream:
            start = stream.read(len(header))
            if start and start != header:
                raise other_run(path)
            stream.seek(0)
            found = [(EXIT_CODES.get(row["verdict"], 1), row["name"], row["sha256"]) for row in csv.DictReader(stream)]
        self.worst = max((code for code, *_ in found), default=0)
        self._done = {compact(name, sha256) for _, name, sha256 in found}
        if not start:
            _append(path, header.encode("utf-8"))

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether there is a row of the file of that name and content."""
        return compact(formula_safe(safe(name)), sha256 or "") in self._done

    def recall(self, content: Content) -> Row | None:
        """Return None."""
        return None

    def add(self, row: Row) -> None:
        """Append one row."""
        line = tables.csv_line(row, self._detectors)
        _append(self.path, line.encode("utf-8"))
        name, sha256 = file_of(row)
        self._done.add(compact(formula_safe(safe(name)), sha256 or ""))
        self.worst = max(self.worst, row.exit_code)

    def finish(self) -> None:
        """Do nothing: every row is in its final form."""


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def _cut(path: Path) -> None:
    """Make the file where it is missing, and cut an unfinished last line off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        end = stream.seek(0, os.SEEK_END)
        place, tail = end, b""
        while place > 0 and b"\n" not in tail:
            place = max(0, place - (1 << 20))
            stream.seek(place)
            tail = stream.read(1 << 20)
        whole = place + tail.rfind(b"\n") + 1
        if whole != end:
            stream.truncate(whole)
