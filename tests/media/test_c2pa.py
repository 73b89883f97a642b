"""C2PA: files signed here with a certificate made here; then tampered, stripped, re-tagged, expired and re-signed."""

from __future__ import annotations

import datetime as dt
import http.server
import io
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from metadata_builders import encode_with, picture, xmp_packet
from PIL import Image

from tamperscope.media.bmff import C2PA_UUID
from tamperscope.media.c2pa import read_c2pa

MIME = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "HEIC": "image/heic",
    "AVIF": "image/avif",
}
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass
class Identity:
    chain: bytes
    key: bytes
    root: str


def identity(seconds_left: float = 1e6, name: str = "Test Signer") -> Identity:
    """Make a root and an end-entity certificate (ES256) as C2PA 2.x, 14.5 asks for."""
    now = dt.datetime.now(dt.timezone.utc)
    span = now - dt.timedelta(days=1), now + dt.timedelta(seconds=seconds_left)

    def subject(common: str) -> x509.Name:
        attributes = ((NameOID.ORGANIZATION_NAME, name), (NameOID.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes])

    def usage(sign: bool) -> x509.KeyUsage:
        return x509.KeyUsage(sign, False, False, False, False, not sign, not sign, False, False)

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    ids = [x509.SubjectKeyIdentifier.from_public_key(k.public_key()) for k in keys]
    certificates = []
    for serial, (key, common) in enumerate(zip(keys, ("Root", "Leaf"), strict=True), 1):
        builder = x509.CertificateBuilder(subject("Root"), subject(common), key.public_key(), serial, *span)
        builder = builder.add_extension(x509.BasicConstraints(serial == 1, None), True)
        builder = builder.add_extension(usage(serial == 2), True).add_extension(ids[serial - 1], False)
        if serial == 2:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
            builder = builder.add_extension(issuer, False)
        certificates.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(certificates[1] + certificates[0], private, certificates[0].decode())


@pytest.fixture(scope="module")
def signer() -> Identity:
    return identity()


def manifest(*actions: dict[str, Any]) -> dict[str, Any]:
    return {
        "claim_generator_info": [{"name": "Test Camera", "version": "1"}],
        "title": "harbour",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": list(actions)}}],
    }


CREATED = {"action": "c2pa.created", "digitalSourceType": SOURCE + "digitalCapture", "softwareAgent": {"name": "Cam"}}
GENERATED = {**CREATED, "digitalSourceType": SOURCE + "trainedAlgorithmicMedia"}
OPENED = {"action": "c2pa.opened"}


def sign(
    data: bytes, fmt: str, who: Identity, *actions: dict[str, Any], parent: bytes = b"", remote: str = ""
) -> bytes:
    settings = {"verify": {"verify_after_sign": False}, "builder": {"thumbnail": {"enabled": False}}}
    with c2pa.Context.from_dict(settings) as context:
        builder = c2pa.Builder(manifest(*actions or (CREATED,)), context=context)
        if parent:
            ingredient = {"title": "parent", "relationship": "parentOf"}
            builder.add_ingredient(json.dumps(ingredient), MIME[fmt], io.BytesIO(parent))
        if remote:
            builder.set_no_embed()
            builder.set_remote_url(remote)
        out = io.BytesIO()
        info = c2pa.C2paSignerInfo(b"es256", who.chain, who.key, None)
        builder.sign(c2pa.Signer.from_info(info), MIME[fmt], io.BytesIO(data), out)
    return out.getvalue()


def encode(fmt: str) -> bytes:
    if fmt == "GIF":
        buffer = io.BytesIO()
        picture().quantize(16).save(buffer, "GIF")
        return buffer.getvalue()
    return encode_with(fmt)


def read(data: bytes, fmt: str = "JPEG", **options: Any):
    facts, findings = read_c2pa(data, fmt, **options)
    json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
    return facts, {f.code: f for f in findings}


def flip_picture_byte(data: bytes, fmt: str) -> bytes:
    """Change one bit of the compressed picture, far from the manifest."""
    last = {"PNG": data.rfind(b"IDAT") + 30, "WEBP": data.find(b"VP8 ") + 60, "TIFF": 100, "GIF": 20}
    changed = bytearray(data)
    changed[last.get(fmt, len(data) - 40)] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("fmt", sorted(MIME))
