from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tamperscope import media
from tamperscope.errors import (
    BudgetError,
    DecodeError,
    InputError,
    InvalidValueError,
    TamperscopeError,
    UnsupportedFormatError,
)
from tamperscope.media import isolate

Photo = Callable[[str], np.ndarray]
Encode = Callable[..., bytes]


@pytest.fixture
def rgb(photo: Photo) -> np.ndarray:
    return photo("coffee")[:160, :240]


@pytest.fixture
def jpeg(rgb: np.ndarray, encode: Encode) -> bytes:
    return encode(rgb, "JPEG", quality=90)


def test_path_and_bytes_give_the_same(tmp_path: Path, jpeg: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg)
    expected = np.asarray(Image.open(path).convert("RGB"))
    for source in (path, str(path), jpeg, bytearray(jpeg), memoryview(jpeg)):
        opened = media.open(source)
        assert np.array_equal(opened.sample.rgb, expected)
        assert opened.intake["sha256"] == hashlib.sha256(jpeg).hexdigest()
        assert opened.intake["bytes"] == len(jpeg)
        assert opened.intake["type"] == "JPEG"
        assert opened.intake["complete"] is True
        assert opened.intake["not_read"] == ""
        assert set(opened.facts) == {"jpeg", "metadata", "c2pa"}
    assert media.open(path).sample.id == media.open(path).intake["name"] == "photo.jpg"
    assert media.open(path).intake["source"] == "file"
    assert media.open(jpeg).sample.id == hashlib.sha256(jpeg).hexdigest()[:16]
    assert media.open(jpeg, name="shown").sample.id == "shown"


def test_intake_says_how_the_pixels_came_about(rgb: np.ndarray, encode: Encode) -> None:
    opened = media.open(encode(np.dstack([rgb, rgb[:, :, 0]]), "PNG"))
    assert opened.intake["transformations"] == ["alpha_dropped"]
    assert opened.intake["decoder"].startswith("pillow 1")
    assert "not applied" in opened.intake["orientation_policy"]
    assert (opened.intake["width"], opened.intake["height"], opened.intake["bits"]) == (240, 160, 8)
    json.dumps([opened.intake, opened.facts], allow_nan=False)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_coefficients_reproduce_the_pixels(rgb: np.ndarray, encode: Encode, subsampling: str) -> None:
    # Independent check of order and scale: dequantize, inverse DCT (SciPy), compare with the decoded luma.
    from scipy.fft import idctn

    grey = np.repeat(rgb[:, :, 1:2], 3, axis=2)
    opened = media.open(encode(grey, "JPEG", quality=92, subsampling=subsampling))
    jpeg = opened.sample.jpeg
    assert jpeg is not None
    assert jpeg.sampling[0] == ((1, 1) if subsampling == "4:4:4" else (2, 2))
    blocks = idctn(jpeg.coefficients[0].astype(float) * jpeg.qtables[0], axes=(2, 3), norm="ortho") + 128
    rows, columns = blocks.shape[:2]
    luma = blocks.transpose(0, 2, 1, 3).reshape(rows * 8, columns * 8)[:160, :240]
    decoded = opened.sample.rgb.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(np.clip(luma, 0, 255) - decoded).max() < 3


def test_only_jpeg_has_coefficients(rgb: np.ndarray, encode: Encode) -> None:
    assert media.open(encode(rgb, "PNG")).sample.jpeg is None
    assert "container" in media.open(encode(rgb, "PNG")).facts
    assert media.open(encode(rgb, "JPEG", progressive=True)).sample.jpeg.progressive is True


