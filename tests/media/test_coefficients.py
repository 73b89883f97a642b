"""Coefficients against SciPy's DCT, against jpeglib's own reader, and against files spliced by hand."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from tamperscope.errors import DecodeError, UnsupportedFormatError
from tamperscope.media.coefficients import read_coefficients
from tamperscope.media.quantization import ijg_table
from tamperscope.media.recompress import encode_with_tables


def tiles(plane: np.ndarray) -> np.ndarray:
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    return plane[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2).astype(float)


def split(data: bytes) -> dict[str, bytes]:
    """Split a baseline file into its segments by marker, and the scan with its header."""
    found, at = {}, 2
    while data[at + 1] != 0xDA:
        size = struct.unpack(">H", data[at + 2 : at + 4])[0]
        name = f"{data[at + 1]:02x}"
        found[name] = found.get(name, b"") + data[at : at + 2 + size]
        at += 2 + size
    size = struct.unpack(">H", data[at + 2 : at + 4])[0]
    return found | {"sos": data[at : at + 2 + size], "coded": data[at + 2 + size : -2]}


def segment(code: int, payload: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(payload) + 2) + payload


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 5}])
def test_rows_are_vertical_frequencies_as_in_scipy(photo, encode, options) -> None:
    # Compressed range, so that no pixel saturates and the decoded picture is the exact inverse but for rounding.
    grey = (40 + photo("coffee")[..., 1] * 0.6).astype(np.uint8)
    data = encode(grey, "JPEG", quality=80, **options)
    jpeg = read_coefficients(data)
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    expected = dctn(tiles(decoded) - 128, axes=(2, 3), norm="ortho")
    found = jpeg.coefficients[0] * jpeg.qtables[0].astype(float)
    rounding = np.abs(found - expected)
    # 64 pixels rounded to integers: an error of at most 0.5 each, and of 0.29 in the root mean square.
    assert rounding.max() < 4.5
    assert np.sqrt((rounding**2).mean()) == pytest.approx(12**-0.5, rel=0.05)
    assert np.abs(found.swapaxes(2, 3) - expected).mean() > 10 * rounding.mean()
    assert jpeg.progressive == options.get("progressive", False)


def test_coefficients_are_the_rounded_quotients_of_the_source_pixels(photo, encode) -> None:
    grey = photo("astronaut")[..., 1]
    jpeg = read_coefficients(encode(grey, "JPEG", quality=70))
    quotients = dctn(tiles(grey) - 128, axes=(2, 3), norm="ortho") / jpeg.qtables[0]
    np.testing.assert_array_equal(jpeg.qtables[0], ijg_table(70))
    clear = np.abs(np.abs(quotients % 1) - 0.5) > 0.02  # libjpeg's integer DCT may break near ties otherwise
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(np.rint(quotients)[clear], jpeg.coefficients[0][clear])


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8), (17, 33), (200, 301)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1, "optimize": True}])
def test_equal_to_the_reader_of_jpeglib(photo, encode, tmp_path, size, subsampling, options) -> None:
    import jpeglib

    data = encode(photo("chelsea")[: size[0], : size[1]], "JPEG", quality=85, subsampling=subsampling, **options)
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    expected, jpeg = jpeglib.read_dct(path), read_coefficients(data)
    for index, plane in enumerate((expected.Y, expected.Cb, expected.Cr)):
        np.testing.assert_array_equal(jpeg.coefficients[index], plane)
        np.testing.assert_array_equal(jpeg.qtables[index], expected.get_component_qt(index))
    assert [tuple(row)[::-1] for row in expected.samp_factor] == list(jpeg.sampling)
    assert jpeg.sampling[0] == {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2)}[subsampling]


def test_each_component_has_its_own_table(photo) -> None:
    tables = [ijg_table(90), ijg_table(60), ijg_table(30)]
    jpeg = read_coefficients(encode_with_tables(photo("coffee")[:64, :64], tables))
    for found, expected in zip(jpeg.qtables, tables, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.uint16


def test_a_table_that_is_redefined_between_scans_counts_from_there(photo, encode) -> None:
    """Three grey files spliced into one picture of three scans that all use slot 0."""
    planes = [photo("coffee")[:48, :64, i] for i in range(3)]
    grey = [encode(p, "JPEG", quality=q) for p, q in zip(planes, (90, 60, 30), strict=True)]
    parts = [split(g) for g in grey]
    frame = segment(0xC0, struct.pack(">BHHB", 8, 48, 64, 3) + b"\1\x11\0\2\x11\0\3\x11\0")
    scans = [
        p["db"] + p["c4"] + segment(0xDA, bytes((1, i, 0, 0, 63, 0))) + p["coded"] for i, p in enumerate(parts, start=1)
    ]
    jpeg = read_coefficients(b"\xff\xd8" + frame + b"".join(scans) + b"\xff\xd9")
    for index, data in enumerate(grey):
        alone = read_coefficients(data)
        np.testing.assert_array_equal(jpeg.coefficients[index], alone.coefficients[0])
        np.testing.assert_array_equal(jpeg.qtables[index], alone.qtables[0])


def test_sixteen_bit_tables_and_joined_segments(photo, encode) -> None:
    parts = split(encode(photo("coffee")[:40, :40], "JPEG", quality=75))
    tables = [parts["db"][i + 4 : i + 69] for i in (0, 69)]
    wide = b"".join(bytes((0x10 | t[0],)) + b"".join(bytes((0, v)) for v in t[1:]) for t in tables)
    rest = parts["c0"].replace(b"\xff\xc0", b"\xff\xc1") + parts["c4"] + parts["sos"] + parts["coded"]
    jpeg = read_coefficients(b"\xff\xd8" + segment(0xDB, wide) + rest + b"\xff\xd9")
    np.testing.assert_array_equal(jpeg.qtables[0], ijg_table(75))
    np.testing.assert_array_equal(jpeg.qtables[2], ijg_table(75, chroma=True))


def test_many_application_segments_are_harmless(photo, encode) -> None:
    data = encode(photo("coffee")[:40, :40], "JPEG")
    expected = read_coefficients(data)
    jpeg = read_coefficients(data[:2] + segment(0xE5, b"x" * 9) * 300 + data[2:])
    np.testing.assert_array_equal(jpeg.coefficients[0], expected.coefficients[0])


def test_what_a_truncated_file_lacks_is_zero(photo, encode) -> None:
    data = encode(photo("coffee"), "JPEG", quality=90)
    whole, cut = read_coefficients(data), read_coefficients(data[: len(data) // 2])
    assert cut.coefficients[0].shape == whole.coefficients[0].shape
    np.testing.assert_array_equal(cut.coefficients[0][:10], whole.coefficients[0][:10])
    assert not cut.coefficients[0][-5:, :, 1:, 1:].any()


def change(data: bytes, code: int, at: int, value: bytes) -> bytes:
    """Return the file with bytes of the payload of the first segment of that marker replaced."""
    start = data.index(bytes((0xFF, code))) + 4 + at
    return data[:start] + value + data[start + len(value) :]


def test_what_cannot_be_read_is_a_typed_error(photo, encode) -> None:
    rgb = photo("coffee")[:64, :64]
    data = encode(rgb, "JPEG")
    cmyk = io.BytesIO()
    Image.fromarray(rgb).convert("CMYK").save(cmyk, "JPEG")
    frame = split(data)["c0"]
    wrong = {
        "components": cmyk.getvalue(),
        "arithmetic": data.replace(b"\xff\xc0", b"\xff\xc9", 1),
        "lossless": data.replace(b"\xff\xc0", b"\xff\xc3", 1),
        "12 bits": change(data, 0xC0, 0, b"\x0c"),
        "blocks": change(data, 0xC0, 1, struct.pack(">HH", 12000, 12000)),
        "sides": change(data, 0xC0, 1, b"\0\0"),
        "one frame header": data.replace(frame, frame + frame, 1),
        "undefined table": change(data, 0xC0, 8, b"\3"),
        "damaged JPEG header": change(data, 0xDB, 1, b"\0"),
        # libjpeg refuses scans that are out of the frame's order while reading the header, and that would crash.
        "in order": change(change(data, 0xC0, 6, b"\3"), 0xC0, 12, b"\1"),
        "in front of": data[: data.index(b"\xff\xda")],
        "libjpeg": data[:-2] + frame + b"\xff\xd9",
    }
    for words, bad in wrong.items():
        with pytest.raises(DecodeError, match=words):
            read_coefficients(bad)
    with pytest.raises(UnsupportedFormatError):
        read_coefficients(b"no picture")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the only way on this system is the other one")
def test_without_files_in_memory_a_temporary_one_serves_and_goes(photo, encode, monkeypatch, tmp_path, capfd) -> None:
    data = encode(photo("coffee"), "JPEG")
    expected = read_coefficients(data)
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    np.testing.assert_array_equal(read_coefficients(data).coefficients[2], expected.coefficients[2])
    with pytest.raises(DecodeError):
        read_coefficients(data[:-2] + split(data)["c0"] + b"\xff\xd9")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open descriptors cannot be counted here")
def test_no_descriptor_is_left_open(photo, encode) -> None:
    data = encode(photo("coffee")[:16, :16], "JPEG")
    read_coefficients(data)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        read_coefficients(data)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.slow
def test_mutated_files_give_coefficients_of_the_stated_shape_or_a_typed_error(photo, encode, rng) -> None:
    """A wrong size handed to libjpeg would write past a buffer and crash this process."""
    rgb = photo("coffee")[:41, :57]
    seeds = [encode(rgb, "JPEG", **o) for o in ({}, {"progressive": True}, {"restart_marker_blocks": 2})]
    seeds.append(encode(rgb[..., 0], "JPEG"))
    for _ in range(20_000):
        data = bytearray(seeds[rng.integers(len(seeds))])
        reach = len(data) if rng.random() < 0.3 else 700
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(2, min(reach, len(data)))] = rng.integers(256)
        try:
            jpeg = read_coefficients(bytes(data))
        except DecodeError:
            continue
        assert all(c.dtype == np.int16 and c.shape[2:] == (8, 8) for c in jpeg.coefficients)
