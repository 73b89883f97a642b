"""EXIF against Pillow and exifread as independent readers, and against blocks that lie."""

from __future__ import annotations

import io
import json
import math
import struct

import exifread
import pytest
from metadata_builders import EXIF_IFD, GPS_IFD, camera_exif, encode_with, tiff_block
from PIL import Image

from tamperscope.errors import DecodeError
from tamperscope.media.exif import read_exif, tag_name
from tamperscope.media.ifd import MAX_DEPTH, MAX_ENTRIES, MAX_IFDS, MAX_VALUE_BYTES, Ifd, walk
from tamperscope.media.metadata import read_metadata

ASCII, SHORT, LONG, RATIONAL, UNDEFINED, DOUBLE = 2, 3, 4, 5, 7, 12


def ifds(block: bytes) -> dict[str, dict[str, object]]:
    facts, findings = read_exif(block, "test")
    assert findings == []
    json.dumps(facts, allow_nan=False)
    return facts["ifds"]


def problems(block: bytes) -> str:
    _, findings = read_exif(block, "test")
    assert [f.code for f in findings] == ["exif.damaged"]
    return " / ".join(findings[0].values["problems"])


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_value_equals_what_pillow_reads(order):
    block = camera_exif(order).tobytes()
    other = Image.Exif()
    other.load(block)
    ours = ifds(block)
    for name, theirs in (("IFD0", other), ("Exif", other.get_ifd(EXIF_IFD)), ("GPS", other.get_ifd(GPS_IFD))):
        assert len(ours[name]) == len(theirs)
        for tag, value in theirs.items():
            found = ours[name][tag_name(Ifd(name, 0, 0, 0, {}), tag)]
            if tag == 0x927C:
                assert found == {"bytes": len(value)}
            elif isinstance(value, str):
                assert found == value
            elif isinstance(value, bytes):
                assert found == value.decode()
            elif tag not in (EXIF_IFD, GPS_IFD):
                wanted = value if isinstance(value, tuple) else (value,)
                assert (found if isinstance(found, list) else [found]) == pytest.approx([float(v) for v in wanted])


@pytest.mark.parametrize("order", ["<", ">"])
def test_shared_tags_equal_what_exifread_reads(order):
    data = encode_with("JPEG", camera_exif(order).tobytes())
    exif = read_metadata(data, "JPEG", None)[0]["exif"]
    tags = exifread.process_file(io.BytesIO(data), details=False)
    for name, value in (
        ("Image Make", exif["IFD0"]["Make"]),
        ("Image Orientation", exif["IFD0"]["Orientation"]),
        ("EXIF DateTimeOriginal", exif["Exif"]["DateTimeOriginal"]),
        ("EXIF ISOSpeedRatings", exif["Exif"]["ISOSpeedRatings"]),
        ("GPS GPSLatitudeRef", exif["GPS"]["GPSLatitudeRef"]),
    ):
        theirs = tags[name].values
        assert value == (theirs[0] if isinstance(theirs, list) else theirs)
    assert [float(v) for v in tags["GPS GPSLatitude"].values] == pytest.approx(exif["GPS"]["GPSLatitude"])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"ASCII\0\0\0Hello", "Hello"),
        (b"UNICODE\0" + "Grüße 東京, steps".encode("utf-16-le"), "Grüße 東京, steps"),
        (b"UNICODE\0" + "Grüße 東京, steps".encode("utf-16-be"), "Grüße 東京, steps"),
        (b"UNICODE\0" + "with a mark".encode("utf-16"), "with a mark"),
        (b"JIS\0\0\0\0\0" + "東京".encode("iso2022_jp"), "東京"),
        (b"\0" * 8 + "café".encode(), "café"),
        (b"no code at all", "no code at all"),
        (b"ASCII\0\0\0", ""),
    ],
)
def test_user_comment_in_every_character_code(order, raw, text):
    comment = tiff_block([(0x9286, UNDEFINED, len(raw), raw)], order)
    assert ifds(comment)["IFD0"]["UserComment"] == text


