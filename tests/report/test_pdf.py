"""The report on paper: what it says, and that nothing is loaded for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import ImageFile

from tamperscope.errors import InputError, UnsupportedFormatError
from tamperscope.report import pdf

try:
    pdf.printed("<p>x")
except UnsupportedFormatError as missing:
    pytest.skip(f"nothing can print here: {missing}", allow_module_level=True)


def words(data: bytes) -> str:
    with pypdfium2.PdfDocument(data) as document:
        return "\n".join(page.get_textpage().get_text_range() for page in document)


def test_the_pages_say_what_the_report_says(make_report, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    report = make_report(name="<b>café</b>\u202egpj.exe")
    text = words(report.save_pdf(tmp_path / "r.pdf").read_bytes())
    assert report.verdict.headline in text
    assert "<b>café</b>" in text
    assert "\u202e" not in text
    for part in (report.intake.sha256, "What was not checked", *(p.detector for p in report.predictions)):
        assert part in text, part
    with pypdfium2.PdfDocument(tmp_path / "r.pdf") as document:
        assert len(document) < 12
        kinds = [obj.type for page in document for obj in page.get_objects()]
    assert pypdfium2.raw.FPDF_PAGEOBJ_IMAGE in kinds


def test_a_tall_picture_leaves_room_on_the_first_page(make_report) -> None:  # type: ignore[no-untyped-def]
    tall = make_report(np.random.default_rng(0).integers(0, 256, (1200, 300, 3), dtype=np.uint8))
    with pypdfium2.PdfDocument(pdf.render_pdf(tall)) as document:
        kinds = [obj.type for obj in document[0].get_objects()]
    assert kinds.count(pypdfium2.raw.FPDF_PAGEOBJ_IMAGE) == 2


def test_printing_leaves_decoders_strict() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_report_without_pictures_can_be_printed(make_report) -> None:  # type: ignore[no-untyped-def]
    report = make_report().with_pictures(None)
    assert report.verdict.headline in words(pdf.render_pdf(report))


@pytest.mark.parametrize(
    "page",
    [
        "<img src='file:///etc/passwd'>",
        "<img src='https://example.org/a.png'>",
        "<link rel=stylesheet href='file:///etc/passwd'>",
        "<style>@import url(http://127.0.0.1/a.css);</style>",
        "<body style='background: url(http://169.254.169.254/)'>x",
        "<object data='file:///etc/passwd'></object>",
        "<style>@font-face { font-family: f; src: url(http://127.0.0.1/f) } body { font-family: f }</style>x",
    ],
)
def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    with pytest.raises(InputError, match="loads nothing from outside"):
        pdf.printed(page)
