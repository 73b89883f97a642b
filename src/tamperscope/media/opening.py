"""Opens whatever a caller has (path, bytes, Pillow picture, array) as a `Sample` with what is known of the file.

Bytes are decoded in a separate process (`isolate`); this side reads, hashes and sniffs them, and never parses.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InputError, InvalidValueError, UnsupportedFormatError
from tamperscope.media import isolate
from tamperscope.media.limits import Limits
from tamperscope.media.reply import Reply
from tamperscope.media.sniff import HEAD, describe, sniff, type_by_extension
from tamperscope.types import Finding, Sample

if TYPE_CHECKING:
    from PIL import Image

    from tamperscope.media.pixels import Bands

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | Image.Image"

DEFAULT_LIMITS = Limits()
ORIENTATION_POLICY = "pixels as stored; the EXIF orientation is recorded, not applied"
_ALLOWED = "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF or PDF"
_CHUNK = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A picture with what is known of the file that it came from.

    Attributes:
        sample: Pixels, coefficients and thumbnail; `meta` holds `format`, `orientation` (EXIF, 1 to 8), where the
            picture data are damaged `damaged` with the cause, and of a JPEG whose coefficients cannot be read, such as
            one in CMYK, `quality_by_tables`: the nearest by its tables.
        intake: How it was read, JSON-ready: `name`, `source`, `bytes`, `sha256`, `type`, `type_by_extension`,
            `width`, `height`, `frames`, `bits`, `decoder`, `orientation_policy`, `transformations` (names in
            order; `pixels.STEPS` explains them), `complete` and `not_read` (why readers gave no answer, or "").
        facts: What the readers found, by reader: `jpeg` or `container`, `metadata`, `c2pa`; JSON-ready.
        findings: Of opening, decoding and all readers.
    """

    sample: Sample
    intake: dict[str, Any]
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class Bytes:
    """The bytes of one file: where they come from, how many, and their first ones."""

    name: str
    source: str
    size: int
    head: bytes
    stream: BinaryIO | None = None
    memory: memoryview | None = None
    digest: Any = field(default_factory=hashlib.sha256)

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yield all bytes, hashing them on the way."""
        self.digest = hashlib.sha256()
        if self.stream is not None:
            self.stream.seek(0)
        left = self.size
        while left:
            chunk = self._read(self.size - left, min(_CHUNK, left))
            self.digest.update(chunk)
            left -= len(chunk)
            yield chunk

    def _read(self, at: int, size: int) -> bytes | memoryview:
        if self.memory is not None:
            return self.memory[at : at + size]
        assert self.stream is not None
        try:
            chunk = self.stream.read(size)
        except OSError as error:
            raise InputError(f"{self.name!r}: cannot be read: {error.strerror or error}") from error
        if not chunk:
            raise InputError(f"{self.name!r}: became shorter while it was read; scan a copy")
        return chunk


def open(source: Source, limits: Limits = DEFAULT_LIMITS, name: str = "") -> Opened:  # noqa: A001
    """Return the first picture of a file, or the picture that an array or a Pillow image holds.

    Args:
        source: Path; bytes of a file; Pillow image; or array (H, W), (H, W, 3) or (H, W, 4) of uint8, uint16,
            float in [0, 1] or bool, in the order red, green, blue, alpha. The last two have no container facts.
        limits: What one file may ask for.
        name: Shown instead of the file name.

    Raises:
        BudgetError: The file asks for more than `limits` allow.
        DecodeError: It claims an allowed type, but not one pixel can be decoded.
        InputError: There is no such file, it is empty, or it is no regular file.
        InvalidValueError: An array of another shape, type or range, or a source of another type.
        UnsupportedFormatError: It is no picture of an allowed type; or a PDF, see `documents`.
    """
    direct = from_pixels(source, limits, name)
    if direct is not None:
        return direct
    with bytes_of(source, limits, name) as data:
        fmt = type_of(data)
        if fmt == "PDF":
            # A damaged one has no page that could be named, and says so here.
            isolate.ask({"do": "pages"}, data.size, data.chunks(), limits)
            raise UnsupportedFormatError(
                "a PDF has pages: name a page: FILE.pdf#page=1, page=1 in Python, or ?page=1 in the service"
            )
        return open_picture(data, fmt, limits)


def type_of(data: Bytes) -> str:
    """Return the allowed type of a file by its first bytes; `UnsupportedFormatError` for any other."""
    fmt = sniff(data.head)
    if fmt is None:
        raise UnsupportedFormatError(f"expected {_ALLOWED}; judging by its first bytes, it is {describe(data.head)}")
    return fmt


@contextlib.contextmanager
def bytes_of(source: Source, limits: Limits, name: str) -> Iterator[Bytes]:
    """Give the bytes of a path or of bytes; errors are those of `open`."""
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(bytes(source) if isinstance(source, memoryview) else source)
        _check_file_size(len(view), name or "the bytes", limits)
        yield Bytes(name, "bytes", len(view), bytes(view[:HEAD]), memory=view)
        return
    if not isinstance(source, str | os.PathLike):
        raise InvalidValueError(
            f"source: expected a path, bytes, a Pillow image or an array, found {type(source).__name__}"
        )
    path = Path(source)
    with _open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        _check_file_size(size, name or path.name, limits)
        yield Bytes(name or path.name, "file", size, stream.read(HEAD), stream=stream)


def _open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or a device could block or never end."""
    shown = str(path)
    try:
        # Not to be held up by a pipe that took the file's place after the check.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
        _check_regular(path.stat().st_mode, shown)
        stream = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError as error:
        raise InputError(f"{shown!r}: no such file") from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise InputError(f"{shown!r}: cannot be opened: {cause}") from error
    try:
        _check_regular(os.fstat(stream.fileno()).st_mode, shown)
    except InputError:
        stream.close()
        raise
    return stream


