"""Contradictions: consistent metadata say nothing, each intervention brings its own finding and no other."""

from __future__ import annotations

import pytest
from metadata_builders import camera_exif, encode_with, srgb_profile, xmp_packet
from PIL import ImageCms

from tamperscope.media.contradictions import parse_moment
from tamperscope.media.metadata import read_metadata

SIZE = (48, 64)


def findings(exif=None, xmp: bytes = b"", icc: bytes = b"", size=SIZE, texts=None, fmt: str = "JPEG"):
    block = (exif or camera_exif()).tobytes()
    return {f.code: f for f in read_metadata(encode_with(fmt, block, xmp, icc, texts), fmt, size)[1]}


CONSISTENT = xmp_packet(
    'xmp:ModifyDate="2024-05-01T10:00:00+02:00" xmp:CreateDate="2024-05-01T10:00:00" tiff:Make="CANON" '
    'tiff:Model="Canon EOS 80D" tiff:Orientation="6" exif:PixelXDimension="64" exif:PixelYDimension="48" '
    'photoshop:DateCreated="2024-05-01T10:00:00"'
)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), None])
def test_an_untouched_original_gives_no_finding(size):
    assert findings(xmp=CONSISTENT, icc=srgb_profile(), size=size) == {}


TIMES = [
    ({"t0x0132": "2024:05:09 10:00:00"}, "", "time.saved_later"),
    ({"t0x0132": "2024:04:20 10:00:00"}, "", "time.contradiction"),
    ({"e0x9004": "2020:05:01 10:00:00"}, "", "time.contradiction"),
    ({"g29": "2024:05:04"}, "", "time.contradiction"),
    ({}, 'xmp:ModifyDate="2025-05-01T10:00:00Z"', "time.contradiction"),
    ({}, 'xmp:CreateDate="2025-05-01T10:00:00Z"', "time.contradiction"),
    ({}, 'photoshop:DateCreated="2023-05-01T10:00"', "time.contradiction"),
    ({}, 'exif:DateTimeOriginal="2024-05-04T10:00:00"', "time.contradiction"),
]


@pytest.mark.parametrize(("tags", "properties", "code"), TIMES)
def test_times_that_disagree_by_days(tags, properties, code):
    found = findings(camera_exif(**tags), xmp_packet(properties))
    assert list(found) == [code]
    assert found[code].severity == "notice"
    values = found[code].values
    assert values["left"]["value"] != values["right"]["value"]
    assert values["hours_apart"] > 24


@pytest.mark.parametrize(
    ("digitized", "zones", "flagged"),
    [
        ("2024:05:02 11:00:00", None, False),  # 25 h apart: two clocks without zones may be 14 h off
        ("2024:05:03 01:00:00", None, True),  # 39 h
        ("2024:05:02 11:00:00", ("+00:00", "+00:00"), True),  # 25 h, zones known
        ("2024:05:02 11:00:00", ("+00:00", "+02:00"), False),  # 23 h
        ("2024:05:02 09:00:00", ("+02:00", "-02:00"), True),  # 23 h on the clock, 27 h in truth
    ],
)
def test_time_zones_are_taken_into_account(digitized, zones, flagged):
    more = {"e0x9011": zones[0], "e0x9012": zones[1]} if zones else {}
    found = findings(camera_exif(e0x9004=digitized, **more))
    assert ("time.contradiction" in found) is flagged


@pytest.mark.parametrize(
    "text",
    ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "2024:13:40 99:00:00", "", "9999:12:31 23:59:59"],
)
def test_blank_and_impossible_times_are_neutral(text):
    assert parse_moment("x", text) is None
    assert findings(camera_exif(e0x9003=text)) == {}


