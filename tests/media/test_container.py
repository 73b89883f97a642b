"""Containers: parts, frames and pages against Pillow and pillow-heif; every kind of damage brings its finding."""

from __future__ import annotations

import hashlib
import io
import json
import struct

import pytest
from metadata_builders import add_png_chunk, encode_with, picture, png_chunk, seeds
from PIL import Image

from tamperscope.errors import DecodeError
from tamperscope.media.bmff import read_heif
from tamperscope.media.container import MAX_LISTED, inspect_container

ZIP = b"PK\3\4\x14\0\0\0\x08\0" + b"payload" * 20
FORMATS = [f for f in sorted(seeds()) if f != "JPEG"]


def inspect(data: bytes, fmt: str):
    facts, findings = inspect_container(data, fmt)
    json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
    return facts, {f.code: f for f in findings}


@pytest.mark.parametrize("fmt", FORMATS)
def test_sound_files_give_no_finding(fmt):
    facts, found = inspect(seeds()[fmt][0], fmt)
    assert found == {}
    assert not facts.get("problems")
    assert "trailing" not in facts


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    ("tail", "severity"),
    [(ZIP, "warning"), (b"MZ\x90\0" + bytes(60), "warning"), (b"just some words", "notice"), (bytes(64), "info")],
)
def test_bytes_behind_the_end(fmt, tail, severity):
    data = seeds()[fmt][0]
    facts, found = inspect(data + tail, fmt)
    finding = found["container.trailing_bytes"]
    assert finding.severity == severity
    assert facts["trailing"]["sha256"] == hashlib.sha256((data + tail)[facts["trailing"]["offset"] :]).hexdigest()
    assert 0 <= facts["trailing"]["offset"] - len(data) <= 1
    assert facts["trailing"]["offset"] + facts["trailing"]["length"] == len(data) + len(tail)


def test_png_parts_cover_the_file():
    data = seeds()["PNG"][0]
    facts, _ = inspect(data, "PNG")
    total = sum(p["bytes"] + 12 * p["count"] for p in facts["parts"])
    assert total + 8 == len(data)
    assert facts["parts"][0] == {"type": "IHDR", "offset": 8, "bytes": 13, "count": 1}
    assert facts["types"]["iTXt"] == 1


def test_png_check_sums():
    data = bytearray(seeds()["PNG"][0])
    at = data.find(b"Software") + 10
    data[at] ^= 1
    _, found = inspect(bytes(data), "PNG")
    assert list(found) == ["png.bad_checksum"]
    assert found["png.bad_checksum"].values["chunks"][0]["type"] == "tEXt"


def test_png_structure():
    plain = encode_with("PNG")
    assert inspect(add_png_chunk(plain, b"QUAX", b"1"), "PNG")[1]["container.unknown_part"].values["types"] == ["QUAX"]
    assert inspect(add_png_chunk(plain, b"quAx", b"1"), "PNG")[1] == {}
    assert "IEND is missing" in str(inspect(plain[:-12], "PNG")[0]["problems"])
    assert "cut off" in str(inspect(plain[:60], "PNG")[0]["problems"])
    at = plain.find(b"IDAT") - 4
    size = int.from_bytes(plain[at : at + 4], "big")
    body = plain[at + 8 : at + 8 + size]
    split = plain[:at] + png_chunk(b"IDAT", body[:99]) + png_chunk(b"tIME", bytes(7)) + png_chunk(b"IDAT", body[99:])
    split += plain[at + 12 + size :]
    Image.open(io.BytesIO(split)).verify()
    assert "not consecutive" in str(inspect(split, "PNG")[0]["problems"])
    assert "2 IHDR" in str(inspect(add_png_chunk(plain, b"IHDR", plain[16:29]), "PNG")[0]["problems"])


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "GIF"])
def test_frames_equal_what_pillow_counts(fmt):
    buffer = io.BytesIO()
    frames = [picture().rotate(20 * i) for i in range(5)]
    frames[0].save(buffer, fmt, save_all=True, append_images=frames[1:], duration=50)
    facts, found = inspect(buffer.getvalue(), fmt)
    assert facts["frames"] == Image.open(buffer).n_frames == 5
    assert found == {}


