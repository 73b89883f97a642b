"""Reads XMP packets (ISO 16684-1) into flat, JSON-ready properties; entities and document types are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from tamperscope.media.values import clean_text, problem_finding
from tamperscope.types import Finding

MAX_PACKET = 2**20
MAX_DEPTH = 32
MAX_ELEMENTS = 20_000
MAX_PROPERTIES = 1000
MAX_ITEMS = 50
_TEXT = 2048
# Prompts that generators write into XMP fields.
LONG_TEXT = 16_384

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PREFIXES = {
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/xap/1.0/sType/ResourceRef#": "stRef",
    "http://ns.adobe.com/xmp/note/": "xmpNote",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/camera-raw-settings/1.0/": "crs",
    "http://ns.adobe.com/hdr-gain-map/1.0/": "hdrgm",
    "http://ns.adobe.com/pdf/1.3/": "pdf",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.useplus.org/ldf/xmp/1.0/": "plus",
    "http://ns.google.com/photos/1.0/camera/": "GCamera",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",
    "http://www.w3.org/XML/1998/namespace": "xml",
    _RDF: "rdf",
}
_LIST_TAGS = {f"{{{_RDF}}}{kind}" for kind in ("Bag", "Seq", "Alt")}
_DESCRIPTION, _LI, _VALUE = f"{{{_RDF}}}Description", f"{{{_RDF}}}li", f"{{{_RDF}}}value"
_SYNTAX = {f"{{{_RDF}}}{name}" for name in ("about", "parseType", "ID", "nodeID", "datatype")}
_ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENTITY = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)


class _TooMuchError(Exception):
    """The packet nests too deep or has too many elements."""


class _BoundedBuilder(TreeBuilder):
    """Builds the element tree and stops at the bounds of depth and count."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise _TooMuchError(f"more than {MAX_DEPTH} levels or {MAX_ELEMENTS} elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


@dataclass(slots=True)
class _Flat:
    """Collects flat properties up to their bound."""

    properties: dict[str, Any] = field(default_factory=dict)
    dropped: int = 0

    def put(self, path: str, text: str) -> None:
        if len(self.properties) >= MAX_PROPERTIES:
            self.dropped += 1
        else:
            self.properties.setdefault(clean_text(path, 256), clean_text(text, LONG_TEXT))


