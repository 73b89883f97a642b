"""Builds files with known metadata, and hostile blocks, for the tests of the metadata readers."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

MAKE, MODEL, SOFTWARE, ORIENTATION, DATETIME = 0x010F, 0x0110, 0x0131, 0x0112, 0x0132
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Test Core 1.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
   xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
   xmlns:stRef="http://ns.adobe.com/xap/1.0/sType/ResourceRef#" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
   xmp:CreatorTool="Adobe Photoshop 25.0" tiff:Make="Canon">
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">A harbour</rdf:li></rdf:Alt></dc:title>
   <dc:subject><rdf:Bag><rdf:li>boat</rdf:li><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>
   <xmpMM:History><rdf:Seq>
    <rdf:li stEvt:action="created" stEvt:softwareAgent="Adobe Photoshop 25.0"/>
    <rdf:li rdf:parseType="Resource"><stEvt:action>saved</stEvt:action><stEvt:changed>/</stEvt:changed></rdf:li>
   </rdf:Seq></xmpMM:History>
   <xmpMM:DerivedFrom stRef:documentID="xmp.did:1234"/>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def xmp_packet(properties: str = "", children: str = "") -> bytes:
    """Return a small XMP packet with these attributes and child elements of its description."""
    names = {
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "dc": "http://purl.org/dc/elements/1.1/",
        "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "xmpNote": "http://ns.adobe.com/xmp/note/",
        "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
        "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
    }
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in names.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {spaces} {properties}>{children}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def camera_exif(order: str = "<", **changes: Any) -> Image.Exif:
    """Return consistent EXIF of a camera; `changes` are tags `t0x…` (IFD0), `e0x…` (Exif), `g<number>` (GPS)."""
    exif = Image.Exif()
    exif.endian = order
    exif[MAKE], exif[MODEL], exif[SOFTWARE] = "Canon", "Canon EOS 80D", "Firmware 1.0.2"
    exif[ORIENTATION], exif[DATETIME] = 6, "2024:05:01 10:00:00"
    inner, gps = exif.get_ifd(EXIF_IFD), exif.get_ifd(GPS_IFD)
    inner |= {0x9003: "2024:05:01 10:00:00", 0x9004: "2024:05:01 10:00:00", 0x829A: 1 / 160, 0x8827: 400}
    inner |= {0xA002: 64, 0xA003: 48, 0x927C: b"Test note \1\2\3" * 4, 0x9000: b"0232", 0xA001: 1}
    gps |= {1: "N", 2: (52.0, 30.0, 15.5), 3: "E", 4: (13.0, 24.0, 0.25), 29: "2024:05:01", 7: (8.0, 0.0, 0.0)}
    for name, value in changes.items():
        target = {"t": exif, "e": inner, "g": gps}[name[0]]
        tag = int(name[1:], 0)
        if value is None:
            target.pop(tag, None)
        else:
            target[tag] = value
    return exif


def picture(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a deterministic picture of (width, height)."""
    rng = np.random.default_rng(7)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encode_with(
    fmt: str, exif: bytes = b"", xmp: bytes = b"", icc: bytes = b"", texts: dict[str, str] | None = None
) -> bytes:
    """Encode the picture with metadata into `JPEG`, `PNG`, `WEBP`, `TIFF`, `AVIF` or `HEIC`."""
    options: dict[str, Any] = {}
    if exif:
        options["exif"] = exif
    if icc:
        options["icc_profile"] = icc
    if fmt == "PNG":
        info = PngImagePlugin.PngInfo()
        if xmp:
            info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        for key, text in (texts or {}).items():
            info.add_text(key, text)
        options["pnginfo"] = info
    elif fmt == "TIFF":
        tags = Image.Exif()
        tags.load(exif or b"II*\0\x08\0\0\0\0\0\0\0\0\0")
        if xmp:
            tags[700] = xmp
        options["exif"] = tags
    elif xmp:
        options["xmp"] = xmp
    if fmt == "HEIC":
        import pillow_heif

        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    picture().save(buffer, "HEIF" if fmt == "HEIC" else fmt, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def add_png_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """Return the PNG with one more chunk behind IHDR."""
    return png[:33] + png_chunk(kind, body) + png[33:]


def jpeg_segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def add_jpeg_segment(jpeg: bytes, code: int, body: bytes) -> bytes:
    """Return the JPEG with one more segment behind SOI."""
    return jpeg[:2] + jpeg_segment(code, body) + jpeg[2:]


def tiff_block(entries: list[tuple[int, int, int, bytes]], order: str = "<", following: int = 0) -> bytes:
    """Return a TIFF block with one directory at 8; entries are (tag, type, count, 4 bytes or more of values)."""
    at = 8 + 2 + 12 * len(entries) + 4
    rows, values = b"", b""
    for tag, kind, count, value in entries:
        rows += struct.pack(order + "HHI", tag, kind, count)
        if len(value) <= 4:
            rows += value.ljust(4, b"\0")
        else:
            rows += struct.pack(order + "I", at + len(values))
            values += value
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IH", 8, len(entries)) + rows + struct.pack(order + "I", following) + values


def iim(*datasets: tuple[int, int, bytes]) -> bytes:
    return b"".join(struct.pack(">BBBH", 0x1C, r, d, len(v)) + v for r, d, v in datasets)


def resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    title = bytes([len(name)]) + name
    title += b"\0" * (len(title) % 2)
    return b"8BIM" + struct.pack(">H", number) + title + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


def seeds() -> dict[str, list[bytes]]:
    """Return small valid files with all kinds of metadata, by format."""
    exif, xmp, icc = camera_exif().tobytes(), XMP.encode(), srgb_profile()
    photoshop = (
        b"Photoshop 3.0\0"
        + resource(0x0404, iim((1, 90, b"\x1b%G"), (2, 80, b"Somebody")))
        + resource(0x0425, b"\1" * 16)
    )
    jpeg = add_jpeg_segment(encode_with("JPEG", exif, xmp, icc), 0xED, photoshop)
    png = add_png_chunk(
        encode_with("PNG", exif, xmp, icc, {"Comment": "hello", "Software": "GIMP 2.10"}),
        b"zTXt",
        b"note\0\0" + zlib.compress(b"text " * 40),
    )
    gif = io.BytesIO()
    frames = [picture().rotate(90 * i).quantize(16) for i in range(3)]
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:], comment=b"a comment")
    bmp = io.BytesIO()
    picture().save(bmp, "BMP")
    pdf = io.BytesIO()
    picture().save(pdf, "PDF", title="A title", producer="Test")
    return {
        "JPEG": [jpeg],
        "PNG": [png],
        "WEBP": [encode_with("WEBP", exif, xmp, icc)],
        "TIFF": [encode_with("TIFF", exif, xmp, icc)],
        "GIF": [gif.getvalue()],
        "BMP": [bmp.getvalue()],
        "AVIF": [encode_with("AVIF", exif, xmp, icc)],
        "HEIC": [encode_with("HEIC", exif, xmp, icc)],
        "PDF": [pdf.getvalue()],
    }