def test_tiff_pages_equal_what_pillow_counts():
    buffer = io.BytesIO()
    picture().save(buffer, "TIFF", save_all=True, append_images=[picture((20, 10))] * 3)
    facts, _ = inspect(buffer.getvalue(), "TIFF")
    assert facts["pages"] == Image.open(buffer).n_frames == 4
    assert [(d["width"], d["height"]) for d in facts["directories"]] == [(64, 48)] + [(20, 10)] * 3


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_tiff_end_is_found_with_every_compression(big, compression):
    buffer = io.BytesIO()
    picture((640, 480)).save(buffer, "TIFF", compression=compression, big_tiff=big)
    assert inspect(buffer.getvalue(), "TIFF")[1] == {}
    assert "container.trailing_bytes" in inspect(buffer.getvalue() + ZIP, "TIFF")[1]


def test_webp_structure():
    data = seeds()["WEBP"][0]
    facts, _ = inspect(data, "WEBP")
    assert facts["coding"] == "extended"
    assert {"EXIF", "XMP ", "ICCP"} <= set(facts["types"])
    assert "announces" in str(inspect(data[:-40], "WEBP")[0]["problems"])
    simple = encode_with("WEBP")
    extra = simple + b"EXIF\4\0\0\0abcd" + b"QUAX\2\0\0\0ab"
    extra = extra[:4] + struct.pack("<I", len(extra) - 8) + extra[8:]
    assert set(inspect(extra, "WEBP")[1]) == {"webp.unannounced_metadata", "container.unknown_part"}


@pytest.mark.parametrize("fmt", ["HEIC", "AVIF"])
def test_items_equal_what_libheif_reads(fmt):
    data = seeds()[fmt][0]
    facts, _ = inspect(data, fmt)
    assert {"Exif", "mime"} <= set(facts["item_types"])
    assert facts["brands"][0] == data[8:12].decode()
    assert [p["type"] for p in facts["parts"] if "inside" not in p] == ["ftyp", "meta", "mdat"]
    heif = read_heif(data)
    exif = next(heif.of_kind("Exif"))
    assert b"Canon EOS 80D" in heif.content(data, exif, 10_000)
    assert heif.primary in heif.items


def test_many_parts_are_listed_up_to_the_bound():
    data = encode_with("PNG")
    middle = b"".join(png_chunk(b"ab%s" % bytes([65 + i % 26, 97 + i // 26 % 26]), b"") for i in range(3000))
    facts, _ = inspect(data[:33] + middle + data[33:], "PNG")
    assert len(facts["parts"]) == MAX_LISTED
    assert sum(facts["types"].values()) == 3003
    assert len(facts["types"]) <= MAX_LISTED + 1


def test_pdf_saved_on_top_of_itself():
    data = seeds()["PDF"][0]
    facts, found = inspect(data, "PDF")
    assert (facts["incremental_saves"], found) == (0, {})
    facts, found = inspect(data + b"\n9 0 obj << >> endobj\nstartxref\n0\n%%EOF\n", "PDF")
    assert found["pdf.incremental_save"].values["saves"] == 1
    assert "container.damaged" in inspect(data[: data.rfind(b"%%EOF")], "PDF")[1]


def test_bmp_and_gif_damage():
    bmp, gif = seeds()["BMP"][0], seeds()["GIF"][0]
    assert "need" in str(inspect(bmp[:-100], "BMP")[0]["problems"])
    assert "closing byte" in str(inspect(gif[:-30], "GIF")[0]["problems"])
    assert inspect(gif, "GIF")[0]["types"]["extension:fe"] == 1


def test_jpeg_is_left_to_its_own_module():
    assert inspect_container(seeds()["JPEG"][0], "JPEG") == ({}, [])


def test_no_tiff_raises_a_typed_error():
    with pytest.raises(DecodeError):
        inspect_container(b"nonsense", "TIFF")
