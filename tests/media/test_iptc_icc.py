"""IPTC-IIM, Photoshop resources and ICC profiles against Pillow and by hand-made blocks."""

from __future__ import annotations

import hashlib
import io
import struct

import pytest
from metadata_builders import add_jpeg_segment, encode_with, iim, resource, srgb_profile
from PIL import Image, ImageCms, IptcImagePlugin

from tamperscope.media.icc import read_icc
from tamperscope.media.iptc import MAX_DATASETS, MAX_RESOURCES, read_iptc, read_photoshop

RECORD = iim((2, 80, b"Somebody"), (2, 25, b"boat"), (2, 25, b"sea"), (2, 110, b"Agency"), (2, 120, b"A caption"))


def test_datasets_equal_what_pillow_reads():
    data = add_jpeg_segment(encode_with("JPEG"), 0xED, b"Photoshop 3.0\0" + resource(0x0404, RECORD))
    theirs = IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(data)))
    ours, findings = read_iptc(RECORD, "test")
    assert findings == []
    assert ours["Byline"] == theirs[2, 80].decode()
    assert ours["Keywords"] == [k.decode() for k in theirs[2, 25]]
    assert ours["Credit"] == theirs[2, 110].decode()


def test_character_set_and_long_datasets():
    text = "Grüße " * 400
    raw = text.encode()
    long = struct.pack(">BBBHI", 0x1C, 2, 120, 0x8004, len(raw)) + raw
    facts, findings = read_iptc(iim((1, 90, b"\x1b%G")) + long, "test")
    assert findings == []
    assert facts["Caption"].startswith("Grüße Grüße")
    assert len(facts["Caption"]) == 2048
    assert read_iptc(iim((2, 90, b"Z\xfcrich")), "test")[0] == {"City": "Zürich"}


def test_resources_quality_and_digest():
    right = hashlib.md5(RECORD).digest()
    block = resource(0x0404, RECORD, b"odd") + resource(0x0406, struct.pack(">hhh", 8, 1, 3)) + resource(0x0425, right)
    facts, findings = read_photoshop(block, "test")
    assert findings == []
    assert [r["id"] for r in facts["resources"]] == [0x0404, 0x0406, 0x0425]
    assert facts["jpeg_quality"] == 12
    assert facts["iptc"]["Byline"] == "Somebody"
    changed = block.replace(b"Somebody", b"Somebadi")
    assert [f.code for f in read_photoshop(changed, "test")[1]] == ["iptc.digest_mismatch"]


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (resource(0x0404, RECORD)[:-3], "photoshop.damaged"),
        (b"8BIM\4\4\0\0\xff\xff\xff\xff", "photoshop.damaged"),
        (b"not a resource at all", "photoshop.damaged"),
        (resource(0x0404, RECORD[:-2]), "iptc.damaged"),
        (resource(0x0404, b"\x1c\2\x78\xff\xff\1"), "iptc.damaged"),
        (resource(0x0404, b"garbage"), "iptc.damaged"),
        (resource(0x03ED, b"") * (MAX_RESOURCES + 1), "photoshop.damaged"),
        (resource(0x0404, iim((2, 25, b"k")) * (MAX_DATASETS + 1)), "iptc.damaged"),
    ],
)
def test_damage_is_reported(block, code):
    assert code in [f.code for f in read_photoshop(block, "test")[1]]


@pytest.mark.parametrize("space", ["sRGB", "LAB", "XYZ"])
def test_profile_equals_what_littlecms_reads(space):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(space))
    facts, findings = read_icc(profile.tobytes(), "test")
    assert findings == []
    assert facts["description"] == ImageCms.getProfileDescription(profile).strip()
    assert facts["copyright"] == ImageCms.getProfileCopyright(profile).strip()
    assert facts["color_space"] == profile.profile.xcolor_space.strip()
    assert float(facts["version"][:3]) == pytest.approx(profile.profile.version, abs=0.05)
    assert facts["bytes"] == len(profile.tobytes())


def test_profiles_that_lie():
    profile = srgb_profile()
    assert [f.code for f in read_icc(profile + b"more", "test")[1]] == ["icc.damaged"]
    assert [f.code for f in read_icc(profile[:100], "test")[1]] == ["icc.damaged"]
    tags = profile[:128] + struct.pack(">I", 2**32 - 1) + profile[132:]
    _, findings = read_icc(tags, "test")
    assert "only 128 are read" in str(findings[0].values["problems"])
    outside = bytearray(profile)
    struct.pack_into(">I", outside, 132 + 4, 2**31)
    assert "outside the profile" in str(read_icc(bytes(outside), "test")[1][0].values["problems"])
