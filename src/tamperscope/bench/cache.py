"""What a bench has already measured, by content: nothing is measured twice, nothing finished is lost."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tamperscope.errors import InputError


def key_of(*parts: str) -> str:
    """Return the digest of everything that a number depends on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Cache:
    """A table of JSON values by key in one SQLite file; every `put` is whole, also when the run is killed."""

    def __init__(self, path: str | Path) -> None:
        """Open the file, or make it.

        Raises:
            InputError: It is something else.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=60)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"expected a cache of this package at '{path.name}': {error}; choose another folder"
            ) from error

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of a key, or None."""
        row = self._db.execute("SELECT value FROM rows WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def __contains__(self, key: str) -> bool:
        """Tell whether the key has a value."""
        return self._db.execute("SELECT 1 FROM rows WHERE key = ?", (key,)).fetchone() is not None

    def put(self, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Store values, all or none of them."""
        texts = [(key, json.dumps(value, allow_nan=False)) for key, value in rows]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", texts)
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