def test_signed_tampered_stripped(fmt, signer):
    plain = encode(fmt)
    signed = sign(plain, fmt, signer)
    facts, found = read(signed, fmt)
    assert list(found) == ["c2pa.present"]
    assert facts["integrity"] == {"status": "valid", "failures": [], "ingredient_failures": []}
    assert facts["trust"]["status"] == "not evaluated"
    facts, found = read(flip_picture_byte(signed, fmt), fmt)
    assert facts["integrity"]["status"] == "invalid"
    assert any("mismatch" in code for code in facts["integrity"]["failures"])
    assert found["c2pa.integrity_failed"].severity == "warning"
    assert read(plain, fmt) == ({"present": False}, {})


def test_stripping_by_saving_again_leaves_none(signer):
    signed = sign(encode("JPEG"), "JPEG", signer)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(signed)).save(buffer, "JPEG")
    assert read(buffer.getvalue()) == ({"present": False}, {})


def test_the_active_manifest_is_told(signer):
    facts, _ = read(sign(encode("JPEG"), "JPEG", signer))
    active = facts["active"]
    assert active["title"] == "harbour"
    assert active["claim_generator"][0]["name"] == "Test Camera"
    assert active["actions"][0]["action"] == "c2pa.created"
    assert active["actions"][0]["source_type"] == SOURCE + "digitalCapture"
    assert active["actions"][0]["software"] == "Cam"
    assert facts["trust"]["signer"] == "Test Signer"
    assert facts["manifests"] == 1


def test_a_manifest_moved_to_another_picture_fails(signer):
    signed = sign(encode("JPEG"), "JPEG", signer)
    other = io.BytesIO()
    Image.fromarray(np.asarray(picture())[::-1].copy()).save(other, "JPEG")
    start, stop = signed.find(b"\xff\xeb"), signed.rfind(b"\xff\xeb")
    stop += 2 + int.from_bytes(signed[stop + 2 : stop + 4], "big")
    moved = other.getvalue()[:2] + signed[start:stop] + other.getvalue()[2:]
    facts, found = read(moved)
    assert facts["integrity"]["status"] == "invalid"
    assert "c2pa.integrity_failed" in found


def test_trust_is_judged_only_against_a_list(signer):
    signed = sign(encode("JPEG"), "JPEG", signer)
    facts, found = read(signed, trust_anchors=signer.root, trust_list="mine")
    assert (facts["trust"]["status"], facts["trust"]["list"]) == ("trusted", "mine")
    assert list(found) == ["c2pa.present"]
    # An impostor takes the same name; only the list tells them apart.
    impostor = identity()
    facts, found = read(sign(encode("JPEG"), "JPEG", impostor), trust_anchors=signer.root, trust_list="mine")
    assert facts["trust"]["signer"] == "Test Signer"
    assert facts["trust"]["status"] == "untrusted"
    assert facts["integrity"]["status"] == "valid"
    assert found["c2pa.untrusted"].severity == "notice"


def test_freshness_is_apart_from_integrity():
    brief = identity(seconds_left=1.0)
    signed = sign(encode("JPEG"), "JPEG", brief)
    fresh = read(signed)[0]
    assert fresh["freshness"]["certificate_valid"] is True
    assert fresh["freshness"]["time_stamp"].startswith("none")
    assert fresh["freshness"]["revocation"].startswith("not checked")
    time.sleep(2.1)
    facts, found = read(signed)
    assert facts["freshness"]["certificate_valid"] is False
    assert facts["integrity"]["status"] == "valid"
    assert "c2pa.stale" in found
    assert "c2pa.integrity_failed" not in found


