"""The decoder process: reads bytes from a pipe, answers with pixels, coefficients, facts and findings.

It limits its own memory, time and files before it sees a file. `isolate` starts and supervises it. Pixels are
sent before anything else is tried, so that a crash in a later reader does not lose them. All codecs that most files
need are imported here at once: before the limits Python may still cache their bytecode, and no file pays for it.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
import simplejpeg  # noqa: F401
from PIL import JpegImagePlugin, PngImagePlugin  # noqa: F401

from tamperscope.errors import BudgetError, DecodeError, TamperscopeError
from tamperscope.media.c2pa import read_c2pa
from tamperscope.media.coefficients import read_coefficients
from tamperscope.media.container import inspect_container
from tamperscope.media.decode import decode, png_shortfall
from tamperscope.media.headers import check_header
from tamperscope.media.jpeg import embedded_thumbnail, inspect_jpeg
from tamperscope.media.limits import Limits
from tamperscope.media.metadata import read_metadata
from tamperscope.media.sandbox import confine
from tamperscope.media.values import json_ready
from tamperscope.media.wire import receive, send, send_part
from tamperscope.types import Finding

_MAX_FILES_OPEN = 64
_FACT_DEPTH, _FACT_ITEMS, _FACT_TEXT = 16, 20_000, 200_000
_MAX_FINDINGS = 500
_COEFFICIENT_BYTES = 8  # per pixel: those of libjpeg and ours, chroma at half resolution to full


def main(settings: Mapping[str, Any]) -> None:
    """Serve requests until the parent closes the pipe.

    Args:
        settings: `memory`: bytes of address space that this process may use.
    """
    incoming, outgoing = _take_pipes()
    _lock_down(int(settings["memory"]))
    send(outgoing, {"ready": True})
    while (request := receive(incoming)) is not None:
        data = incoming.read(int(request["bytes"]))
        if len(data) < int(request["bytes"]):
            return
        _serve(request, data, Reply(outgoing))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes to ourselves: what a codec prints or reads must not reach them."""
    incoming = os.fdopen(os.dup(0), "rb", buffering=2**20)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    return incoming, outgoing


def _limit(name: str, soft: int, for_good: bool = True) -> None:
    """Set one resource limit where the system knows it; where it refuses, the parent's clock remains.

    Args:
        name: Of a constant of `resource`.
        soft: The new limit.
        for_good: Also lower the hard limit, so that it cannot be raised again.
    """
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(kind, (soft, soft if for_good else hard))


def _lock_down(memory: int) -> None:
    _limit("RLIMIT_AS", memory)
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_NOFILE", _MAX_FILES_OPEN)
    # Not for good: the coefficients are read from an in-memory file, which counts.
    _limit("RLIMIT_FSIZE", 0, for_good=False)
    confine()


@contextlib.contextmanager
def _may_write(size: int) -> Iterator[None]:
    _limit("RLIMIT_FSIZE", size, for_good=False)
    try:
        yield
    finally:
        _limit("RLIMIT_FSIZE", 0, for_good=False)


