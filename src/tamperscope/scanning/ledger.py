"""The output of a long run: one row a picture, appended whole, and read back to go on after a stop."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from tamperscope.errors import InputError
from tamperscope.files import replacing
from tamperscope.report import tables
from tamperscope.report.fields import json_ready
from tamperscope.report.schema import EXIT_CODES, Report, Row
from tamperscope.report.text import formula_safe, safe
from tamperscope.scanning.many import Content, Memory
from tamperscope.scanning.retries import Retries

RECENT = 1000
STARTS = (b'{"status": "ok", "schema_version": ', b'{"status": "error", "schema_version": ')
"""What a row of a `.jsonl` file begins with."""


class Ledger(Memory, Protocol):
    """Where rows go, and what is known of those that went there; see `open_ledger`.

    A row is on disk when `add` returns. Files are known by name and SHA-256, contents by SHA-256 and suffix. The row of
    an error that may be gone by now is not held; see `Retries`.
    """

    @property
    def worst(self) -> int:
        """Highest exit code of all rows."""

    def add(self, row: Row) -> None:
        """Append one row; one that says what an earlier run's row of that file says already is not written again."""

    def finish(self) -> None:
        """Bring the output to its final form: all rows are there, and those that they replace go. Last of all calls."""


def open_ledger(path: Path | None, detectors: Sequence[str], models: Mapping[str, str] | None = None) -> Ledger:
    """Open or create the output of a run.

    Args:
        path: A `.jsonl` or `.csv` file, a folder that ends in `.parquet`, or None to keep nothing on disk.
        detectors: Detectors of this run, which those of an earlier run must equal.
        models: SHA-256 of the exported networks among them; a `.csv` holds none and cannot tell.

    Raises:
        InputError: Another suffix, a missing extra, rows that another kind of run wrote, or something else than rows,
            which is left as it is.
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


def no_rows(path: Path) -> InputError:
    """Return the error for what no scan wrote, or what is damaged."""
    return InputError(f"'{path.name}' holds no rows of a scan; name another file with --out")


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
    """A `.jsonl` file of whole reports; a last line that a killed run left unfinished is cut off.

    That is done only once every other line turned out to be a row: what a user named by mistake stays as it is.
    """

    def __init__(self, path: Path, detectors: Sequence[str], models: Mapping[str, str]) -> None:
        self.path = path
        self.retries = Retries[int]()
        self._asked = list(detectors), dict(models)
        self._done: set[bytes] = set()
        self._places: dict[bytes, int] = {}
        self._count = self._end = self._worst = 0
        self._lock = threading.Lock()
        _make(path)
        try:
            for line in _whole(path):
                self._read(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise no_rows(path) from error
        if not self._end and not _begins(path):
            raise no_rows(path)
        os.truncate(path, self._end)

    def _read(self, line: bytes) -> None:
        row = json.loads(line)
        whole = {"ok": True, "error": False}[row["status"]]
        if whole and not self._like(row["reproduce"]["options"]):
            raise other_run(self.path)
        name, sha256 = (row["intake"]["name"], row["intake"]["sha256"]) if whole else (row["name"], row["sha256"])
        told = None if whole else f"{row['error']}: {row['message']}"
        if not self.retries.read(name, sha256, told, self._end):
            self._know(name, sha256, EXIT_CODES[row["verdict"]["level"]] if whole else 1, self._end)
        self._count += 1
        self._end += len(line)

    @property
    def worst(self) -> int:
        """Highest exit code of all rows."""
        return max(self._worst, self.retries.code)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._count

    def lines(self) -> Iterator[bytes]:
        """Yield the rows that no later one replaces as bytes, each with its line break."""
        with self.path.open("rb") as stream:
            yield from _standing(stream, self.retries.replaced)

    def _know(self, name: str, sha256: str | None, code: int, place: int) -> None:
        file, content = known_by(name, sha256)
        self._done.add(file)
        if content is not None:
            self._places.setdefault(content, place)
        self._worst = max(self._worst, code)

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
        """Append one row, unless an earlier run's row of that file says the same."""
        name, sha256 = file_of(row)
        told = json_ready(name)
        if (place := self.retries.repeated(told, row)) is not None:
            self._know(name, sha256, row.exit_code, place)
            return
        line = (tables.to_jsonl_line(row) + "\n").encode("utf-8")
        with self._lock:
            _append(self.path, line)
            self.retries.replace(told)
            self._know(name, sha256, row.exit_code, self._end)
            self._count += 1
            self._end += len(line)

    def clear(self) -> None:
        """Forget all rows: they lie elsewhere now."""
        with self._lock:
            os.truncate(self.path, 0)
            self.retries.clear()
            self._done.clear()
            self._places.clear()
            self._count = self._end = 0

    def finish(self) -> None:
        """Drop the rows that later ones replace."""
        _drop(self.path, self.retries.replaced)


