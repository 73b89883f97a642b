"""The examination: read the manifest, look at each picture once, then check what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tamperscope.data import manifest
from tamperscope.data.doctor import checks, leaks, overview
from tamperscope.data.doctor.records import Record, survey
from tamperscope.data.doctor.schema import Findings, printable, sort_problems
from tamperscope.data.manifest import Entry
from tamperscope.errors import InputError, InvalidValueError


def examine(
    path: str | Path, *, split: str | None = None, workers: int = 1, limit: int | None = None, seed: int = 0
) -> Findings:
    """Return what is wrong with a manifest and its pictures: files, masks, duplicates, leaks and balance.

    Memory grows by about two kilobytes a picture; the result does not depend on `workers`. A progress bar is shown on
    standard error where that is a terminal.

    Args:
        path: The manifest, or a folder with a `manifest.jsonl`.
        split: Examine only this one; pairs across splits can then not be seen.
        workers: Processes that open pictures. More than one needs the usual `if __name__ == "__main__"` of a script.
        limit: Examine at most so many pictures, drawn at random.
        seed: Of that draw, of the folds and of the bootstrap.

    Raises:
        InputError: The manifest cannot be read, or holds no picture of that split.
        InvalidValueError: `workers` or `limit` is less than 1.
    """
    for name, value in (("workers", workers), ("limit", limit)):
        if value is not None and value < 1:
            raise InvalidValueError(f"{name}: expected at least 1, found {value}")
    path = Path(path)
    path = path / "manifest.jsonl" if path.is_dir() else path
    chosen, sampled = _choose(_entries(path, split), limit, seed)
    records = list(_shown(survey(chosen, path.parent, workers), len(chosen)))
    found_leaks = leaks.measure(records, seed)
    problems = [found for check in checks.RECORD_CHECKS for found in check(records)]
    findings = Findings(
        manifest=printable(path.name),
        split=None if split is None else printable(split),
        sampled=sampled,
        seed=seed,
        pictures=len(records),
        opened=sum(not r.fault for r in records),
        problems=sort_problems([*problems, *checks.formats(found_leaks)]),
        leaks=found_leaks,
        balance=overview.balance(records),
        mask_areas=overview.mask_areas(records),
        sizes=overview.sizes(records),
        megapixels=overview.megapixels(records),
        file_types=overview.file_types(records),
    )
    findings._files.update(
        (printable(name), path.parent / name)
        for entry in chosen
        for name in (entry.image, entry.mask)
        if name is not None
    )
    return findings


def _entries(path: Path, split: str | None) -> list[Entry]:
    try:
        entries = list(manifest.read(path))
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or error
        raise InputError(f"'{path}': expected a manifest (JSON lines in UTF-8): {cause}") from error
    kept = [e for e in entries if split is None or e.split == split]
    if not kept:
        known = ", ".join(sorted({repr(e.split) for e in entries})) or "none"
        wanted = "pictures" if split is None else f"pictures of split '{split}'"
        raise InputError(f"'{path}': expected {wanted}, found none; splits: {known}")
    return kept


def _choose(entries: list[Entry], limit: int | None, seed: int) -> tuple[list[Entry], bool]:
    if limit is None or limit >= len(entries):
        return entries, False
    drawn = np.sort(np.random.default_rng(seed).choice(len(entries), limit, replace=False))
    return [entries[i] for i in drawn], True


def _shown(records: Iterator[Record], total: int) -> Iterator[Record]:
    """Yield the records while a bar shows how many came."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("examining"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield from bar.track(records, total=total)
