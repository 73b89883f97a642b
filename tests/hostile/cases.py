"""Generates hostile and damaged files by script, from a fixed seed; nothing hostile is stored in the repository."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, features

SEED = 20261125
DATA = Path(__file__).parents[1] / "data"
Outcome = Literal["picture", "refused", "either"]


@dataclass(frozen=True)
class Case:
    """One file: its name, its bytes, and whether it must open, must be refused, or may do either."""

    name: str
    data: bytes
    outcome: Outcome = "either"
    file_name: str = ""


@lru_cache(maxsize=1)
def photo() -> Image.Image:
    with Image.open(DATA / "chelsea.png") as picture:
        return picture.convert("RGB").crop((100, 60, 260, 180))


def save(picture: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, fmt, **options)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def valid() -> dict[str, bytes]:
    """Return small valid files of every format and mode that matters, by name."""
    rgb = photo()
    grey16 = Image.fromarray((np.asarray(rgb.convert("L"), np.uint16) * 257).astype(np.uint16))
    frames = [rgb.convert("P"), rgb.rotate(90).convert("P").resize(rgb.size)]
    files = {
        "jpeg": save(rgb, "JPEG", quality=85),
        "jpeg_progressive": save(rgb, "JPEG", quality=85, progressive=True),
        "jpeg_grey": save(rgb.convert("L"), "JPEG"),
        "jpeg_cmyk": save(rgb.convert("CMYK"), "JPEG"),
        "jpeg_exif": save(rgb, "JPEG", exif=exif()),
        "mpo": save(rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)]),
        "png": save(rgb, "PNG"),
        "png_palette": save(rgb.convert("P"), "PNG"),
        "png_alpha": save(rgb.convert("RGBA"), "PNG"),
        "png_16": save(grey16, "PNG"),
        "png_bilevel": save(rgb.convert("1"), "PNG"),
        "apng": save(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]),
        "webp": save(rgb, "WEBP", quality=80),
        "webp_lossless": save(rgb, "WEBP", lossless=True, exif=exif()),
        "webp_animated": save(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]),
        "tiff": save(rgb, "TIFF"),
        "tiff_lzw": save(rgb, "TIFF", compression="tiff_lzw"),
        "tiff_deflate": save(rgb, "TIFF", compression="tiff_deflate"),
        "tiff_jpeg": save(rgb, "TIFF", compression="jpeg"),
        "tiff_g4": save(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff_16": save(grey16, "TIFF"),
        "tiff_pages": save(rgb, "TIFF", save_all=True, append_images=[rgb, rgb]),
        "bigtiff": save(rgb, "TIFF", big_tiff=True),
        "bmp": save(rgb, "BMP"),
        "bmp_palette": save(rgb.convert("P"), "BMP"),
        "gif": save(rgb.convert("P"), "GIF"),
        "gif_animated": save(frames[0], "GIF", save_all=True, append_images=frames[1:]),
    }
    if features.check("avif"):
        files["avif"] = save(rgb, "AVIF")
    try:
        import pillow_heif
    except ImportError:
        return files
    pillow_heif.register_heif_opener()
    files["heic"] = save(rgb, "HEIF", exif=exif())
    return files


def exif(**tags: str) -> bytes:
    block = Image.Exif()
    block[0x010F], block[0x0110], block[0x0131] = "Maker", "Model", "Software"
    for tag, text in tags.items():
        block[int(tag[1:], 16)] = text
    return block.tobytes()


# --- building blocks -------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, raw: bytes, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", raw) + chunk(b"IEND", b"")


def grey_png(extra: bytes = b"") -> bytes:
    rows = b"".join(b"\0" + bytes(range(64)) for _ in range(64))
    return png(64, 64, 8, 0, zlib.compress(rows), extra)


def deflate_zeros(size: int) -> bytes:
    engine = zlib.compressobj(9)
    out = [engine.compress(bytes(2**20)) for _ in range(size // 2**20)]
    return b"".join([*out, engine.compress(bytes(size % 2**20)), engine.flush()])


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def insert(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def resized_jpeg(jpeg: bytes, width: int, height: int) -> bytes:
    at = next(i for i in range(2, len(jpeg)) if jpeg[i] == 0xFF and jpeg[i + 1] in (0xC0, 0xC2))
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def with_frame_byte(jpeg: bytes, offset: int, value: int) -> bytes:
    at = next(i for i in range(2, len(jpeg)) if jpeg[i] == 0xFF and jpeg[i + 1] == 0xC0)
    return jpeg[: at + offset] + bytes([value]) + jpeg[at + offset + 1 :]


def without_segment(jpeg: bytes, marker: int) -> bytes:
    out, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        out += b"" if jpeg[at + 1] == marker else jpeg[at:end]
        at = end
    return out + jpeg[at:]


def ifd(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + rows + struct.pack("<I", following)


def tiff(entries: list[tuple[int, int, int, int]], following: int = 0, tail: bytes = b"") -> bytes:
    return b"II*\0\x08\0\0\0" + ifd(sorted(entries), following) + tail


def picture_tags(width: int, height: int, **changes: int) -> list[tuple[int, int, int, int]]:
    """Tags of an uncompressed 8-bit grey strip; `t259=7` changes or adds tag 259."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: height, 279: width * height}
    tags |= {int(name[1:]): value for name, value in changes.items()}
    return [(tag, 4, 1, value) for tag, value in tags.items()]


