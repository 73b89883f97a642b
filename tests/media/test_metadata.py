"""Metadata are found in every container, against Pillow and pillow-heif, and within bounds."""

from __future__ import annotations

import binascii
import io
import json
import struct
import tracemalloc
import zlib

import pytest
from metadata_builders import (
    EXIF_IFD,
    ORIENTATION,
    XMP,
    add_jpeg_segment,
    add_png_chunk,
    camera_exif,
    encode_with,
    iim,
    jpeg_segment,
    picture,
    resource,
    seeds,
    srgb_profile,
    xmp_packet,
)
from PIL import Image

from tamperscope.errors import UnsupportedFormatError
from tamperscope.media.metadata import read_metadata

SIZE = (48, 64)
CONTAINERS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"]


def read(data: bytes, fmt: str, size=SIZE):
    facts, findings = read_metadata(data, fmt, size)
    json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
    json.dumps([dict(f.values) for f in findings], allow_nan=False, ensure_ascii=False).encode()
    return facts, [f.code for f in findings]


@pytest.mark.parametrize("fmt", CONTAINERS)
def test_every_container_gives_up_the_same_metadata(fmt):
    exif = camera_exif(t0x0112=1)
    data = encode_with(fmt, exif.tobytes(), XMP.encode(), srgb_profile())
    facts, codes = read(data, fmt)
    assert facts["exif"]["IFD0"]["Model"] == "Canon EOS 80D"
    assert facts["exif"]["Exif"]["DateTimeOriginal"] == "2024:05:01 10:00:00"
    assert facts["exif"]["GPS"]["GPSLatitude"] == pytest.approx([52, 30, 15.5])
    assert facts["xmp"]["properties"]["dc:title"] == "A harbour"
    assert len(facts["xmp"]["history"]) == 2
    assert facts["icc"]["description"].startswith("sRGB")
    assert facts["icc"]["bytes"] == len(srgb_profile())
    assert facts["orientation"] == 1
    assert not [c for c in codes if "damaged" in c or "unreadable" in c]


@pytest.mark.parametrize("fmt", CONTAINERS)
def test_a_file_without_metadata_is_neutral(fmt):
    facts, codes = read(encode_with(fmt), fmt)
    assert codes == []
    assert facts["xmp"] == facts["iptc"] == facts["exif"].get("Exif", {}) == {}
    assert facts["orientation"] == 1


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_says_what_the_stored_pixels_still_need(value):
    exif = camera_exif(t0x0112=value).tobytes()
    assert read(encode_with("JPEG", exif), "JPEG")[0]["orientation"] == value
    # Pillow writes it into the AVIF container (irot, imir); pillow-heif turns HEIC upright on opening.
    avif = encode_with("AVIF", exif)
    assert Image.open(io.BytesIO(avif)).getexif().get(ORIENTATION, 1) == value
    assert read(avif, "AVIF")[0]["orientation"] == value
    assert read(encode_with("HEIC", exif), "HEIC")[0]["orientation"] == 1


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_impossible_orientation_counts_as_none(value):
    assert read(encode_with("JPEG", camera_exif(t0x0112=value).tobytes()), "JPEG")[0]["orientation"] == 1


def test_profiles_in_several_segments_are_joined_and_gaps_reported():
    profile = srgb_profile()
    parts = [profile[:200], profile[200:400], profile[400:]]
    jpeg = encode_with("JPEG")
    for number in (3, 1, 2):
        jpeg = add_jpeg_segment(jpeg, 0xE2, b"ICC_PROFILE\0" + bytes([number, 3]) + parts[number - 1])
    facts, codes = read(jpeg, "JPEG")
    assert (facts["icc"]["bytes"], codes) == (len(profile), [])
    without = jpeg.replace(jpeg_segment(0xE2, b"ICC_PROFILE\0\2\3" + parts[1]), b"")
    assert "metadata.unreadable" in read(without, "JPEG")[1]