@pytest.mark.parametrize(
    ("actions", "declared"),
    [
        ((CREATED,), None),
        ((GENERATED,), "generated"),
        (
            (CREATED, {"action": "c2pa.edited", "digitalSourceType": SOURCE + "compositeWithTrainedAlgorithmicMedia"}),
            "edited_by_ai",
        ),
        ((CREATED, {"action": "c2pa.edited", "digitalSourceType": SOURCE + "trainedAlgorithmicMedia"}), "edited_by_ai"),
    ],
)
def test_marks_of_generators(actions, declared, signer):
    found = read(sign(encode("JPEG"), "JPEG", signer, *actions))[1]
    if declared is None:
        assert "mark.generator" not in found
    else:
        mark = found["mark.generator"]
        assert (mark.severity, mark.values["declared"], mark.values["integrity"]) == ("warning", declared, "valid")


def test_a_generated_parent_is_told_through_its_child(signer):
    base = sign(encode("JPEG"), "JPEG", signer, GENERATED)
    child = sign(encode("JPEG"), "JPEG", signer, OPENED, parent=base)
    facts, found = read(child)
    assert facts["manifests"] == 2
    assert facts["active"]["ingredients"][0]["relationship"] == "parentOf"
    assert found["mark.generator"].values["where"] == "C2PA ingredient manifest"
    assert found["mark.generator"].values["declared"] == "generated"


def test_retagged_box_is_no_longer_found_but_not_silent(signer):
    signed = sign(encode("HEIC"), "HEIC", signer)
    retagged = signed.replace(C2PA_UUID, C2PA_UUID[:-1] + b"\0")
    facts, found = read(retagged, "HEIC")
    assert facts["present"] is False
    assert list(found) == ["c2pa.leftover"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Test Camera", b"Best Camera"),
        (b"harbour", b"harvest"),
        (b"digitalCapture", b"negativeFilm\0\0"),
        (b"c2pa.created", b"c2pa.creates"),
    ],
)
def test_a_changed_statement_breaks_integrity(old, new, signer):
    signed = sign(encode("JPEG"), "JPEG", signer)
    assert old in signed
    facts, found = read(signed.replace(old, new))
    assert facts["integrity"]["status"] in ("invalid", "unreadable")
    assert found.keys() & {"c2pa.integrity_failed", "c2pa.unreadable"}


def test_a_truncated_manifest_is_unreadable(signer):
    signed = sign(encode("JPEG"), "JPEG", signer)
    facts, found = read(signed[: signed.find(b"jumb") + 900])
    assert facts["integrity"]["status"] == "unreadable"
    assert found["c2pa.unreadable"].severity == "notice"


def test_a_store_with_another_type_is_a_leftover(signer):
    signed = sign(encode("JPEG"), "JPEG", signer).replace(b"jumdc2pa\0", b"jumdc2pb\0")
    assert list(read(signed)[1]) in (["c2pa.leftover"], ["c2pa.unreadable"])


def test_nothing_is_fetched(signer):
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/m.c2pa"
    remote = sign(encode("JPEG"), "JPEG", signer, remote=url)
    facts, found = read(remote)
    assert (facts, list(found)) == ({"present": False, "remote": url}, ["c2pa.remote_reference"])
    # The same reference beside a detached store, so that the library is asked: it must not follow it either.
    store = sign(encode("JPEG"), "JPEG", signer)
    read(remote + store[store.find(b"jumb") - 4 :])
    assert asked == []
    # Control: with the library's own settings the reference is followed.
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(remote))
    assert asked == ["/m.c2pa"]
    server.shutdown()


def test_the_library_is_not_loaded_without_a_manifest():
    code = (
        "import sys; from tamperscope.media.c2pa import read_c2pa; "
        "assert read_c2pa(b'\\xff\\xd8\\xff' + b'x' * 999, 'JPEG')[0] == {'present': False}; "
        "assert 'c2pa' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_library_is_said(signer, monkeypatch):
    signed = sign(encode("JPEG"), "JPEG", signer)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    facts, found = read(signed)
    assert facts["integrity"]["status"] == "unreadable"
    assert "not usable" in facts["integrity"]["cause"]
    assert list(found) == ["c2pa.unreadable"]


def test_provenance_without_a_url_is_no_reference():
    assert read(encode_with("JPEG", xmp=xmp_packet('dc:source="dcterms:provenance"'))) == ({"present": False}, {})