# --- the cases ---------------------------------------------------------------------------------------------------


def truncated() -> Iterator[Case]:
    for name, data in valid().items():
        for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
            yield Case(f"cut_{name}_{part}", data[: max(1, int(len(data) * part))])
        yield Case(f"cut_{name}_last", data[:-1])


def flipped() -> Iterator[Case]:
    rng = np.random.default_rng(SEED)
    for name, data in valid().items():
        for count in (1, 1, 3, 10, 40):
            raw = bytearray(data)
            for at in rng.integers(8, len(raw), count):
                raw[at] ^= 1 << int(rng.integers(8))
            yield Case(f"flip_{name}_{count}_{rng.integers(10**6)}", bytes(raw))


def bombs() -> Iterator[Case]:
    yield Case("png_900_mp", png(30_000, 30_000, 1, 0, deflate_zeros(30_000 * 3751)), "refused")
    yield Case("png_two_billion", png(2**31 - 1, 2**31 - 1, 8, 2, deflate_zeros(1000)), "refused")
    yield Case("png_zero", png(0, 64, 8, 2, b""), "refused")
    text = b"Comment\0\0" + deflate_zeros(64 * 2**20)
    yield Case("png_ztxt_bomb", grey_png(chunk(b"zTXt", text)), "refused")
    yield Case("png_itxt_bomb", grey_png(chunk(b"iTXt", b"C\0\1\0\0\0" + deflate_zeros(64 * 2**20))), "refused")
    yield Case("png_iccp_bomb", grey_png(chunk(b"iCCP", b"P\0\0" + deflate_zeros(64 * 2**20))), "refused")
    small = chunk(b"zTXt", b"C\0\0" + deflate_zeros(2**20))
    yield Case("png_many_ztxt_bombs", grey_png(small * 100), "refused")
    yield Case("png_exif_40_mb", grey_png(chunk(b"eXIf", b"II*\0" + bytes(40 * 2**20))), "refused")
    yield Case("png_text_of_40_mb", grey_png(chunk(b"tEXt", b"C\0" + b"a" * 40 * 2**20)), "refused")
    yield Case("png_many_chunks", grey_png(chunk(b"teSt", b"") * 60_000), "picture")
    yield Case("png_apng_frames", grey_png(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))), "refused")
    jpeg = valid()["jpeg"]
    yield Case("jpeg_exif_40_mb", insert(jpeg, *[segment(0xE1, b"Exif\0\0" + bytes(65_000))] * 640), "refused")
    yield Case("jpeg_2000_app_segments", insert(jpeg, *[segment(0xE5, b"x" * 9)] * 2000))
    yield Case("jpeg_comment_65533", insert(jpeg, segment(0xFE, b"c" * 65_533)), "picture")
    at = jpeg.index(b"\xff\xda")
    yield Case("jpeg_3000_scans", jpeg[:at] + jpeg[at:-2] * 3000 + jpeg[-2:], "refused")
    gif = valid()["gif"]
    yield Case("gif_65535", gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:], "refused")
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    yield Case("gif_20000_frames", head + frame * 20_000 + b";", "refused")
    yield Case(
        "gif_frame_outside", head + b"\x2c" + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\2\0;", "refused"
    )
    yield Case("tiff_3600_mp", tiff(picture_tags(60_000, 60_000), tail=bytes(1000)), "refused")
    yield Case(
        "tiff_tag_of_40_mb", tiff([*picture_tags(8, 8), (700, 1, 40 * 2**20, 8)], tail=bytes(41 * 2**20)), "refused"
    )
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\xff\xff\xff\xff\xff"
    yield Case("webp_canvas_16_m", b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas, "refused")
    bmp = valid()["bmp"]
    yield Case("bmp_two_billion", bmp[:18] + struct.pack("<ii", 2**31 - 1, -(2**31)) + bmp[26:], "refused")


