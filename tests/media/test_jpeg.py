"""What the structure of a JPEG shows, against Pillow's view and against files built by hand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import runpy
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tamperscope.errors import UnsupportedFormatError
from tamperscope.media import jpeg_markers
from tamperscope.media.jpeg import embedded_thumbnail, inspect_jpeg
from tamperscope.media.quantization import ijg_table
from tamperscope.media.recompress import encode_with_tables

check = runpy.run_path(str(Path(__file__).parents[1] / "fuzz" / "fuzz_jpeg.py"))["check"]


def jpeg_bytes(rgb: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def segment(code: int, payload: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(payload) + 2) + payload


def insert(data: bytes, *segments: bytes) -> bytes:
    """Return the file with segments put behind SOI."""
    return data[:2] + b"".join(segments) + data[2:]


def severities(data: bytes) -> dict[str, str]:
    return {f.code.removeprefix("jpeg."): f.severity for f in inspect_jpeg(data)[1]}


@pytest.fixture(scope="module")
def crop(photo: Callable[[str], np.ndarray]) -> np.ndarray:
    return photo("coffee")[100:221, 200:357]


@pytest.fixture(scope="module")
def plain(crop: np.ndarray) -> bytes:
    return jpeg_bytes(crop, quality=85)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 7}, {"restart_marker_rows": 1}]
)
def test_facts_agree_with_pillow(crop, subsampling, options) -> None:
    data = jpeg_bytes(crop, quality=85, subsampling=subsampling, comment=b"by hand", **options)
    facts, findings = inspect_jpeg(data)
    with Image.open(io.BytesIO(data)) as picture:
        frame = facts["frame"]
        assert (frame["width"], frame["height"]) == picture.size
        layers = [(c["id"], *map(int, c["sampling"].split("x")), c["table"]) for c in frame["components"]]
        assert layers == [tuple(row) for row in picture.layer]
        assert frame["progressive"] == bool(picture.info.get("progressive"))
        assert {t["slot"]: t["values"] for t in facts["quantization"]["tables"]} == picture.quantization
        assert facts["comments"] == [picture.info["comment"].decode()]
        named = [s for s in facts["markers"]["segments"] if s["marker"].startswith("APP") or s["marker"] == "COM"]
        assert [s["marker"] for s in named] == [name for name, _ in picture.applist]
        assert [s["length"] - 4 for s in named] == [len(body) for _, body in picture.applist]
    assert frame["subsampling"] == subsampling
    assert facts["quantization"]["nearest_ijg"] == {"quality": 85, "distance": 0.0, "exact": True}
    assert facts["huffman"]["default"] == (not {"progressive", "optimize"} & options.keys())
    assert facts["carriers"]["jfif"] == "1.01"
    assert facts["damage"] == {"complete": True, "problems": [], "garbage": []}
    assert {f.severity for f in findings} == {"info"}
    assert "quality 85" in facts["encoder"]["family"]
    assert facts["encoder"]["derived"]


def test_segments_tile_the_file(plain) -> None:
    facts = inspect_jpeg(plain)[0]
    at, coded = 0, facts["scans"]["coded_bytes"]
    for row in facts["markers"]["segments"]:
        assert row["offset"] == at
        at += row["length"] + (coded if row["marker"] == "SOS" else 0)
    assert at == len(plain)
    assert facts["markers"]["order"] == "SOI APP0:JFIF DQT*2 SOF0 DHT*4 SOS EOI"


def test_restart_markers_are_counted_and_a_lost_one_shows(crop, monkeypatch) -> None:
    data = jpeg_bytes(crop, subsampling="4:2:0", restart_marker_blocks=3)
    scans = inspect_jpeg(data)[0]["scans"]
    units = -(-crop.shape[0] // 16) * -(-crop.shape[1] // 16)
    assert scans["restart_interval"] == 3
    assert scans["restart_markers"] == -(-units // 3) - 1
    assert "restart_markers" not in severities(data)
    for chunk in (1, 2, 7):
        monkeypatch.setattr(jpeg_markers, "_CHUNK", chunk)
        assert inspect_jpeg(data)[0]["scans"] == scans
    at = data.rindex(b"\xff\xd2")
    assert severities(data[:at] + data[at + 2 :])["restart_markers"] == "notice"


def test_progressive_coding_is_a_neutral_fact(crop) -> None:
    facts, findings = inspect_jpeg(jpeg_bytes(crop, progressive=True))
    found = next(f for f in findings if f.code == "jpeg.progressive")
    assert found.severity == "info"
    assert found.values["scans"] == facts["scans"]["count"] > 3
    assert facts["frame"]["process"] == "progressive"


@pytest.mark.parametrize(("code", "process"), [(0xC9, "extended sequential, arithmetic"), (0xC3, "lossless")])
def test_unusual_coding_is_noticed(plain, code, process) -> None:
    data = plain.replace(b"\xff\xc0", bytes((0xFF, code)), 1)
    facts = inspect_jpeg(data)[0]
    assert facts["frame"]["process"] == process
    assert facts["frame"]["arithmetic"] == ("arithmetic" in process)
    assert severities(data)["unusual_coding"] == "notice"


def test_custom_tables_name_their_nearest_quality(crop) -> None:
    luma, chroma = ijg_table(70), ijg_table(70, chroma=True)
    chroma[0, 1] += 3
    data = encode_with_tables(crop, [luma, chroma])
    assert inspect_jpeg(data)[0]["quantization"]["nearest_ijg"] == {"quality": 70, "distance": 2.0, "exact": False}
    assert severities(data)["nonstandard_tables"] == "info"
    assert severities(data)["encoder"] == "info"
    assert "nonstandard_tables" not in severities(encode_with_tables(crop, [luma, ijg_table(70, chroma=True)]))


def test_grey_and_cmyk_files_are_described(crop) -> None:
    grey = inspect_jpeg(jpeg_bytes(crop[..., 0], quality=60))[0]
    assert grey["frame"]["subsampling"] == "grey"
    assert grey["quantization"]["nearest_ijg"]["exact"]
    buffer = io.BytesIO()
    Image.fromarray(crop).convert("CMYK").save(buffer, "JPEG")
    facts = inspect_jpeg(buffer.getvalue())[0]
    assert len(facts["frame"]["components"]) == 4
    assert facts["carriers"]["adobe_transform"] is not None


def test_wide_and_joined_tables_read_the_same(plain) -> None:
    first = plain.index(b"\xff\xdb")
    tables = [plain[first + 4 : first + 69], plain[first + 73 : first + 138]]
    wide = b"".join(bytes((0x10 | t[0],)) + b"".join(bytes((0, v)) for v in t[1:]) for t in tables)
    expected = inspect_jpeg(plain)[0]["quantization"]
    for payload, bits in ((b"".join(tables), 8), (wide, 16)):
        found = inspect_jpeg(plain[:first] + segment(0xDB, payload) + plain[first + 138 :])[0]["quantization"]
        assert [t["values"] for t in found["tables"]] == [t["values"] for t in expected["tables"]]
        assert {t["bits"] for t in found["tables"]} == {bits}
        assert found["nearest_ijg"] == expected["nearest_ijg"]


def exif(thumbnail: bytes, order: str = "<", stated: int | None = None) -> bytes:
    """Build an EXIF block by hand: IFD0 with a Make, IFD1 with a JPEG thumbnail."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    ifd0 = struct.pack(order + "HHHI4sI", 1, 0x010F, 2, 4, b"Cam\0", 26)
    rows = ((0x0103, 3, 6), (0x0201, 4, 68), (0x0202, 4, len(thumbnail) if stated is None else stated))
    ifd1 = struct.pack(order + "H", len(rows))
    for tag, kind, value in rows:
        packed = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        ifd1 += struct.pack(order + "HHI", tag, kind, 1) + packed
    block = mark + struct.pack(order + "I", 8) + ifd0 + ifd1 + struct.pack(order + "I", 0)
    assert len(block) == 68
    return b"Exif\0\0" + block + thumbnail


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_thumbnail_is_found_in_both_byte_orders(plain, crop, order) -> None:
    small = jpeg_bytes(crop[:60, :80])
    data = insert(plain, segment(0xE1, exif(small, order)))
    assert embedded_thumbnail(data) == small
    (preview,) = inspect_jpeg(data)[0]["previews"]
    assert (preview["source"], preview["coding"], preview["width"], preview["height"]) == ("exif", "jpeg", 80, 60)
    assert data[preview["offset"] :][: preview["length"]] == small
    assert "second_image" not in severities(data)
    assert inspect_jpeg(data)[0]["carriers"]["exif"]
    # A length beyond the segment is cut to it; an empty or misplaced thumbnail is none.
    assert embedded_thumbnail(insert(plain, segment(0xE1, exif(small, order, stated=2**31)))) == small
    assert embedded_thumbnail(insert(plain, segment(0xE1, exif(b"", order)))) is None
    assert embedded_thumbnail(insert(plain, segment(0xE1, exif(b"x" + small, order)))) is None
    assert embedded_thumbnail(plain) is None