def _check_regular(mode: int, shown: str) -> None:
    if stat.S_ISDIR(mode):
        raise InputError(f"{shown!r}: expected a file, found a folder; scan its files one by one")
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown!r}: expected a regular file, found a pipe, socket or device; copy it to a file first")


def _check_file_size(size: int, shown: str, limits: Limits) -> None:
    if size == 0:
        raise InputError(f"{shown!r}: the file is empty")
    limits.check("max_file_bytes", size, f"{size:,} bytes")


def open_picture(data: Bytes, fmt: str, limits: Limits) -> Opened:
    """Return the picture of a file of a known type; errors are those of `open`."""
    reply = isolate.ask({"do": "open", "format": fmt}, data.size, data.chunks(), limits)
    return assemble(data, fmt, reply)


def assemble(data: Bytes, fmt: str, reply: Reply, page: str = "") -> Opened:
    """Return the picture that the decoder process sent; `page` is added to its name."""
    claimed = type_by_extension(data.name)
    damage = str(reply.notes.get("damage", ""))
    orientation = reply.facts.get("metadata", {}).get("orientation")
    known = type(orientation) is int and 1 <= orientation <= 8
    meta: dict[str, Any] = {"format": fmt, "orientation": orientation if known else 1}
    if damage:
        meta["damaged"] = damage
    jpeg = reply.jpeg()
    if jpeg is None and (quality := _stated_quality(reply)):
        meta["quality_by_tables"] = quality
    sha256 = data.digest.hexdigest()
    rgb = reply.arrays["rgb"]
    sample = Sample(
        rgb,
        id=(data.name or sha256[:16]) + page,
        jpeg=jpeg,
        thumbnail=reply.arrays.get("thumbnail"),
        meta=meta,
    )
    intake = {
        "name": data.name + page,
        "source": data.source,
        "bytes": data.size,
        "sha256": sha256,
        "type": fmt,
        "type_by_extension": claimed,
        "frames": reply.notes.get("frames"),
        "bits": reply.notes.get("bits"),
        **_pixel_facts(sample, _version(str(reply.notes.get("decoder"))), reply.notes.get("steps")),
        "complete": not damage,
        "not_read": reply.lost,
    }
    return Opened(sample, intake, reply.facts, _own_findings(fmt, claimed, reply) + reply.findings)


def _stated_quality(reply: Reply) -> int:
    """Return the nearest quality of a JPEG file by its tables, or 0."""
    found: Any = reply.facts
    for key in ("jpeg", "quantization", "nearest_ijg", "quality"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if type(found) is int and 1 <= found <= 100 else 0


def _pixel_facts(sample: Sample, decoder: str, steps: Any) -> dict[str, Any]:
    height, width = sample.size
    return {
        "width": width,
        "height": height,
        "decoder": decoder,
        "orientation_policy": ORIENTATION_POLICY,
        "transformations": [str(s) for s in steps] if isinstance(steps, list) else [],
    }


def _own_findings(fmt: str, claimed: str | None, reply: Reply) -> list[Finding]:
    found = []
    if claimed is not None and claimed != fmt:
        text = f"The file name says {claimed}, the bytes are {fmt}."
        values = {"by_extension": claimed, "by_content": fmt}
        found.append(Finding("media.extension_mismatch", text, "notice", values, "media"))
    if reply.lost:
        text = f"Not everything in the file could be read: {reply.lost}."
        found.append(
            Finding("media.reader_died", text, "warning", {"cause": reply.lost, "while": reply.doing}, "media")
        )
    return found


@lru_cache(maxsize=8)
def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def from_pixels(source: Source, limits: Limits, name: str) -> Opened | None:
    """Return what an array or a Pillow image holds; None for anything else."""
    pillow = sys.modules.get("PIL.Image")
    if isinstance(source, np.ndarray):
        from tamperscope.media.pixels import from_array

        if source.ndim >= 2:
            limits.check_size(source.shape[1], source.shape[0])
        return _assemble_pixels(from_array(source), "array", "numpy", name)
    if pillow is not None and isinstance(source, pillow.Image):
        from tamperscope.media.pixels import from_pillow

        limits.check_size(*source.size)
        try:
            source.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"the Pillow image cannot be loaded: {error}") from error
        return _assemble_pixels(from_pillow(source), "pillow", "pillow", name)
    return None


def _assemble_pixels(bands: Bands, kind: str, decoder: str, name: str) -> Opened:
    rgb = np.empty((*bands.size, 3), np.uint8)
    row = 0
    for band in bands:
        rgb[row : row + len(band)] = band
        row += len(band)
    sample = Sample(rgb, id=name or kind, meta={"format": kind, "orientation": 1})
    intake: dict[str, Any] = {"name": name, "source": kind, "bytes": None, "sha256": None, "type": None}
    intake |= {
        "type_by_extension": None,
        "frames": 1,
        "bits": None,
        **_pixel_facts(sample, _version(decoder), bands.steps),
    }
    intake |= {"complete": True, "not_read": "no file: there is no container to read"}
    return Opened(sample, intake, {}, bands.findings())
