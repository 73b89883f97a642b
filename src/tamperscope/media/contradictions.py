"""Compares what the parts of a file's metadata say of one another and of the picture; none of it is a proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tamperscope.types import Finding, Severity

# A clock without time zone may be off by this much against another one (UTC-12 … UTC+14 against UTC).
_ZONE_SLACK = timedelta(hours=14)
_TIME_LIMIT = timedelta(hours=24)
_QUOTE = 200
_MAX_STEPS = 20

_EDITORS = re.compile(
    r"""\b(?:
    Adobe\ (?:Photoshop|Illustrator|InDesign|Fireworks|ImageReady|Express|Bridge)|Photoshop|GIMP|Paint\.NET|
    paint\.net|Affinity|Pixelmator|Paint\ ?Shop|PhotoImpact|PhotoDraw|Corel|PhotoScape|Photopea|PhotoPad|PhotoFiltre|
    PhotoStudio|PhotoSuite|Photo-?Plus|Krita|Inkscape|Snapseed|PicsArt|Canva|Facetune|FaceApp|Meitu|BeautyPlus|
    Beauty\ ?Cam|YouCam|AirBrush|VSCO|Polarr|Fotor|BeFunky|Pixlr|Picnik|Luminar|Topaz|Noise\ Ninja|Neat\ Image|
    remove\.bg|Remini|Lensa|Prisma|PhotoRoom|Microsoft\ (?:Office\ Picture\ Manager|Paint)|Windows\ Paint|mspaint|
    Figma|CorelDRAW|FireAlpaca|Clip\ Studio|Procreate|Photomatix|Aurora\ HDR|PTGui|Hugin|Autopano|AutoStitch|
    ImageMagick|GraphicsMagick|Nik\ Collection|Google\ Photos|Instagram|Snapchat|LINE\ Camera|CamScanner
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_CONVERTERS = re.compile(
    r"""\b(?:
    Lightroom|Adobe\ Camera\ Raw|Camera\ Raw|Capture\ One|darktable|RawTherapee|ART\ \d|DxO|Aperture|SilkyPix|
    Silkypix|UFRaw|Bibble|Corel\ AfterShot|RAW\ FILE\ CONVERTER|Digital\ Photo\ Professional|Capture\ NX|
    ViewNX|NX\ Studio|PhotoLab|Phase\ One|Photo\ Desk|Photo\ Ninja|Exposure\ X\d|ON1
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ORGANISERS = re.compile(
    r"""\b(?:
    Picasa|digiKam|ACDSee|FastStone|IrfanView|XnView|iPhoto|Shotwell|gThumb|Windows\ (?:Live\ )?Photo|
    Microsoft\ (?:Windows\ (?:Live\ )?Photo|Photo\ (?:Gallery|Editor))|QuickTime|FinePixViewer|CAMEDIA\ Master|
    ZoomBrowser|ImageBrowser|Photo\ Mechanic|PhotoStation|Fotoware|Apple\ Photos|Photos\ \d|EXIFutils|ExifTool|
    Preview\ \d
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_KINDS = ((_EDITORS, "editor"), (_CONVERTERS, "raw converter"), (_ORGANISERS, "organiser"))
_EDIT_STEPS = {"edited", "saved", "converted", "derived", "cropped", "resized", "filtered", "copied", "pasted"}


class Metadata:
    """Reads single values out of the facts that `read_metadata` gathered."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def exif(self, tag: str, ifd: str = "") -> Any:
        """Return the value of an EXIF tag, from one directory or from the first of IFD0 and Exif that has it."""
        for name in (ifd,) if ifd else ("IFD0", "Exif"):
            value = self.facts.get("exif", {}).get(name, {}).get(tag)
            if value is not None:
                return value
        return None

    def text(self, tag: str, ifd: str = "") -> str:
        """Return the value of an EXIF tag when it is a text, stripped, else an empty one."""
        value = self.exif(tag, ifd)
        return value.strip() if isinstance(value, str) else ""

    def whole(self, tag: str, ifd: str = "") -> int | None:
        """Return the value of an EXIF tag when it is a whole number."""
        value = self.exif(tag, ifd)
        return value if isinstance(value, int) else None

    def xmp(self, path: str) -> str:
        """Return an XMP property, stripped, or an empty text."""
        return str(self.facts.get("xmp", {}).get("properties", {}).get(path, "")).strip()

    def iptc(self, name: str) -> str:
        """Return an IPTC dataset, the first when repeated, or an empty text."""
        value = self.facts.get("iptc", {}).get(name, "")
        return str(value[0] if isinstance(value, list) and value else value or "").strip()


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as one field states it; `offset` is None where the time zone is unknown."""

    name: str
    text: str
    clock: datetime
    offset: timedelta | None

    def gap(self, other: Moment) -> timedelta:
        """Return how far two moments lie apart beyond what unknown time zones explain."""
        if self.offset is not None and other.offset is not None:
            return abs((self.clock - self.offset) - (other.clock - other.offset))
        return max(timedelta(0), abs(self.clock - other.clock) - _ZONE_SLACK)


_CLOCK = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?")


def parse_moment(name: str, text: str, offset: str = "") -> Moment | None:
    """Return the moment that an EXIF or ISO 8601 text states, or None when it states none."""
    match = _CLOCK.match(text.strip())
    if match is None:
        return None
    try:
        clock = datetime(*(int(part or 0) for part in match.groups()[:6]))  # type: ignore[arg-type]
    except ValueError:
        return None
    zone = match[7] or (offset.strip() if re.fullmatch(r"\s*(?:Z|[+-]\d\d:?\d\d)\s*", offset) else "")
    if not 1900 <= clock.year <= 2200:
        return None
    if zone in ("", "Z"):
        return Moment(name, text, clock, timedelta(0) if zone else None)
    sign = -1 if zone[0] == "-" else 1
    return Moment(name, text, clock, sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])))