def test_jfif_and_jfxx_thumbnails(plain, crop) -> None:
    small, other = jpeg_bytes(crop[:60, :80]), jpeg_bytes(crop[:32, :40])
    extension = segment(0xE0, b"JFXX\0\x10" + small)
    assert embedded_thumbnail(insert(plain, extension)) == small
    assert inspect_jpeg(insert(plain, extension))[0]["previews"][0]["source"] == "jfxx"
    # The EXIF thumbnail is the one that viewers show.
    assert embedded_thumbnail(insert(plain, extension, segment(0xE1, exif(other)))) == other
    pixels = b"JFIF\0\1\2\0\0\1\0\1\2\3" + bytes(18)
    facts = inspect_jpeg(insert(plain, segment(0xE0, pixels)))[0]
    assert facts["carriers"]["jfif"] == "1.02"
    (preview,) = facts["previews"]
    assert (preview["coding"], preview["width"], preview["height"], preview["length"]) == ("pixels", 2, 3, 18)
    palette = insert(plain, segment(0xE0, b"JFXX\0\x13\4\5" + bytes(60)))
    assert inspect_jpeg(palette)[0]["previews"][0]["width"] == 4
    assert embedded_thumbnail(palette) is None


def test_the_photoshop_thumbnail_is_a_preview(plain, crop) -> None:
    small = jpeg_bytes(crop[:60, :80])
    resource = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 28 + len(small)) + bytes(28) + small
    data = insert(plain, segment(0xED, b"Photoshop 3.0\0" + resource + b"8BIM\x04\x04\0\0\0\0\0\0"))
    facts = inspect_jpeg(data)[0]
    assert facts["previews"][0]["source"] == "photoshop"
    assert facts["carriers"]["photoshop"]
    assert facts["carriers"]["iptc"]
    assert embedded_thumbnail(data) is None