def test_orientation_is_recorded_not_applied(rgb: np.ndarray, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = media.open(encode(rgb, "JPEG", exif=exif.tobytes()))
    assert opened.sample.meta["orientation"] == 6
    assert opened.sample.size == (160, 240)
    assert media.open(encode(rgb, "JPEG")).sample.meta["orientation"] == 1


def test_the_embedded_thumbnail_is_decoded(rgb: np.ndarray, encode: Encode) -> None:
    small = np.ascontiguousarray(rgb[::4, ::4])
    thumbnail = encode(small, "JPEG", quality=95, subsampling="4:4:4")
    ifd0, ifd1 = b"\0\0" + (14).to_bytes(4, "little"), b"\2\0"
    ifd1 += b"\1\2\4\0\1\0\0\0" + (44).to_bytes(4, "little")
    ifd1 += b"\2\2\4\0\1\0\0\0" + len(thumbnail).to_bytes(4, "little") + bytes(4)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + ifd0 + ifd1 + thumbnail
    opened = media.open(encode(rgb, "JPEG", exif=exif))
    assert opened.sample.thumbnail is not None
    assert np.abs(opened.sample.thumbnail.astype(int) - small).mean() < 4
    assert media.open(encode(rgb, "JPEG")).sample.thumbnail is None


def test_damage_is_a_finding_and_bars_pixel_detectors(jpeg: bytes) -> None:
    opened = media.open(jpeg[: len(jpeg) // 2])
    (finding,) = (f for f in opened.findings if f.code == "media.truncated")
    assert finding.severity == "warning"
    assert 0 < finding.values["first_missing_row"] < 160
    assert opened.sample.meta["damaged"] == finding.values["cause"]
    assert opened.sample.jpeg is None
    assert opened.intake["complete"] is False
    assert opened.facts["jpeg"]


def test_nothing_decodable_is_an_error(jpeg: bytes, encode: Encode, rgb: np.ndarray) -> None:
    start = jpeg.index(b"\xff\xda")
    with pytest.raises(DecodeError, match="ends before the picture data"):
        media.open(jpeg[: start + 14])
    png = encode(rgb, "PNG")
    with pytest.raises(DecodeError, match="no pixel"):
        media.open(png[: png.index(b"IDAT") + 20])


def test_a_png_whose_data_end_early_but_cleanly_is_damaged(encode: Encode) -> None:
    rows = b"".join(b"\0" + bytes(range(64)) for _ in range(64))
    for missing in (0, 1, 30):
        data = encode(np.tile(np.arange(64, dtype=np.uint8), (64, 1)), "PNG")
        start = data.index(b"IDAT") - 4
        packed = zlib.compress(rows[: len(rows) - 65 * missing])
        chunk = len(packed).to_bytes(4, "big") + b"IDAT" + packed
        chunk += zlib.crc32(chunk[4:]).to_bytes(4, "big")
        opened = media.open(data[:start] + chunk + data[-12:])
        assert opened.intake["complete"] == (missing == 0)
        assert ("media.truncated" in {f.code for f in opened.findings}) == (missing > 0)
    # A picture that ends in one colour is no damaged one.
    flat = np.full((64, 64, 3), 255, np.uint8)
    for mode in ("RGB", "L", "P", "1"):
        assert media.open(encode(np.asarray(Image.fromarray(flat)), "PNG")).intake["complete"]
        buffer = io.BytesIO()
        Image.fromarray(flat).convert(mode).save(buffer, "PNG")
        assert media.open(buffer.getvalue()).intake["complete"], mode


@pytest.mark.parametrize(
    ("name", "claimed"), [("a.png", "PNG"), ("a.JPG", None), ("a.mp4", "MP4"), ("a.dat", None), ("", None)]
)
def test_type_by_name_against_type_by_content(jpeg: bytes, name: str, claimed: str | None) -> None:
    found = [f for f in media.open(jpeg, name=name).findings if f.code == "media.extension_mismatch"]
    assert [f.values["by_extension"] for f in found] == ([claimed] if claimed else [])


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        media.open(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        media.open(tmp_path / "nothing.jpg")
    with pytest.raises(InputError, match="cannot be opened"):
        media.open("nul\0byte.jpg")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(InputError, match="empty"):
        media.open(empty)
    with pytest.raises(InputError, match="empty"):
        media.open(b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), Path("/dev/stdin")):
        if path.is_file() or not path.exists():
            continue
        with pytest.raises(InputError, match="regular"):
            media.open(path)


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_a_link_to_a_picture_is_fine_and_keeps_its_own_name(tmp_path: Path, jpeg: bytes) -> None:
    (tmp_path / "real.jpg").write_bytes(jpeg)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real.jpg")
    assert media.open(tmp_path / "link.jpg").intake["name"] == "link.jpg"
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with pytest.raises(InputError, match="cannot be opened"):
        media.open(tmp_path / "loop.jpg")


def test_a_file_over_the_budget_is_refused_unread(tmp_path: Path, jpeg: bytes) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.write(jpeg)
        file.truncate(2**40)  # sparse
    with pytest.raises(BudgetError, match="max_file_bytes"):
        media.open(path)
    with pytest.raises(BudgetError, match="max_file_bytes"):
        media.open(jpeg, media.Limits(max_file_bytes=len(jpeg) - 1))


def test_a_file_that_shrinks_while_read_is_an_error_not_a_hang(
    tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    real = isolate.ask

    def shrink(*arguments: object) -> object:
        path.write_bytes(jpeg[:50])
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(isolate, "ask", shrink)
    with pytest.raises(InputError, match="shorter"):
        media.open(path)
    monkeypatch.undo()
    assert media.open(jpeg).sample.size == (160, 240)


def test_refusals_name_what_was_found() -> None:
    with pytest.raises(UnsupportedFormatError, match="ZIP"):
        media.open(b"PK\3\4" + bytes(100), name="photo.jpg")
    with pytest.raises(DecodeError, match="the PDF is damaged"):
        media.open(b"%PDF-1.7\n")
    with pytest.raises(InvalidValueError, match="a path, bytes"):
        media.open(42)  # type: ignore[arg-type]


def test_arrays_and_pillow_images_have_no_container(rgb: np.ndarray) -> None:
    for source, kind in ((rgb, "array"), (Image.fromarray(rgb), "pillow")):
        opened = media.open(source, name="mine")
        assert np.array_equal(opened.sample.rgb, rgb)
        assert opened.facts == {}
        assert opened.intake["source"] == kind
        assert opened.intake["type"] is opened.intake["sha256"] is None
        assert "no container" in opened.intake["not_read"]
        assert opened.sample.id == "mine"
        with pytest.raises(BudgetError, match="max_pixels"):
            media.open(source, media.Limits(max_pixels=100))
    assert not np.shares_memory(media.open(rgb).sample.rgb, rgb)
    with pytest.raises(InvalidValueError, match="array"):
        media.open(rgb.astype(np.int64))
    rotated = Image.fromarray(rgb).convert("P")
    assert media.open(rotated).intake["transformations"] == ["palette_to_rgb"]


def test_a_broken_pillow_image_is_an_input_error(jpeg: bytes) -> None:
    with pytest.raises(InputError, match="Pillow"):
        media.open(Image.open(io.BytesIO(jpeg[: len(jpeg) // 2])))


def pdf(rgb: np.ndarray, pages: int) -> bytes:
    buffer = io.BytesIO()
    shots = [Image.fromarray(np.roll(rgb, 40 * n, axis=1)) for n in range(pages)]
    shots[0].save(buffer, "PDF", save_all=True, append_images=shots[1:], resolution=100)
    return buffer.getvalue()


def test_pages_of_a_pdf_are_drawn_one_by_one(rgb: np.ndarray) -> None:
    pytest.importorskip("pypdfium2")
    data = pdf(rgb, 3)
    found = list(media.open_pages(data, name="contract.pdf", dpi=100))
    assert [o.sample.id for o in found] == [f"contract.pdf#page={n}" for n in (1, 2, 3)]
    for number, opened in enumerate(found):
        assert opened.sample.size == (160, 240)
        assert np.abs(opened.sample.rgb.astype(int) - np.roll(rgb, 40 * number, axis=1)).mean() < 4
        assert opened.facts["pdf"] == {"page": number + 1, "pages": 3, "dpi": 100.0}
        assert opened.intake["transformations"] == ["rendered"]
        assert opened.intake["sha256"] == hashlib.sha256(data).hexdigest()
    assert next(media.open_pages(data, dpi=200)).sample.size == (320, 480)


def test_pages_respect_the_limits(rgb: np.ndarray) -> None:
    pytest.importorskip("pypdfium2")
    data = pdf(rgb, 3)
    with pytest.raises(BudgetError, match="max_frames"):
        list(media.open_pages(data, media.Limits(max_frames=2)))
    with pytest.raises(BudgetError, match="max_pixels"):
        list(media.open_pages(data, media.Limits(max_pixels=1000)))
    with pytest.raises(InvalidValueError, match="dpi"):
        list(media.open_pages(data, dpi=1e6))
    huge = data.replace(b"/MediaBox [ 0 0 ", b"/MediaBox [ 0 0 9")
    with pytest.raises(TamperscopeError):
        list(media.open_pages(huge[:200]))


def test_pages_of_a_picture_are_the_picture(jpeg: bytes) -> None:
    (opened,) = media.open_pages(jpeg)
    assert np.array_equal(opened.sample.rgb, media.open(jpeg).sample.rgb)


def test_the_parent_loads_no_codec(tmp_path: Path, jpeg: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    script = (
        "import sys; from tamperscope import media; media.open(sys.argv[1]);"
        "print([m for m in ('PIL', 'cv2', 'simplejpeg', 'jpeglib', 'scipy', 'c2pa') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reader_that_died_is_told(jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    real = isolate.ask

    def dies_late(*arguments: object) -> object:
        reply = real(*arguments)  # type: ignore[arg-type]
        reply.facts.pop("c2pa")
        reply.lost = "the decoder process died (SIGSEGV) while reading the C2PA manifest"
        return reply

    monkeypatch.setattr(isolate, "ask", dies_late)
    opened = media.open(jpeg)
    (finding,) = (f for f in opened.findings if f.code == "media.reader_died")
    assert finding.severity == "warning"
    assert "SIGSEGV" in opened.intake["not_read"]
    assert opened.intake["complete"] is True