def read_xmp(packet: bytes, where: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the facts of an XMP packet and what is wrong with it.

    Args:
        packet: The serialised packet, with or without its `<?xpacket?>` wrapper and padding.
        where: The part of the container that holds it, for the findings.

    Returns:
        `({"bytes", "toolkit", "properties": {"xmp:CreatorTool": …, "xmpMM:History[1]/stEvt:action": …},
        "history": [{…}], "derived_from": {…}}, findings)`.
    """
    facts: dict[str, Any] = {"bytes": len(packet), "toolkit": "", "properties": {}}
    findings = _fill(facts, packet, where)
    _structure(facts)
    return facts, findings


def add_extension(facts: dict[str, Any], packet: bytes, where: str) -> list[Finding]:
    """Add the properties of an extended XMP packet to the facts of its main packet; return what is wrong with it."""
    facts["extension_bytes"] = len(packet)
    findings = _fill(facts, packet, f"{where} extension")
    _structure(facts)
    return findings


def _fill(facts: dict[str, Any], packet: bytes, where: str) -> list[Finding]:
    if len(packet) > MAX_PACKET:
        text = "The XMP packet is larger than this program reads; its content was not checked."
        values = {"bytes": len(packet), "limit": MAX_PACKET}
        return [Finding("xmp.too_large", text, "info", values, where)]
    root, problem = _parse(packet)
    if root is None:
        return problem_finding("xmp.damaged", "The XMP packet cannot be read.", [problem], where)
    flat = _Flat(facts["properties"])
    for description in (child for rdf in root.iter(f"{{{_RDF}}}RDF") for child in rdf):
        _flatten_struct(flat, description, "")
    facts["toolkit"] = facts["toolkit"] or clean_text(root.get("{adobe:ns:meta/}xmptk", ""), 256)
    notes = [problem] if problem else []
    findings = problem_finding("xmp.damaged", "The XMP packet is damaged.", notes, where)
    if flat.dropped:
        text = "The XMP packet has more properties or list items than are kept."
        findings.append(Finding("xmp.clipped", text, "info", {"dropped": flat.dropped}, where))
    return findings


def _structure(facts: dict[str, Any]) -> None:
    facts["history"] = _structs(facts["properties"], "xmpMM:History")
    derived = _structs(facts["properties"], "xmpMM:DerivedFrom")
    facts["derived_from"] = derived[0] if derived else {}


def _parse(packet: bytes) -> tuple[Element | None, str]:
    """Return (root, problem); the packet is parsed as it is, then once more with illegal characters removed."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    start, stop = packet.find(b"<"), packet.rfind(b">") + 1
    if not 0 <= start < stop:
        return None, "no XML found"
    body = packet[start:stop] if packet[:2] not in (b"\xff\xfe", b"\xfe\xff") else packet
    if _ENTITY.search(body.replace(b"\0", b"")):
        return None, "declares a document type or entities, which XMP may not"
    problem = ""
    for attempt in (body, _ILLEGAL.sub("", body.decode("utf-8", "replace")).encode()):
        parser = DefusedXMLParser(target=_BoundedBuilder(), forbid_dtd=True)
        try:
            parser.feed(attempt)
            return parser.close(), problem
        except (ParseError, DefusedXmlException, _TooMuchError, ValueError, LookupError) as error:
            problem = f"not well-formed: {error}" if isinstance(error, ParseError) else str(error)
    return None, problem


def _name(tag: str) -> str:
    uri, _, local = tag.rpartition("}")
    uri = uri.lstrip("{")
    if not uri:
        return local
    return f"{_PREFIXES.get(uri) or uri.rstrip('/#').rpartition('/')[2] or uri}:{local}"


def _flatten_struct(flat: _Flat, element: Element, path: str) -> None:
    for key, text in element.attrib.items():
        if key not in _SYNTAX and _name(key) not in ("about", "xml:lang"):
            flat.put(path + _name(key), text)
    for child in element:
        if isinstance(child.tag, str):
            _flatten_value(flat, child, path + _name(child.tag))


def _flatten_value(flat: _Flat, element: Element, path: str) -> None:
    resource = element.get(f"{{{_RDF}}}resource")
    if resource is not None:
        flat.put(path, resource)
        return
    inner = next((c for c in element if c.tag in _LIST_TAGS or c.tag == _DESCRIPTION), None)
    if inner is not None and inner.tag in _LIST_TAGS:
        items = [c for c in inner if c.tag == _LI]
        flat.dropped += max(0, len(items) - MAX_ITEMS)
        for index, item in enumerate(items[:MAX_ITEMS], 1):
            _flatten_value(flat, item, path if len(items) == 1 and _is_plain(item) else f"{path}[{index}]")
    elif inner is not None:
        _flatten_struct(flat, inner, path + "/")
        value = inner.find(_VALUE)
        if value is not None:
            flat.put(path, value.text or "")
    elif len(element) or any(key not in _SYNTAX and _name(key) != "xml:lang" for key in element.attrib):
        _flatten_struct(flat, element, path + "/")
    else:
        flat.put(path, (element.text or "").strip())


def _is_plain(element: Element) -> bool:
    return not len(element) and all(_name(key) == "xml:lang" for key in element.attrib)


def _structs(properties: dict[str, Any], name: str) -> list[dict[str, str]]:
    """Return the structures of a property, `name/field` or `name[i]/field`, as a list of small mappings."""
    pattern = re.compile(re.escape(name) + r"(?:\[(\d+)\])?/(?:[^:/\[]+:)?([^:/\[]+)$")
    found: dict[int, dict[str, str]] = {}
    for path, text in properties.items():
        match = pattern.match(path)
        if match:
            found.setdefault(int(match[1] or 1), {})[match[2]] = clean_text(str(text), _TEXT)
    return [found[index] for index in sorted(found)]