def lying_headers() -> Iterator[Case]:
    jpeg, grey = valid()["jpeg"], valid()["jpeg_grey"]
    for width, height in ((12_000, 12_000), (65_500, 65_500), (65_535, 3000), (1, 65_535)):
        yield Case(f"jpeg_says_{width}x{height}", resized_jpeg(jpeg[:2000], width, height))
    yield Case("jpeg_says_12000_full", resized_jpeg(jpeg, 12_000, 12_000), "refused")
    yield Case("jpeg_progressive_says_12000", resized_jpeg(valid()["jpeg_progressive"], 12_000, 12_000), "refused")
    yield Case("jpeg_zero_height", resized_jpeg(jpeg, 160, 0), "refused")
    yield Case("jpeg_taller", resized_jpeg(jpeg, 160, 400))
    yield Case("jpeg_wider", resized_jpeg(jpeg, 400, 120))
    yield Case("png_says_12000", png(12_000, 12_000, 8, 2, zlib.compress(bytes(1000))), "refused")
    yield Case("png_taller", png(64, 640, 8, 0, zlib.compress(bytes(65 * 64))))
    yield Case("png_no_data", png(64, 64, 8, 0, b""), "refused")
    yield Case("png_palette_missing", png(64, 64, 8, 3, zlib.compress(bytes(65 * 64))))
    yield Case("png_bits_5", png(64, 64, 5, 0, zlib.compress(bytes(65 * 64))), "refused")
    yield Case("png_colour_7", png(64, 64, 8, 7, zlib.compress(bytes(65 * 64))), "refused")
    broken = bytearray(valid()["png"])
    broken[29] ^= 1
    yield Case("png_wrong_header_crc", bytes(broken))
    yield Case("png_chunk_length", valid()["png"][:33] + b"\xff\xff\xff\xff" + valid()["png"][37:])
    yield Case("png_second_header", grey_png(chunk(b"IHDR", struct.pack(">IIBBBBB", 9999, 9999, 8, 2, 0, 0, 0))))
    for marker in (0xC1, 0xC3, 0xC5, 0xC9, 0xCA, 0xCF):
        yield Case(f"jpeg_sof_{marker:x}", with_frame_byte(jpeg, 1, marker))
    for bits in (0, 2, 12, 16, 255):
        yield Case(f"jpeg_bits_{bits}", with_frame_byte(jpeg, 4, bits))
    for count in (0, 2, 4, 255):
        yield Case(f"jpeg_components_{count}", with_frame_byte(jpeg, 9, count))
    for sampling in (0x00, 0x55, 0x14, 0x41, 0x44, 0xFF):
        yield Case(f"jpeg_sampling_{sampling:02x}", with_frame_byte(jpeg, 11, sampling))
        yield Case(f"jpeg_grey_sampling_{sampling:02x}", with_frame_byte(grey, 11, sampling))
    yield Case("jpeg_without_tables", without_segment(jpeg, 0xDB))
    yield Case("jpeg_without_huffman", without_segment(jpeg, 0xC4))
    yield Case("jpeg_without_frame", without_segment(jpeg, 0xC0), "refused")
    yield Case(
        "jpeg_zero_tables",
        insert(without_segment(jpeg, 0xDB), *(segment(0xDB, bytes([n]) + bytes(64)) for n in (0, 1))),
    )
    yield Case("jpeg_two_frames", insert(jpeg, segment(0xC0, struct.pack(">BHHB", 8, 9, 9, 1) + b"\1\x11\0")))
    yield Case("jpeg_segment_length_0", jpeg[:2] + b"\xff\xe1\0\0" + jpeg[2:])
    yield Case("jpeg_segment_past_end", jpeg[:2] + b"\xff\xe1\xff\xff" + jpeg[2:200])
    yield Case("webp_riff_size", valid()["webp"][:4] + b"\xff\xff\xff\xff" + valid()["webp"][8:])
    yield Case("webp_empty_chunk", b"RIFF\x10\0\0\0WEBPVP8 \0\0\0\0", "refused")
    yield Case("gif_no_frame", b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";", "refused")
    yield Case("gif_code_size_255", valid()["gif"].replace(b"\x2c\0\0\0\0", b"\x2c\0\0\0\0", 1)[:-300] + b"\xff" * 300)
    yield Case("bmp_no_bits", valid()["bmp"][:28] + b"\0\0" + valid()["bmp"][30:])
    yield Case("bmp_rle_garbage", valid()["bmp_palette"][:30] + b"\1\0\0\0" + valid()["bmp_palette"][34:])
    yield Case("bmp_data_past_end", valid()["bmp"][:10] + b"\xff\xff\xff\x7f" + valid()["bmp"][14:])
    heic = valid().get("heic", b"")
    if heic:
        at = heic.index(b"ispe")
        yield Case("heic_says_60000", heic[: at + 8] + struct.pack(">II", 60_000, 60_000) + heic[at + 16 :], "refused")
        yield Case("heic_brand_only", heic[:32], "refused")