def find_contradictions(facts: dict[str, Any], size: tuple[int, int] | None) -> list[Finding]:
    """Return the contradictions and the traces of editing software in gathered facts.

    Args:
        facts: As `read_metadata` returns them.
        size: Decoded (H, W), or None when unknown.
    """
    meta = Metadata(facts)
    editors = list(_software(meta))
    return [
        *_times(meta),
        *editors,
        *_dimensions(meta, size),
        *_camera(meta, bool(editors)),
        *_position(meta),
        *_history(meta),
        *_colour(meta),
    ]


def _contradiction(
    code: str, text: str, left: tuple[str, Any], right: tuple[str, Any], severity: Severity = "notice", **more: Any
) -> Finding:
    """Return a finding that names both fields with their values."""
    sides = [{"field": name, "value": v[:_QUOTE] if isinstance(v, str) else v} for name, v in (left, right)]
    return Finding(code, text, severity, {"left": sides[0], "right": sides[1], **more}, "metadata")


def _moments(meta: Metadata) -> dict[str, Moment]:
    stamp, clock = meta.text("GPSDateStamp", "GPS"), meta.exif("GPSTimeStamp", "GPS")
    gps = ""
    if isinstance(clock, list) and len(clock) == 3 and all(isinstance(v, int | float) for v in clock):
        hour, minute, second = (int(v) for v in clock)
        gps = f"{stamp} {hour:02}:{minute:02}:{min(second, 59):02}Z"
    iptc = re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", meta.iptc("DateCreated"))
    iptc += re.sub(r"^(\d\d)(\d\d)(\d\d)", r"T\1:\2:\3", meta.iptc("TimeCreated"))
    found = {
        "modified": parse_moment("DateTime", meta.text("DateTime"), meta.text("OffsetTime")),
        "original": parse_moment("DateTimeOriginal", meta.text("DateTimeOriginal"), meta.text("OffsetTimeOriginal")),
        "digitized": parse_moment(
            "DateTimeDigitized", meta.text("DateTimeDigitized"), meta.text("OffsetTimeDigitized")
        ),
        "gps": parse_moment("GPSDateStamp + GPSTimeStamp", gps),
        "iptc": parse_moment("IPTC DateCreated + TimeCreated", iptc),
        "xmp modified": parse_moment("xmp:ModifyDate", meta.xmp("xmp:ModifyDate")),
        "xmp created": parse_moment("xmp:CreateDate", meta.xmp("xmp:CreateDate")),
        "xmp original": parse_moment("exif:DateTimeOriginal", meta.xmp("exif:DateTimeOriginal")),
        "xmp photoshop": parse_moment("photoshop:DateCreated", meta.xmp("photoshop:DateCreated")),
    }
    return {name: moment for name, moment in found.items() if moment is not None}


