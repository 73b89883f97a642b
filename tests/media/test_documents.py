"""Parts of PDF files: pages as drawn, pictures as they lie inside."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tamperscope import media
from tamperscope.errors import BudgetError, DecodeError, InputError, TamperscopeError, UnsupportedFormatError
from tamperscope.media import Part

pypdfium2 = pytest.importorskip("pypdfium2")


def noise(seed: int, side: int = 160) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def jpeg(seed: int, side: int = 160) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(seed, side)).save(buffer, "JPEG", quality=83)
    return buffer.getvalue()


def document(*pages: list[bytes | np.ndarray]) -> bytes:
    """Return a PDF with some pictures on each page: bytes of a JPEG go in as they are, pixels as pixels."""
    made = pypdfium2.PdfDocument.new()
    for pictures in pages:
        page = made.new_page(300, 300)
        for number, picture in enumerate(pictures):
            image = pypdfium2.PdfImage.new(made)
            if isinstance(picture, bytes):
                image.load_jpeg(io.BytesIO(picture), pages=[page])
            else:
                image.set_bitmap(pypdfium2.PdfBitmap.from_pil(Image.fromarray(picture)), pages=[page])
            image.set_matrix(pypdfium2.PdfMatrix().scale(100, 100).translate(100 * number, 50))
            page.insert_obj(image)
        page.gen_content()
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def test_parts_are_the_pages_and_the_pictures_on_them() -> None:
    data = document([jpeg(0), noise(1)], [], [jpeg(2), jpeg(3, 24)])
    assert [str(part) for part in media.parts(data)] == [
        "page=1", "page=1,image=1", "page=1,image=2", "page=2", "page=3", "page=3,image=1",
    ]  # fmt: skip


def test_a_jpeg_inside_keeps_every_byte() -> None:
    data = document([noise(1), jpeg(0)])
    assert media.extract(data, Part(1, 2)) == (jpeg(0), ".jpg")
    found, suffix = media.extract(data, Part(1, 1))
    assert suffix == ".png"
    assert np.array_equal(media.open(found).sample.rgb, noise(1))


def test_a_page_is_drawn_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(document([jpeg(0)], [jpeg(1)]))
    opened = media.open_page(path, 2, dpi=72)
    assert opened.sample.size == (300, 300)
    assert opened.intake["name"] == "a.pdf#page=2"
    assert media.open_page(path, 2, name="b.pdf#page=2").intake["name"] == "b.pdf#page=2"
    assert opened.facts["pdf"] == {"page": 2, "dpi": 72.0}


@pytest.mark.parametrize("part", [Part(2, 1), Part(1, 2), Part(0, 1), Part(999_999, 1)])
def test_parts_that_are_not_there_are_told(part: Part) -> None:
    with pytest.raises(DecodeError, match="pictures, not"):
        media.extract(document([jpeg(0)]), part)


def test_pages_that_are_not_there_are_told() -> None:
    for page in (0, 2):
        with pytest.raises(TamperscopeError, match="page: expected 1 to 1"):
            media.open_page(document([jpeg(0)]), page)


def test_limits_hold_inside() -> None:
    data = document([noise(0), noise(1)], [noise(2)])
    with pytest.raises(BudgetError, match="pictures"):
        media.parts(data, media.Limits(max_frames=2))
    with pytest.raises(BudgetError, match="pages"):
        media.parts(data, media.Limits(max_frames=1))
    with pytest.raises(BudgetError, match="max_pixels"):
        media.extract(data, Part(1, 1), media.Limits(max_pixels=1000))


@pytest.mark.parametrize("data", [b"%PDF-1.4", b"%PDF-1.4\n" + bytes(range(256)) * 9, document([jpeg(0)])[:900]])
def test_damaged_documents_are_told(data: bytes) -> None:
    with pytest.raises(TamperscopeError):
        media.parts(data)
    with pytest.raises(TamperscopeError):
        media.extract(data, Part(1, 1))


def test_other_files_are_told() -> None:
    with pytest.raises(UnsupportedFormatError, match="expected a PDF file, found JPEG"):
        media.parts(jpeg(0))
    with pytest.raises(InputError):
        media.parts(b"")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("page=1", Part(1)), ("page=12,image=3", Part(12, 3)), ("page=", None), ("page=1,image=", None), ("", None),
        ("page=1 ", None), ("page=-1", None), ("page=1234567", None), ("image=1", None),
    ],
)  # fmt: skip
def test_parts_are_read_as_they_are_written(text: str, part: Part | None) -> None:
    assert Part.of(text) == part
    assert part is None or str(part) == text
