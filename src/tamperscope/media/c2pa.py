"""Reads and checks a C2PA manifest offline; integrity, trust and freshness are told apart.

The native library is imported only where the bytes hold a manifest store. It may not reach the network: remote
manifests and OCSP are off, so that opening a file tells nobody. Without a list of trusted roots, whose signature it is
stays unjudged: anybody can sign in anybody's name. No manifest is neutral, as every upload strips it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from tamperscope.media.marks import SOURCE_TYPES, generator_mark, source_type
from tamperscope.media.values import clean_text, json_ready
from tamperscope.types import Finding

# The description box of a manifest store: type `jumd` and the UUID that spells c2pa (C2PA 2.x, 11.1.4).
_STORE = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
# Labels of the boxes inside it, which a re-tagged store still has.
_TRACES = (_STORE, b"c2pa.assertions\0", b"c2pa.signature\0")
_MIME = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "HEIC": "image/heic",
    "HEIF": "image/heif",
    "AVIF": "image/avif",
    "PDF": "application/pdf",
    "MP4": "video/mp4",
    "AVI": "video/avi",
}
_REMOTE = re.compile(rb"dcterms:provenance(?:\s*=\s*[\"']([^\"'<>]{1,500})|[^>]{0,100}>([^<]{1,500})<)")
_MAX_STORE_MB = 32
_MAX_LISTED = 50
_TRUST = re.compile(r"signingCredential\.(?:un)?trusted|timeStamp\.(?:un)?trusted|cawg\.")
_FRESHNESS = re.compile(r"signingCredential\.(?:expired|ocsp\.|revoked)|claimSignature\.outsideValidity|timeStamp\.")
_ORIGIN = "c2pa"

Facts = dict[str, Any]


def read_c2pa(
    data: bytes, fmt: str, trust_anchors: str | None = None, trust_list: str = "given roots"
) -> tuple[Facts, list[Finding]]:
    """Return what the C2PA manifest of a file says and whether it holds.

    Args:
        data: The whole file.
        fmt: Type as returned by `sniff`.
        trust_anchors: PEM certificates of the roots to trust; None leaves trust unjudged.
        trust_list: What to call them in the facts.

    Returns:
        JSON-ready facts and findings. `{"present": False}` where there is no manifest; else `present`, `integrity`
        (`valid`, `invalid`, or `unreadable` with the cause), `trust` (`not evaluated`, `trusted` or `untrusted`,
        with list and signer), `freshness` (time of signing, validity of the certificate, revocation), `active` (the
        active manifest: generator, actions, ingredients) and `manifests` (their number).
    """
    at = next((at for at in map(data.find, _TRACES) if at >= 0), None)
    if at is None:
        return _without_store(data)
    mime = _MIME.get(fmt)
    store, certificate, problem = _read_store(data, mime, trust_anchors) if mime else (None, {}, "")
    if problem:
        facts: Facts = {"present": True, "integrity": {"status": "unreadable", "cause": problem}, "offset": at}
        text = "A C2PA manifest is there but cannot be read, so nothing in it was checked."
        return facts, [Finding("c2pa.unreadable", text, "notice", {"cause": problem, "offset": at}, _ORIGIN)]
    if store is None:
        text = "Bytes of a C2PA manifest are in the file, but not where a reader finds them: detached or re-tagged."
        return {"present": False, "leftover_offset": at}, [
            Finding("c2pa.leftover", text, "notice", {"offset": at}, _ORIGIN)
        ]
    facts = _facts(store, certificate, trust_list if trust_anchors else None)
    findings = _judge(facts)
    return facts, findings + list(_marks(store, facts["integrity"]["status"]))


def _without_store(data: bytes) -> tuple[Facts, list[Finding]]:
    match = _REMOTE.search(data) if b"dcterms:provenance" in data else None
    if match is None:
        return {"present": False}, []
    url = clean_text((match[1] or match[2]).decode("utf-8", "replace"), 500)
    text = "The file refers to a C2PA manifest elsewhere; it was not fetched."
    return {"present": False, "remote": url}, [Finding("c2pa.remote_reference", text, "info", {"url": url}, _ORIGIN)]


def _settings(trust_anchors: str | None) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "core": {
            "allowed_network_hosts": [],
            "allow_redirects": False,
            "decode_identity_assertions": False,
            "max_decompressed_manifest_size_in_mb": _MAX_STORE_MB,
        },
        "verify": {
            "verify_after_reading": True,
            "verify_trust": trust_anchors is not None,
            "verify_timestamp_trust": trust_anchors is not None,
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
    }
    if trust_anchors is not None:
        settings["trust"] = {"trust_anchors": trust_anchors}
    return settings


def _read_store(data: bytes, mime: str, trust_anchors: str | None) -> tuple[Facts | None, Facts, str]:
    """Return (manifest store, certificate of the active manifest, problem); no store where none is attached."""
    try:
        import c2pa
    except (ImportError, OSError) as error:
        return None, {}, f"the library c2pa-python is not usable here: {clean_text(str(error), 200)}"
    try:
        with c2pa.Context.from_dict(_settings(trust_anchors)) as context:
            reader = c2pa.Reader.try_create(mime, io.BytesIO(data), context=context)
            if reader is None:
                return None, {}, ""
            with reader:
                store, wide = json.loads(reader.json()), json.loads(reader.crjson())
    except (c2pa.C2paError, ValueError, RecursionError) as error:
        return None, {}, clean_text(str(error) or type(error).__name__, 300)
    if not isinstance(store, dict) or not isinstance(store.get("manifests"), dict):
        return None, {}, "the manifest store lists no manifests"
    return store, _certificate(wide, store.get("active_manifest")), ""


def _certificate(wide: Any, label: Any) -> Facts:
    for manifest in _dicts(_dict(wide).get("manifests")):
        if manifest.get("label") == label:
            return _dict(_dict(manifest.get("signature")).get("certificateInfo"))
    return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _facts(store: Facts, certificate: Facts, trust_list: str | None) -> Facts:
    active = _dict(store["manifests"].get(store.get("active_manifest")))
    results = _dict(store.get("validation_results"))
    outcome = _dict(results.get("activeManifest"))
    codes = {kind: _codes(outcome.get(kind)) for kind in ("success", "informational", "failure")}
    signature = _dict(active.get("signature_info"))
    broken = [code for code in codes["failure"] if not _TRUST.match(code) and not _FRESHNESS.match(code)]
    facts: Facts = {
        "present": True,
        "manifests": len(store["manifests"]),
        "integrity": {
            "status": "invalid" if broken or "claimSignature.validated" not in codes["success"] else "valid",
            "failures": broken,
            "ingredient_failures": _ingredient_failures(results),
        },
        "trust": {
            "status": _trust(codes, trust_list),
            "list": trust_list,
            "signer": signature.get("issuer"),
            "common_name": signature.get("common_name"),
            "issued_by": certificate.get("issuer"),
        },
        "freshness": _freshness(codes, signature, certificate),
        "active": _manifest(active),
    }
    return _dict(json_ready(facts))


def _codes(statuses: Any) -> list[str]:
    return [clean_text(str(status.get("code")), 100) for status in _dicts(statuses)][:_MAX_LISTED]


def _ingredient_failures(results: Facts) -> list[str]:
    deltas = [_dict(delta.get("validationDeltas")) for delta in _dicts(results.get("ingredientDeltas"))]
    codes = [code for delta in deltas for code in _codes(delta.get("failure")) if not _TRUST.match(code)]
    return codes[:_MAX_LISTED]


def _trust(codes: dict[str, list[str]], trust_list: str | None) -> str:
    if trust_list is None:
        return "not evaluated"
    if "signingCredential.untrusted" in codes["failure"]:
        return "untrusted"
    return "trusted" if "signingCredential.trusted" in codes["success"] else "untrusted"


def _freshness(codes: dict[str, list[str]], signature: Facts, certificate: Facts) -> Facts:
    """Say when it was signed, by whose clock, and whether the certificate was valid then."""
    stale = [code for code in codes["failure"] if _FRESHNESS.match(code)]
    every = [code for kind in codes.values() for code in kind]
    stamp = [code for code in every if code.startswith("timeStamp.")]
    checked = any(code in ("signingCredential.ocsp.notRevoked", "signingCredential.ocsp.revoked") for code in every)
    revoked = "signingCredential.ocsp.revoked" in every
    return {
        "signed_at": signature.get("time"),
        "time_stamp": stamp or "none: the time of signing is not attested",
        "certificate_valid": not stale,
        "certificate_validity": certificate.get("validity"),
        "failures": stale,
        "revocation": ("revoked" if revoked else "not revoked") if checked else "not checked (offline)",
    }


def _manifest(manifest: Facts) -> Facts:
    generator = _dicts(manifest.get("claim_generator_info")) or manifest.get("claim_generator")
    return {
        "label": manifest.get("label"),
        "title": manifest.get("title"),
        "format": manifest.get("format"),
        "claim_generator": generator,
        "actions": [_action(action) for action in _actions(manifest)][:_MAX_LISTED],
        "assertions": [str(a.get("label")) for a in _dicts(manifest.get("assertions"))][:_MAX_LISTED],
        "ingredients": [
            {key: ingredient.get(key) for key in ("title", "format", "relationship", "active_manifest")}
            for ingredient in _dicts(manifest.get("ingredients"))
        ][:_MAX_LISTED],
    }


def _actions(manifest: Facts) -> Iterator[Facts]:
    for assertion in _dicts(manifest.get("assertions")):
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            yield from _dicts(_dict(assertion.get("data")).get("actions"))


def _action(action: Facts) -> Facts:
    agent = action.get("softwareAgent")
    return {
        "action": action.get("action"),
        "software": _dict(agent).get("name", agent),
        "source_type": action.get("digitalSourceType"),
        "when": action.get("when"),
        "description": action.get("description") or _dict(action.get("parameters")).get("description"),
    }


def _judge(facts: Facts) -> list[Finding]:
    """Return the findings on integrity, trust and freshness."""
    integrity, trust, freshness = facts["integrity"], facts["trust"], facts["freshness"]
    signer = trust["signer"] or trust["common_name"] or "an unnamed signer"
    words = {"trusted": "a trusted signer", "untrusted": "a signer that the list does not hold"}
    told = words.get(trust["status"], "a signer whose identity was not checked")
    text = f"The file carries a C2PA manifest signed as '{signer}', {told}."
    values = {"signer": signer, "trust": trust["status"], "integrity": integrity["status"]}
    found = [Finding("c2pa.present", text, "info", values, _ORIGIN)]
    if integrity["status"] == "invalid":
        text = "The C2PA manifest does not fit the file: the picture or the manifest was changed after signing."
        found.append(Finding("c2pa.integrity_failed", text, "warning", {"failures": integrity["failures"]}, _ORIGIN))
    if integrity["ingredient_failures"]:
        text = "A source file named in the C2PA manifest failed its own check."
        failures = {"failures": integrity["ingredient_failures"]}
        found.append(Finding("c2pa.ingredient_failed", text, "notice", failures, _ORIGIN))
    if trust["status"] == "untrusted":
        text = f"The signer of the C2PA manifest is not on the list '{trust['list']}'."
        found.append(Finding("c2pa.untrusted", text, "notice", {"signer": signer, "list": trust["list"]}, _ORIGIN))
    if freshness["failures"]:
        text = "The signing certificate of the C2PA manifest was not valid, or its time is not attested."
        found.append(Finding("c2pa.stale", text, "notice", {"failures": freshness["failures"]}, _ORIGIN))
    return found


def _marks(store: Facts, integrity: str) -> Iterator[Finding]:
    """Yield the marks that the actions of the active manifest, its parents and its components declare."""
    manifests = store["manifests"]
    whole = _parents(manifests, store.get("active_manifest"))
    seen: set[tuple[str, str]] = set()
    for label, manifest in list(manifests.items())[:_MAX_LISTED]:
        for action in _actions(_dict(manifest)):
            text = str(action.get("digitalSourceType") or "")
            declared = SOURCE_TYPES.get(source_type(text).lower())
            if declared is None:
                continue
            created = action.get("action") == "c2pa.created" and label in whole
            declared = declared if created else "edited_by_ai"
            which = f"C2PA {clean_text(str(action.get('action')), 60)}, {clean_text(source_type(text), 60)}"
            if (which, declared) in seen:
                continue
            seen.add((which, declared))
            agent = str(_action(action)["software"] or "")
            quote = clean_text(f"{agent} {text}".strip(), 500)
            where = "C2PA active manifest" if label == store.get("active_manifest") else "C2PA ingredient manifest"
            yield generator_mark(which, where, quote, declared, integrity=integrity)


def _parents(manifests: Facts, label: Any) -> set[str]:
    """Return the active manifest and all that it descends from as a whole (`parentOf`)."""
    whole: set[str] = set()
    while isinstance(label, str) and label in manifests and label not in whole:
        whole.add(label)
        ingredients = _dicts(_dict(manifests[label]).get("ingredients"))
        label = next((i.get("active_manifest") for i in ingredients if i.get("relationship") == "parentOf"), None)
    return whole
