"""Many pictures: find them, scan each, lose none; an interrupted run goes on where it stopped."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tamperscope.errors import InputError, TamperscopeError
from tamperscope.media import video
from tamperscope.report.schema import ErrorReport, Row
from tamperscope.scanning.one import Scanner

SUFFIXES = frozenset(
    f".{s}"
    for s in ("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "tif", "tiff", "bmp", "gif", "heic", "heif", "avif")
) | frozenset(video.SUFFIXES)


def find_files(paths: Iterable[str], recursive: bool = False) -> list[Path]:
    """Return the files that paths, folders and glob patterns name, in a stable order and each once.

    A file that is named itself is taken whatever its suffix; from folders, only those with the usual suffixes of
    pictures and videos are.

    Raises:
        InputError: A path names nothing.
    """
    found: dict[Path, None] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            walk = path.rglob("*") if recursive else path.glob("*")
            found.update(dict.fromkeys(p for p in sorted(walk) if p.suffix.lower() in SUFFIXES and p.is_file()))
        elif path.exists() or path.is_symlink():
            found[path] = None
        else:
            matches = sorted(glob.glob(text, recursive=recursive)) if glob.has_magic(text) else []  # noqa: PTH207 - patterns may be absolute
            if not matches:
                raise InputError(f"expected a file, folder or pattern that matches one, found nothing at '{text}'")
            found.update(dict.fromkeys(find_files(matches, recursive)))
    return list(found)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: It cannot be read.
        InputError: It is not a regular file.
    """
    if not path.is_file():
        raise InputError(f"expected a regular file, found something else at '{path.name}'")
    state = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            state.update(chunk)
    return state.hexdigest()


def failure(path: str, error: Exception, sha256: str | None = None) -> ErrorReport:
    """Return the record of a file that could not be scanned."""
    return ErrorReport(name=path, error=type(error).__name__, message=str(error), sha256=sha256)


def scan_many(
    files: Iterable[Path],
    scanner: Scanner,
    is_done: Callable[[str, str | None], bool] = lambda name, sha256: False,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Row]:
    """Yield one row a file that is not done yet: its report, or the record of why there is none.

    Args:
        files: What to scan.
        scanner: Loaded once, used for all.
        is_done: Whether an earlier run holds the file of that name and SHA-256; such files are passed over.
        advance: Called after every file, passed over or not.
    """
    for path in files:
        sha256: str | None = None
        try:
            sha256 = digest(path)
            row: Row | None = None if is_done(str(path), sha256) else scanner.scan(path, name=str(path))
        except (TamperscopeError, OSError, MemoryError) as error:
            row = None if is_done(str(path), sha256) else failure(str(path), error, sha256)
        if row is not None:
            yield row
        advance()