@pytest.mark.parametrize(
    ("software", "kind"),
    [
        ("Adobe Photoshop 25.0 (Windows)", "editor"),
        ("GIMP 2.10.34", "editor"),
        ("paint.net 5.0.13", "editor"),
        ("Snapseed 2.21", "editor"),
        ("Adobe Photoshop Lightroom Classic 13.2", "editor"),
        ("Adobe Lightroom 7.0", "raw converter"),
        ("darktable 4.6.1", "raw converter"),
        ("Picasa", "organiser"),
        ("Microsoft Windows Photo Viewer 10.0", "organiser"),
    ],
)
def test_editors_are_named(software, kind):
    found = findings(camera_exif(t0x0131=software))
    assert list(found) == ["exif.editor_software"]
    assert (found["exif.editor_software"].values["value"], found["exif.editor_software"].values["kind"]) == (
        software,
        kind,
    )
    assert "exif.editor_software" in findings(xmp=xmp_packet(f'xmp:CreatorTool="{software}"'))


@pytest.mark.parametrize(
    "software",
    ["Digital Camera X-E1 Ver2.61", "8.3", "Ver.1.00u", "HDR+ 1.0.6", "Gimpel Camera", "00WW_3_380_SP02", "V4.00"],
)
def test_firmware_is_no_editor(software):
    assert findings(camera_exif(t0x0131=software)) == {}


def test_png_software_text_is_read():
    found = findings(fmt="PNG", texts={"Software": "Adobe ImageReady"})
    assert found["exif.editor_software"].values["value"] == "Adobe ImageReady"


def test_dimensions():
    found = findings(size=(24, 32))
    assert found["exif.dimension_mismatch"].values["left"]["value"] == [64, 48]
    assert found["exif.dimension_mismatch"].values["right"]["value"] == [32, 24]
    found = findings(xmp=xmp_packet('exif:PixelXDimension="4000" exif:PixelYDimension="3000"'))
    assert list(found) == ["exif.dimension_mismatch"]


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ('tiff:Make="Nikon"', "camera.contradiction"),
        ('tiff:Model="Canon EOS 5D"', "camera.contradiction"),
        ('tiff:Orientation="1"', "orientation.contradiction"),
    ],
)
def test_exif_against_xmp(properties, code):
    found = findings(xmp=xmp_packet(properties))
    assert list(found) == [code]
    assert found[code].severity == "notice"


def test_a_missing_maker_note_counts_only_beside_an_editor():
    assert findings(camera_exif(e0x927C=None)) == {}
    edited = {"t0x0131": "GIMP 2.10"}
    assert "exif.maker_note_missing" not in findings(camera_exif(**edited))
    assert "exif.maker_note_missing" in findings(camera_exif(e0x927C=None, **edited))
    assert "exif.maker_note_missing" not in findings(camera_exif(e0x927C=None, t0x010F=None, **edited))


@pytest.mark.parametrize(
    ("latitude", "longitude", "code"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "gps.null_island"),
        ((91.0, 0.0, 0.0), (13.0, 0.0, 0.0), "gps.out_of_range"),
        ((52.0, 0.0, 0.0), (181.0, 0.0, 0.0), "gps.out_of_range"),
        ((0.0, 0.0, 0.0), (13.0, 0.0, 0.0), None),
    ],
)
def test_positions(latitude, longitude, code):
    assert list(findings(camera_exif(g2=latitude, g4=longitude))) == ([code] if code else [])


def test_history_ancestors_and_retouching():
    steps = "".join(
        f'<rdf:li rdf:parseType="Resource"><stEvt:action xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#">'
        f"{action}</stEvt:action></rdf:li>"
        for action in ("created", "converted", "saved")
    )
    found = findings(xmp=xmp_packet(children=f"<xmpMM:History><rdf:Seq>{steps}</rdf:Seq></xmpMM:History>"))
    assert [s["action"] for s in found["xmp.edit_history"].values["steps"]] == ["converted", "saved"]
    found = findings(
        xmp=xmp_packet(children='<xmpMM:DerivedFrom><rdf:Description xmpMM:documentID="a"/></xmpMM:DerivedFrom>')
    )
    assert found["xmp.derived_from"].severity == "info"
    area = "<crs:RetouchAreas><rdf:Seq><rdf:li>heal</rdf:li></rdf:Seq></crs:RetouchAreas>"
    assert findings(xmp=xmp_packet(children=area))["xmp.local_retouching"].severity == "notice"


def test_colour_space():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert findings(icc=lab)["icc.contradiction"].severity == "info"
    assert findings(camera_exif(e0xA001=65_535), icc=lab) == {}
