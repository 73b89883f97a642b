"""Long measurements of many pictures: one JSON line each, spread over processes, and gone on with after a stop."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import track


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a file; a last line that a killed run left unfinished is passed over."""
    text = Path(path).read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def run(
    jobs: Iterable[tuple[str, Any]], work: Callable[[Any], dict[str, Any]], path: str | Path, workers: int, label: str
) -> None:
    """Append one row for each (key, job) that the file does not hold yet.

    Args:
        jobs: Key, as `work` writes it into its row, and what `work` takes.
        work: A function of a module, which returns a row and does not raise.
        path: Where the rows are; made when missing.
        workers: Number of processes.
        label: Shown beside the progress bar.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {row["key"] for row in read_rows(path)} if path.exists() else set()
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    todo = [job for key, job in jobs if key not in done]
    with ProcessPoolExecutor(workers) as pool, path.open("a") as stream:
        for row in track(pool.map(work, todo, chunksize=2), total=len(todo), description=label):
            stream.write(json.dumps(row) + "\n")
            stream.flush()
