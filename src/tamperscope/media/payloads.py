"""Finds the metadata blocks of a file: EXIF, XMP, Photoshop/IPTC, ICC and text, whatever container holds them."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from tamperscope.errors import DecodeError
from tamperscope.media.bmff import read_heif
from tamperscope.media.chunks import gif_blocks, png_chunks, riff_chunks, sub_block_bytes
from tamperscope.media.ifd import walk as walk_tiff
from tamperscope.media.jpeg_markers import APP1, APP2, APP13, COM
from tamperscope.media.jpeg_markers import walk as walk_jpeg
from tamperscope.media.jpeg_parts import EXIF, PHOTOSHOP, XMP
from tamperscope.media.values import Inflater, clean_text, decode_text, problem_finding
from tamperscope.types import Finding

MAX_TEXTS = 64
MAX_BLOCKS = 8
MAX_TEXT_BYTES = 2**20
_MAX_BLOCK = 4 * 2**20

MAX_PROBLEMS = 50
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_RAW_PROFILE = re.compile(r"Raw profile type (\w+)")


@dataclass(frozen=True, slots=True)
class Text:
    """One text of the container: its key, its content, and where it stands."""

    key: str
    text: str
    where: str


@dataclass(slots=True)
class Payloads:
    """The raw metadata blocks of one file, each with the place where it was found."""

    exif: list[tuple[str, bytes]] = field(default_factory=list)
    xmp: list[tuple[str, bytes]] = field(default_factory=list)
    photoshop: list[tuple[str, bytes]] = field(default_factory=list)
    iptc: list[tuple[str, bytes]] = field(default_factory=list)
    icc: list[tuple[str, bytes]] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    xmp_more: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    transforms: list[tuple[str, int]] = field(default_factory=list)

    def add(self, kind: str, where: str, block: bytes) -> None:
        """Keep a block, up to `MAX_BLOCKS` of each kind."""
        blocks: list[tuple[str, bytes]] = getattr(self, kind)
        if len(block) > _MAX_BLOCK:
            self.note(f"{where}: {len(block)} bytes of {kind}, more than {_MAX_BLOCK}")
        elif len(blocks) >= MAX_BLOCKS:
            self.note(f"{where}: more than {MAX_BLOCKS} blocks of {kind}")
        elif block:
            blocks.append((where, block))

    def add_text(self, key: str, text: str, where: str) -> None:
        """Keep a text, up to `MAX_TEXTS` of them."""
        if len(self.texts) < MAX_TEXTS:
            self.texts.append(Text(clean_text(key, 128), clean_text(text, MAX_TEXT_BYTES), where))

    def note(self, problem: str) -> None:
        """Keep a problem, up to `MAX_PROBLEMS` of them."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def findings(self) -> list[Finding]:
        """Return the finding that lists what was too large or damaged, if anything."""
        text = "Some metadata could not be read or is too large to be read safely."
        return problem_finding("metadata.unreadable", text, self.problems, "metadata")


def collect(data: bytes, fmt: str) -> Payloads:
    """Return the metadata blocks of a file.

    Args:
        data: The whole file.
        fmt: `JPEG`, `PNG`, `WEBP`, `TIFF`, `GIF`, `BMP`, `HEIC`, `AVIF` or `PDF`.
    """
    found = Payloads()
    finder = _FINDERS.get(fmt)
    if finder is not None:
        finder(data, found)
    return found


