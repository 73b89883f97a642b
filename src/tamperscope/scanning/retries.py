"""Rows of errors that may be gone when a run is started again: which they are, and which a later row replaced."""

from __future__ import annotations

from typing import Generic, TypeVar

from tamperscope.report.schema import Report, Row
from tamperscope.report.text import safe

SETTLED = frozenset(("InputError", "UnsupportedFormatError", "DecodeError"))
"""Errors that say that the file is at fault, where its bytes could be read."""

Place = TypeVar("Place")


def problem(row: Row) -> str | None:
    """Return type and message of a row's error, as the `error` of a table has them; None for a report."""
    return None if isinstance(row, Report) else f"{row.error}: {row.message}"


def settled(told: str | None, sha256: str | None) -> bool:
    """Return whether asking a file again would give the same row.

    Args:
        told: What `problem` gave for its row.
        sha256: Of its bytes, where they could be read.
    """
    if told is None:
        return True
    # An error for want of a package has the type of those for want of a picture, but its message names the command.
    return bool(sha256) and told.partition(":")[0] in SETTLED and "pip install" not in told


class Retries(Generic[Place]):
    """The rows of earlier runs whose files are asked again; each stands until there is a later row of that name.

    Attributes:
        replaced: Places of the rows that a later one has replaced.
    """

    def __init__(self) -> None:
        self.replaced: set[Place] = set()
        self._open: dict[str, tuple[Place, tuple[str, str]]] = {}

    def __contains__(self, name: str) -> bool:
        """Return whether the row of that name, as the output has it, is to be replaced."""
        return name in self._open

    def __len__(self) -> int:
        """Return the number of rows that are to be replaced."""
        return len(self._open)

    @property
    def code(self) -> int:
        """Exit code of the rows that are to be replaced: they are errors."""
        return 1 if self._open else 0

    def read(self, name: str, sha256: str | None, told: str | None, place: Place) -> bool:
        """Take the row at a place of the output in; return whether its file is to be asked again."""
        self.replace(name)
        if settled(told, sha256):
            return False
        self._open[name] = place, _said(told, sha256)
        return True

    def replace(self, name: str) -> None:
        """Note that a later row has that name."""
        if name in self._open:
            self.replaced.add(self._open.pop(name)[0])

    def repeated(self, name: str, row: Row) -> Place | None:
        """Return the place of the row that a new one would replace and says no more than, if there is one."""
        place, said = self._open.get(name, (None, None))
        return place if said == _said(problem(row), sha256_of(row)) else None

    def clear(self) -> None:
        """Forget all."""
        self.replaced.clear()
        self._open.clear()


def sha256_of(row: Row) -> str | None:
    """Return the SHA-256 of the file of a row."""
    return row.intake.sha256 if isinstance(row, Report) else row.sha256


def _said(told: str | None, sha256: str | None) -> tuple[str, str]:
    # A table for spreadsheets has messages in this form only.
    return safe(told or ""), sha256 or ""
