from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tamperscope.media.sniff import describe, sniff, type_by_extension

PICTURE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def saved(fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, fmt, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PDF"])
def test_what_pillow_writes_is_recognised(fmt: str) -> None:
    assert sniff(saved(fmt)[:1024]) == fmt


def test_variants_are_recognised() -> None:
    assert sniff(saved("MPO", save_all=True, append_images=[PICTURE])) == "JPEG"
    assert sniff(saved("TIFF", big_tiff=True)) == "TIFF"
    assert sniff(b"\n \n%PDF-1.4") == "PDF"
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    assert sniff(saved("HEIF")) == "HEIC"


@pytest.mark.parametrize("fmt", ["JPEG2000", "ICO", "PPM", "TGA", "EPS", "DDS", "PCX", "SGI", "QOI"])
def test_other_formats_of_pillow_are_not_allowed(fmt: str) -> None:
    assert sniff(saved(fmt)) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"PK\3\4....", "ZIP"),
        (b"<?xml version='1.0'?><!-- c -->\n<svg/>", "SVG"),
        (b"\xef\xbb\xbf<SVG>", "SVG"),
        (b"<!DOCTYPE HTML>", "HTML"),
        (b"8BPS\0\1", "PSD"),
        (b"SIMPLE  =   T", "FITS"),
        (b"%!PS-Adobe", "EPS"),
        (b"\x7fELF", "ELF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "mp42"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
        ("Bäume".encode() * 400, "text"),
        (b"\xff\x00\x13", "no type"),
        (b"\xff", "no type"),
    ],
)
def test_refused_bytes_are_named(data: bytes, words: str) -> None:
    assert sniff(data) is None
    assert words in describe(data[:1024])


def test_two_letters_do_not_make_a_bitmap() -> None:
    assert sniff(b"BMW builds cars, this is a text.") is None


def test_a_pdf_header_deep_in_other_bytes_does_not_count() -> None:
    assert sniff(b"GIF is mentioned here, %PDF-1.7 too") is None


@given(st.binary(max_size=300))
def test_never_raises(data: bytes) -> None:
    assert sniff(data) is None or isinstance(sniff(data), str)
    assert describe(data)


@pytest.mark.parametrize(
    ("name", "fmt"),
    [
        ("a.JPG", "JPEG"),
        ("a.b.tiff", "TIFF"),
        ("x.heic", "HEIC"),
        ("x.svg", "SVG"),
        ("photo", None),
        (".png", None),
        ("a.", None),
        ("a.xyz", None),
    ],
)
def test_extension(name: str, fmt: str | None) -> None:
    assert type_by_extension(name) == fmt
