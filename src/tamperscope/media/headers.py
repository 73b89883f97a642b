"""Reads size, depth, frames and metadata bytes from the headers of a file and checks them against the limits.

Nothing is decoded here: this runs before any codec sees the bytes. The walkers resynchronise where the codecs do,
so that a codec does not find a larger picture than the one that was checked; `decode` compares both sizes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from tamperscope.errors import BudgetError, DecodeError
from tamperscope.media import jpeg_markers
from tamperscope.media.chunks import Part, bmff_boxes, gif_blocks, png_chunks, riff_chunks
from tamperscope.media.ifd import Ifd, Tiff, walk
from tamperscope.media.limits import Limits

# Below these sizes a lying header costs little, and a badly truncated file can still be shown.
_PLAUSIBLE_PIXELS = 16_000_000
_FREE_INFLATED = 64 * 2**10
_DEFLATE_RATIO = 1032  # the most that deflate can reach (zlib's technical notes)
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Tags of a TIFF file that hold or locate picture data rather than metadata.
_TIFF_PICTURE_TAGS = {273, 279, 324, 325, 330, 347, 513, 514}


@dataclass(frozen=True, slots=True)
class Header:
    """What the headers of a picture say.

    Attributes:
        width: In pixels; of the canvas where there is one.
        height: In pixels.
        bits: Bits per channel.
        frames: Frames or pages, where the format states or lists them.
        coding: `baseline`, `progressive`, `lossless` … for JPEG, else "".
        rotated: Whether the container asks for a rotation or mirroring (HEIC, AVIF).
        scan_start: Offset of the first byte of compressed picture data, for JPEG.
        problems: Damage met on the way, as phrases.
    """

    width: int
    height: int
    bits: int = 8
    frames: int = 1
    coding: str = ""
    scan_start: int = 0
    rotated: bool = False
    problems: tuple[str, ...] = ()


def check_header(data: bytes, fmt: str, limits: Limits) -> Header:
    """Return what the headers say, after checking it against `limits`.

    Args:
        data: The whole file.
        fmt: Type as returned by `sniff`, other than `PDF`.
        limits: What the file may ask for.

    Raises:
        BudgetError: The file asks for more than it may have, or for far more pixels than its bytes can hold.
        DecodeError: The headers are too damaged to tell the size.
    """
    readers = {
        "JPEG": _jpeg,
        "PNG": _png,
        "GIF": _gif,
        "BMP": _bmp,
        "WEBP": _webp,
        "TIFF": _tiff,
        "HEIC": _bmff,
        "AVIF": _bmff,
    }
    try:
        header = readers[fmt](data, limits)
    except (struct.error, IndexError) as error:
        raise DecodeError(f"{fmt}: the file ends inside its header ({len(data)} bytes)") from error
    if header.width < 1 or header.height < 1:
        raise DecodeError(f"{fmt}: the header claims {header.width} × {header.height} pixels")
    limits.check_size(header.width, header.height)
    limits.check("max_frames", header.frames, f"at least {header.frames:,} frames")
    return header


def _jpeg(data: bytes, limits: Limits) -> Header:
    layout = jpeg_markers.walk(data, header_only=True)
    parsed = jpeg_markers.parse_header(layout)
    if not parsed.frames:
        cause = next(iter(parsed.problems + layout.problems), "none before the picture data or the end of the file")
        raise DecodeError(f"JPEG: no frame header (SOF): {cause}")
    frame = parsed.frames[0]
    metadata, frames = 0, 1
    for part in layout.segments:
        if 0xE0 <= part.code <= 0xEF or part.code == jpeg_markers.COM:
            metadata += part.end - part.start
        if part.code == jpeg_markers.APP2 and data[part.start : part.start + 4] == b"MPF\0":
            frames = _mpf_pictures(data[part.start + 4 : part.end])
    limits.check("max_metadata_bytes", metadata, f"{metadata:,} bytes of metadata segments")
    if not layout.of(jpeg_markers.SOS) or layout.end >= len(data):
        raise DecodeError("JPEG: the file ends before the picture data")
    _check_scans(data, limits)
    _check_plausible(frame.width * frame.height, len(data) - layout.end, limits.min_bits_per_pixel, limits)
    coding = jpeg_markers.PROCESSES[frame.code]
    return Header(frame.width, frame.height, frame.precision, frames, coding, layout.end)


def _check_scans(data: bytes, limits: Limits) -> None:
    # Entropy-coded data cannot hold FF DA, but metadata can: the slow walk settles it.
    scans = data.count(b"\xff\xda")
    if scans > limits.max_scans:
        scans = len(jpeg_markers.walk(data).of(jpeg_markers.SOS))
    limits.check("max_scans", scans, f"{scans:,} scans")


def _check_plausible(pixels: int, payload: int, bits_per_pixel: float, limits: Limits) -> None:
    """Refuse a header that claims far more pixels than entropy coding can put into `payload` bytes."""
    if pixels <= _PLAUSIBLE_PIXELS or limits.min_bits_per_pixel == 0:
        return
    found = 8 * payload / pixels
    if found < bits_per_pixel:
        raise BudgetError(
            f"the header claims {pixels:,} pixels but only {payload:,} bytes of picture data follow: {found:.5f} bits "
            f"per pixel, while the coding needs {bits_per_pixel:.5f}"
        )


def _mpf_pictures(block: bytes) -> int:
    """Return the number of pictures that a multi-picture index (CIPA DC-007, tag B001) states; 1 when unreadable."""
    try:
        tiff = walk(block)
    except DecodeError:
        return 1
    ifd = tiff.get("IFD0")
    return max(1, _tag(tiff, ifd, 0xB001, 1)) if ifd else 1


def _tag(tiff: Tiff, ifd: Ifd, tag: int, default: int) -> int:
    entry = ifd.entries.get(tag)
    value = tiff.numbers(entry, 1) if entry else []
    return int(value[0]) if value and value[0] is not None else default


def _png(data: bytes, limits: Limits) -> Header:
    if data[12:16] != b"IHDR" or len(data) < 29:
        raise DecodeError("PNG: the first chunk is not a whole IHDR")
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    metadata, payload, frames = 0, 0, 1
    problems: list[str] = []
    for part in png_chunks(data):
        if part.kind in ("IHDR", "PLTE", "IDAT"):
            problems += _png_damage(data, part)
        if part.kind == "IDAT":
            payload += part.length
        elif part.kind == "acTL" and part.length >= 4:
            frames = max(1, int.from_bytes(data[part.start : part.start + 4], "big"))
        elif part.kind in ("iCCP", "zTXt", "iTXt", "tEXt", "eXIf"):
            metadata += _png_metadata(data, part, limits)
        limits.check("max_metadata_bytes", metadata, f"{metadata:,} bytes of metadata after decompression")
    _check_plausible(width * height, payload, png_depth(data) / _DEFLATE_RATIO, limits)
    return Header(width, height, bits, frames, problems=tuple(problems[:20]))


def png_depth(data: bytes) -> int:
    """Return the bits per pixel that the header of a PNG states."""
    return data[24] * _PNG_CHANNELS.get(data[25], 1)


def _png_damage(data: bytes, part: Part) -> list[str]:
    if part.end > len(data):
        return [f"chunk {part.kind} at byte {part.offset:,} is cut off after {part.length:,} bytes"]
    stated = int.from_bytes(data[part.stop : part.stop + 4], "big")
    found = zlib.crc32(memoryview(data)[part.offset + 4 : part.stop])
    return [] if found == stated else [f"chunk {part.kind} at byte {part.offset:,} has a wrong check sum"]


def _png_metadata(data: bytes, part: Part, limits: Limits) -> int:
    """Return the bytes of a text, profile or EXIF chunk after decompression, without inflating over the limit."""
    packed = b""
    if part.kind in ("iCCP", "zTXt"):
        packed = data[part.start : part.stop].partition(b"\0")[2][1:]
    elif part.kind == "iTXt":
        _, _, rest = data[part.start : part.stop].partition(b"\0")
        if rest[:1] == b"\1":
            packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    if not packed:
        return part.length
    try:
        inflated = len(zlib.decompressobj().decompress(packed, limits.max_metadata_bytes + 1))
    except zlib.error:
        return part.length
    if inflated > _FREE_INFLATED:
        what = f"a {part.kind} chunk of {len(packed):,} bytes that inflates to {inflated:,} or more"
        limits.check("max_inflate_ratio", inflated / len(packed), what)
    return inflated


def _gif(data: bytes, limits: Limits) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    frames, metadata = 0, 0
    for part in gif_blocks(data):
        if part.kind == "image":
            frames += 1
            if frames == 1:
                left, top, wide, high = struct.unpack_from("<4H", data, part.offset + 1)
                width, height = max(width, left + wide), max(height, top + high)
        else:
            metadata += part.length
        if frames > limits.max_frames:
            break
    if frames == 0:
        raise DecodeError("GIF: the file holds no frame")
    limits.check("max_metadata_bytes", metadata, f"{metadata:,} bytes of extension blocks")
    return Header(width, height, frames=frames)


def _bmp(data: bytes, limits: Limits) -> Header:
    if int.from_bytes(data[14:18], "little") == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    return Header(abs(width), abs(height), min(bits, 8))


def _webp(data: bytes, limits: Limits) -> Header:
    size, frames, metadata = (0, 0), 0, 0
    for part in riff_chunks(data):
        body = data[part.start : part.start + 10]
        if part.kind == "VP8X":
            size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
        elif part.kind == "VP8 " and size == (0, 0):
            wide, high = struct.unpack_from("<HH", body, 6)
            size = (wide & 0x3FFF, high & 0x3FFF)
        elif part.kind == "VP8L" and size == (0, 0):
            packed = int.from_bytes(body[1:5], "little")
            size = (1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF))
        elif part.kind == "ANMF":
            frames += 1
        elif part.kind in ("EXIF", "XMP ", "ICCP"):
            metadata += part.length
    limits.check("max_metadata_bytes", metadata, f"{metadata:,} bytes of metadata chunks")
    if size == (0, 0):
        raise DecodeError("WEBP: no VP8, VP8L or VP8X chunk")
    announced = 8 + int.from_bytes(data[4:8], "little")
    problems = () if announced <= len(data) else (f"the file is cut off after {len(data):,} of {announced:,} bytes",)
    return Header(*size, frames=max(1, frames), problems=problems)


def _tiff(data: bytes, limits: Limits) -> Header:
    tiff = walk(data)
    first = tiff.get("IFD0")
    if first is None:
        raise DecodeError(f"TIFF: no image file directory; {'; '.join(tiff.problems[:2])}")

    metadata = sum(e.size for e in first.entries.values() if e.tag not in _TIFF_PICTURE_TAGS)
    limits.check("max_metadata_bytes", metadata, f"{metadata:,} bytes of tags")
    pages = sum(1 for ifd in tiff.ifds if ifd.depth == 0)
    width, height, bits = (_tag(tiff, first, tag, default) for tag, default in ((256, 0), (257, 0), (258, 1)))
    problems = tuple(p for p in tiff.problems if p.startswith("IFD0"))
    return Header(width, height, bits, pages, problems=problems)


def _bmff(data: bytes, limits: Limits) -> Header:
    """Return the largest size among the image properties (ISO/IEC 23008-12, `ispe`); tiles are smaller."""
    size, bits, rotated = (0, 0), 8, False
    for meta in bmff_boxes(data):
        if meta.kind != "meta":
            continue
        for iprp in (p for p in bmff_boxes(data, meta.start + 4, meta.stop) if p.kind == "iprp"):
            for ipco in (p for p in bmff_boxes(data, iprp.start, iprp.stop) if p.kind == "ipco"):
                for part in bmff_boxes(data, ipco.start, ipco.stop):
                    if part.kind == "ispe" and part.length >= 12:
                        found = struct.unpack_from(">II", data, part.start + 4)
                        size = max(size, found, key=lambda s: s[0] * s[1])
                    elif part.kind == "pixi" and part.length >= 6:
                        bits = max(bits, data[part.start + 5])
                    elif part.kind == "imir" or (part.kind == "irot" and data[part.start] & 3):
                        rotated = True
    if size == (0, 0):
        raise DecodeError("the file states no image size (no ispe property)")
    return Header(*size, bits=bits, rotated=rotated)