def _times(meta: Metadata) -> Iterator[Finding]:
    """Compare the times of taking with one another, and the times of saving with one another."""
    moments = _moments(meta)
    pairs = [("original", other) for other in moments if other not in ("original", "xmp modified")]
    for first, second in [*pairs, ("modified", "xmp modified")]:
        left, right = moments.get(first), moments.get(second)
        if left is None or right is None:
            continue
        gap = left.gap(right)
        if gap <= _TIME_LIMIT:
            continue
        hours = round(gap / timedelta(hours=1), 1)
        later = second == "modified" and right.clock > left.clock
        yield _contradiction(
            "time.saved_later" if later else "time.contradiction",
            f"The file was saved again {hours / 24:.0f} days after the picture was taken."
            if later
            else f"{left.name} and {right.name} differ by {hours / 24:.1f} days more than time zones explain.",
            (left.name, left.text),
            (right.name, right.text),
            hours_apart=hours,
        )


def _software(meta: Metadata) -> Iterator[Finding]:
    """Name the editing software that left its name in a field."""
    fields = {
        "Software": meta.text("Software"),
        "ProcessingSoftware": meta.text("ProcessingSoftware"),
        "xmp:CreatorTool": meta.xmp("xmp:CreatorTool"),
        "tiff:Software": meta.xmp("tiff:Software"),
        "pdf:Producer": meta.xmp("pdf:Producer"),
        "IPTC OriginatingProgram": meta.iptc("OriginatingProgram"),
    }
    fields |= {f"{t['where']} {t['key']}": t["text"] for t in meta.facts.get("text", []) if t["key"] == "Software"}
    for step in meta.facts.get("xmp", {}).get("history", [])[-1:]:
        fields["xmpMM:History softwareAgent"] = step.get("softwareAgent", "")
    seen = set()
    for name, text in fields.items():
        kind = next((kind for pattern, kind in _KINDS if pattern.search(text)), None)
        if kind is None or text in seen:
            continue
        seen.add(text)
        words = "An editing program" if kind == "editor" else f"A program of the kind '{kind}'"
        yield Finding(
            "exif.editor_software",
            f"{words} wrote this file; that is no proof of a change of content.",
            "notice",
            {"field": name, "value": text[:_QUOTE], "kind": kind},
            "metadata",
        )


def _dimensions(meta: Metadata, size: tuple[int, int] | None) -> Iterator[Finding]:
    """Compare the recorded width and height with the real ones; a rotated picture may have them swapped."""
    if size is None:
        return
    height, width = size
    recorded = {
        "PixelXDimension × PixelYDimension": (
            meta.whole("PixelXDimension", "Exif"),
            meta.whole("PixelYDimension", "Exif"),
        ),
        "exif:PixelXDimension × exif:PixelYDimension": (
            _whole(meta.xmp("exif:PixelXDimension")),
            _whole(meta.xmp("exif:PixelYDimension")),
        ),
        "tiff:ImageWidth × tiff:ImageLength": (
            _whole(meta.xmp("tiff:ImageWidth")),
            _whole(meta.xmp("tiff:ImageLength")),
        ),
    }
    for name, (wide, high) in recorded.items():
        if not wide or not high:
            continue
        if (wide, high) in ((width, height), (height, width)):
            continue
        yield _contradiction(
            "exif.dimension_mismatch",
            f"The metadata record {wide} × {high} pixels, the picture has {width} × {height}: "
            "it was resized or cropped after they were written.",
            (name, [wide, high]),
            ("picture", [width, height]),
        )


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text) else None


