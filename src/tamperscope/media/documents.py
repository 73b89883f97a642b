"""PDF files: their pages, drawn to pixels, and the pictures inside them, byte for byte where they are JPEG."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tamperscope.errors import DecodeError, InvalidValueError, UnsupportedFormatError
from tamperscope.media import isolate
from tamperscope.media.limits import Limits
from tamperscope.media.opening import (
    DEFAULT_LIMITS,
    Bytes,
    Opened,
    Source,
    assemble,
    bytes_of,
    from_pixels,
    open_picture,
    type_of,
)

DPI = 200.0
"""Pixels per inch of a drawn page: what scanners of offices give."""

_PART = re.compile(r"page=(\d{1,6})(?:,image=(\d{1,6}))?")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a PDF file, written `page=2` or `page=2,image=1`; both count from 1.

    Attributes:
        page: The page.
        image: A picture on it, or 0 for the page as it is drawn.
    """

    page: int
    image: int = 0

    def __str__(self) -> str:
        """Return it as it is written behind the `#` of a name."""
        return f"page={self.page}" + (f",image={self.image}" if self.image else "")

    @classmethod
    def of(cls, text: str) -> Part | None:
        """Return the part that a text names, or None."""
        found = _PART.fullmatch(text)
        return None if found is None else cls(int(found[1]), int(found[2] or 0))


def parts(source: Source, limits: Limits = DEFAULT_LIMITS) -> list[Part]:
    """Return the pages of a PDF file and the pictures on each, in their order; tiny ones are left out.

    Raises:
        BudgetError: It has more pages than `limits` allow.
        TamperscopeError: It is no PDF file, or cannot be opened.
    """
    with bytes_of(source, limits, "") as data:
        _require_pdf(data)
        notes = isolate.ask({"do": "parts"}, data.size, data.chunks(), limits).notes
    counts = notes.get("images")
    if not isinstance(counts, list) or not all(type(n) is int and 0 <= n < 1_000_000 for n in counts):
        raise DecodeError("PDF: the decoder process told no parts")
    return [Part(page + 1, image) for page, count in enumerate(counts) for image in range(count + 1)]


def open_page(source: Source, page: int, limits: Limits = DEFAULT_LIMITS, name: str = "", dpi: float = DPI) -> Opened:
    """Return one page of a PDF file, drawn to pixels.

    Args:
        source: Path or bytes.
        page: From 1.
        limits: Apply to the file and to the page.
        name: Shown instead of the file name with `#page=N`.
        dpi: Pixels per inch, 10 to 1200.

    Raises:
        TamperscopeError: It is no PDF file, has no such page, or that cannot be drawn.
    """
    _check_dpi(dpi)
    with bytes_of(source, limits, name) as data:
        _require_pdf(data)
        return _drawn(data, page, limits, dpi, "" if name else f"#page={page}")


def open_pages(source: Source, limits: Limits = DEFAULT_LIMITS, name: str = "", dpi: float = DPI) -> Iterator[Opened]:
    """Yield every page of a PDF file, drawn to pixels; any other picture is yielded as `open` returns it.

    Args:
        source: As for `open`.
        limits: Apply to the file and to every page.
        name: Shown instead of the file name; `#page=N` is added.
        dpi: Pixels per inch, 10 to 1200.

    Raises:
        TamperscopeError: As for `open`.
    """
    _check_dpi(dpi)
    direct = from_pixels(source, limits, name)
    if direct is not None:
        yield direct
        return
    with bytes_of(source, limits, name) as data:
        fmt = type_of(data)
        if fmt != "PDF":
            yield open_picture(data, fmt, limits)
            return
        pages = isolate.ask({"do": "pages"}, data.size, data.chunks(), limits).notes.get("pages")
        count = pages if isinstance(pages, int) else 0
        limits.check("max_frames", count, f"{count:,} pages")
        for page in range(1, count + 1):
            opened = _drawn(data, page, limits, dpi, f"#page={page}")
            opened.facts["pdf"]["pages"] = count
            yield opened


def extract(source: Source, part: Part, limits: Limits = DEFAULT_LIMITS) -> tuple[bytes, str]:
    """Return a picture inside a PDF file as a file with its suffix: `.jpg` as it lies there, `.png` made of its pixels.

    Raises:
        TamperscopeError: It is no PDF file, or has no such picture.
    """
    with bytes_of(source, limits, "") as data:
        _require_pdf(data)
        request = {"do": "image", "index": part.page - 1, "number": part.image - 1}
        reply = isolate.ask(request, data.size, data.chunks(), limits)
    found = reply.arrays["file"].tobytes()
    return found, ".jpg" if found.startswith(b"\xff\xd8\xff") else ".png"


def _drawn(data: Bytes, page: int, limits: Limits, dpi: float, suffix: str) -> Opened:
    request = {"do": "page", "index": page - 1, "dpi": float(dpi)}
    reply = isolate.ask(request, data.size, data.chunks(), limits)
    opened = assemble(data, "PDF", reply, suffix)
    opened.facts["pdf"] = {"page": page, "dpi": float(dpi)}
    return opened


def _require_pdf(data: Bytes) -> None:
    fmt = type_of(data)
    if fmt != "PDF":
        raise UnsupportedFormatError(f"expected a PDF file, found {fmt}")


def _check_dpi(dpi: float) -> None:
    if not 10 <= dpi <= 1200:
        raise InvalidValueError(f"dpi: expected 10 to 1200, found {dpi}")
