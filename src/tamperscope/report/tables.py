"""Reports for machines: JSON, JSON lines with one whole report a line, and a flat CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from tamperscope.errors import InputError
from tamperscope.report.schema import ROW, Report, Row
from tamperscope.report.text import formula_safe, safe
from tamperscope.settings import wrong

COLUMNS = (
    "name",
    "status",
    "sha256",
    "verdict",
    "llr",
    "probability",
    "stability",
    "width",
    "height",
    "format",
    "bytes",
    "regions",
    "warnings",
    "notices",
    "error",
)
"""The fixed columns of the CSV, in order; one column `score.<detector>` per detector follows, by name.

`name` and `error` are made harmless for spreadsheets; `warnings` and `notices` count findings about the container;
`llr` is the fused natural-log likelihood ratio. A file that failed has `status` error and only `name`, `sha256` (when
known) and `error`; an absent value is an empty cell.
"""

Cell = str | int | float | None


def to_json(row: Row) -> str:
    """Return one report, or the record of a failed file, as indented JSON text."""
    return row.to_json()


def to_jsonl_line(row: Row) -> str:
    """Return one row as a single line of JSON, without the line break; `status` is `ok` or `error`."""
    return row.to_json(indent=None)


def to_jsonl(rows: Iterable[Row]) -> str:
    """Return the rows as JSON lines."""
    return "".join(f"{to_jsonl_line(row)}\n" for row in rows)


def from_jsonl(text: str) -> list[Row]:
    """Return the rows of JSON lines; a last line that was cut off (no line break) is passed over.

    Raises:
        InputError: Another line is no row of this schema; the message names it.
    """
    lines = text.split("\n")[:-1]
    return [from_line(line, f"line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def from_line(line: str | bytes, where: str) -> Row:
    """Return the row of a single line of JSON.

    Args:
        line: As `to_jsonl_line` writes it.
        where: Said of it where it is none.

    Raises:
        InputError: It is no row of this schema.
    """
    try:
        return ROW.validate_json(line)
    except ValidationError as error:
        raise InputError(
            f"{where}: expected a report of this version: {wrong(error)}; scan again, into a new file"
        ) from error


def detectors_of(rows: Iterable[Row]) -> list[str]:
    """Return the names of all detectors that any row has a prediction of, sorted."""
    return sorted({p.detector for row in rows if isinstance(row, Report) for p in row.predictions})


def cells(row: Row, detectors: Sequence[str]) -> list[Cell]:
    """Return the values of `COLUMNS` and the scores of the named detectors of one row."""
    if not isinstance(row, Report):
        known: dict[str, Cell] = {
            "name": row.name,
            "status": row.status,
            "sha256": row.sha256,
            "error": f"{row.error}: {row.message}",
        }
        return [known.get(column) for column in COLUMNS] + [None] * len(detectors)
    scores = {p.detector: p.score for p in row.predictions}
    severities = [finding.severity for finding in row.findings]
    values: dict[str, Cell] = {
        "name": row.intake.name,
        "status": row.status,
        "sha256": row.intake.sha256,
        "verdict": row.verdict.level,
        "llr": row.verdict.llr,
        "probability": row.verdict.probability,
        "stability": row.verdict.stability.status,
        "width": row.picture.width,
        "height": row.picture.height,
        "format": row.intake.type_by_magic,
        "bytes": row.intake.bytes,
        "regions": len(row.verdict.regions),
        "warnings": severities.count("warning"),
        "notices": severities.count("notice"),
        "error": None,
    }
    return [values[column] for column in COLUMNS] + [scores.get(name) for name in detectors]


def _line(cells: Iterable[Cell]) -> str:
    buffer = io.StringIO()
    shown = [formula_safe(safe(cell)) if isinstance(cell, str) else cell for cell in cells]
    csv.writer(buffer, lineterminator="\n").writerow(shown)
    return buffer.getvalue()


def csv_header(detectors: Sequence[str]) -> str:
    """Return the header line of a CSV with the given detectors, with its line break."""
    return _line([*COLUMNS, *(f"score.{name}" for name in detectors)])


def csv_line(row: Row, detectors: Sequence[str]) -> str:
    """Return one row of a CSV with the given detectors, with its line break."""
    return _line(cells(row, detectors))


def to_csv(rows: Iterable[Row], detectors: Sequence[str] | None = None) -> str:
    """Return the rows as CSV; see `COLUMNS`. Without `detectors`, those that the rows have."""
    rows = list(rows)
    names = detectors_of(rows) if detectors is None else detectors
    return csv_header(names) + "".join(csv_line(row, names) for row in rows)