def extended(parts: list[bytes], total: int, guid: bytes = b"A" * 32) -> bytes:
    main = xmp_packet(f'xmpNote:HasExtendedXMP="{"A" * 32}" xmp:CreatorTool="Tool"')
    jpeg = encode_with("JPEG")
    at = total
    for part in reversed(parts):
        at -= len(part)
        head = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", total, at)
        jpeg = add_jpeg_segment(jpeg, 0xE1, head + part)
    return add_jpeg_segment(jpeg, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main)


def test_extended_xmp_is_joined_by_its_announced_name():
    more = xmp_packet('photoshop:Credit="Agency"')
    facts, codes = read(extended([more[:100], more[100:]], len(more)), "JPEG")
    assert codes == []
    assert facts["xmp"]["properties"]["photoshop:Credit"] == "Agency"
    assert facts["xmp"]["properties"]["xmp:CreatorTool"] == "Tool"
    foreign, codes = read(extended([more], len(more), b"B" * 32), "JPEG")
    assert "photoshop:Credit" not in foreign["xmp"]["properties"]
    assert codes == ["xmp.extension_missing"]
    _, codes = read(extended([more[100:]], len(more)), "JPEG")
    assert "metadata.unreadable" in codes
    _, codes = read(extended([more], 2**31), "JPEG")
    assert "metadata.unreadable" in codes


def test_texts_of_png_of_all_three_kinds():
    data = encode_with("PNG", texts={"Comment": "plain", "Title": "東京"})
    data = add_png_chunk(data, b"zTXt", b"Packed\0\0" + zlib.compress(b"inside"))
    data = add_png_chunk(data, b"iTXt", b"Both\0\1\0de\0Beide\0" + zlib.compress("Grüße".encode()))
    theirs = Image.open(io.BytesIO(data)).text
    ours = {t["key"]: t["text"] for t in read(data, "PNG")[0]["text"]}
    assert ours == dict(theirs)


def test_raw_profiles_of_imagemagick():
    def raw(kind: str, block: bytes) -> bytes:
        digits = binascii.hexlify(block)
        lines = b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
        body = b"\n%s\n%8d\n%s\n" % (kind.encode(), len(block), lines)
        return f"Raw profile type {kind}".encode() + b"\0\0" + zlib.compress(body)

    data = add_png_chunk(encode_with("PNG"), b"zTXt", raw("exif", camera_exif().tobytes()))
    data = add_png_chunk(data, b"zTXt", raw("xmp", XMP.encode()))
    data = add_png_chunk(data, b"zTXt", raw("iptc", resource(0x0404, iim((2, 110, b"Agency")))))
    facts, _ = read(data, "PNG")
    assert facts["exif"]["IFD0"]["Make"] == "Canon"
    assert facts["xmp"]["properties"]["dc:title"] == "A harbour"
    assert facts["iptc"]["Credit"] == "Agency"


def test_gif_comment_and_xmp():
    buffer = io.BytesIO()
    picture().quantize(8).save(buffer, "GIF", comment=b"from a scanner", xmp=XMP.encode())
    facts, _ = read(buffer.getvalue(), "GIF")
    assert [t["text"] for t in facts["text"]] == ["from a scanner"]
    plain = encode_with("JPEG")
    assert read(add_jpeg_segment(plain, 0xFE, b"a remark"), "JPEG")[0]["text"][0]["text"] == "a remark"
    # The packet stands unblocked: Adobe, XMP specification part 3, 1.1.2.
    block = b"\x21\xff\x0bXMP DataXMP" + XMP.encode() + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    data = buffer.getvalue()
    table = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    facts, _ = read(data[:table] + block + data[table:], "GIF")
    assert facts["xmp"]["properties"]["dc:title"] == "A harbour"


