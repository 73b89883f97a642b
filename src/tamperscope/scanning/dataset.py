"""A folder of Parquet files as the output of a long run; rows wait in a file of lines until a part is full.

Readers of Parquet data sets pass over names that begin with `_`, so a folder can be read while it grows. A part is
written whole before its rows leave the waiting file, and a run that was killed between the two finds them in both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

ROWS = 1000
"""Rows of a part."""

_WHOLE = frozenset(("width", "height", "bytes", "regions", "warnings", "notices"))
_NUMBERS = frozenset(("llr", "probability"))
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
        self.worst = 0
        self._parts = sorted(path.glob("part-*.parquet"))
        for number, part in enumerate(self._parts):
            self._read(number, part)
        self._waiting = Lines(path / "_waiting.jsonl", detectors, models)
        self._settle()

    def _read(self, number: int, part: Path) -> None:
        file = self._parquet.ParquetFile(part)
        if (file.schema_arrow.metadata or {}).get(b"tamperscope") != self._kind[b"tamperscope"]:
            raise other_run(self.path)
        columns = file.read(columns=["name", "sha256", "verdict"]).to_pylist()
        self._index(number, columns)

    def _index(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for at, row in enumerate(rows):
            file, content = known_by(row["name"], row["sha256"])
            self._done.add(file)
            if content is not None:
                self._places.setdefault(content, (number, at))
            self.worst = max(self.worst, EXIT_CODES.get(row["verdict"] or "", 1))

    def _settle(self) -> None:
        """Drop waiting rows that the last part holds already: the run was killed before it could."""
        first = next(self._waiting.lines(), None)
        if first is not None and known_by(*file_of(self._row(first)))[0] in self._done:
            self._waiting.clear()
        self.worst = max(self.worst, self._waiting.worst)

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether there is a row of the file of that name and content."""
        return known_by(name, sha256)[0] in self._done or self._waiting.holds(name, sha256)

    def recall(self, content: Content) -> Row | None:
        """Return the first row of that content."""
        place = self._places.get(compact(*content))
        if place is None:
            return self._waiting.recall(content)
        return self._row(_reports(self._parts[place[0]])[place[1]])

    def _row(self, line: str | bytes) -> Row:
        return tables.from_line(line, self.path.name)

    def add(self, row: Row) -> None:
        """Append one row; every thousandth closes a part."""
        self._waiting.add(row)
        self.worst = max(self.worst, row.exit_code)
        if len(self._waiting) >= ROWS:
            self._close_part()

    def finish(self) -> None:
        """Write what waits as the last part."""
        if len(self._waiting):
            self._close_part()

    def _close_part(self) -> None:
        rows = [self._row(line) for line in self._waiting.lines()]
        number = len(self._parts)
        part = self.path / f"part-{number:06d}.parquet"
        table = self._table(rows)
        with replacing(part) as unfinished:
            self._parquet.write_table(table, unfinished, compression="zstd")
        self._parts.append(part)
        self._index(number, table.select(["name", "sha256", "verdict"]).to_pylist())
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
    found: list[str] = _library().read_table(part, columns=[REPORT]).column(0).to_pylist()
    return found


def _library() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as missing:
        raise InputError(".parquet needs the extra `scale`: pip install 'tamperscope[scale]'") from missing
    return parquet