def _jpeg(data: bytes, found: Payloads) -> None:
    profile: dict[int, bytes] = {}
    announced = 0
    photoshop = bytearray()
    more: dict[str, list[tuple[int, int, bytes]]] = {}
    layout = walk_jpeg(data, header_only=True)
    for segment in layout.segments:
        code, body = segment.code, layout.payload(segment)
        if code == APP1 and body.startswith(EXIF):
            found.add("exif", "JPEG APP1", body[len(EXIF) :])
        elif code == APP1 and body.startswith(XMP):
            found.add("xmp", "JPEG APP1", body[len(XMP) :])
        elif code == APP1 and body.startswith(_XMP_MORE) and len(body) >= len(_XMP_MORE) + 40:
            head = body[len(_XMP_MORE) :]
            total, offset = int.from_bytes(head[32:36], "big"), int.from_bytes(head[36:40], "big")
            more.setdefault(decode_text(head[:32], 32), []).append((total, offset, head[40:]))
        elif code == APP2 and body.startswith(_ICC) and len(body) > 14:
            profile.setdefault(body[12], body[14:])
            announced = max(announced, body[13])
        elif code == APP13 and body.startswith(PHOTOSHOP):
            # A long block continues in the next segment.
            photoshop += body[len(PHOTOSHOP) :]
        elif code == COM:
            found.add_text("Comment", decode_text(body, MAX_TEXT_BYTES), "JPEG COM")
    found.add("photoshop", "JPEG APP13", bytes(photoshop))
    if profile and sorted(profile) != list(range(1, announced + 1)):
        found.note(f"JPEG APP2: ICC parts {sorted(profile)} of {announced}")
    found.add("icc", "JPEG APP2", b"".join(profile[number] for number in sorted(profile)))
    for guid, parts in list(more.items())[:MAX_BLOCKS]:
        found.xmp_more[guid] = _join_extension(guid, parts, found)


def _join_extension(guid: str, parts: list[tuple[int, int, bytes]], found: Payloads) -> bytes:
    """Join the parts of an extended XMP packet; b"" when parts are missing or it is too large."""
    total = parts[0][0]
    if total > _MAX_BLOCK:
        found.note(f"JPEG APP1: extended XMP of {total} bytes, more than {_MAX_BLOCK}")
        return b""
    joined = bytearray()
    for _, offset, body in sorted(parts):
        if offset == len(joined):
            joined += body
    if len(joined) != total:
        found.note(f"JPEG APP1: extended XMP {guid} has {len(joined)} of {total} bytes")
        return b""
    return bytes(joined)


def _png(data: bytes, found: Payloads) -> None:
    inflater = Inflater()
    for part in png_chunks(data):
        if part.kind == "eXIf":
            found.add("exif", "PNG eXIf", data[part.start : part.stop])
        elif part.kind == "iCCP":
            body = data[part.start : part.stop].partition(b"\0")[2]
            found.add("icc", "PNG iCCP", inflater.inflate(body[1:], "PNG iCCP"))
        elif part.kind in ("tEXt", "zTXt", "iTXt") and part.length > MAX_TEXT_BYTES:
            found.note(f"PNG {part.kind}: {part.length} bytes, more than {MAX_TEXT_BYTES}")
        elif part.kind in ("tEXt", "zTXt", "iTXt"):
            key, body = _png_text(part.kind, data[part.start : part.stop], inflater)
            _keep_png_text(key, body, part.kind, found)
    for problem in inflater.refused:
        found.note(problem)


def _png_text(kind: str, body: bytes, inflater: Inflater) -> tuple[str, bytes]:
    """Return (keyword, UTF-8 or raw bytes) of a text chunk."""
    key, _, rest = body.partition(b"\0")
    keyword = key.decode("latin-1")
    if kind == "tEXt":
        return keyword, rest
    if kind == "zTXt":
        return keyword, inflater.inflate(rest[1:], f"PNG zTXt {clean_text(keyword, 80)!r}")
    packed = rest[:1] == b"\1"
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return keyword, inflater.inflate(text, f"PNG iTXt {clean_text(keyword, 80)!r}") if packed else text


def _keep_png_text(key: str, body: bytes, kind: str, found: Payloads) -> None:
    where = f"PNG {kind}"
    raw = _RAW_PROFILE.fullmatch(key)
    if key == "XML:com.adobe.xmp":
        found.add("xmp", where, body)
    elif raw:
        _keep_raw_profile(raw[1].lower(), body, where, found)
    else:
        found.add_text(key, decode_text(body, MAX_TEXT_BYTES), where)