def _allow_cpu(seconds: float) -> None:
    """Grant this much processor time on top of what earlier files used."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit("RLIMIT_CPU", math.ceil(used.ru_utime + used.ru_stime + seconds) + 1, for_good=False)


class Reply:
    """Writes the parts of one answer."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._findings = 0

    def stage(self, doing: str) -> None:
        """Say what comes next, in words that complete "while …"."""
        send(self._stream, {"stage": doing})

    def note(self, **values: Any) -> None:
        """Send plain values."""
        send(self._stream, {"note": values})

    def array(self, name: str, array: Any) -> None:
        """Send one array."""
        self.parts(name, str(array.dtype), array.shape, [array])

    def parts(self, name: str, dtype: str, shape: tuple[int, ...], parts: Any) -> None:
        """Send one array that comes in contiguous parts along its first axis."""
        send(self._stream, {"array": name, "dtype": dtype, "shape": [int(n) for n in shape]})
        try:
            for part in parts:
                send_part(self._stream, memoryview(part))
        finally:
            # After a failure this tells the parent that the array stops here.
            send_part(self._stream, b"")

    def findings(self, findings: list[Any]) -> None:
        """Send findings, as many as one file may have."""
        kept = findings[: _MAX_FINDINGS - self._findings]
        self._findings += len(kept)
        if kept:
            send(self._stream, {"findings": [_ready(asdict(f)) for f in kept]})

    def facts(self, name: str, facts: Any) -> None:
        """Send what one reader found."""
        send(self._stream, {"facts": name, "value": _ready(facts)})

    def error(self, error: Exception) -> None:
        """Send a typed error instead of an answer."""
        send(self._stream, {"error": type(error).__name__, "text": _ready(str(error))})

    def end(self) -> None:
        """Close the answer."""
        send(self._stream, {"end": True})


def _ready(value: Any) -> Any:
    return json_ready(value, _FACT_DEPTH, _FACT_ITEMS, _FACT_TEXT)


def _serve(request: Mapping[str, Any], data: bytes, reply: Reply) -> None:
    limits = Limits(**request["limits"])
    _allow_cpu(limits.max_seconds)
    try:
        _WORK[request["do"]](request, data, limits, reply)
    except MemoryError:
        reply.error(_memory_error(limits))
    except TamperscopeError as error:
        reply.error(error)
    except BrokenPipeError:
        raise
    except Exception as error:  # whatever a codec raises is this file's fault, not the process's
        reply.error(DecodeError(f"{type(error).__name__}: {error}"))
    reply.end()


def _memory_error(limits: Limits) -> BudgetError:
    megabytes = limits.max_memory_bytes / 2**20
    return BudgetError(f"decoding needs more than {megabytes:,.0f} MiB of memory; raise max_memory_bytes to allow it")


def _open(request: Mapping[str, Any], data: bytes, limits: Limits, reply: Reply) -> None:
    fmt = request["format"]
    reply.stage("checking the headers")
    header = check_header(data, fmt, limits)
    reply.stage("decoding the pixels")
    picture = decode(data, fmt, header, limits)
    height, width = picture.bands.size
    reply.parts("rgb", "uint8", (height, width, 3), picture.bands)
    if fmt == "PNG" and picture.bands.flat_end and not picture.damage:
        picture.damage = png_shortfall(data, header)
        picture.truncated = bool(picture.damage)
    elif picture.damage and picture.bands.last_change < 0:
        raise DecodeError(f"{fmt}: no pixel can be decoded: {picture.damage}")
    reply.note(
        decoder=picture.decoder,
        steps=picture.bands.steps,
        frames=header.frames,
        bits=header.bits,
        damage=picture.damage,
    )
    reply.findings(picture.findings + picture.bands.findings() + _damage(picture, height))
    damaged = bool(picture.damage)
    del picture
    _inspect(data, fmt, (height, width), reply)
    if fmt == "JPEG":
        _thumbnail(data, limits, reply)
        if not damaged:
            _coefficients(data, height * width, limits, reply)


def _damage(picture: Any, height: int) -> list[Any]:
    if not picture.damage:
        return []
    kind, words = ("truncated", "are cut off") if picture.truncated else ("corrupt", "are damaged")
    missing = picture.bands.last_change + 1
    values: dict[str, Any] = {"cause": picture.damage, "height": height}
    where = ""
    if picture.bands.watch_rows and missing < height:
        values["first_missing_row"] = missing
        where = f" Rows {missing} to {height - 1} are all alike: their data are missing."
    text = f"The picture data {words}: {picture.damage}.{where} Detectors of pixel traces do not apply."
    return [Finding(f"media.{kind}", text, "warning", values, "media")]


