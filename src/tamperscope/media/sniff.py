"""Tells the type of a file from its first bytes, and says what the refused ones are."""

from __future__ import annotations

import re

# Bytes that `sniff` and `describe` look at; a PDF header may start anywhere in the first 1024 (ISO 32000, annex H).
HEAD = 1024

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
# Sizes of the headers that a BMP may have after its 14 bytes; two letters alone are too weak a magic.
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}
_AVIF_BRANDS = {b"avif", b"avis"}

_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"SIMPLE  =", "a FITS image"),
    (b"%!PS", "PostScript (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (b"PK\3\4", "a ZIP archive or an Office document"),
    (b"PK\5\6", "an empty ZIP archive"),
    (b"\x7fELF", "a Linux program (ELF)"),
    (b"MZ", "a Windows program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"Rar!\x1a\7", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ\0", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\0\0\1\0", "a Windows icon (ICO)"),
    (b"\0\0\2\0", "a Windows cursor (CUR)"),
    (b"icns", "a macOS icon"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"DDS ", "a DirectDraw texture"),
    (b"qoif", "QOI"),
    (b"BPG\xfb", "BPG"),
    (b"gimp xcf", "a GIMP project (XCF)"),
    (b"II\xbc\1", "JPEG XR"),
    (b"IIRO", "an Olympus raw picture"),
    (b"FUJIFILMCCD-RAW", "a Fujifilm raw picture"),
    (b"IIU\0", "a Panasonic raw picture"),
    (b"FOVb", "a Sigma raw picture"),
    (b"\x8aMNG", "an MNG animation"),
    (b"\x8bJNG", "JNG"),
    (b"FLV\1", "a Flash video"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (b"OggS", "Ogg audio or video"),
    (b"ID3", "MP3 audio"),
    (b"fLaC", "FLAC audio"),
    (b"\0\0\1\xba", "MPEG video"),
    (b"\0\0\1\xb3", "MPEG video"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\4\x95", "a Python pickle"),
    (b"\x80\5\x95", "a Python pickle"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"P4", "a Netpbm picture"),
    (b"P5", "a Netpbm picture"),
    (b"P6", "a Netpbm picture"),
    (b"P7", "a Netpbm picture"),
    (b"#!", "a script"),
)
_MARKUP: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "SVG"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?php", "a PHP script"),
    (b"<?xml", "XML"),
)
_RIFF = {b"WAVE": "WAV audio", b"AVI ": "AVI video"}

_BY_EXTENSION = {
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "jpe": "JPEG",
    "jfif": "JPEG",
    "mpo": "JPEG",
    "png": "PNG",
    "apng": "PNG",
    "webp": "WEBP",
    "tif": "TIFF",
    "tiff": "TIFF",
    "dng": "TIFF",
    "bmp": "BMP",
    "dib": "BMP",
    "gif": "GIF",
    "heic": "HEIC",
    "heif": "HEIC",
    "hif": "HEIC",
    "avif": "AVIF",
    "pdf": "PDF",
    "svg": "SVG",
    "psd": "PSD",
    "zip": "ZIP",
    "mp4": "MP4",
    "m4v": "MP4",
    "mov": "MP4",
    "mkv": "Matroska",
    "webm": "Matroska",
    "avi": "AVI",
    "txt": "text",
    "html": "HTML",
}


def sniff(data: bytes) -> str | None:
    """Return the type that the first bytes show, or None when it is not on the list of allowed ones.

    Args:
        data: At least the first `HEAD` bytes of the file, where it has that many.

    Returns:
        `JPEG` (also MPO), `PNG`, `WEBP`, `TIFF` (also BigTIFF), `BMP`, `GIF`, `HEIC`, `AVIF`, `PDF` or None.
    """
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp":
        return _sniff_bmff(data)
    if re.match(rb"[\0\t\n\f\r \xef\xbb\xbf]*%PDF-\d", data[:HEAD]):
        return "PDF"
    return None


def _brands(data: bytes) -> list[bytes]:
    """Return the major and the compatible brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return [data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))]


def _sniff_bmff(data: bytes) -> str | None:
    brands = _brands(data)
    if any(b in _AVIF_BRANDS for b in brands):
        return "AVIF"
    if any(b in _HEIC_BRANDS for b in brands):
        return "HEIC"
    return None


def describe(data: bytes) -> str:
    """Return what refused bytes seem to be, in words that complete "it is …"."""
    if not data:
        return "empty"
    for magic, name in _REFUSED:
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return f"MP4, QuickTime or another ISO media file (brand {data[8:12]!r})"
    if data[:4] == b"RIFF":
        return _RIFF.get(bytes(data[8:12]), "a RIFF file that is not WebP")
    return _describe_text(data[:HEAD])


def _describe_text(head: bytes) -> str:
    lowered = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    # An SVG may open with an XML declaration, comments and a doctype.
    if b"<svg" in lowered and lowered.startswith(b"<"):
        return "SVG"
    for magic, name in _MARKUP:
        if lowered.startswith(magic):
            return name
    if b"\0" not in head:
        try:
            head.decode("utf-8")
        except UnicodeDecodeError as error:
            # A character that the cut at HEAD split is no proof of binary data.
            if len(head) < HEAD or error.start < len(head) - 3:
                return "of no type that is known here"
        return "text"
    return "of no type that is known here"


def type_by_extension(name: str) -> str | None:
    """Return the type that a file name claims, in the words of `sniff`, or None for an unknown ending."""
    stem, dot, extension = name.rpartition(".")
    return _BY_EXTENSION.get(extension.strip().lower()) if dot and stem else None