def _keep_raw_profile(kind: str, body: bytes, where: str, found: Payloads) -> None:
    """Keep a profile as ImageMagick writes it: name, length and hexadecimal digits on lines."""
    try:
        block = binascii.unhexlify(b"".join(body.split()[2:]))
    except (binascii.Error, ValueError):
        found.note(f"{where}: raw profile {kind} is not hexadecimal")
        return
    where = f"{where} raw profile"
    if kind in ("exif", "app1") and block.startswith(EXIF):
        found.add("exif", where, block[len(EXIF) :])
    elif kind == "exif":
        found.add("exif", where, block)
    elif kind == "xmp" or block.startswith(XMP):
        found.add("xmp", where, block.removeprefix(XMP))
    elif kind in ("iptc", "8bim"):
        found.add("photoshop" if block.startswith(b"8BIM") else "iptc", where, block)
    elif kind in ("icc", "icm"):
        found.add("icc", where, block)


def _webp(data: bytes, found: Payloads) -> None:
    kinds = {"EXIF": "exif", "XMP ": "xmp", "ICCP": "icc"}
    for part in riff_chunks(data):
        if part.kind in kinds:
            block = data[part.start : part.stop].removeprefix(EXIF)
            found.add(kinds[part.kind], f"WebP {part.kind.strip()}", block)


def _tiff(data: bytes, found: Payloads) -> None:
    try:
        tiff = walk_tiff(data)
    except DecodeError as error:
        found.note(str(error))
        return
    found.exif.append(("TIFF", data))
    kinds = {0x02BC: "xmp", 0x83BB: "iptc", 0x8649: "photoshop", 0x8773: "icc"}
    for ifd in tiff.ifds:
        for tag, kind in kinds.items():
            if tag in ifd.entries:
                found.add(kind, f"TIFF {ifd.name}", tiff.span(ifd.entries[tag]))


def _gif(data: bytes, found: Payloads) -> None:
    for part in gif_blocks(data):
        if part.kind == "extension:fe" and len(found.texts) < MAX_TEXTS:
            text = decode_text(sub_block_bytes(data, part, MAX_TEXT_BYTES), MAX_TEXT_BYTES)
            found.add_text("Comment", text, "GIF comment")
        elif part.kind == "application:XMP DataXMP":
            # The packet stands unblocked behind the identifier; 258 bytes let old readers skip it.
            found.add("xmp", "GIF application", data[part.start + 12 : max(part.start + 12, part.stop - 258)])
        elif part.kind == "application:ICCRGBG1012":
            found.add("icc", "GIF application", sub_block_bytes(data, part, _MAX_BLOCK)[11:])


def _heif(data: bytes, found: Payloads) -> None:
    heif = read_heif(data)
    found.transforms = heif.transforms
    found.add("icc", "HEIF colr", heif.icc)
    for item in islice(heif.of_kind("Exif"), MAX_BLOCKS):
        block = heif.content(data, item, _MAX_BLOCK)
        # Four bytes count the bytes between them and the TIFF header.
        skip = 4 + int.from_bytes(block[:4], "big")
        found.add("exif", "HEIF Exif", block[skip:].removeprefix(EXIF))
    for item in islice(heif.of_kind("mime", "application/rdf+xml"), MAX_BLOCKS):
        found.add("xmp", "HEIF mime", heif.content(data, item, _MAX_BLOCK))


def _pdf(data: bytes, found: Payloads) -> None:
    start = 0
    for _ in range(MAX_BLOCKS):
        start = data.find(b"<x:xmpmeta", start)
        stop = data.find(b"</x:xmpmeta>", start) if start >= 0 else -1
        if stop < 0:
            break
        found.add("xmp", "PDF stream", data[start : stop + 12])
        start = stop
    for key, text in _pdf_information(data).items():
        if text:
            found.add_text(key, text, "PDF information")


def _pdf_information(data: bytes) -> dict[str, str]:
    """Document information by PDFium, where it is installed; encrypted or damaged files give nothing."""
    try:
        import pypdfium2
    except ImportError:
        return {}
    try:
        with pypdfium2.PdfDocument(data) as document:
            return {str(k): str(v) for k, v in document.get_metadata_dict(skip_empty=True).items()}
    except pypdfium2.PdfiumError:
        return {}


_FINDERS: dict[str, Callable[[bytes, Payloads], None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "TIFF": _tiff,
    "GIF": _gif,
    "HEIC": _heif,
    "HEIF": _heif,
    "AVIF": _heif,
    "PDF": _pdf,
}
