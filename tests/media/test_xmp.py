"""XMP: flat properties, history, and packets that attack the parser."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from metadata_builders import XMP, xmp_packet

from tamperscope.media.xmp import MAX_DEPTH, MAX_ELEMENTS, MAX_ITEMS, MAX_PACKET, MAX_PROPERTIES, read_xmp


def read(packet: bytes):
    facts, findings = read_xmp(packet, "test")
    json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
    return facts, [f.code for f in findings]


def test_all_forms_of_rdf_become_flat_properties():
    facts, codes = read(XMP.encode())
    assert codes == []
    assert facts["toolkit"] == "Test Core 1.0"
    assert facts["properties"] == {
        "xmp:CreatorTool": "Adobe Photoshop 25.0",
        "tiff:Make": "Canon",
        "dc:title": "A harbour",
        "dc:subject[1]": "boat",
        "dc:subject[2]": "sea",
        "xmpMM:History[1]/stEvt:action": "created",
        "xmpMM:History[1]/stEvt:softwareAgent": "Adobe Photoshop 25.0",
        "xmpMM:History[2]/stEvt:action": "saved",
        "xmpMM:History[2]/stEvt:changed": "/",
        "xmpMM:DerivedFrom/stRef:documentID": "xmp.did:1234",
    }
    assert facts["history"] == [
        {"action": "created", "softwareAgent": "Adobe Photoshop 25.0"},
        {"action": "saved", "changed": "/"},
    ]
    assert facts["derived_from"] == {"documentID": "xmp.did:1234"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_and_padding_do_not_matter(encoding):
    facts, codes = read(XMP.encode(encoding) + b"\0" * 64 * (encoding != "utf-16"))
    assert codes == []
    assert facts["properties"]["dc:title"] == "A harbour"


def test_resource_attributes_and_qualified_values():
    packet = xmp_packet(
        children='<Iptc4xmpExt:DigitalSourceType rdf:resource="http://x/digitalCapture"/>'
        "<dc:source><rdf:Description><rdf:value>a scan</rdf:value></rdf:Description></dc:source>"
    )
    found = read(packet)[0]["properties"]
    assert found["Iptc4xmpExt:DigitalSourceType"] == "http://x/digitalCapture"
    assert found["dc:source"] == "a scan"


def test_illegal_characters_are_removed_and_reported():
    facts, codes = read(xmp_packet('xmp:CreatorTool="a\x01b"'))
    assert facts["properties"]["xmp:CreatorTool"] == "ab"
    assert codes == ["xmp.damaged"]


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    b"<x>&c;</x>"
)
EXTERNAL = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><x>&e;</x>'


@pytest.mark.parametrize(
    "packet", [BOMB, EXTERNAL, EXTERNAL.decode().encode("utf-16"), b'<!DOCTYPE x SYSTEM "a.dtd"><x/>']
)
def test_document_types_and_entities_are_refused(packet):
    facts, findings = read_xmp(packet, "test")
    assert facts["properties"] == {}
    assert [f.code for f in findings] == ["xmp.damaged"]
    assert "entities" in findings[0].values["problems"][0]


@pytest.mark.parametrize(
    "packet",
    [
        b"<a>" * 300_000,
        b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
        b"<a>" + b"<b/>" * (MAX_ELEMENTS + 1) + b"</a>",
    ],
)
def test_depth_and_elements_are_bounded(packet):
    began = time.perf_counter()
    assert read(packet) == (
        {"bytes": len(packet), "toolkit": "", "properties": {}, "history": [], "derived_from": {}},
        ["xmp.damaged"],
    )
    assert time.perf_counter() - began < 3


def test_properties_and_list_items_are_bounded():
    items = "".join(f"<rdf:li>{i}</rdf:li>" for i in range(MAX_ITEMS + 5))
    facts, findings = read_xmp(xmp_packet(children=f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"), "test")
    assert len(facts["properties"]) == MAX_ITEMS
    assert [(f.code, f.values["dropped"]) for f in findings] == [("xmp.clipped", 5)]
    many = " ".join(f'crs:a{i}="1"' for i in range(MAX_PROPERTIES + 7))
    facts, findings = read_xmp(xmp_packet(many), "test")
    assert len(facts["properties"]) == MAX_PROPERTIES
    assert findings[0].values["dropped"] == 7


def test_packets_over_a_mebibyte_are_not_parsed():
    packet = xmp_packet('xmp:CreatorTool="GIMP"', f"<dc:source>{'x' * MAX_PACKET}</dc:source>")
    tracemalloc.start()
    facts, codes = read(packet)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codes == ["xmp.too_large"]
    assert facts["properties"] == {}
    assert peak < 2**20


@pytest.mark.parametrize(
    "packet", [b"", b"no xml", b"<", b">", b"<x", b"\xff\xfe<", b"<?xml version='1.0' encoding='nonsense'?><x/>"]
)
def test_garbage_gives_a_finding(packet):
    assert read(packet)[1] == ["xmp.damaged"]