def test_odd_values_stay_json_ready():
    block = tiff_block(
        [
            (0x010F, ASCII, 8, b"A\x1b[31m\xff\0"),
            (0x0110, UNDEFINED, 5, b"Model"),
            (0x011A, RATIONAL, 1, struct.pack("<II", 72, 0)),
            (0x011B, RATIONAL, 1, struct.pack("<II", 1, 3)),
            (0xC000, DOUBLE, 2, struct.pack("<dd", math.nan, math.inf)),
            (0xC001, SHORT, 400, struct.pack("<400H", *range(400))),
            (0xC002, UNDEFINED, 1000, bytes(1000)),
            (0x9C9B, 1, 8, "T\ud800i".encode("utf-16-le", "surrogatepass") + b"\0\0"),
        ]
    )
    found = ifds(block)["IFD0"]
    assert found["Make"] == "A\x1b[31mÿ"
    assert found["Model"] == "Model"
    assert found["XResolution"] is None
    assert found["YResolution"] == pytest.approx(1 / 3)
    assert found["0xc000"] == [None, None]
    assert found["0xc001"] == {"count": 400, "first": list(range(16))}
    assert found["0xc002"] == {"bytes": 1000, "hex": "00" * 32}
    assert found["XPTitle"] == "T\ufffdi"


def test_directories_that_point_in_circles_end():
    itself = tiff_block([(0x010F, ASCII, 4, b"abc\0")], following=8)
    assert "points back" in problems(itself)
    child = tiff_block([(EXIF_IFD, LONG, 1, struct.pack("<I", 8))])
    assert "points back" in problems(child)


def test_chains_depth_and_entries_are_bounded():
    chain = b"II*\0\x08\0\0\0" + b"".join(struct.pack("<HI", 0, 8 + 6 * (i + 1)) for i in range(200))
    walked = walk(chain)
    assert len(walked.ifds) == MAX_IFDS
    nested = bytearray(b"II*\0\x08\0\0\0")
    for level in range(10):
        nested += struct.pack("<HHHIII", 1, EXIF_IFD, LONG, 1, 8 + 18 * (level + 1), 0)
    nested += struct.pack("<HI", 0, 0)
    walked = walk(bytes(nested))
    assert max(ifd.depth for ifd in walked.ifds) == MAX_DEPTH - 1
    assert any("nested" in p for p in walked.problems)
    wide = b"II*\0\x08\0\0\0" + struct.pack("<H", 5000) + struct.pack("<HHII", 0xC000, SHORT, 1, 0) * 5000
    assert len(walk(wide).ifds[0].entries) == 1
    many = b"II*\0\x08\0\0\0" + struct.pack("<H", 5000)
    many += b"".join(struct.pack("<HHII", i, SHORT, 1, 0) for i in range(5000))
    assert len(walk(many).ifds[0].entries) == MAX_ENTRIES


def test_values_that_share_bytes_are_charged_each_time():
    # 900 tags all point at the same 16 KiB: 14 MiB of text from a block of 27 KiB.
    rows = b"".join(struct.pack("<HHII", 0x2000 + i, ASCII, 16_384, 12_000) for i in range(900))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", 900) + rows
    block = block.ljust(12_000, b"\0") + b"x" * 16_384
    facts, findings = read_exif(block, "test")
    assert len(json.dumps(facts)) < 2 * MAX_VALUE_BYTES
    assert "budget" in str(findings[0].values["problems"])


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (tiff_block([(0x010F, ASCII, 2**31, b"\0\0\1\0")]), "outside"),
        (tiff_block([(0x010F, 99, 1, b"\0")]), "unknown type 99"),
        (tiff_block([(0x010F, ASCII, 4, b"abc\0"), (0x010F, ASCII, 4, b"xyz\0")]), "appears twice"),
        (b"II*\0\xff\xff\xff\xff", "lies outside"),
        (b"II*\0\x08\0\0\0\xff\xff", "only 0 fit"),
        (b"II*\0\x00\0\0\0\x00\0", "lies outside"),
        (b"GIF89a", "TIFF header"),
        (b"", "nothing"),
    ],
)
def test_lies_are_reported_and_not_followed(block, says):
    assert says in problems(block)


def test_bigtiff_is_walked_like_tiff():
    buffer = io.BytesIO()
    Image.new("RGB", (9, 5)).save(buffer, "TIFF", big_tiff=True, tiffinfo={0x0131: "Big"})
    walked = walk(buffer.getvalue())
    assert walked.big
    facts = ifds(buffer.getvalue())["IFD0"]
    assert (facts["ImageWidth"], facts["ImageLength"], facts["Software"]) == (9, 5, "Big")


def test_not_tiff_raises_a_typed_error():
    with pytest.raises(DecodeError, match="expected 'II"):
        walk(b"\xff\xd8\xff\xe0")
