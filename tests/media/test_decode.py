"""Decoding in this process, against Pillow, OpenCV and NumPy as references."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from tamperscope.errors import DecodeError, InvalidValueError, UnsupportedFormatError
from tamperscope.media.decode import Picture, decode
from tamperscope.media.headers import check_header
from tamperscope.media.limits import Limits
from tamperscope.media.pixels import STEPS, from_array, from_pillow

Photo = Callable[[str], np.ndarray]


def saved(picture: Image.Image | np.ndarray, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, fmt, **options)
    return buffer.getvalue()


def opened(data: bytes, fmt: str) -> tuple[np.ndarray, Picture]:
    picture = decode(data, fmt, check_header(data, fmt, Limits()), Limits())
    rgb = np.concatenate([band.copy() for band in picture.bands])
    assert rgb.dtype == np.uint8
    assert rgb.shape == (*picture.bands.size, 3)
    assert set(picture.bands.steps) <= set(STEPS)
    return rgb, picture


@pytest.fixture
def rgb(photo: Photo) -> np.ndarray:
    return photo("chelsea")[:200, :301]


@pytest.mark.parametrize(
    ("mode", "options"), [("RGB", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 0}), ("L", {})]
)
def test_jpeg_pixels_equal_those_of_pillow(rgb: np.ndarray, mode: str, options: dict[str, object]) -> None:
    data = saved(Image.fromarray(rgb).convert(mode), "JPEG", **options)
    found, picture = opened(data, "JPEG")
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert picture.decoder == "simplejpeg"
    assert picture.damage == ""


def test_cmyk_jpeg_goes_through_pillow(rgb: np.ndarray) -> None:
    data = saved(Image.fromarray(rgb).convert("CMYK"), "JPEG", quality=95)
    found, picture = opened(data, "JPEG")
    assert picture.decoder == "pillow"
    assert picture.bands.steps == ["cmyk_to_rgb"]
    assert np.abs(found.astype(int) - rgb).mean() < 4


def test_first_picture_of_many(rgb: np.ndarray) -> None:
    for fmt, name in (("MPO", "JPEG"), ("GIF", "GIF"), ("TIFF", "TIFF"), ("PNG", "PNG")):
        first, second = Image.fromarray(rgb), Image.fromarray(rgb[::-1].copy())
        found, picture = opened(saved(first, fmt, save_all=True, append_images=[second]), name)
        near = np.abs(found.astype(int) - rgb).mean()
        assert near < 12 < np.abs(found.astype(int) - rgb[::-1]).mean(), fmt
        assert "first_frame" in picture.bands.steps, fmt


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_16_bits_keep_the_high_byte(fmt: str) -> None:
    wide = np.random.default_rng(5).integers(0, 65536, (50, 61, 3), dtype=np.uint16)
    ok, data = cv2.imencode(f".{fmt.lower()}", wide[:, :, ::-1])
    assert ok
    found, picture = opened(data.tobytes(), fmt)
    assert np.array_equal(found, wide >> 8)
    assert picture.bands.steps == ["depth_to_8_high_bits"]
    ok, data = cv2.imencode(f".{fmt.lower()}", wide[:, :, 0])
    found, picture = opened(data.tobytes(), fmt)
    assert np.array_equal(found, np.repeat(wide[:, :, :1] >> 8, 3, axis=2))
    assert picture.bands.steps == ["depth_to_8_high_bits", "grey_to_rgb"]


def test_12_bits_in_a_16_bit_word_are_scaled_by_their_own_depth() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    found = np.concatenate(list(from_pillow(Image.fromarray(values), bits=12)))
    assert np.array_equal(found[:, :, 0], values >> 4)


def test_floats_and_32_bit_integers() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    found, picture = opened(saved(ramp, "TIFF"), "TIFF")
    assert np.array_equal(found[:, :, 0].ravel(), np.arange(256))
    assert picture.bands.steps == ["float_unit_to_8", "grey_to_rgb"]
    found, picture = opened(saved(ramp * 500 - 100, "TIFF"), "TIFF")
    assert np.array_equal(found[:, :, 0].ravel(), np.arange(256))
    assert picture.bands.steps[0] == "float_range_to_8"
    ramp[0, 0] = np.nan
    assert opened(saved(ramp, "TIFF"), "TIFF")[0][0, 0, 0] == 0
    for ceiling in (255, 65535, 2**31 - 1):
        whole = Image.fromarray(np.array([[0, ceiling // 2, ceiling]], dtype=np.int32))
        found, picture = opened(saved(whole, "TIFF"), "TIFF")
        assert found[0, :, 0].tolist() == [0, 127, 255] or found[0, :, 0].tolist() == [0, 127, 254]
        assert picture.bands.steps == ["integers_scaled_to_8", "grey_to_rgb"]


def test_grey_bilevel_and_palette(rgb: np.ndarray) -> None:
    image = Image.fromarray(rgb)
    for mode, steps in (
        ("L", ["grey_to_rgb"]),
        ("1", ["bilevel_to_grey", "grey_to_rgb"]),
        ("P", ["palette_to_rgb"]),
    ):
        converted = image.convert(mode)
        found, picture = opened(saved(converted, "PNG"), "PNG")
        assert np.array_equal(found, np.asarray(converted.convert("RGB"))), mode
        assert picture.bands.steps == steps


def test_lab_comes_back_as_srgb(rgb: np.ndarray) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = ImageCms.profileToProfile(Image.fromarray(rgb), srgb, lab, outputMode="LAB")
    found, decoded = opened(saved(picture, "TIFF"), "TIFF")
    assert decoded.bands.steps == ["lab_to_rgb"]
    assert np.abs(found.astype(int) - rgb).mean() < 2


def test_alpha_is_dropped_and_colours_stay_as_stored(rgb: np.ndarray) -> None:
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:50, :50] = 100
    for fmt in ("PNG", "TIFF"):
        found, picture = opened(saved(np.dstack([rgb, alpha]), fmt), fmt)
        assert np.array_equal(found, rgb)
        assert picture.bands.steps == ["alpha_dropped"]
        assert picture.bands.findings() == []


def test_hidden_pixels_are_found_only_where_they_differ(rgb: np.ndarray) -> None:
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[20:60, 30:80] = 0
    found, picture = opened(saved(np.dstack([rgb, alpha]), "PNG"), "PNG")
    assert np.array_equal(found, rgb)
    (finding,) = picture.bands.findings()
    assert finding.code == "media.hidden_pixels"
    assert finding.values["pixels"] == 40 * 50
    blank = rgb.copy()
    blank[20:60, 30:80] = 17
    _, picture = opened(saved(np.dstack([blank, alpha]), "PNG"), "PNG")
    assert picture.bands.findings() == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["TIFF", "JPEG", "PNG", "WEBP"])
def test_the_exif_orientation_is_not_applied(rgb: np.ndarray, fmt: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found, _ = opened(saved(rgb, fmt, exif=exif.tobytes()), fmt)
    assert found.shape == rgb.shape
    assert np.abs(found.astype(int) - rgb).mean() < 5


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}])
def test_tiff_compressions(rgb: np.ndarray, options: dict[str, object]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(opened(saved(rgb, "TIFF", exif=exif, **options), "TIFF")[0], rgb)


def test_heic_and_avif(rgb: np.ndarray) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    for name, fmt in (("HEIF", "HEIC"), ("AVIF", "AVIF")):
        found, _ = opened(saved(rgb, name, quality=90), fmt)
        assert np.abs(found.astype(int) - rgb).mean() < 4


def test_a_missing_extra_is_named(rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = saved(rgb, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedFormatError, match=r"tamperscope\[heif\]"):
        opened(data, "HEIC")


def test_a_cut_jpeg_is_shown_as_far_as_it_goes(rgb: np.ndarray) -> None:
    data = saved(rgb, "JPEG", quality=90)
    whole, _ = opened(data, "JPEG")
    for part in (0.3, 0.6, 0.9):
        found, picture = opened(data[: int(part * len(data))], "JPEG")
        assert picture.truncated
        assert picture.damage
        rows = picture.bands.last_change + 1
        assert abs(rows / len(rgb) - part) < 0.2
        # The last row of blocks may be half decoded; chroma interpolation reaches one row further.
        sound = rows // 16 * 16 - 18
        assert np.array_equal(found[:sound], whole[:sound])
        assert not np.array_equal(found, whole)


def test_a_cut_progressive_jpeg_is_coarse_not_black(rgb: np.ndarray) -> None:
    data = saved(rgb, "JPEG", quality=90, progressive=True)
    found, picture = opened(data[: len(data) // 3], "JPEG")
    assert picture.truncated
    assert np.abs(found.astype(int) - rgb).mean() < 20


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "GIF"])
def test_other_cut_pictures_are_partly_shown(rgb: np.ndarray, fmt: str) -> None:
    data = saved(rgb, fmt)
    whole, _ = opened(data, fmt)
    found, picture = opened(data[: len(data) // 2], fmt)
    assert picture.truncated
    alike = (found == whole).all(axis=(1, 2))
    assert 0.2 < alike.mean() < 0.8
    (rows,) = np.nonzero(alike)
    if fmt != "BMP":  # stored from the bottom up
        assert abs(picture.bands.last_change - rows[-1]) < 20


def test_a_missing_end_marker_alone_is_no_damage(rgb: np.ndarray) -> None:
    data = saved(rgb, "JPEG")
    found, picture = opened(data[:-2], "JPEG")
    assert picture.damage == ""
    assert np.array_equal(found, opened(data, "JPEG")[0])
    assert "end marker" in picture.findings[0].text
    data = saved(rgb, "PNG")
    assert opened(data[:-12], "PNG")[1].damage == ""


def test_oddities_between_segments_are_no_damage(rgb: np.ndarray) -> None:
    data = saved(rgb, "JPEG")
    at = data.index(b"\xff\xc4")
    found, picture = opened(data[:at] + b"garbage" + data[at:], "JPEG")
    assert picture.damage == ""
    assert np.array_equal(found, opened(data, "JPEG")[0])


def test_padding_before_the_end_is_no_damage_but_left_over_data_are(rgb: np.ndarray) -> None:
    data = saved(rgb, "JPEG")
    assert opened(data[:-2] + bytes(200) + data[-2:], "JPEG")[1].damage == ""
    assert "extraneous" in opened(data[:-2] + b"\x5a" * 200 + data[-2:], "JPEG")[1].damage


def test_corrupt_coefficients_are_damage(rgb: np.ndarray) -> None:
    data = bytearray(saved(rgb, "JPEG", quality=95))
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xaa" * 400
    _, picture = opened(bytes(data), "JPEG")
    assert picture.damage
    assert not picture.truncated


def test_a_flipped_bit_in_a_png_is_damage(rgb: np.ndarray) -> None:
    data = bytearray(saved(rgb, "PNG"))
    data[len(data) // 2] ^= 1
    assert opened(bytes(data), "PNG")[1].damage


def test_no_pixel_at_all_is_an_error(rgb: np.ndarray) -> None:
    data = saved(rgb, "WEBP")
    with pytest.raises(DecodeError, match="cut off"):
        opened(data[:300], "WEBP")


def test_arrays() -> None:
    rng = np.random.default_rng(7)
    grey = rng.integers(0, 256, (20, 30), dtype=np.uint8)

    def bands(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
        found = from_array(array)
        return np.concatenate(list(found)), found.steps

    found, steps = bands(grey)
    assert np.array_equal(found, np.dstack([grey] * 3))
    assert steps == ["grey_to_rgb"]
    wide = rng.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    assert np.array_equal(bands(wide)[0], wide >> 8)
    for dtype in (np.float16, np.float32, np.float64):
        unit = np.dstack([grey] * 3).astype(dtype) / dtype(255)
        assert np.array_equal(bands(unit)[0], np.dstack([grey] * 3))
    found, steps = bands(grey > 100)
    assert np.array_equal(found[:, :, 0], np.where(grey > 100, 255, 0))
    assert steps == ["bilevel_to_grey", "grey_to_rgb"]
    rgba = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    found, steps = bands(rgba)
    assert np.array_equal(found, rgba[:, :, :3])
    assert steps == ["alpha_dropped"]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 20, 30), np.uint8),
        np.zeros((20,), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((20, 30, 2), np.uint8),
        np.zeros((20, 30, 3), np.int32),
        np.zeros((20, 30, 3), complex),
        np.full((20, 30), 1.5),
        np.full((20, 30), -0.1),
        np.full((20, 30), np.nan),
        np.full((20, 30), "a"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InvalidValueError, match="array: expected"):
        from_array(array)