@pytest.fixture(scope="module")
def mpo(crop: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    second = Image.fromarray(crop[:64, :96])
    Image.fromarray(crop).save(buffer, "MPO", save_all=True, append_images=[second])
    return buffer.getvalue()


def test_indexed_pictures_are_no_trailing_bytes(mpo) -> None:
    facts = inspect_jpeg(mpo)[0]
    assert facts["mpf"]["announced"] == 2
    first, second = facts["mpf"]["parts"]
    assert (first["kind"], first["offset"]) == ("main picture", 0)
    assert (second["width"], second["height"]) == (96, 64)
    assert mpo[second["offset"] :][:3] == b"\xff\xd8\xff"
    assert second["offset"] + second["length"] == len(mpo)
    assert facts["trailing"] == facts["later_pictures"] == []
    assert severities(mpo)["mpf"] == "info"
    assert set(severities(mpo).values()) == {"info"}


def test_an_index_without_its_pictures_contradicts_the_camera(mpo) -> None:
    second = inspect_jpeg(mpo)[0]["mpf"]["parts"][1]
    cut = mpo[: second["offset"]]
    assert severities(cut)["mpf_lost"] == "warning"
    facts, findings = inspect_jpeg(mpo + b"hidden words")
    assert facts["trailing"][0]["offset"] == len(mpo)
    # An index that claims the hidden bytes as part of its second picture hides nothing.
    at = mpo.index(struct.pack("<I", second["length"]))
    claimed = mpo[:at] + struct.pack("<I", second["length"] + 12) + mpo[at + 4 :] + b"hidden words"
    assert inspect_jpeg(claimed)[0]["mpf"]["parts"][1]["sound"]
    assert inspect_jpeg(claimed)[0]["trailing"] == facts["trailing"]
    assert "mpf_lost" not in {f.code for f in findings}


def test_gain_maps_are_named_as_derived_and_neutral(mpo) -> None:
    packet = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta hdrgm:Version="1.0" Container:Directory=""/>'
    with_marks = insert(mpo, segment(0xE1, packet))
    found = next(f for f in inspect_jpeg(with_marks)[1] if f.code == "jpeg.gain_map")
    assert found.severity == "info"
    assert found.values["derived"] is True
    assert "gain_map" not in severities(mpo)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("note.txt", "hello")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("tail", "severity", "words"),
    [
        (zipped(), "warning", "ZIP"),
        (b"\0" * 100 + zipped(), "warning", "ZIP"),
        (b"cover text " + zipped(), "warning", "ZIP"),
        (b"MZ\x90\0" + bytes(50) + b"\1", "warning", "program"),
        (b"\0" * 100 + b"MZ\x90\0" + bytes(50) + b"\1", "warning", "program"),
        (b"\x7fELF" + bytes(50) + b"\1", "warning", "program"),
        (b"\n<?php system(1); ?>", "warning", "PHP"),
        (b"some words", "notice", "text"),
        (b"\0\0\0\x18ftypmp42" + bytes(12) + b"moov", "notice", "MP4"),
        (b"x" * 40 + b"SEFT", "info", "Samsung"),
    ],
)
def test_trailing_bytes_are_located_hashed_and_named(plain, tail, severity, words) -> None:
    facts, findings = inspect_jpeg(plain + tail)
    (block,) = facts["trailing"]
    assert (block["offset"], block["length"]) == (len(plain), len(tail))
    assert block["sha256"] == hashlib.sha256(tail).hexdigest()
    assert words in block["type"]
    found = next(f for f in findings if f.code == "jpeg.trailing_bytes")
    assert found.severity == severity
    assert found.values == block
    assert "trailing_bytes" not in severities(plain)