def _camera(meta: Metadata, edited: bool) -> Iterator[Finding]:
    """Compare what EXIF and XMP say of the camera, and look for a maker note that went missing."""
    pairs = (
        ("Make", "tiff:Make"),
        ("Model", "tiff:Model"),
        ("BodySerialNumber", "aux:SerialNumber"),
        ("BodySerialNumber", "exifEX:BodySerialNumber"),
    )
    for tag, path in pairs:
        left, right = meta.text(tag), meta.xmp(path)
        if left and right and _plain(left) != _plain(right):
            text = f"EXIF and XMP name a different camera: {tag} and {path} differ."
            yield _contradiction("camera.contradiction", text, (tag, left), (path, right))
    turned, described = meta.whole("Orientation", "IFD0"), _whole(meta.xmp("tiff:Orientation"))
    if turned and described and turned != described:
        text = "EXIF and XMP state different orientations: one of them was not updated."
        yield _contradiction(
            "orientation.contradiction", text, ("Orientation", turned), ("tiff:Orientation", described)
        )
    if edited and meta.text("Make") and meta.text("Model") and not meta.exif("MakerNote", "Exif"):
        text = "A camera is named, its maker note is missing and editing software left its name."
        camera = f"{meta.text('Make')} {meta.text('Model')}"[:_QUOTE]
        yield Finding("exif.maker_note_missing", text, "notice", {"camera": camera}, "metadata")


def _plain(text: str) -> str:
    return re.sub(r"[^0-9a-z]", "", text.casefold())


def _position(meta: Metadata) -> Iterator[Finding]:
    """Check that the GPS position is a place on Earth."""
    latitude = _degrees(meta.exif("GPSLatitude", "GPS"))
    longitude = _degrees(meta.exif("GPSLongitude", "GPS"))
    if latitude is None or longitude is None:
        return
    values = {"latitude": latitude, "longitude": longitude}
    if latitude > 90 or longitude > 180:
        text = "The GPS position is no place on Earth."
        yield Finding("gps.out_of_range", text, "notice", values, "metadata")
    elif latitude == longitude == 0:
        text = "The GPS position is 0° N 0° E, which programs write when they know none."
        yield Finding("gps.null_island", text, "notice", values, "metadata")


def _degrees(value: Any) -> float | None:
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(v, int | float) for v in value):
        return None
    return float(value[0] + value[1] / 60 + value[2] / 3600)


def _history(meta: Metadata) -> Iterator[Finding]:
    """Report edit steps, ancestors, local retouching and Photoshop resources."""
    xmp = meta.facts.get("xmp", {})
    steps = [s for s in xmp.get("history", []) if s.get("action", "").strip().lower() in _EDIT_STEPS]
    if steps:
        text = f"The XMP history lists {len(steps)} steps of saving, converting or editing."
        yield Finding("xmp.edit_history", text, "notice", {"steps": steps[:_MAX_STEPS]}, "metadata")
    if xmp.get("derived_from"):
        text = "The file states that it was derived from another document."
        yield Finding("xmp.derived_from", text, "info", {"source": xmp["derived_from"]}, "metadata")
    marks = ("crs:RetouchAreas", "crs:RetouchInfo", "crs:MaskGroupBasedCorrections", "crs:PaintBasedCorrections")
    local = sorted({mark for path in xmp.get("properties", {}) for mark in marks if path.startswith(mark)})
    if local:
        text = "The raw converter's settings include local retouching."
        yield Finding("xmp.local_retouching", text, "notice", {"settings": local}, "metadata")
    resources = meta.facts.get("photoshop", {}).get("resources", [])
    if resources:
        text = "Photoshop image resources are present; captions, too, are kept in them."
        names = [r["name"] for r in resources[:_MAX_STEPS]]
        yield Finding("photoshop.resources", text, "info", {"resources": names, "count": len(resources)}, "metadata")


def _colour(meta: Metadata) -> Iterator[Finding]:
    """Compare EXIF ColorSpace with the ICC profile."""
    profile = str(meta.facts.get("icc", {}).get("description", ""))
    if meta.whole("ColorSpace", "Exif") == 1 and profile and not re.search("srgb|61966|c2|web", profile, re.IGNORECASE):
        text = "EXIF says sRGB, the embedded ICC profile is another one."
        yield _contradiction("icc.contradiction", text, ("ColorSpace", "sRGB"), ("ICC profile", profile), "info")