def directories() -> Iterator[Case]:
    def body(width: int = 16, height: int = 16) -> bytes:
        return bytes(200) + bytes(range(256)) * (width * height // 256 + 1)

    tags = picture_tags(16, 16)
    yield Case("tiff_loop", tiff(tags, following=8, tail=body()), "picture")
    size = len(tiff(tags))
    second = ifd(tags, following=8)
    yield Case("tiff_loop_of_two", tiff(tags, following=size, tail=second + body()), "picture")
    chain = b"".join(ifd([], following=size + 6 * (n + 1)) for n in range(5000))
    yield Case("tiff_5000_pages", tiff(tags, following=size, tail=chain + body()), "picture")
    yield Case("tiff_next_past_end", tiff(tags, following=2**31, tail=body()), "picture")
    for name, changes in {
        "strip_past_end": {"t273": 10**6},
        "strip_count": {"t279": 2**31},
        "bits_0": {"t258": 0},
        "bits_64": {"t258": 64},
        "samples_1000": {"t277": 1000},
        "compression_99": {"t259": 99},
        "compression_old_jpeg": {"t259": 6},
        "compression_jpeg_garbage": {"t259": 7},
        "compression_lzw_garbage": {"t259": 5},
        "compression_lerc": {"t259": 34887},
        "photometric_9": {"t262": 9},
        "rows_0": {"t278": 0},
        "tile_0": {"t322": 0, "t323": 0, "t324": 200, "t325": 10},
        "tile_huge": {"t322": 2**31, "t323": 2**31, "t324": 200, "t325": 10},
        "sample_format": {"t339": 3},
        "planar": {"t284": 2},
        "predictor": {"t317": 77},
        "sub_ifd_loop": {"t330": 8},
        "exif_loop": {"t34665": 8},
    }.items():
        yield Case(f"tiff_{name}", tiff(picture_tags(16, 16, **changes), tail=body()))
    yield Case("tiff_65535_entries", b"II*\0\x08\0\0\0\xff\xff" + bytes(4000), "refused")
    yield Case("tiff_header_only", b"II*\0\x08\0\0\0", "refused")
    yield Case("tiff_offset_past_end", b"II*\0\xff\xff\xff\x7f", "refused")
    yield Case("bigtiff_entries", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(200), "refused")
    jpeg = valid()["jpeg"]

    def with_exif(block: bytes) -> bytes:
        return insert(jpeg, segment(0xE1, b"Exif\0\0" + block))

    yield Case("exif_loop", with_exif(tiff([(0x8769, 4, 1, 8)], following=8)), "picture")
    deep = b"".join(ifd([(0x8769, 4, 1, 8 + 18 * (n + 1))]) for n in range(2000))
    yield Case("exif_deep", with_exif(b"II*\0\x08\0\0\0" + deep), "picture")
    yield Case("exif_count", with_exif(tiff([(0x010F, 2, 2**32 - 1, 26)])), "picture")
    yield Case("exif_sub_ifds", with_exif(tiff([(0x014A, 4, 10_000, 8)], tail=bytes(40_000))), "picture")
    yield Case(
        "exif_65535_entries",
        with_exif(b"II*\0\x08\0\0\0\xff\xff" + b"\x0f\1\2\0\xff\0\0\0\x08\0\0\0" * 5000),
        "picture",
    )
    yield Case("exif_rational_zero", with_exif(tiff([(0x829A, 5, 1, 26)], tail=bytes(8))), "picture")
    yield Case("exif_thumbnail_bomb", with_exif(_thumbnail(resized_jpeg(jpeg, 65_500, 65_500))), "picture")
    yield Case("exif_thumbnail_garbage", with_exif(_thumbnail(b"\xff\xd8\xff" + b"x" * 500)), "picture")
    yield Case(
        "exif_thumbnail_past_end", with_exif(tiff([], 14, ifd([(0x201, 4, 1, 9999), (0x202, 4, 1, 2**31)]))), "picture"
    )


def _thumbnail(data: bytes) -> bytes:
    first = ifd([], following=14)
    second = ifd([(0x201, 4, 1, 14 + 30), (0x202, 4, 1, len(data))])
    return b"II*\0\x08\0\0\0" + first + second + data


PAYLOADS = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "ansi": "\x1b[31mred\x1b]0;title\x07\x1b[2J",
    "csv": "=cmd|' /C calc'!A0",
    "template": "{{7*7}}${7*7}<%= 7*7 %>",
    "bidi": "photo\u202egpj.exe",
    "nul": "a\0b",
    "format": "%s%n%x{0.__class__}",
    "path": "../../../etc/passwd",
    "long": "A" * 20_000,
}