def test_padding_is_silent_and_an_announced_video_neutral(plain) -> None:
    assert set(severities(plain + bytes(5000) + b"\xff" * 9).values()) == {"info"}
    packet = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta GCamera:MotionPhoto="1"/>'
    video = b"\0\0\0\x18ftypmp42" + bytes(12) + b"moov"
    assert severities(insert(plain, segment(0xE1, packet)) + video)["trailing_bytes"] == "info"


def test_a_second_picture_behind_or_inside_is_noticed(plain, crop) -> None:
    other = jpeg_bytes(crop[:40, :72])
    facts = inspect_jpeg(plain + other)[0]
    assert facts["later_pictures"] == [{"offset": len(plain), "inside": False, "width": 72, "height": 40}]
    assert facts["trailing"][0]["type"] == "JPEG"
    assert severities(plain + other)["second_image"] == "notice"
    at = plain.index(b"\xff\xdb")
    inside = plain[:at] + b"\xff\xd8" + plain[at:]
    assert inspect_jpeg(inside)[0]["later_pictures"][0] == {
        "offset": at,
        "inside": True,
        "width": crop.shape[1],
        "height": crop.shape[0],
    }
    # Three bytes that look like the start of a picture are none.
    assert "second_image" not in severities(plain + b"\xff\xd8\xff\xe0" + b"noise" * 9)
    many = inspect_jpeg(plain + other * 30)[0]["later_pictures"]
    assert [p["offset"] for p in many] == [len(plain) + i * len(other) for i in range(16)]


def test_truncation_garbage_and_lies_are_facts(plain) -> None:
    cut = plain[: len(plain) // 2]
    assert severities(cut)["missing_eoi"] == "notice"
    assert not inspect_jpeg(cut)[0]["damage"]["complete"]
    assert severities(plain[:-2])["missing_eoi"] == "notice"
    at = plain.index(b"\xff\xdb")
    dirty = plain[:at] + b"rubbish" + plain[at:]
    assert inspect_jpeg(dirty)[0]["damage"]["garbage"] == [{"offset": at, "length": 7}]
    assert severities(dirty)["garbage"] == "notice"
    # Fill bytes in front of a marker are legal.
    assert "garbage" not in severities(plain[:at] + b"\xff" * 5 + plain[at:])
    frame = plain.index(b"\xff\xc0")
    lie = plain[: frame + 5] + struct.pack(">HH", 12000, 11000) + plain[frame + 9 :]
    assert (inspect_jpeg(lie)[0]["frame"]["width"], inspect_jpeg(lie)[0]["frame"]["height"]) == (11000, 12000)


def test_broken_headers_are_named(plain) -> None:
    frame, table = plain.index(b"\xff\xc0"), plain.index(b"\xff\xdb")
    size = struct.unpack(">H", plain[frame + 2 : frame + 4])[0]
    twice = plain[:frame] + plain[frame : frame + 2 + size] + plain[frame:]
    assert severities(twice)["several_frames"] == "notice"
    assert severities(plain[:frame] + plain[frame + 2 + size :])["no_frame"] == "warning"
    zero = plain[: table + 10] + b"\0" + plain[table + 11 :]
    assert severities(zero)["damaged_segments"] == "notice"
    assert "DQT" in inspect_jpeg(zero)[0]["damage"]["problems"][0]
    assert severities(b"\xff\xd8\xff\xd9")["no_frame"] == "warning"


def test_bounds_are_stated_where_they_bite(plain) -> None:
    tables = segment(0xDB, (b"\0" + b"\1" * 64) * 600)
    for flood, words in ((tables * 3, "1024 tables"), (segment(0xE5, b"") * 5000, "4096 segments")):
        facts = inspect_jpeg(insert(plain, flood))[0]
        assert any(words in p for p in facts["damage"]["problems"])
        assert "missing_eoi" not in severities(insert(plain, flood))


def test_segments_that_say_more_are_listed_by_name(plain) -> None:
    extra = [
        segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(20)),
        segment(0xEB, b"JP\0\1\0\0\0\1" + bytes(20) + b"jumbc2pa"),
        segment(0xEC, b"Ducky\0\1\0\4\0\0\0\x3c"),
        segment(0xEE, b"Adobe\0\x64\0\0\0\0\1"),
    ]
    facts = inspect_jpeg(insert(plain, *extra))[0]
    carriers = facts["carriers"]
    assert (carriers["icc"], carriers["ducky"], carriers["c2pa"]) == (True, True, True)
    assert (carriers["adobe_transform"], carriers["jumbf_segments"]) == (1, 1)
    assert facts["markers"]["order"].startswith("SOI APP2:ICC_PROFILE APP11:JP APP12:Ducky APP14:Adobe APP0:JFIF")


