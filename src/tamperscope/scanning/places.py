"""Where pictures lie: files, folders, patterns, manifests, and addresses such as `s3://bucket/folder`."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tamperscope import media
from tamperscope.data.manifest import Manifest
from tamperscope.errors import BudgetError, InputError, TamperscopeError
from tamperscope.media import Limits, Part, video
from tamperscope.report.files import plain_name

SUFFIXES = frozenset(
    f".{s}"
    for s in (
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "mpo",
        "png",
        "webp",
        "tif",
        "tiff",
        "bmp",
        "gif",
        "heic",
        "heif",
        "avif",
        "pdf",
    )
) | frozenset(video.SUFFIXES)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one picture lies.

    Attributes:
        path: Path or address of the file as it was found.
        part: Of a PDF file; None for the file itself.
    """

    path: str
    part: Part | None = None

    @property
    def name(self) -> str:
        """What the picture is called: the path, and the part behind a `#`."""
        return self.path if self.part is None else f"{self.path}#{self.part}"

    @property
    def page(self) -> int:
        """The page that is to be drawn, from 1; 0 where the file that `local` gives is a picture itself."""
        return self.part.page if self.part is not None and not self.part.image else 0

    @property
    def stem(self) -> str:
        """The name as that of a file to write, without folder and suffix: a part of a PDF file keeps its own, too."""
        inside = "" if self.part is None else "-" + re.sub("[=,]", "-", str(self.part))
        return f"{plain_name(PurePosixPath(self.path).stem)}{inside}"

    @property
    def suffix(self) -> str:
        """What the name ends in, in small letters, such as `.jpg`."""
        return PurePosixPath(self.name).suffix.lower()

    @contextmanager
    def local(self, max_bytes: int) -> Iterator[Path]:
        """Give the file on this machine: itself, or a copy of what lies elsewhere or inside of a PDF file.

        Args:
            max_bytes: Largest file to fetch. A copy goes when the block ends.

        Raises:
            InputError: It is no regular file, or no such file can be fetched.
            BudgetError: A file of an address is larger.
            OSError: It cannot be read.
        """
        with contextlib.ExitStack() as stack:
            path = Path(self.path)
            far, inside = "://" in self.path, self.part is not None and self.part.image > 0
            if far or inside:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tamperscope-")))
            if far:
                path = self._fetch(folder / f"file{PurePosixPath(self.path).suffix}", max_bytes)
            if not path.is_file():
                raise InputError(f"expected a regular file, found something else at '{path.name}'")
            if self.part is not None and inside:
                data, suffix = media.extract(path, self.part)
                path = folder / f"inside{suffix}"
                path.write_bytes(data)
            yield path

    def _fetch(self, path: Path, max_bytes: int) -> Path:
        system, inside = _opened(self.path)
        try:
            size = system.size(inside)
            if size is not None and size > max_bytes:
                raise BudgetError(f"the file has {size:,} bytes; the limit is {max_bytes:,}: raise max_file_bytes")
            with system.open(inside, "rb") as far, path.open("wb") as near:
                shutil.copyfileobj(far, near, 1 << 20)
        except (InputError, OSError):
            raise
        except Exception as error:  # every store has errors of its own
            raise InputError(f"{self.path}: expected a file that can be fetched: {error}") from error
        return path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: It cannot be read.
    """
    state = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            state.update(chunk)
    return state.hexdigest()


def find(paths: Iterable[str], recursive: bool = False) -> list[Place]:
    """Return the files that paths, folders, patterns, manifests and addresses name, in a stable order and each once.

    A file that is named itself is taken whatever its suffix; from folders, only those with the usual suffixes of
    pictures, videos and PDF files are. A `.jsonl` file is a manifest, of which every picture is taken. Of a PDF file
    every page and every picture on it is, or the part that is named behind `#`, such as `file.pdf#page=2`.

    Args:
        paths: A path, a pattern such as `photos/*.jpg`, or an address with `://` (extra `remote`).
        recursive: Go into subfolders.

    Raises:
        InputError: A path names nothing, or the extra is missing.
    """
    found: dict[str, None] = {}
    for text in paths:
        found.update(dict.fromkeys(_far(text, recursive) if "://" in text else _near(text, recursive)))
    return [place for name in found for place in _inside(name)]


def place_of(name: str) -> Place:
    """Return the place that a name stands for."""
    path, _, text = name.rpartition("#")
    part = Part.of(text)
    return Place(name) if part is None or Path(name).exists() else Place(path, part)


def _inside(name: str) -> Iterator[Place]:
    """Yield the file of a name, or the parts of a PDF file; one that cannot be opened tells so when it is scanned."""
    place, found = place_of(name), list[Part]()
    if place.part is not None:
        yield place
        return
    if name.lower().endswith(".pdf"):
        with contextlib.suppress(TamperscopeError, OSError), place.local(Limits().max_file_bytes) as file:
            found = media.parts(file)
    yield from (Place(name, inside) for inside in found)
    if not found:
        yield place


def _near(text: str, recursive: bool) -> Iterator[str]:
    path = Path(text)
    if path.is_dir():
        walk = path.rglob("*") if recursive else path.glob("*")
        yield from (str(p) for p in sorted(walk) if p.suffix.lower() in SUFFIXES and p.is_file())
    elif path.suffix == ".jsonl" and path.is_file():
        manifest = Manifest(path)
        yield from (str(manifest.locate(entry.image)) for entry in manifest)
    elif path.exists() or path.is_symlink() or Path(place_of(text).path).exists():
        yield text
    else:
        matches = sorted(glob.glob(text, recursive=recursive)) if glob.has_magic(text) else []  # noqa: PTH207 - patterns may be absolute
        if not matches:
            raise InputError(f"expected a file, folder or pattern that matches one, found nothing at '{text}'")
        for match in matches:
            yield from _near(match, recursive)


def _far(text: str, recursive: bool) -> Iterator[str]:
    system, inside = _opened(text)
    with _told(text):
        if glob.has_magic(inside):
            names = sorted(system.glob(inside))
        elif system.isdir(inside):
            listed = system.find(inside, maxdepth=None if recursive else 1)
            names = [name for name in sorted(listed) if PurePosixPath(name).suffix.lower() in SUFFIXES]
        else:
            names = [inside] if system.exists(inside) else []
    if not names:
        raise InputError(f"expected pictures, found none at '{text}'")
    yield from (system.unstrip_protocol(name) for name in names)


@contextmanager
def _told(text: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # every store has errors of its own
        raise InputError(f"expected an address that can be listed, found '{text}': {error}") from error


def _opened(text: str) -> tuple[Any, str]:
    """Return the file system of an address, and the place in it."""
    try:
        import fsspec
    except ImportError as missing:
        raise InputError(f"'{text}': addresses need the extra `remote`: pip install 'tamperscope[remote]'") from missing
    with contextlib.suppress(ValueError, ImportError):
        system, inside = fsspec.core.url_to_fs(text)
        return system, str(inside)
    raise InputError(f"'{text}': expected an address of a store that fsspec knows, such as s3://bucket/folder")
