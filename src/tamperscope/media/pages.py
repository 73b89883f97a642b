"""HEIC pictures (pillow-heif), and PDF pages and the pictures on them (pypdfium2); both come with an extra."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from tamperscope.errors import DecodeError, InvalidValueError, UnsupportedFormatError
from tamperscope.media.limits import Limits
from tamperscope.media.pixels import Bands
from tamperscope.types import UInt8Array

POINTS_PER_INCH, SMALLEST = 72, 64


def register_heif() -> None:
    """Register the HEIC plugin with Pillow.

    Raises:
        UnsupportedFormatError: pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormatError(
            "HEIC needs the extra 'heif': python -m pip install 'tamperscope[heif]'"
        ) from error
    # One thread: the process has a budget of CPU time and address space.
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False)


def _document(data: bytes) -> Any:
    try:
        import pypdfium2
    except ImportError as error:
        raise UnsupportedFormatError("PDF needs the extra 'pdf': python -m pip install 'tamperscope[pdf]'") from error
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise DecodeError("the PDF is encrypted: scan a copy that needs no password") from error
        raise DecodeError(f"the PDF is damaged: {error}") from error


def count_pages(data: bytes) -> int:
    """Return the number of pages of a PDF file.

    Raises:
        DecodeError: The file is damaged or encrypted.
        UnsupportedFormatError: pypdfium2 is not installed.
    """
    document = _document(data)
    try:
        return len(document)
    finally:
        document.close()


def count_images(data: bytes, limits: Limits) -> list[int]:
    """Return the number of pictures on each page of a PDF file; those of less than `SMALLEST` pixels do not count.

    Raises:
        BudgetError: The file has too many pages, or pictures.
        DecodeError: The file is damaged or encrypted.
        UnsupportedFormatError: pypdfium2 is not installed.
    """
    document = _document(data)
    try:
        limits.check("max_frames", len(document), f"{len(document):,} pages")
        counts = []
        for index in range(len(document)):
            counts.append(len(_images(document, index)))
            limits.check("max_frames", sum(counts), f"{sum(counts):,} pictures")
        return counts
    finally:
        document.close()


def read_image(data: bytes, index: int, number: int, limits: Limits) -> bytes:
    """Return a picture of a page: a JPEG as it lies in the document, others as PNG of their pixels.

    Args:
        data: The whole file.
        index: Of the page, from 0.
        number: Among those that `count_images` counts, from 0.
        limits: Checked before anything is decoded.

    Raises:
        BudgetError: The picture has too many pixels.
        DecodeError: There is no such picture, or it cannot be read.
        UnsupportedFormatError: pypdfium2 is not installed.
    """
    import pypdfium2

    document = _document(data)
    try:
        found = _images(document, index) if 0 <= index < len(document) else []
        if not 0 <= number < len(found):
            raise DecodeError(f"PDF: page {index + 1} has {len(found)} pictures, not {number + 1}")
        width, height = found[number].get_px_size()
        limits.check_size(width, height)
        if found[number].get_filters() == ["DCTDecode"]:
            return bytes(found[number].get_data())
        buffer = io.BytesIO()
        found[number].get_bitmap().to_pil().convert("RGB").save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    except pypdfium2.PdfiumError as error:
        raise DecodeError(f"PDF: picture {number + 1} of page {index + 1} cannot be read: {error}") from error
    finally:
        document.close()


def _images(document: Any, index: int) -> list[Any]:
    import pypdfium2

    try:
        page = document[index]
        kinds = [pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]
        found = [image for image in page.get_objects(filter=kinds) if min(image.get_px_size()) >= SMALLEST]
    except pypdfium2.PdfiumError as error:
        raise DecodeError(f"PDF: page {index + 1} cannot be read: {error}") from error
    return found


def render_page(data: bytes, index: int, dpi: float, limits: Limits) -> Bands:
    """Return one page of a PDF file, drawn on white.

    Args:
        data: The whole file.
        index: From 0.
        dpi: Pixels per inch.
        limits: Checked before anything is drawn.

    Raises:
        BudgetError: The page has too many pixels at this resolution.
        DecodeError: The page cannot be drawn.
        InvalidValueError: There is no such page.
        UnsupportedFormatError: pypdfium2 is not installed.
    """
    import pypdfium2

    document = _document(data)
    try:
        if not 0 <= index < len(document):
            raise InvalidValueError(f"page: expected 1 to {len(document)}, found {index + 1}")
        page = document[index]
        # Pages are rounded up to whole pixels; a hair less keeps rounding errors from adding one.
        scale = dpi / POINTS_PER_INCH * (1 - 1e-7)
        width, height = (int(np.ceil(side * scale)) for side in page.get_size())
        if min(width, height) < 1:
            raise DecodeError(f"PDF: page {index + 1} is {width} × {height} pixels at {dpi:g} dpi")
        limits.check_size(width, height)
        drawn = page.render(scale=scale, rev_byteorder=True).to_numpy()
        return Bands(drawn.shape[:2], ["rendered"], _rgb(drawn.copy()))
    except pypdfium2.PdfiumError as error:
        raise DecodeError(f"PDF: page {index + 1} cannot be drawn: {error}") from error
    finally:
        document.close()


def _rgb(drawn: UInt8Array) -> Iterator[UInt8Array]:
    yield drawn[:, :, :3] if drawn.shape[2] >= 3 else np.repeat(drawn, 3, axis=2)