def metadata() -> Iterator[Case]:
    for name, text in PAYLOADS.items():
        raw = text.encode("utf-8")
        info = PngImagePlugin.PngInfo()
        info.add_itxt("Description", text)
        info.add_text("Software", text.encode("latin-1", "replace").decode("latin-1"))
        yield Case(f"png_text_{name}", save(photo(), "PNG", pnginfo=info), "picture")
        yield Case(f"jpeg_comment_{name}", insert(valid()["jpeg"], segment(0xFE, raw)), "picture")
        yield Case(f"jpeg_exif_{name}", save(photo(), "JPEG", exif=exif(x010E=text, x013B=text)), "picture")
    jpeg = valid()["jpeg"]
    laughs = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
    )
    laughs += "]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&j;</x:xmpmeta>"
    outside = (
        "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&a;</x:xmpmeta>"
    )
    nested = "<a>" * 5000 + "</a>" * 5000
    for name, text in {"laughs": laughs, "outside": outside, "nested": nested, "garbage": "<<<>>&&"}.items():
        packet = b"http://ns.adobe.com/xap/1.0/\0" + text.encode()
        yield Case(f"jpeg_xmp_{name}", insert(jpeg, segment(0xE1, packet)), "picture")
    yield Case("jpeg_icc_garbage", insert(jpeg, segment(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 500)), "picture")
    yield Case("jpeg_icc_parts", insert(jpeg, segment(0xE2, b"ICC_PROFILE\0\xff\xff" + b"x" * 500)), "picture")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield Case("jpeg_icc_cut", save(photo(), "JPEG", icc_profile=profile[:200]), "picture")
    yield Case(
        "jpeg_iptc_garbage", insert(jpeg, segment(0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\xff\xff\xff\xff")), "picture"
    )
    jumbf = struct.pack(">HHI", 0x4A50, 1, 1) + struct.pack(">I4sI4s", 400, b"jumb", 390, b"jumd") + b"c2pa" * 20
    yield Case("jpeg_jumbf_garbage", insert(jpeg, segment(0xEB, jumbf)), "picture")
    yield Case("png_jumbf_garbage", grey_png(chunk(b"caBX", jumbf[8:])), "picture")
    mpf = b"MPF\0" + tiff([(0xB001, 4, 1, 2**31), (0xB002, 7, 2**20, 26)])
    yield Case("jpeg_mpf_garbage", insert(jpeg, segment(0xE2, mpf)))


ARCHIVE = b"PK\3\4" + bytes(26) + b"x.txtPK\5\6" + bytes(18)


def polyglots() -> Iterator[Case]:
    files = valid()
    yield Case("jpeg_zip", files["jpeg"] + ARCHIVE, "picture")
    yield Case("png_php", files["png"] + b"<?php system($_GET['c']); ?>", "picture")
    yield Case("gif_script", files["gif"][:6] + files["gif"][6:] + b"/*GIF89a*/=1;alert(1)//", "picture")
    yield Case("jpeg_jpeg", files["jpeg"] + files["jpeg_grey"], "picture")
    yield Case("jpeg_html", insert(files["jpeg"], segment(0xFE, b"<html><script>1</script>")), "picture")
    yield Case("png_pdf", files["png"] + b"%PDF-1.7\n%%EOF", "picture")
    yield Case("webp_tail", files["webp"] + b"\0" * 10_000, "picture")
    yield Case("bmp_elf", files["bmp"] + b"\x7fELF" + bytes(100), "picture")
    yield Case("zip_first", ARCHIVE + files["jpeg"], "refused")
    yield Case("jpeg_then_zeros", files["jpeg"] + bytes(2**20), "picture")
    for name, claimed in {"png": "jpg", "jpeg": "png", "gif": "tif", "tiff": "bmp", "webp": "jpeg"}.items():
        yield Case(f"named_{name}_as_{claimed}", files[name], "picture", f"photo.{claimed}")


def no_pictures() -> Iterator[Case]:
    files = {
        "svg": b"<?xml version='1.0'?><!-- x --><svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "svg_bare": b"\n <svg onload='alert(1)'/>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
        "eps_dos": b"\xc5\xd0\xd3\xc6" + bytes(100),
        "psd": b"8BPS\0\1" + bytes(100),
        "fits": b"SIMPLE  =                    T" + b" " * 2850,
        "zip": ARCHIVE,
        "elf": b"\x7fELF\2\1\1" + bytes(200),
        "exe": b"MZ" + bytes(200),
        "text": b"This is no picture.\n" * 20,
        "utf8": "Dies ist kein Bild, sondern Text: äöü.\n".encode() * 50,
        "html": b"<!DOCTYPE html><html><body>x</body></html>",
        "php": b"<?php phpinfo(); ?>",
        "shell": b"#!/bin/sh\nrm -rf /\n",
        "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100),
        "mov": b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(100),
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "pickle": pickle.dumps(list(range(1000))),
        "numpy": b"\x93NUMPY\1\0v\0" + bytes(118),
        "ico": b"\0\0\1\0\1\0" + bytes(100),
        "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "jxl": b"\xff\x0a" + bytes(100),
        "ppm": b"P6\n9 9\n255\n" + bytes(243),
        "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
        "sqlite": b"SQLite format 3\0" + bytes(100),
        "zeros": bytes(4096),
        "noise": np.random.default_rng(SEED).bytes(4096)[:1000] + b"\0",
        "bm_text": b"BM is how this text begins, and it is no bitmap at all.",
        "spaces": b" " * 1000,
        "newline": b"\n",
        "one_byte": b"\xff",
        "two_bytes": b"\xff\xd8",
    }
    for name, data in files.items():
        yield Case(f"no_picture_{name}", data, "refused", "photo.jpg")
    yield Case("empty", b"", "refused", "photo.jpg")
    magics = {
        "jpeg": b"\xff\xd8\xff",
        "png": b"\x89PNG\r\n\x1a\n",
        "gif": b"GIF89a",
        "tiff": b"II*\0",
        "tiff_mm": b"MM\0*",
    }
    magics |= {"webp": b"RIFF\0\0\0\0WEBP", "bmp": b"BM" + bytes(12) + b"\x28\0\0\0", "heic": b"\0\0\0\x18ftypheic"}
    magics |= {"avif": b"\0\0\0\x18ftypavif", "bigtiff": b"II+\0"}
    rng = np.random.default_rng(SEED)
    for name, magic in magics.items():
        yield Case(f"magic_only_{name}", magic, "refused")
        yield Case(f"magic_zeros_{name}", magic + bytes(500), "refused")
        yield Case(f"magic_ones_{name}", magic + b"\xff" * 500, "refused")
        for size in (50, 3000):
            yield Case(f"magic_noise_{name}_{size}", magic + rng.bytes(size))


NAMES = (
    "../../etc/passwd.jpg",
    "a\nb.jpg",
    "\x1b[31mred.jpg",
    "photo\u202egpj.exe",
    "nul\0byte.jpg",
    "x" * 5000 + ".jpg",
    "=1+1.jpg",
    "<b>.jpg",
    ".jpg",
    "con.jpg ",
    "\u200b.jpg",
    "\udcff.jpg",
)


def names() -> Iterator[Case]:
    for number, name in enumerate(NAMES):
        yield Case(f"name_{number}", valid()["jpeg_grey"], "picture", name)


def documents() -> Iterator[Case]:
    """Yield PDF files, for `open_pages`."""
    data = save(photo(), "PDF", resolution=100)
    yield Case("pdf", data, "picture")
    for part in (0.05, 0.3, 0.6, 0.9, 0.99):
        yield Case(f"pdf_cut_{part}", data[: int(part * len(data))])
    rng = np.random.default_rng(SEED)
    for number in range(20):
        raw = bytearray(data)
        for at in rng.integers(8, len(raw), 6):
            raw[at] = int(rng.integers(256))
        yield Case(f"pdf_flip_{number}", bytes(raw))
    box = data.index(b"/MediaBox")
    box_end = data.index(b"]", box) + 1
    for name, text in {"huge": "0 0 1e9 1e9", "nan": "0 0 x y", "negative": "9 9 -9 -9", "empty": "0 0 0 0"}.items():
        yield Case(f"pdf_box_{name}", data[:box] + f"/MediaBox [ {text} ]".encode() + data[box_end:])

    def tree(kids: str, count: int) -> bytes:
        pages = f"2 0 obj<</Type/Pages/Count {count}/Kids[{kids}]>>endobj\n"
        page = "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\n"
        return (
            f"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n{pages}{page}trailer<</Root 1 0 R>>\n%%EOF".encode()
        )

    yield Case("pdf_small", tree("3 0 R", 1), "picture")
    yield Case("pdf_loop", tree("2 0 R", 1))
    yield Case("pdf_two_billion_pages", tree("3 0 R", 2**31 - 1))
    yield Case("pdf_no_pages", tree("", 0))
    yield Case("pdf_header_only", b"%PDF-1.7\n", "refused")
    script = "/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>"
    yield Case("pdf_script", tree("3 0 R", 1).replace(b"/Catalog", b"/Catalog" + script.encode()), "picture")


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    """Return all cases, in an order that does not change."""
    groups = (truncated, flipped, bombs, lying_headers, directories, metadata, polyglots, no_pictures, names)
    sound = (Case(f"valid_{name}", data, "picture") for name, data in valid().items())
    return (*(case for group in groups for case in group()), *sound)
