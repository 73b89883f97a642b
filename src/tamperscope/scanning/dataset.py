"""A folder of Parquet files as the output of a long run; rows wait in a file of lines until a part is full.

Readers of Parquet data sets pass over names that begin with `_`, so a folder can be read while it grows. A part is
written whole before its rows leave the waiting file, and a run that was killed between the two finds them in both.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tamperscope.errors import InputError
from tamperscope.files import replacing
from tamperscope.report import tables
from tamperscope.report.fields import json_ready
from tamperscope.report.schema import EXIT_CODES, Row
from tamperscope.scanning.ledger import Lines, compact, file_of, known_by, other_run
from tamperscope.scanning.many import Content
from tamperscope.scanning.retries import Retries

ROWS = 1000
"""Rows of a part."""

_WHOLE = frozenset(("width", "height", "bytes", "regions", "warnings", "notices"))
_NUMBERS = frozenset(("llr", "probability"))
_TOLD = ["name", "sha256", "verdict", "error"]
REPORT = "report"
"""The last column: the whole report, or the record of a failed file, as JSON."""


class Dataset:
    """A ledger that is a folder of Parquet files: the columns of the CSV, and the whole report as JSON."""

    def __init__(self, path: Path, detectors: Sequence[str], models: Mapping[str, str]) -> None:
        """Open or create the folder; see `open_ledger`."""
        self._parquet = _library()
        self.path, self._detectors = path, list(detectors)
        if path.is_file():
            raise InputError(f"--out: expected a folder or nothing at '{path.name}', found a file")
        self._kind = {b"tamperscope": json.dumps([self._detectors, dict(models)], sort_keys=True).encode()}
        self._places: dict[bytes, tuple[int, int]] = {}
        self._done: set[bytes] = set()
        self._retries = Retries[tuple[int, int]]()
        self._worst = 0
        self._parts = sorted(path.glob("part-*.parquet"))
        for number, part in enumerate(self._parts):
            self._read(number, part)
        self._waiting = Lines(path / "_waiting.jsonl", detectors, models)
        self._settle()

    def _read(self, number: int, part: Path) -> None:
        with _opened(part), self._parquet.ParquetFile(part) as file:
            if (file.schema_arrow.metadata or {}).get(b"tamperscope") != self._kind[b"tamperscope"]:
                raise other_run(self.path)
            rows = file.read(columns=_TOLD).to_pylist()
        for at, row in enumerate(rows):
            if not self._retries.read(row["name"], row["sha256"], row["error"], (number, at)):
                self._know(row, (number, at))

    def _know(self, row: Mapping[str, Any], place: tuple[int, int]) -> None:
        file, content = known_by(row["name"], row["sha256"])
        self._done.add(file)
        if content is not None:
            self._places.setdefault(content, place)
        self._worst = max(self._worst, EXIT_CODES.get(row["verdict"] or "", 1))

    def _settle(self) -> None:
        """Drop waiting rows that the last part holds already: the run was killed before it could."""
        lines = list(self._waiting.lines())
        if lines and self._parts:
            held = _reports(self._parts[-1])
            # One line is not enough: the row of an error may come again, word for word.
            if len(lines) == len(held) and all(map(self._equal, lines, held)):
                self._waiting.clear()
                return
        for line in lines if self._retries else ():
            self._retries.replace(json_ready(file_of(self._row(line))[0]))

    def _equal(self, line: bytes, report: str) -> bool:
        return tables.to_jsonl_line(self._row(line)) == report

    @property
    def worst(self) -> int:
        """Highest exit code of all rows."""
        return max(self._worst, self._waiting.worst, self._retries.code)

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether there is a row of the file of that name and content."""
        return known_by(name, sha256)[0] in self._done or self._waiting.holds(name, sha256)

    def recall(self, content: Content) -> Row | None:
        """Return the first row of that content."""
        place = self._places.get(compact(*content))
        if place is None:
            return self._waiting.recall(content)
        try:
            report = _reports(self._parts[place[0]])[place[1]]
        except InputError:  # damage among the reports costs a scan, and must not become the row of a sound picture
            return None
        return self._row(report)

    def _row(self, line: str | bytes) -> Row:
        return tables.from_line(line, self.path.name)

    def add(self, row: Row) -> None:
        """Append one row, unless an earlier run's row of that file says the same; every thousandth closes a part."""
        name, sha256 = file_of(row)
        name = json_ready(name)
        if (place := self._retries.repeated(name, row)) is not None:
            if (content := known_by(name, sha256)[1]) is not None:
                self._places.setdefault(content, place)
            return
        self._waiting.add(row)
        self._retries.replace(name)
        if len(self._waiting) >= ROWS:
            self._close_part()

    def finish(self) -> None:
        """Write what waits as the last part, and drop the rows that later ones replace."""
        if len(self._waiting):
            self._close_part()
        replaced = self._retries.replaced
        for number in sorted({number for number, _ in replaced}):
            self._drop(self._parts[number], {at for of, at in replaced if of == number})
        replaced.clear()

    def _drop(self, part: Path, rows: Container[int]) -> None:
        import pyarrow as arrow

        with _opened(part), self._parquet.ParquetFile(part) as file:
            table = file.read()
        self._write(table.filter(arrow.array([at not in rows for at in range(table.num_rows)])), part)
        _reports.cache_clear()

    def _write(self, table: Any, part: Path) -> None:
        with replacing(part) as unfinished:
            self._parquet.write_table(table, unfinished, compression="zstd")

    def _close_part(self) -> None:
        rows = [self._row(line) for line in self._waiting.lines()]
        number = len(self._parts)
        # Not their count: where one was taken away, that would be the name of another.
        after = 1 + max((int(p.stem[5:]) for p in self._parts if p.stem[5:].isdecimal()), default=-1)
        part = self.path / f"part-{after:06d}.parquet"
        table = self._table(rows)
        self._write(table, part)
        self._parts.append(part)
        for at, row in enumerate(table.select(_TOLD).to_pylist()):
            # What this run was told is known until it ends, whatever it was.
            if row["name"] not in self._waiting.retries or not self._retries.read(
                row["name"], row["sha256"], row["error"], (number, at)
            ):
                self._know(row, (number, at))
        self._waiting.clear()

    def _table(self, rows: Sequence[Row]) -> Any:
        import pyarrow as arrow

        names = [*tables.COLUMNS, *(f"score.{name}" for name in self._detectors), REPORT]
        cells = [[*tables.cells(row, self._detectors), tables.to_jsonl_line(row)] for row in rows]

        def kind(name: str) -> Any:
            if name in _WHOLE:
                return arrow.int64()
            return arrow.float64() if name in _NUMBERS or name.startswith("score.") else arrow.string()

        schema = arrow.schema([(name, kind(name)) for name in names], metadata=self._kind)
        columns = [
            arrow.array([json_ready(cell) for cell in column], kind(name))
            for name, column in zip(names, zip(*cells, strict=True), strict=True)
        ]
        return arrow.Table.from_arrays(columns, schema=schema)


@lru_cache(maxsize=4)
def _reports(part: Path) -> list[str]:
    with _opened(part):
        found: list[str] = _library().read_table(part, columns=[REPORT]).column(0).to_pylist()
    return found


@contextmanager
def _opened(part: Path) -> Iterator[None]:
    """Turn what is raised at a damaged or foreign part into an `InputError`."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise InputError(
            f"'{part.name}': expected a part of '{part.parent.name}', found damage or no Parquet file; move it away to "
            f"have its files scanned again, or name another folder with --out ({error})"
        ) from error


def _library() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as missing:
        raise InputError(".parquet needs the extra `scale`: pip install 'tamperscope[scale]'") from missing
    return parquet
