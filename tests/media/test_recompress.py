"""Encoding against Pillow byte for byte, decoding against Pillow pixel for pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tamperscope.errors import DecodeError, InvalidValueError
from tamperscope.media.quantization import ijg_table
from tamperscope.media.recompress import decode_jpeg, encode_jpeg, encode_with_tables, recompress

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def pillow_pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("quality", [1, 30, 75, 90, 100])
def test_same_bytes_and_pixels_as_pillow(photo, encode, quality, subsampling) -> None:
    rgb = photo("coffee")[:301, :203]
    expected = encode(rgb, "JPEG", quality=quality, subsampling=subsampling)
    assert encode_jpeg(rgb, quality, subsampling) == expected
    np.testing.assert_array_equal(decode_jpeg(expected), pillow_pixels(expected))
    np.testing.assert_array_equal(recompress(rgb, quality, subsampling), pillow_pixels(expected))


def test_a_second_compression_at_the_same_quality_changes_next_to_nothing(photo) -> None:
    """The trace that JPEG ghosts and ELA read; an encoder with a fast, inexact DCT changes ten times more."""
    once = recompress(photo("coffee"), 90)
    twice = recompress(once, 90)
    other = recompress(once, 80)
    assert np.abs(once.astype(int) - twice).mean() < 0.05
    assert np.abs(once.astype(int) - other).mean() > 0.5


def test_own_tables_are_written_in_natural_order_to_the_right_component(photo) -> None:
    rgb = photo("astronaut")[:64, :64]
    ramp = np.arange(1, 65).reshape(8, 8)
    data = encode_with_tables(rgb, [ramp, ramp.T, ijg_table(30)], "4:2:2")
    with Image.open(io.BytesIO(data)) as picture:
        assert [np.array(v).reshape(8, 8).tolist() for v in picture.quantization.values()] == [
            ramp.tolist(),
            ramp.T.tolist(),
            ijg_table(30).tolist(),
        ]
        assert [row[3] for row in picture.layer] == [0, 1, 2]
    tables = [ijg_table(77), ijg_table(77, chroma=True)]
    assert encode_with_tables(rgb, tables, "4:2:0") == encode_jpeg(rgb, 77, "4:2:0")


def test_grey_files_decode_to_three_equal_channels(photo, encode) -> None:
    data = encode(photo("chelsea")[..., 1], "JPEG")
    rgb = decode_jpeg(data)
    assert rgb.shape == photo("chelsea").shape
    assert (rgb == rgb[..., :1]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (7, 5), (65500, 1)])
def test_extreme_sizes_survive(rng, shape) -> None:
    rgb = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert recompress(rgb, 75, "4:2:0").shape == rgb.shape


def test_unsound_files_are_typed_errors(photo) -> None:
    data = encode_jpeg(photo("coffee"), 75)
    cmyk = io.BytesIO()
    Image.fromarray(photo("coffee")).convert("CMYK").save(cmyk, "JPEG")
    for bad in (b"", b"no picture", data[:300], data[: len(data) // 2], cmyk.getvalue()):
        with pytest.raises(DecodeError, match="expected"):
            decode_jpeg(bad)


def test_wrong_arguments_are_named() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    wrong = [
        (lambda: encode_jpeg(rgb, 0), "quality"),
        (lambda: encode_jpeg(rgb, 50, "4:1:1"), "subsampling"),
        (lambda: encode_jpeg(rgb.astype(float), 50), "rgb"),
        (lambda: encode_jpeg(np.zeros((65501, 1, 3), np.uint8), 50), "65500"),
        (lambda: encode_with_tables(rgb, []), "tables"),
        (lambda: encode_with_tables(rgb, [np.zeros((8, 8), int)]), "entries"),
        (lambda: encode_with_tables(rgb, [np.full((8, 8), 256)]), "entries"),
    ]
    for call, words in wrong:
        with pytest.raises(InvalidValueError, match=words):
            call()
