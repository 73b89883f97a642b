"""The output file of a long run: one row a picture, appended whole, and read back to go on after a stop."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tamperscope.errors import InputError
from tamperscope.report import tables
from tamperscope.report.schema import EXIT_CODES, ErrorReport, Report, Row
from tamperscope.report.text import formula_safe, safe

Key = tuple[str, str]


class Ledger:
    """An append-only `.jsonl` or `.csv` file of rows.

    A row is written by one call and forced to disk; a last line that a killed run left unfinished is cut off when the
    file is opened again. Rows are known by file name and SHA-256; `done` holds those, `worst` the highest exit code.
    """

    def __init__(self, path: Path, detectors: Sequence[str], models: Mapping[str, str] | None = None) -> None:
        """Open or create the file.

        Args:
            path: Ends in `.jsonl` or `.csv`.
            detectors: Detectors of this run, which those of an earlier run must equal.
            models: SHA-256 of the exported networks among them; a `.csv` holds none and cannot tell.

        Raises:
            InputError: Another suffix, or rows that another kind of run wrote.
        """
        self.path, self.detectors, self.models = path, sorted(detectors), dict(models or {})
        self._csv = path.suffix.lower() == ".csv"
        if not self._csv and path.suffix.lower() != ".jsonl":
            raise InputError(f"--out: expected a file that ends in .jsonl or .csv, found '{path.name}'")
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _whole_lines(path)
        self.worst = 0
        self.done = self._read_csv(kept) if self._csv else self._read_jsonl(kept)
        if self._csv and not kept:
            self._append(tables.csv_header(self.detectors))

    def _read_jsonl(self, text: str) -> set[Key]:
        rows = tables.from_jsonl(text)
        for row in rows:
            if isinstance(row, Report) and not self._like(row.reproduce.options):
                raise self._other_run()
            self.worst = max(self.worst, row.exit_code)
        return {self.key(r.intake.name, r.intake.sha256) if isinstance(r, Report) else _error_key(r) for r in rows}

    def _like(self, options: Mapping[str, Any]) -> bool:
        return sorted(options.get("detectors", [])) == self.detectors and options.get("models", {}) == self.models

    def _read_csv(self, text: str) -> set[Key]:
        if text and not text.startswith(tables.csv_header(self.detectors)):
            raise self._other_run()
        rows = list(csv.DictReader(io.StringIO(text)))
        self.worst = max((EXIT_CODES.get(row["verdict"], 1) for row in rows), default=0)
        return {(row["name"], row["sha256"]) for row in rows}

    def _other_run(self) -> InputError:
        return InputError(
            f"'{self.path.name}' holds rows of a scan with other detectors or networks; name another file with --out, "
            "or delete it"
        )

    def key(self, name: str, sha256: str | None) -> Key:
        """Return what a file is known by, spelled as the ledger spells it."""
        spelled = formula_safe(safe(name)) if self._csv else name.encode("utf-8", "backslashreplace").decode()
        return spelled, sha256 or ""

    def add(self, row: Row) -> None:
        """Append one row."""
        self._append(tables.csv_line(row, self.detectors) if self._csv else tables.to_jsonl_line(row) + "\n")

    def _append(self, line: str) -> None:
        with self.path.open("ab") as stream:
            stream.write(line.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())


def _error_key(row: ErrorReport) -> Key:
    return row.name, row.sha256 or ""


def _whole_lines(path: Path) -> str:
    """Return the finished lines of a file, and cut an unfinished one off."""
    if not path.exists():
        return ""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        os.truncate(path, len(whole))
    return whole.decode("utf-8")
