"""Headers are checked against the limits before anything is decoded; the hostile cases add many more files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tamperscope.errors import BudgetError, DecodeError, InvalidValueError
from tamperscope.media.headers import check_header
from tamperscope.media.limits import Limits

NOISE = np.random.default_rng(1).integers(0, 256, (90, 130, 3), dtype=np.uint8)


def saved(fmt: str, rgb: np.ndarray = NOISE, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(buffer, fmt, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_size_agrees_with_the_picture(fmt: str) -> None:
    header = check_header(saved(fmt), fmt, Limits())
    assert (header.width, header.height) == (130, 90)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}])
def test_webp_variants(options: dict[str, object]) -> None:
    header = check_header(saved("WEBP", **options), "WEBP", Limits())
    assert (header.width, header.height) == (130, 90)


def test_heic_size_is_that_of_the_whole_picture() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    big = np.kron(NOISE[:80, :80, :], np.ones((8, 8, 1), np.uint8))
    header = check_header(saved("HEIF", big, tile_size=256), "HEIC", Limits())
    assert (header.width, header.height) == (640, 640)


def test_depth_and_frames() -> None:
    grey = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999)
    for fmt in ("PNG", "TIFF"):
        buffer = io.BytesIO()
        grey.save(buffer, fmt)
        assert check_header(buffer.getvalue(), fmt, Limits()).bits == 16
    frames = [Image.fromarray(NOISE), Image.fromarray(NOISE[::-1])]
    for name, fmt in (("GIF", "GIF"), ("WEBP", "WEBP"), ("PNG", "PNG"), ("TIFF", "TIFF"), ("MPO", "JPEG")):
        buffer = io.BytesIO()
        frames[0].save(buffer, name, save_all=True, append_images=frames[1:])
        assert check_header(buffer.getvalue(), fmt, Limits()).frames == 2, name
        with pytest.raises(BudgetError, match="max_frames"):
            check_header(buffer.getvalue(), fmt, Limits(max_frames=1))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_pixels_and_sides_are_bounded(fmt: str) -> None:
    data = saved(fmt)
    check_header(data, fmt, Limits(max_pixels=130 * 90, max_side=130))
    with pytest.raises(BudgetError, match=r"130 × 90 = 11,700 pixels.*11,699.*max_pixels"):
        check_header(data, fmt, Limits(max_pixels=130 * 90 - 1))
    with pytest.raises(BudgetError, match="max_side"):
        check_header(data, fmt, Limits(max_side=129))


def test_a_jpeg_that_cannot_hold_its_pixels_is_refused() -> None:
    data = saved("JPEG")
    at = data.index(b"\xff\xc0")
    lying = data[: at + 5] + struct.pack(">HH", 12_000, 12_000) + data[at + 9 :]
    with pytest.raises(BudgetError, match=r"144,000,000 pixels.*while the coding needs"):
        check_header(lying, "JPEG", Limits())
    assert check_header(lying, "JPEG", Limits(min_bits_per_pixel=0)).width == 12_000


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"quality": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_flat_pictures_are_plausible(options: dict[str, object], mode: str) -> None:
    # The cheapest pictures that an encoder makes must pass: entropy coding does not go lower.
    flat = np.full((4200, 4200, 3), 128, np.uint8)
    assert check_header(saved("JPEG", flat, mode, **options), "JPEG", Limits()).width == 4200
    assert check_header(saved("PNG", flat, mode, compress_level=9), "PNG", Limits()).width == 4200
    assert check_header(saved("PNG", flat, "1"), "PNG", Limits()).width == 4200


def test_a_png_that_cannot_hold_its_pixels_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(9999))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    with pytest.raises(BudgetError, match="bits per pixel"):
        check_header(b"\x89PNG\r\n\x1a\n" + b"".join(parts), "PNG", Limits())


def _text_png(text: str, packed: bool) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Comment", text, zip=packed)
    return saved("PNG", pnginfo=info)


def test_metadata_is_counted_after_decompression() -> None:
    letters = "".join(chr(97 + int(n)) for n in np.random.default_rng(2).integers(0, 26, 200_000))
    for packed in (False, True):
        data = _text_png(letters, packed)
        check_header(data, "PNG", Limits())
        with pytest.raises(BudgetError, match="max_metadata_bytes"):
            check_header(data, "PNG", Limits(max_metadata_bytes=100_000))


def test_inflating_stops_at_the_ratio() -> None:
    bomb = _text_png("a" * 3_000_000, packed=True)
    assert len(bomb) < 50_000
    with pytest.raises(BudgetError, match="max_inflate_ratio"):
        check_header(bomb, "PNG", Limits())
    check_header(bomb, "PNG", Limits(max_inflate_ratio=2000))
    # A short text may be as regular as it likes.
    check_header(_text_png("a" * 60_000, packed=True), "PNG", Limits())


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_and_profiles_count_as_metadata(fmt: str) -> None:
    rng = np.random.default_rng(3)
    data = saved(fmt, icc_profile=rng.bytes(50_000))
    check_header(data, fmt, Limits(max_metadata_bytes=100_000))
    with pytest.raises(BudgetError, match="max_metadata_bytes"):
        check_header(data, fmt, Limits(max_metadata_bytes=40_000))


def test_scans_are_bounded() -> None:
    data = saved("JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    check_header(data, "JPEG", Limits(max_scans=scans))
    with pytest.raises(BudgetError, match="max_scans"):
        check_header(data, "JPEG", Limits(max_scans=scans - 1))
    # Marker bytes inside a comment are no scans.
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 4000) + b"\xff\xda" * 2000
    check_header(data[:2] + comment + data[2:], "JPEG", Limits(max_scans=scans))


def test_damaged_chunks_are_reported() -> None:
    data = bytearray(saved("PNG"))
    assert check_header(bytes(data), "PNG", Limits()).problems == ()
    data[data.index(b"IDAT") + 50] ^= 1
    assert "wrong check sum" in check_header(bytes(data), "PNG", Limits()).problems[0]
    assert "cut off" in check_header(bytes(data[:-100]), "PNG", Limits()).problems[0]


def test_unreadable_headers_are_decode_errors(encode: Callable[..., bytes]) -> None:
    for fmt in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"):
        with pytest.raises(DecodeError):
            check_header(saved(fmt)[:20], fmt, Limits())


def test_limits_check_themselves() -> None:
    for spec in fields(Limits):
        for bad in (-1, float("nan"), "9", True):
            with pytest.raises(InvalidValueError, match=spec.name):
                Limits(**{spec.name: bad})
    with pytest.raises(InvalidValueError, match="max_pixels"):
        Limits(max_pixels=0)
    assert Limits(min_bits_per_pixel=0).min_bits_per_pixel == 0