def test_other_bytes_are_refused() -> None:
    for data in (b"", b"\xff", b"\x89PNG\r\n\x1a\n", b"text"):
        for read in (inspect_jpeg, embedded_thumbnail):
            with pytest.raises(UnsupportedFormatError, match="ffd8"):
                read(data)


_SIZE = 2_000_000
_HOSTILE = {
    "fill bytes": lambda j: b"\xff\xd8" + b"\xff" * _SIZE,
    "stuffed zeros": lambda j: j[:-2] + b"\xff\0" * (_SIZE // 2),
    "restart markers": lambda j: j[:-2] + b"\xff\xd0" * (_SIZE // 2),
    "start markers": lambda j: b"\xff\xd8" * (_SIZE // 2),
    "starts in the tail": lambda j: j + b"\xff\xd8\xff" * (_SIZE // 3),
    "empty pictures in the tail": lambda j: j + b"\xff\xd8\xff\xd9" * (_SIZE // 4),
    "small segments": lambda j: b"\xff\xd8" + segment(0xE5, b"") * (_SIZE // 4),
    "EXIF blocks": lambda j: b"\xff\xd8" + segment(0xE1, exif(b"\xff\xd8" * 30000)) * 33,
    "extensions": lambda j: b"\xff\xd8" + segment(0xE0, b"JFXX\0\x10" + b"\xff\xd8" * 30000) * 33,
    "quantization tables": lambda j: b"\xff\xd8" + segment(0xDB, (b"\0" + b"\1" * 64) * 1000) * 30,
    "Huffman tables": lambda j: b"\xff\xd8" + segment(0xC4, bytes(17 * 3800)) * 30,
    "noise": lambda j: j + np.random.default_rng(1).bytes(_SIZE),
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_bytes_cost_linear_time(plain, name) -> None:
    data = _HOSTILE[name](plain)
    start = time.process_time()
    facts = check(data)
    assert time.process_time() - start < 10  # quadratic time would be minutes
    assert len(json.dumps(facts)) < 300_000


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(_seeds())))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(("set", "cut", "insert", "double")))
        if kind == "set":
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=12))
        else:
            data[at:at] = data[max(0, at - 100) : at]
        if not data:
            break
    return bytes(data)


def _seeds() -> list[bytes]:
    rgb = np.arange(40 * 24 * 3, dtype=np.uint8).reshape(24, 40, 3)
    small = jpeg_bytes(rgb[:8, :8])
    parts = io.BytesIO()
    Image.fromarray(rgb).save(parts, "MPO", save_all=True, append_images=[Image.fromarray(rgb[:9])])
    return [
        jpeg_bytes(rgb, progressive=True),
        insert(jpeg_bytes(rgb, restart_marker_blocks=1), segment(0xE1, exif(small)), segment(0xFE, b"words")),
        insert(jpeg_bytes(rgb), segment(0xE0, b"JFXX\0\x10" + small)) + zipped(),
        parts.getvalue(),
    ]


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_mutated_files_are_described_or_refused(data: bytes) -> None:
    check(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_described_or_refused(data: bytes) -> None:
    check(data)
    check(b"\xff\xd8" + data)


@pytest.mark.slow
@pytest.mark.skipif("TAMPERSCOPE_JPEGS" not in os.environ, reason="set it to a folder of real JPEG files")
def test_real_files_are_described_as_pillow_sees_them() -> None:
    for path in sorted(Path(os.environ["TAMPERSCOPE_JPEGS"]).rglob("*.[jJ][pP]*[gG]")):
        facts = check(path.read_bytes())
        with Image.open(path) as picture:
            assert (facts["frame"]["width"], facts["frame"]["height"]) == picture.size
            assert {t["slot"]: t["values"] for t in facts["quantization"]["tables"]} == picture.quantization