def _attempt(reply: Reply, doing: str, work: Callable[[], None]) -> None:
    """Run one reader; what it raises becomes a finding, because the pixels are already there."""
    reply.stage(doing)
    try:
        work()
    except BrokenPipeError:
        raise
    except Exception as error:
        cause = "memory ran out" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
        text = f"The decoder failed while {doing}: {cause}."
        values = {"reader": doing, "cause": cause}
        reply.findings([Finding("media.reader_failed", text, "notice", values, "media")])


def _inspect(data: bytes, fmt: str, size: tuple[int, int], reply: Reply) -> None:
    def run(name: str, read: Callable[[], tuple[dict[str, Any], list[Any]]]) -> None:
        facts, findings = read()
        reply.facts(name, facts)
        reply.findings(findings)

    if fmt == "JPEG":
        _attempt(reply, "reading the JPEG structure", lambda: run("jpeg", lambda: inspect_jpeg(data)))
    else:
        _attempt(reply, "reading the container", lambda: run("container", lambda: inspect_container(data, fmt)))
    _attempt(reply, "reading the metadata", lambda: run("metadata", lambda: read_metadata(data, fmt, size)))
    _attempt(reply, "reading the C2PA manifest", lambda: run("c2pa", lambda: read_c2pa(data, fmt)))


def _thumbnail(data: bytes, limits: Limits, reply: Reply) -> None:
    def work() -> None:
        raw = embedded_thumbnail(data)
        if raw is None:
            return
        bands = decode(raw, "JPEG", check_header(raw, "JPEG", limits), limits).bands
        reply.parts("thumbnail", "uint8", (*bands.size, 3), bands)

    _attempt(reply, "decoding the thumbnail", work)


def _coefficients(data: bytes, pixels: int, limits: Limits, reply: Reply) -> None:
    def work() -> None:
        try:
            with _may_write(len(data) + 2**16):
                jpeg = read_coefficients(data)
        except DecodeError as error:
            text = f"The DCT coefficients cannot be read: {error}."
            if _COEFFICIENT_BYTES * pixels > limits.max_memory_bytes:
                text += " A picture of this size may need more memory: raise max_memory_bytes."
            reply.findings([Finding("media.no_coefficients", text, "info", {"cause": str(error)}, "media")])
            return
        reply.array("qtables", np.stack(jpeg.qtables).astype(np.uint16))
        for index, plane in enumerate(jpeg.coefficients):
            reply.array(f"coefficients{index}", np.ascontiguousarray(plane))
        reply.note(sampling=[list(s) for s in jpeg.sampling], progressive=bool(jpeg.progressive))

    _attempt(reply, "reading the coefficients", work)


def _pages(request: Mapping[str, Any], data: bytes, limits: Limits, reply: Reply) -> None:
    from tamperscope.media.pages import count_pages

    reply.stage("opening the document")
    reply.note(pages=count_pages(data))


def _page(request: Mapping[str, Any], data: bytes, limits: Limits, reply: Reply) -> None:
    from tamperscope.media.pages import render_page

    reply.stage("drawing the page")
    bands = render_page(data, int(request["index"]), float(request["dpi"]), limits)
    reply.parts("rgb", "uint8", (*bands.size, 3), bands)
    reply.note(decoder="pypdfium2", steps=bands.steps, frames=1, bits=8, damage="")


def _parts(request: Mapping[str, Any], data: bytes, limits: Limits, reply: Reply) -> None:
    from tamperscope.media.pages import count_images

    reply.stage("looking for pictures in the document")
    reply.note(images=count_images(data, limits))


def _image(request: Mapping[str, Any], data: bytes, limits: Limits, reply: Reply) -> None:
    from tamperscope.media.pages import read_image

    reply.stage("reading a picture of the document")
    found = read_image(data, int(request["index"]), int(request["number"]), limits)
    reply.array("file", np.frombuffer(found, np.uint8))


_WORK = {"open": _open, "pages": _pages, "page": _page, "parts": _parts, "image": _image}