def test_two_blocks_of_exif_are_reported():
    once = encode_with("JPEG", camera_exif().tobytes())
    twice = add_jpeg_segment(once, 0xE1, b"Exif\0\0" + camera_exif(t0x010F="Nikon").tobytes())
    assert "exif.duplicate" not in read(once, "JPEG")[1]
    facts, codes = read(twice, "JPEG")
    assert "exif.duplicate" in codes
    assert facts["exif"]["IFD0"]["Make"] == "Nikon"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"zTXt", b"note\0\0"),
        (b"iTXt", b"note\0\1\0\0\0"),
        (b"iCCP", b"profile\0\0"),
    ],
)
def test_bombs_do_not_inflate(kind, body):
    bomb = add_png_chunk(encode_with("PNG"), kind, body + zlib.compress(bytes(200 * 2**20), 9))
    assert len(bomb) < 2**20
    tracemalloc.start()
    facts, codes = read(bomb, "PNG")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20
    assert "metadata.unreadable" in codes
    assert facts["text"] == [] or facts["text"][0]["text"] == ""


def test_many_small_bombs_share_one_budget():
    chunk = b"n\0\0" + zlib.compress(bytes(60 * 2**10))
    data = encode_with("PNG")
    for _ in range(200):
        data = add_png_chunk(data, b"zTXt", chunk)
    tracemalloc.start()
    _, codes = read(data, "PNG")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "metadata.unreadable" in codes
    assert peak < 24 * 2**20


def test_surrogates_and_control_characters_stay_json_ready():
    data = add_png_chunk(encode_with("PNG"), b"tEXt", b"Comment\0\x1b[2J\xed\xa0\x80 \xe2\x80\xae")
    text = read(data, "PNG")[0]["text"][0]["text"]
    assert text.startswith("\x1b[2J")
    text.encode()


def test_photoshop_blocks_over_several_segments_are_joined():
    record = resource(0x0404, iim((2, 120, b"c" * 1500), (2, 110, b"Agency")))
    jpeg = add_jpeg_segment(encode_with("JPEG"), 0xED, b"Photoshop 3.0\0" + record[700:])
    jpeg = add_jpeg_segment(jpeg, 0xED, b"Photoshop 3.0\0" + record[:700])
    facts, codes = read(jpeg, "JPEG")
    assert facts["iptc"]["Credit"] == "Agency"
    assert codes == ["photoshop.resources"]


def test_pdf_information_and_xmp():
    data = seeds()["PDF"][0]
    facts, _ = read(data, "PDF")
    assert {t["key"]: t["text"] for t in facts["text"]}["Title"] == "A title"
    packed = data.replace(b"%%EOF", b"5 0 obj << >> stream\n" + XMP.encode() + b"\nendstream endobj %%EOF")
    assert read(packed, "PDF")[0]["xmp"]["properties"]["dc:title"] == "A harbour"


def test_heif_blocks_equal_what_libheif_reads():
    import pillow_heif

    data = encode_with("HEIC", camera_exif().tobytes(), XMP.encode(), srgb_profile())
    theirs = pillow_heif.open_heif(io.BytesIO(data)).info
    facts, _ = read(data, "HEIC")
    assert facts["xmp"]["bytes"] == len(theirs["xmp"])
    assert facts["icc"]["bytes"] == len(theirs["icc_profile"])
    other = Image.Exif()
    other.load(theirs["exif"])
    assert facts["exif"]["Exif"]["DateTimeOriginal"] == other.get_ifd(EXIF_IFD)[0x9003]


def test_bytes_that_are_no_jpeg_raise_a_typed_error():
    with pytest.raises(UnsupportedFormatError):
        read_metadata(b"GIF89a", "JPEG", None)


@pytest.mark.parametrize("fmt", sorted(seeds()))
def test_every_seed_reads_cleanly(fmt):
    for data in seeds()[fmt]:
        facts, codes = read(data, fmt)
        assert not [c for c in codes if "damaged" in c or "unreadable" in c]
        assert set(facts) == {"exif", "exif_block", "xmp", "photoshop", "iptc", "icc", "text", "orientation"}