class Sheet:
    """A `.csv` file for spreadsheets; it holds no reports, so equal bytes are scanned again."""

    def __init__(self, path: Path, detectors: Sequence[str], models: Mapping[str, str]) -> None:
        self.path, self._detectors = path, list(detectors)
        self._worst, self._done, self._retries = 0, set[bytes](), Retries[int]()
        _make(path)
        header = tables.csv_header(self._detectors).encode("utf-8")
        with path.open("rb") as stream:
            start = stream.read(len(header))
        if start and not start.startswith(",".join(tables.COLUMNS).encode("utf-8")):
            raise no_rows(path)
        if not header.startswith(start):
            raise other_run(path)
        if start != header:  # a run was killed at its first line
            os.truncate(path, 0)
            _append(path, header)
            return
        try:
            end = self._read()
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise no_rows(path) from error
        os.truncate(path, end)

    def _read(self) -> int:
        """Take the rows in; return the number of their bytes."""
        place = end = 0

        def text() -> Iterator[str]:
            nonlocal place, end
            for line in _whole(self.path):
                place, end = end, end + len(line)
                yield line.decode("utf-8")

        for row in csv.DictReader(text()):
            told = None if row["status"] == "ok" else row["error"]
            if not self._retries.read(row["name"], row["sha256"], told, place):
                self._done.add(compact(row["name"], row["sha256"]))
                self._worst = max(self._worst, EXIT_CODES.get(row["verdict"], 1))
        return end

    @property
    def worst(self) -> int:
        """Highest exit code of all rows."""
        return max(self._worst, self._retries.code)

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether there is a row of the file of that name and content."""
        return compact(formula_safe(safe(name)), sha256 or "") in self._done

    def recall(self, content: Content) -> Row | None:
        """Return None."""
        return None

    def add(self, row: Row) -> None:
        """Append one row, unless an earlier run's row of that file says the same."""
        name, sha256 = file_of(row)
        told = formula_safe(safe(name))
        if self._retries.repeated(told, row) is not None:
            return
        line = tables.csv_line(row, self._detectors)
        _append(self.path, line.encode("utf-8"))
        self._retries.replace(told)
        self._done.add(compact(told, sha256 or ""))
        self._worst = max(self._worst, row.exit_code)

    def finish(self) -> None:
        """Drop the rows that later ones replace."""
        _drop(self.path, self._retries.replaced)


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def _make(path: Path) -> None:
    """Make the file where it is missing; one that may not be written to is told at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("ab").close()


def _whole(path: Path) -> Iterator[bytes]:
    """Yield the lines that have their line break."""
    with path.open("rb") as stream:
        yield from (line for line in stream if line.endswith(b"\n"))


def _begins(path: Path) -> bool:
    """Return whether the file is empty, or begins like one of rows."""
    with path.open("rb") as stream:
        start = stream.read(max(map(len, STARTS)))
    return not start or start.startswith(STARTS)


def _standing(lines: Iterable[bytes], replaced: Container[int]) -> Iterator[bytes]:
    place = 0
    for line in lines:
        if place not in replaced:
            yield line
        place += len(line)


def _drop(path: Path, replaced: set[int]) -> None:
    """Drop the lines that begin at these bytes."""
    if not replaced:
        return
    with replacing(path.resolve()) as part, path.open("rb") as old, part.open("wb") as new:
        new.writelines(_standing(old, replaced))
        new.flush()
        os.fsync(new.fileno())
    replaced.clear()
