"""Reads the quantized DCT coefficients of JPEG files through the libjpeg that the jpeglib wheel carries.

The compiled function is called directly: the package's Python reader decodes the picture a second time, writes a
temporary file, prints on failure, and writes past a buffer on a file with more than 50 APPn segments. The compiled
function has limits of its own: it fills buffers whose sizes it does not know, and it crashes when libjpeg refuses
the header in front of the first scan. What is handed over is therefore a stream of headers that `jpeg_markers` has
found sound by libjpeg's own rules, without APPn. Damage further on is safe, and libjpeg names it on stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import DecodeError
from tamperscope.media.jpeg_markers import DHT, DQT, DRI, PROCESSES, SOS, Frame, Header, Layout, parse_header, walk
from tamperscope.media.quantization import Table
from tamperscope.types import Jpeg

MAX_SIDE = 65500  # JPEG_MAX_DIMENSION of libjpeg
# libjpeg-turbo reads Huffman codes 15 % faster than the classic library.
_LIBRARIES = ("cjpeglib_turbo210.*", "cjpeglib_6b.*")


def read_coefficients(data: bytes) -> Jpeg:
    """Return the quantized coefficients and the tables of a grey or three-component Huffman-coded JPEG.

    Coefficients that are missing from a truncated file are 0: ask `inspect_jpeg` whether the file is complete.
    Memory is bounded by the file: a header that announces more blocks than the data can hold is refused.

    Args:
        data: The whole file.

    Returns:
        Tables, coefficients and sampling factors per component, in file order.

    Raises:
        UnsupportedFormatError: The bytes are no JPEG.
        DecodeError: Not 8 bits, not one or three components, arithmetic, lossless or hierarchical coding, or
            damage to the headers.
    """
    layout = walk(data, header_only=True)
    header = parse_header(layout)
    frame = _checked_frame(layout, header)
    tables = _tables(data, frame, header)
    shapes = [frame.blocks(c) for c in frame.components]
    coefficients = tuple(np.zeros((rows, columns, 8, 8), dtype=np.int16) for rows, columns in shapes)
    _read(_stream(layout), coefficients)
    return Jpeg(
        qtables=tables,
        coefficients=coefficients,
        sampling=tuple((c.h, c.v) for c in frame.components),
        progressive=frame.progressive,
    )


def _checked_frame(layout: Layout, header: Header) -> Frame:
    """Return the frame of a header that libjpeg reads without error and with the block counts computed here."""
    problems = layout.problems + header.problems
    if problems:
        raise DecodeError(f"damaged JPEG header: {problems[0]}")
    if len(header.frames) != 1 or len(header.scans) != 1:
        counts = f"{len(header.frames)} and {len(header.scans)}"
        raise DecodeError(f"expected one frame header in front of the first scan, found {counts}")
    frame = header.frames[0]
    ids = {c.id for c in frame.components}
    if frame.code not in (0xC0, 0xC1, 0xC2) or frame.precision != 8:
        kind = f"{PROCESSES[frame.code]}, {frame.precision} bits"
        raise DecodeError(f"expected Huffman-coded JPEG with 8 bits a sample, found {kind}")
    if len(frame.components) not in (1, 3) or len(ids) < len(frame.components):
        raise DecodeError(f"expected one or three colour components, found {len(frame.components)} (CMYK?)")
    if not 1 <= min(frame.width, frame.height) <= max(frame.width, frame.height) <= MAX_SIDE:
        raise DecodeError(f"expected sides of 1 to {MAX_SIDE} pixels, found {frame.width} x {frame.height}")
    _check_plausible(layout, header, frame)
    return frame


def _check_plausible(layout: Layout, header: Header, frame: Frame) -> None:
    """Refuse more blocks than the data can code: each costs a bit in the first scan that holds its component."""
    first = header.scans[0][1]
    blocks = sum(rows * columns for rows, columns in (frame.blocks(c) for c in frame.components if c.id in first))
    left = len(layout.data) - layout.end
    if blocks > 8 * left:
        raise DecodeError(f"the header announces {blocks} blocks, but only {left} bytes of coded data follow")


def _tables(data: bytes, frame: Frame, header: Header) -> tuple[Table, ...]:
    """Return each component's table as defined in front of the first scan that holds the component."""
    if {c.id for c in frame.components} - set(header.scans[0][1]):
        header = parse_header(walk(data))
    tables = []
    for component in frame.components:
        scan = next((at for at, ids in header.scans if component.id in ids), None)
        slots = header.slots(scan)
        if component.table not in slots:
            raise DecodeError(f"component {component.id} uses the undefined table {component.table}")
        tables.append(slots[component.table])
    return tuple(tables)


def _stream(layout: Layout) -> list[memoryview]:
    """Return the parts of the file that libjpeg needs: tables and frame, then all from the first scan on."""
    view = memoryview(layout.data)
    kept = [s for s in layout.segments if s.code in (DQT, DHT, DRI) or s.code in PROCESSES]
    scan = next(s for s in layout.segments if s.code == SOS)
    return [view[:2], *(view[s.offset : s.end] for s in kept), view[scan.offset :]]


@lru_cache(maxsize=1)
def _reader() -> Any:
    """Return the compiled `read_jpeg_dct`; loading it costs 1 ms, importing jpeglib 33 ms."""
    spec = importlib.util.find_spec("jpeglib")
    folders = [Path(p) / "cjpeglib" for p in (spec.submodule_search_locations if spec else None) or []]
    found = [path for folder in folders for name in _LIBRARIES for path in sorted(folder.glob(name))]
    if not found:
        raise DecodeError("reading JPEG coefficients needs the package jpeglib 1.0: pip install 'jpeglib>=1.0.2,<1.1'")
    return ctypes.CDLL(str(found[0])).read_jpeg_dct


def _read(parts: list[memoryview], coefficients: tuple[NDArray[np.int16], ...]) -> None:
    pointers = [ctypes.c_void_p(plane.ctypes.data) for plane in coefficients]
    pointers += [ctypes.c_void_p(None)] * (6 - len(pointers))
    reader = _reader()
    try:
        with _as_file(parts) as path:
            sound = reader(os.fsencode(path), *pointers)
    except OSError as error:
        raise DecodeError(f"the JPEG cannot be handed to libjpeg: {error}") from error
    if not sound:
        raise DecodeError("libjpeg cannot read the coded data of this JPEG")


@contextlib.contextmanager
def _as_file(parts: list[memoryview]) -> Iterator[str]:
    """Give the bytes a path for the time of a call: in memory on Linux, a temporary file elsewhere."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").exists():
        with open(os.memfd_create("jpeg"), "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, no path
            _write(file, parts)
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coefficients.jpg"
        with path.open("wb", buffering=0) as file:
            _write(file, parts)
        yield str(path)


def _write(file: Any, parts: list[memoryview]) -> None:
    for part in parts:
        # One call may write less than it is given (2 GiB on Linux).
        while len(part):
            part = part[file.write(part) :]
